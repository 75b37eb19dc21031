package client

import (
	"maps"
	"slices"
)

// maxEarly is how many changes a Shown keeps whose messages it does not hold.
const maxEarly = 1000

// Shown holds messages of one room as an application shows them, with what was changed later in them. Give it everything: what a
// subscription delivers and what pages of history hold, in any order. For one goroutine.
//
// A change of a message that is not held is kept for a while: it may have come while the page with that message was on its way.
type Shown struct {
	user     string
	messages map[uint64]*Message
	early    []Message // oldest first
}

// NewShown holds nothing. user is this client's, for Reaction.Own.
func NewShown(user string) *Shown {
	return &Shown{user: user, messages: map[uint64]*Message{}}
}

// Take takes a message or a change in, and returns the message that is new or changed now, nil if there is none. What it
// returns is valid until the next Take. Ephemeral messages are not held.
func (s *Shown) Take(m Message) *Message {
	switch {
	case m.Ephemeral:
		return nil
	case m.Change != nil:
		return s.change(m)
	}
	held := s.messages[m.Seq]
	if held != nil && held.Revision >= m.Revision && held.Replies.Last >= m.Replies.Last {
		return nil // no newer than what is here
	}
	if held != nil && held.Revision > m.Revision {
		held.Replies = m.Replies
		return held
	}
	if held != nil && held.Replies.Last > m.Replies.Last {
		m.Replies = held.Replies
	}
	s.messages[m.Seq] = &m
	for _, change := range s.early {
		if change.Change != nil && change.Change.Target == m.Seq {
			s.fold(&m, change)
		} else if change.Change == nil && change.Thread == m.Seq {
			m.reply(change.Seq)
		}
	}
	s.reply(m)
	return &m
}

// reply counts a message in the one that begins its thread.
func (s *Shown) reply(m Message) {
	if m.Thread == 0 {
		return
	}
	if root := s.messages[m.Thread]; root != nil {
		root.reply(m.Seq)
		return
	}
	s.keep(Message{Seq: m.Seq, Thread: m.Thread})
}

func (m *Message) reply(seq uint64) {
	if seq > m.Replies.Last {
		m.Replies.Count++
		m.Replies.Last = seq
	}
}

func (s *Shown) change(m Message) *Message {
	held := s.messages[m.Change.Target]
	if held == nil {
		s.keep(m)
		return nil
	}
	if !s.fold(held, m) {
		return nil
	}
	return held
}

func (s *Shown) keep(m Message) {
	if s.early = append(s.early, m); len(s.early) > maxEarly {
		s.early = slices.Delete(s.early, 0, len(s.early)-maxEarly)
	}
}

// fold puts a change into a message, unless it is in it.
func (s *Shown) fold(m *Message, change Message) bool {
	if change.Seq <= m.Revision || m.Deleted {
		return false
	}
	m.Revision = change.Seq
	switch c := change.Change; c.Op {
	case Edit:
		m.Edits++
		if !change.NoContent {
			m.Text, m.Data, m.Mentions, m.NoContent = change.Text, change.Data, change.Mentions, false
		}
	case Delete:
		*m = Message{
			Room: m.Room, Seq: m.Seq, At: m.At, From: m.From, ReplyTo: m.ReplyTo, Thread: m.Thread, NoContent: true,
			Revision: m.Revision, Edits: m.Edits, Deleted: true, Replies: m.Replies,
		}
	case React:
		m.Reactions = reacted(m.Reactions, *c, change.From, change.From == s.user)
	case Pin:
		m.Pinned = !c.Remove
	}
	return true
}

// reacted gives the reactions after a change; the ones before are not changed.
func reacted(before []Reaction, c Change, user string, own bool) []Reaction {
	reactions := slices.Clone(before)
	i := slices.IndexFunc(reactions, func(r Reaction) bool { return r.Reaction == c.Reaction })
	switch {
	case i < 0 && c.Remove:
		return reactions
	case i < 0:
		return append(reactions, Reaction{c.Reaction, 1, []string{user}, own})
	}
	r := &reactions[i]
	r.Users = slices.DeleteFunc(slices.Clone(r.Users), func(u string) bool { return u == user })
	if own {
		r.Own = !c.Remove
	}
	if c.Remove {
		if r.Count--; r.Count <= 0 {
			return slices.Delete(reactions, i, i+1)
		}
		return reactions
	}
	r.Count++
	r.Users = append(r.Users, user)
	return reactions
}

// Get gives a message that is held, nil if it is not. It is valid until the next Take.
func (s *Shown) Get(seq uint64) *Message { return s.messages[seq] }

// All gives the numbers of the messages that are held, ascending.
func (s *Shown) All() []uint64 { return slices.Sorted(maps.Keys(s.messages)) }

// Forget lets go of a message that is not shown any more.
func (s *Shown) Forget(seq uint64) { delete(s.messages, seq) }

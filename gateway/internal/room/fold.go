package room

import (
	"errors"
	"strings"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/changes"
)

// Facts reads what a stored content says about other messages, for the index of changes.
func Facts(body []byte) (changes.Facts, bool) {
	if proto.Plain(body) {
		return changes.Facts{}, false
	}
	var m v1.Message
	if m.UnmarshalVT(body) != nil {
		return changes.Facts{}, false
	}
	f := changes.Facts{Thread: m.Thread, Mentions: m.Mentions, Target: m.Change.GetTarget()}
	switch op := m.Change.GetOp().(type) {
	case *v1.Change_Edit:
		f.Op = changes.OpEdit
	case *v1.Change_Delete:
		f.Op = changes.OpDelete
	case *v1.Change_React:
		f.Op, f.Reaction, f.Remove = changes.OpReact, op.React.GetReaction(), op.React.GetRemove()
	case *v1.Change_Pin:
		f.Op, f.Remove = changes.OpPin, op.Pin.GetRemove()
	}
	return f, f.Target != 0 || f.Thread != 0 || len(f.Mentions) > 0
}

// speaksOf gives the change that a stored content is, nil if it is a message.
func speaksOf(body []byte) *v1.Change {
	if proto.Plain(body) {
		return nil
	}
	var m v1.Message
	if m.UnmarshalVT(body) != nil {
		return nil
	}
	return m.Change
}

// fold puts the changes that were made since into what is read from the log. It belongs to one read.
type fold struct {
	log  Log
	view *changes.View // nil: there is no index
	read handoff.Read
	lost func(error) // is told of an edit that can't be read
}

// message gives a record as a client is to see it, or nil if that is how the log has it. The text of what was deleted
// or edited since never comes out of here.
func (f *fold) message(rec storage.Record) (*v1.Message, error) {
	if f.view == nil || f.view.Empty {
		return nil, nil
	}
	if !proto.Plain(rec.Body) {
		m, err := decode(rec)
		if err != nil {
			return nil, err
		}
		if m.Change != nil {
			return f.change(m)
		}
	}
	state, changed := f.view.State(rec.Seq)
	if err := f.view.Err(); err != nil || !changed {
		return nil, err
	}
	m, err := decode(rec)
	if err != nil {
		return nil, err
	}
	m.Revision, m.Edits = state.Revision, uint32(state.Edits)
	if state.LastReply != 0 {
		m.Replies = &v1.Replies{Count: uint32(state.Replies), Last: state.LastReply}
	}
	if state.Deleted != 0 {
		m.Deleted = true
		clearContent(m)
		m.Kind = ""
		return m, nil
	}
	m.Pinned = state.Pinned != 0
	for _, r := range state.Reactions {
		m.Reactions = append(m.Reactions, &v1.Reaction{
			Reaction: r.Reaction, Count: uint32(r.Users),
			Users: f.view.Users(rec.Seq, r.Reaction, proto.MaxReactionUsers),
			Own:   f.view.Reacted(rec.Seq, r.Reaction, f.read.User),
		})
	}
	if state.Edit == 0 {
		return m, nil
	}
	clearContent(m) // if the edit can't be read, the text before it is not the message either
	return m, f.edit(m, state.Edit)
}

// change gives a record that is a change, without its content where that is not the target's any more.
func (f *fold) change(m *v1.Message) (*v1.Message, error) {
	if _, edits := m.Change.Op.(*v1.Change_Edit); !edits {
		return nil, nil
	}
	state, _ := f.view.State(m.Change.Target)
	if err := f.view.Err(); err != nil {
		return nil, err
	}
	gone := m.Change.Target < f.log.Begin(m.Room) || state.Deleted != 0
	// One that is newer than this moment of the index is not overtaken yet.
	if gone || state.Edit > m.Seq {
		clearContent(m)
		return m, nil
	}
	return nil, nil
}

// edit puts the content of an edit into a message. One that is damaged leaves the message empty: nobody gets past a message
// with an error to the others of the room, as little as past a damaged one without its gap.
func (f *fold) edit(m *v1.Message, seq uint64) error {
	err := f.log.ReadAfter(m.Room, seq-1, storage.PageLimit{Records: 1}, func(rec storage.Record) bool {
		var edit v1.Message
		if rec.Seq == seq && edit.UnmarshalVT(rec.Body) == nil {
			m.Content, m.Mentions = edit.Content, edit.Mentions
		}
		return false
	})
	if _, damaged := errors.AsType[*storage.DamagedError](err); damaged {
		f.lost(err)
		return nil
	}
	return err
}

func clearContent(m *v1.Message) { m.Content, m.Mentions = nil, nil }

// waste is a change that a page of history has no room for but as a place to go on from.
func waste(rec storage.Record) *v1.Message {
	return &v1.Message{Room: rec.Room, Seq: rec.Seq, At: uint64(rec.At), From: strings.Clone(rec.From), Change: speaksOf(rec.Body)}
}

// decode gives a record as a message, which may be kept: the log only lends what it passes.
func decode(rec storage.Record) (*v1.Message, error) {
	m := &v1.Message{}
	h := header(rec)
	h.From = strings.Clone(h.From)
	return m, proto.DecodeMessage(m, h, rec.Body)
}

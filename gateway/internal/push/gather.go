package push

import (
	"slices"
	"time"

	"rookery/gateway/internal/handoff"
)

const (
	maxSeqs          = 100 // of a conversation
	maxConversations = 100 // of a summary
)

// conversation is what somebody has not received of a room. Numbers ascend.
type conversation struct {
	Room     string   `json:"room"`
	Seqs     []uint64 `json:"seqs"`
	Mentions []uint64 `json:"mentions,omitempty"` // those of them that mention the user
	More     bool     `json:"more,omitempty"`     // there are older ones
}

// newest is the number of the newest message.
func (c *conversation) newest() uint64 { return c.Seqs[len(c.Seqs)-1] }

func (c *conversation) size() int { return 128 + len(c.Room) + 8*len(c.Seqs) + 8*len(c.Mentions) }

// add puts another conversation of the same room behind this one; what is in both counts once.
func (c *conversation) add(other conversation) {
	if len(c.Seqs) == 0 {
		*c = other
		return
	}
	seq := c.newest()
	newer := func(seqs []uint64, than uint64) []uint64 {
		at, _ := slices.BinarySearch(seqs, than+1)
		return seqs[at:]
	}
	c.Seqs = append(c.Seqs, newer(other.Seqs, seq)...)
	c.Mentions = append(c.Mentions, newer(other.Mentions, seq)...)
	c.More = c.More || other.More
	if beyond := len(c.Seqs) - maxSeqs; beyond > 0 {
		c.More = true
		c.Seqs = slices.Clone(c.Seqs[beyond:])
		c.Mentions = slices.Clone(newer(c.Mentions, c.Seqs[0]-1))
	}
}

// conversations are of one user, those written to last at the end.
type conversations []conversation

func (all conversations) size() (n int) {
	for i := range all {
		n += all[i].size()
	}
	return n
}

// add joins a conversation to them, and moves its room to the end.
func (all conversations) add(c conversation) conversations {
	at := slices.IndexFunc(all, func(other conversation) bool { return other.Room == c.Room })
	if at >= 0 {
		joined := all[at]
		joined.add(c)
		all = slices.Delete(all, at, at+1)
		c = joined
	}
	all = append(all, c)
	if beyond := len(all) - maxConversations; beyond > 0 {
		all = slices.Delete(all, 0, beyond)
	}
	return all
}

func (all conversations) rooms() (rooms []Room) {
	for _, c := range all {
		rooms = append(rooms, Room{c.Room, len(c.Seqs), len(c.Mentions), c.Seqs[0], c.newest()})
	}
	return rooms
}

func (all conversations) clone() conversations {
	copied := slices.Clone(all)
	for i := range copied {
		copied[i].Seqs, copied[i].Mentions = slices.Clone(copied[i].Seqs), slices.Clone(copied[i].Mentions)
	}
	return copied
}

// user is for whom something is gathered, or who was told something within the window.
type user struct {
	Last          int64         `json:"last"` // Unix milliseconds of the last summary
	Conversations conversations `json:"conversations,omitempty"`
}

// gather adds a conversation to what its user will be told.
func (k *Keeper) gather(name string, c conversation) {
	u := k.users[name]
	if k.waitingBytes+c.size() > k.cfg.WaitingBytes {
		k.counters.dropped.Add(int64(len(c.Seqs)))
		return
	}
	if u == nil {
		u = &user{}
		k.users[name] = u
	}
	before := u.Conversations.size()
	u.Conversations = u.Conversations.add(c)
	k.waitingBytes += u.Conversations.size() - before
	k.store.touch(name)
}

// summarize has summaries leave whose time has come.
func (k *Keeper) summarize() error {
	now := time.Now().UnixMilli()
	for name, u := range k.users {
		if now < u.Last+k.cfg.Window.Milliseconds() {
			continue
		}
		if len(u.Conversations) == 0 {
			k.forget(name)
			continue
		}
		if k.flying(name) {
			continue // what comes of it says whether this joins it
		}
		if err := k.summarizeUser(name, u, now); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) summarizeUser(name string, u *user, now int64) error {
	fresh, err := k.refresh(name, u.Conversations)
	if err != nil {
		return err
	}
	k.waitingBytes -= u.Conversations.size()
	u.Conversations = nil
	k.store.touch(name)
	if len(fresh) == 0 {
		k.counters.cancelled.Add(1)
		return nil
	}
	for _, l := range k.lanes {
		devices, err := l.Sender.Devices(name)
		if err != nil && !l.blind {
			// What this sender would have sent is lost to it: it says so, and the others are not kept.
			k.cfg.Logger.Error("devices of a user can't be read; they are not told", "kind", l.Kind, "user", name, "err", err)
		}
		if l.blind = err != nil; l.blind {
			continue
		}
		for _, device := range devices {
			k.queue(l, name, device, fresh.clone(), now)
			k.tellNoMore(name, now)
		}
	}
	return nil
}

// tellNoMore begins the window of a user.
func (k *Keeper) tellNoMore(name string, now int64) {
	if k.users[name] == nil {
		k.users[name] = &user{}
	}
	k.users[name].Last = now
	k.store.touch(name)
}

// refresh gives what of the conversations is still to be told.
func (k *Keeper) refresh(user string, all conversations) (fresh conversations, err error) {
	for _, c := range all {
		m, ok, err := k.cfg.Directory.Member(c.Room, user)
		if err != nil {
			return nil, err
		}
		if !ok || m.Level == handoff.NotifyNone {
			continue
		}
		if m.Level == handoff.NotifyMentions {
			c.Seqs, c.More = c.Mentions, false
		}
		past := max(m.Delivered, m.From)
		at, _ := slices.BinarySearch(c.Seqs, past+1)
		c.More = c.More && at == 0
		if c.Seqs, err = k.cfg.Log.Alive(c.Room, c.Seqs[at:]); err != nil {
			return nil, err
		}
		if len(c.Seqs) == 0 {
			continue
		}
		var mentions []uint64
		for _, seq := range c.Mentions {
			if _, alive := slices.BinarySearch(c.Seqs, seq); alive {
				mentions = append(mentions, seq)
			}
		}
		c.Mentions = mentions
		fresh = append(fresh, c)
	}
	return fresh, nil
}

// forget lets go of a user for whom nothing is gathered.
func (k *Keeper) forget(name string) {
	delete(k.users, name)
	k.store.touch(name)
}

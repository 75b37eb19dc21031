package presence

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	// typingLifetime is how long somebody who says so is typing.
	typingLifetime = 4 * time.Second
	// typingInterval is how long it gathers before the members are told.
	typingInterval = 250 * time.Millisecond
	// typingNamed is how many are told by name.
	typingNamed = 5
	// typingKey has the newest take the place of older ones for who is behind.
	typingKey = "typing"
)

// typists are those who are typing in a room.
type typists struct {
	until map[string]time.Time
	begun map[string]uint64 // in which order they began
	count uint64
	news  bool // it has changed since the members were told
}

// types notes that somebody is typing, or has stopped.
func (k *Keeper) types(p *handoff.Presence) {
	t := k.typing[p.Room]
	if t == nil {
		if p.Stopped || len(k.typing) == maxTyping {
			return
		}
		if len(k.typing) == 0 {
			k.typingDue.Reset(typingInterval)
		}
		t = &typists{until: make(map[string]time.Time), begun: make(map[string]uint64)}
		k.typing[p.Room] = t
	}
	if _, is := t.until[p.User]; is == p.Stopped {
		t.news = true
	}
	if p.Stopped {
		delete(t.until, p.User)
		delete(t.begun, p.User)
		return
	}
	// Said again it lasts longer, and the members have to be told that.
	t.news = true
	t.until[p.User] = time.Now().Add(typingLifetime)
	if t.begun[p.User] == 0 {
		t.count++
		t.begun[p.User] = t.count
	}
}

// tellTyping tells the members of the rooms in which that has changed. That somebody's time is over they know themselves.
func (k *Keeper) tellTyping() {
	now := time.Now()
	for room, t := range k.typing {
		for user, until := range t.until {
			if !until.After(now) {
				delete(t.until, user)
				delete(t.begun, user)
			}
		}
		if t.news {
			t.news = false
			k.members(room, t)
		}
		if len(t.until) == 0 {
			delete(k.typing, room)
		}
	}
	if len(k.typing) > 0 {
		k.typingDue.Reset(typingInterval)
	}
}

// members gives the loops who is typing; one with too much waiting is not told.
func (k *Keeper) members(room string, t *typists) {
	users := slices.SortedFunc(maps.Keys(t.until), func(a, b string) int { return cmp.Compare(t.begun[a], t.begun[b]) })
	named := users[:min(typingNamed, len(users))]
	e := proto.EncodeFrame(room, "", typingKey, &v1.ServerFrame{Op: &v1.ServerFrame_Typing{Typing: &v1.Typing{
		Room: room, Users: named, More: uint32(len(users) - len(named)), LifetimeMs: uint32(typingLifetime.Milliseconds()),
	}}})
	for loop, mailbox := range k.cfg.Loops {
		if mailbox.Full() {
			k.untold.Add(1)
			continue
		}
		k.told.Add(1)
		k.out.Post(loop, handoff.Event{Kind: handoff.Ephemeral, Room: room, Message: e, Size: e.Size()})
	}
}

package room

import (
	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// pass gives an ephemeral message to the loops that have members of its room, at once: neither the
// log nor what is on its way there hears of it. It comes through the same mailbox as everything
// of the room, so a sender's ephemeral messages keep their order; one of its stored messages that
// waits for the disk is overtaken.
func (s *shard) pass(c *handoff.Command) {
	from := sender{c.From, c.ID}
	if c.Refusal != nil {
		s.refuseFor(from, c.Refusal)
		return
	}
	if s.loopsBehind() {
		s.refuseDelivery(from)
		return
	}
	s.ephemeral.Add(1)
	at := s.cfg.Now().UnixMilli()
	r := s.rooms[c.Room] // without members it need not be there
	if r != nil {
		at = max(at, r.lastAt)
		r.lastAt = at
	}
	if c.ID != 0 {
		s.acknowledge(from, c.Room, outcome{at: at})
	}
	if r == nil {
		return
	}
	s.toMembers(r, handoff.Ephemeral, proto.Header{Room: r.name, At: at, From: c.User, Ephemeral: true, Key: c.Key}, c.Content)
}

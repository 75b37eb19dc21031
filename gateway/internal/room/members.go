package room

import "rookery/gateway/internal/handoff"

// join has the loop given the room's deliveries, and tells it where the room stands. The loop keeps the members
// themselves: only it touches its connections.
func (s *shard) join(c *handoff.Command) {
	r := s.room(c.Room)
	if !r.loops[c.From.Loop] {
		r.loops[c.From.Loop] = true
		r.listening++
	}
	head, begin := r.head, s.cfg.Log.Begin(r.name)
	if c.Ephemeral {
		head, begin = 0, 1 // whatever the log has of a time when the room was not ephemeral
	}
	s.tell(handoff.Event{
		Kind: handoff.Joined, To: c.From, ID: c.ID, Room: r.name, Seq: head, Begin: begin,
		HasAfter:  c.HasAfter,
		After:     c.After,
		Recovered: c.HasAfter && c.After <= head && (c.Epoch == "" || c.Epoch == s.epoch),
	}, handoff.ReplySize)
}

func (s *shard) gone(c *handoff.Command) {
	r := s.rooms[c.Room]
	if r == nil || !r.loops[c.From.Loop] {
		panic("BUG: a loop wants no more of room " + c.Room + ", which it never asked for")
	}
	r.loops[c.From.Loop] = false
	r.listening--
	s.forgetIdle(r)
}

package room

import "rookery/gateway/internal/handoff"

// replySize is what a small event holds of a loop's mailbox.
const replySize = 192

// join counts the subscription and tells the loop where the room stands. The loop keeps
// the members themselves: only it touches its connections.
func (s *shard) join(c *handoff.Command) {
	r := s.room(c.Room)
	r.members[c.From.Loop]++
	r.total++
	s.tell(handoff.Event{
		Kind: handoff.Joined, To: c.From, ID: c.ID, Room: r.name, Seq: r.head, Begin: s.cfg.Log.Begin(r.name),
		HasAfter:  c.HasAfter,
		After:     c.After,
		Recovered: c.HasAfter && c.After <= r.head && (c.Epoch == "" || c.Epoch == s.epoch),
	}, replySize)
}

func (s *shard) leave(c *handoff.Command) {
	s.gone(c)
	s.tell(handoff.Event{Kind: handoff.Left, To: c.From, ID: c.ID, Room: c.Room}, replySize)
}

func (s *shard) gone(c *handoff.Command) {
	r := s.rooms[c.Room]
	if r == nil || r.members[c.From.Loop] == 0 {
		panic("BUG: a subscription of room " + c.Room + " ended that was never counted")
	}
	r.members[c.From.Loop]--
	r.total--
	s.forgetIdle(r)
}

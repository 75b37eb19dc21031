package room

import (
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// commit lands the n oldest flights: the log has committed them, or failed for good.
func (s *shard) commit(n int, err error) {
	now := s.cfg.Now()
	for range n {
		f := s.flights.pop()
		if err != nil {
			s.fail(f)
			continue
		}
		s.land(f, now)
		s.latency.observe(now.Sub(f.begun))
	}
}

// land makes a committed message visible. The reply goes first, so that it and the
// publisher's own copy of the message leave the loop in one write.
func (s *shard) land(f *flight, now time.Time) {
	r := f.room
	if f.header.Seq != r.head+1 {
		panic("BUG: the log completed the messages of room " + r.name + " out of order")
	}
	r.head = f.header.Seq
	s.published.Add(1)
	done := outcome{f.header.Seq, f.header.At}
	if f.key != (keyHash{}) {
		s.keys.add(f.key, done, now.Sub(s.started))
	}
	s.acknowledge(f.sender, r.name, done)
	for _, again := range f.retries {
		s.acknowledge(again, r.name, done)
	}
	s.toMembers(r, handoff.Delivery, f.header, f.content)
	if f.alters != 0 {
		s.checkers.settled(place{r.name, f.alters})
	}
	s.forgetIdle(r)
}

// toMembers encodes a message once and puts it into the mailbox of each loop that has members.
func (s *shard) toMembers(r *room, kind handoff.EventKind, h proto.Header, content []byte) {
	var message *proto.Encoded
	for loop, listens := range r.loops {
		if !listens {
			continue
		}
		if message == nil {
			message = proto.Encode(h, content)
		}
		s.out.Post(loop, handoff.Event{Kind: kind, Room: r.name, Seq: h.Seq, Message: message, Size: message.Size()})
	}
}

// fail answers a publish that the log could not commit. Whether its bytes are on the disk
// is not known, so it is not acknowledged. The room goes on from its head when the last of its flights has failed: that is what
// the log expects when it takes appends again. Earlier it must not: the log may have healed since, a publish that was taken
// between two of them would get the number of one that is still to fail, and that one's end would take it back.
func (s *shard) fail(f *flight) {
	s.refusedLog.Add(1)
	if f.header.Seq == f.room.next {
		f.room.next = f.room.head
	}
	const text = "The log can't be written; the message may not have been stored. Send it again later with the same key."
	s.refuse(f.sender, proto.ErrLogUnavailable, text)
	for _, again := range f.retries {
		s.refuse(again, proto.ErrLogUnavailable, text)
	}
	if f.alters != 0 {
		s.checkers.settled(place{f.room.name, f.alters})
	}
	s.forgetIdle(f.room)
}

package benchtest

import (
	"sync/atomic"
	"time"
)

// Truth is what the server did up to now. Frames count when they are handed to the kernel, so before
// anybody can have received them; those that a lost connection did not take are not counted.
type Truth struct {
	// Connections.
	Accepted        int64 // all, the refused and reset too
	ConnectsReset   int64 // ResetConnect
	ConnectsRefused int64 // RefuseConnect
	Connected       int64 // answered connects; with Echo and Broadcast handshakes
	Closed          int64 // CloseAfter
	Overflowed      int64 // reset because more than Config.Queue bytes waited for them
	Joined          int64
	JoinsRefused    int64 // RefuseJoin

	// Publishes. Published = Acknowledged + Refused + AcksLost, where no connection was lost and none was malformed.
	// With Echo and Broadcast messages are only Published.
	Published    int64 // that came and were not ephemeral
	Ephemeral    int64 // that came and were
	Repeated     int64 // of those, with a key that was there already
	Acknowledged int64 // the repeated and the lied too
	Refused      int64
	AcksLost     int64
	Lied         int64 // acknowledged, and never delivered

	// Marks and what the members were told of them.
	Marks     int64 // that came
	Marked    int64 // answered, the lied too
	MarksLost int64 // LoseMark
	MarksLied int64 // MarkLie
	Receipts  int64

	// Deliveries, each counted for its receiver.
	Delivered  int64 // sent: the copies, garbled and wrong ones too
	Dropped    int64
	TailKept   int64 // never sent because of DropTail, if nothing more is published
	Withheld   int64 // never sent because of AckLie
	Duplicated int64 // copies
	Swapped    int64 // pairs
	Garbled    int64
	WrongRoom  int64

	// FirstPublish is zero before it.
	FirstPublish time.Time
	// Stalls are those that have begun.
	Stalls []Interval
}

// Interval is a stall: nothing was read or written from From until To.
type Interval struct {
	From, To time.Time
}

// Lost is how many deliveries were owed and never sent.
func (t Truth) Lost() int64 { return t.Dropped + t.TailKept + t.Withheld }

// Truth tells what the server did up to now.
func (s *Server) Truth() Truth {
	c := s.tally
	t := Truth{
		Accepted: c.accepted.Load(), ConnectsReset: c.connectsReset.Load(), ConnectsRefused: c.connectsRefused.Load(),
		Connected: c.connected.Load(), Closed: c.closed.Load(), Overflowed: c.overflowed.Load(), Joined: c.joined.Load(), JoinsRefused: c.joinsRefused.Load(),

		Published: c.published.Load(), Ephemeral: c.ephemeral.Load(), Repeated: c.repeated.Load(), Acknowledged: c.acknowledged.Load(),
		Refused: c.refused.Load(), AcksLost: c.acksLost.Load(), Lied: c.lied.Load(),

		Marks: c.marks.Load(), Marked: c.marked.Load(), MarksLost: c.marksLost.Load(), MarksLied: c.marksLied.Load(), Receipts: c.receipts.Load(),

		Delivered: c.delivered.Load(), Dropped: c.dropped.Load(), TailKept: c.tailKept.Load(), Withheld: c.withheld.Load(),
		Duplicated: c.duplicated.Load(), Swapped: c.swapped.Load(), Garbled: c.garbled.Load(), WrongRoom: c.wrongRoom.Load(),
	}
	t.FirstPublish, t.Stalls = s.gate.begun(time.Now())
	return t
}

// tally counts for Truth. Readers and writers of all connections count at once, hence atomics.
type tally struct {
	accepted, connectsReset, connectsRefused, connected, closed, overflowed, joined, joinsRefused atomic.Int64
	published, ephemeral, repeated, acknowledged, refused, acksLost, lied                         atomic.Int64
	marks, marked, marksLost, marksLied, receipts                                                 atomic.Int64
	delivered, dropped, tailKept, withheld                                                        atomic.Int64
	duplicated, swapped, garbled, wrongRoom                                                       atomic.Int64
}

package benchtest

import (
	"errors"
	"fmt"
	"time"
)

// Faults is what the server does wrong. The zero value is none. A number n means every n-th, the
// n-th first; 0 is never. Everything follows from counts, nothing from chance:
//
//   - Deliveries are counted for each connection in each room, from its join on, those of a
//     catch-up too. One delivery has one fault at most, the first of Drop, Duplicate, Swap, Garble, WrongRoom
//     whose turn it is.
//   - Publishes are counted for each room, repetitions of a key left out. One publish has one fault at
//     most, the first of Refuse, LoseAck, AckLie.
//   - Joins and marks are counted for each room. One mark has one fault at most, the first of LoseMark, MarkLie.
//   - Connections are counted as they are accepted. One has one fault at most, the first of ResetConnect, RefuseConnect.
//
// In the modes Echo and Broadcast every message is a delivery, and there are no publishes to answer: the faults of
// publishes and WrongRoom are refused. All connections are in one room with Broadcast; with Echo each has its own.
type Faults struct {
	// Delay is added to each delivery, AckDelay to each acknowledgement of a publish. Neither changes an
	// order within its kind.
	Delay    time.Duration
	AckDelay time.Duration

	// Drop: a delivery is never sent, although later ones are.
	Drop int
	// DropTail: the last n deliveries of each room are never sent, so that only a count at the end can find it. The
	// server can't know which are the last: each message waits until n later ones are in its room.
	DropTail int
	// Duplicate: a delivery is sent twice, one right after the other.
	Duplicate int
	// Swap: a delivery is exchanged with the next one of its room to that receiver. If none comes within SwapWait (0: a
	// second), or before the receiver leaves, it is sent where it belongs, and was not swapped.
	Swap     int
	SwapWait time.Duration
	// Garble: a delivery has another body of the same length (one byte for none).
	Garble int
	// WrongRoom: a delivery says that it is of another room, which nobody joined.
	WrongRoom int

	// Refuse: a publish is answered with the error rate_limited, to be tried again, and not stored.
	Refuse int
	// LoseAck: a publish is stored and delivered, and never acknowledged, but for a repetition with its key.
	LoseAck int
	// AckLie: a publish is acknowledged, takes a number, and is delivered to nobody, in no catch-up and no history.
	AckLie int

	// LoseMark: a mark is told to the members and never answered.
	LoseMark int
	// MarkLie: a mark is answered as if less had been marked.
	MarkLie int

	// RefuseJoin: a join is answered with the error rate_limited, to be tried again.
	RefuseJoin int

	// ResetConnect: a connection is reset when it is accepted.
	ResetConnect int
	// RefuseConnect: a handshake is answered with 503, raw TCP with the frame close and 4007.
	RefuseConnect int
	// CloseAfter: each connection is reset after n deliveries were sent and arrived. The next connection begins anew.
	CloseAfter int

	// Stalls are times in which nothing is read and nothing is written. What waited comes afterwards, in order.
	Stalls []Stall
}

// Stall begins After after the first publish came, and lasts For.
type Stall struct {
	After, For time.Duration
}

// every says whether the count-th is one of every n-th.
func every(n, count int) bool { return n > 0 && count%n == 0 }

// check reports everything that can't be done.
func (f Faults) check(mode Mode) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, n := range []struct {
		name        string
		value       int
		onlyRookery bool
	}{
		{"Drop", f.Drop, false}, {"DropTail", f.DropTail, false}, {"Duplicate", f.Duplicate, false},
		{"Swap", f.Swap, false}, {"Garble", f.Garble, false}, {"WrongRoom", f.WrongRoom, true},
		{"Refuse", f.Refuse, true}, {"LoseAck", f.LoseAck, true}, {"AckLie", f.AckLie, true}, {"RefuseJoin", f.RefuseJoin, true},
		{"LoseMark", f.LoseMark, true}, {"MarkLie", f.MarkLie, true}, {"AckDelay", int(f.AckDelay), true},
		{"ResetConnect", f.ResetConnect, false}, {"RefuseConnect", f.RefuseConnect, false}, {"CloseAfter", f.CloseAfter, false},
		{"Delay", int(f.Delay), false}, {"SwapWait", int(f.SwapWait), false},
	} {
		if n.value < 0 {
			fault("%s %d: must not be negative", n.name, n.value)
		}
		if n.onlyRookery && n.value != 0 && mode != Rookery {
			fault("%s: only the mode Rookery has it", n.name)
		}
	}
	for _, stall := range f.Stalls {
		if stall.After < 0 || stall.For <= 0 {
			fault("Stalls: after %v for %v: must begin after the first publish and last", stall.After, stall.For)
		}
	}
	if mode < Rookery || mode > Broadcast {
		fault("Mode %d: want Rookery, Echo or Broadcast", mode)
	}
	if len(faults) > 0 {
		return fmt.Errorf("faults of a test server: %w", errors.Join(faults...))
	}
	return nil
}

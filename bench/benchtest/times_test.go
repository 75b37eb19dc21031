package benchtest

import (
	"fmt"
	"testing"
	"time"

	"rookery/proto"
)

// Only lower bounds are asked for, and orders that follow from them: a busy machine makes everything later.

func TestDelays(t *testing.T) {
	const delay = 500 * time.Millisecond
	for _, c := range []struct {
		name     string
		faults   Faults
		ackFirst bool
	}{
		{"deliveries", Faults{Delay: delay}, true},
		{"acknowledgements", Faults{AckDelay: delay}, false},
		{"both", Faults{Delay: 2 * delay, AckDelay: delay}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Start(t, c.faults)
			p := enter(t, s, overBinary, "alice", lobby)
			var ids []uint64
			begin := time.Now()
			for range 10 {
				ids = append(ids, p.send(publish(lobby, "", "")))
			}
			if c.ackFirst {
				if p.reply(ids[0]); len(p.deliveries) > 0 {
					t.Error("the delivery came before the acknowledgement")
				}
				p.delivered(1)
			} else {
				if p.delivered(1); p.replies[ids[0]] != nil {
					t.Error("the acknowledgement came before the delivery")
				}
				p.reply(ids[0])
			}
			if took, want := time.Since(begin), max(c.faults.Delay, c.faults.AckDelay); took < want {
				t.Errorf("both were there after %v, want %v at least", took, want)
			}
			for i, m := range p.delivered(10) {
				if m.Seq != uint64(i+1) {
					t.Errorf("delivery %d is message %d", i+1, m.Seq)
				}
			}
			for i, id := range ids {
				if seq := p.reply(id).GetPublished().GetSeq(); seq != uint64(i+1) {
					t.Errorf("acknowledgement %d is of message %d", i+1, seq)
				}
			}
		})
	}
}

// TestSwapsUnderDelay: with much in the queue the exchange is still of neighbours.
func TestSwapsUnderDelay(t *testing.T) {
	s := Start(t, Faults{Delay: 300 * time.Millisecond, Swap: 2, SwapWait: time.Hour})
	p := enter(t, s, overBinary, "alice", lobby)
	for range 21 {
		p.send(publish(lobby, "", ""))
	}
	var numbers []uint64
	for _, m := range p.delivered(21) {
		numbers = append(numbers, m.Seq)
	}
	if got, want := fmt.Sprint(numbers), "[1 3 2 5 4 7 6 9 8 11 10 13 12 15 14 17 16 19 18 21 20]"; got != want {
		t.Errorf("the messages came as %s, want %s", got, want)
	}
}

// TestLeftComesAfterDelayedDeliveries: no message of a room may follow left.
func TestLeftComesAfterDelayedDeliveries(t *testing.T) {
	s := Start(t, Faults{Delay: 50 * time.Millisecond, Swap: 3, SwapWait: time.Hour})
	p := enter(t, s, overBinary, "alice", lobby)
	for range 3 {
		p.send(publish(lobby, "", ""))
	}
	p.call(leave(lobby))
	if n := len(p.deliveries); n != 3 {
		t.Errorf("%d deliveries came before left, want 3", n)
	}
}

func TestNothingIsReadInAStall(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			stalls := []Stall{
				{After: 50 * time.Millisecond, For: 200 * time.Millisecond},
				{After: 300 * time.Millisecond, For: 200 * time.Millisecond},
			}
			s := Start(t, Faults{Stalls: stalls})
			if truth := s.Truth(); !truth.FirstPublish.IsZero() || truth.Stalls != nil {
				t.Errorf("before the first publish Truth is %+v", truth)
			}
			p := enter(t, s, transport, "alice", lobby)
			p.call(publish(lobby, "", "0"))
			published := 1
			first := s.Truth().FirstPublish
			for i, stall := range stalls {
				<-time.After(time.Until(first.Add(stall.After)))
				other := dial(t, s, overStream)
				var ids []uint64
				for range 10 {
					ids = append(ids, p.send(publish(lobby, "", fmt.Sprint(published))))
					published++
				}
				for _, id := range ids {
					reply := p.reply(id).GetPublished()
					if time.Since(first) < stall.After+stall.For {
						t.Errorf("request %d was answered before the end of stall %d", id, i+1)
					}
					if end := first.Add(stall.After + stall.For).UnixMilli(); reply.GetAt() < uint64(end) {
						t.Errorf("message %d was stored %d ms before the end of stall %d", reply.GetSeq(), uint64(end)-reply.GetAt(), i+1)
					}
				}
				if other.connect("bob"); time.Since(first) < stall.After+stall.For {
					t.Errorf("a connection was let in before the end of stall %d", i+1)
				}
			}
			for i, m := range p.delivered(published) {
				if m.Seq != uint64(i+1) || m.GetText() != fmt.Sprint(i) {
					t.Fatalf("delivery %d is %v", i+1, m)
				}
			}
			truth := s.Truth()
			if len(truth.Stalls) != len(stalls) {
				t.Fatalf("Truth knows of the stalls %v, want %d", truth.Stalls, len(stalls))
			}
			for i, stall := range truth.Stalls {
				if after := stall.From.Sub(first); after != stalls[i].After || stall.To.Sub(stall.From) != stalls[i].For {
					t.Errorf("stall %d came after %v and lasted %v, want %+v", i+1, after, stall.To.Sub(stall.From), stalls[i])
				}
			}
			if truth.Delivered != int64(published) || truth.Acknowledged != int64(published) {
				t.Errorf("Truth is %+v, want %d deliveries and acknowledgements", truth, published)
			}
		})
	}
}

// TestNothingIsWrittenInAStall: what is due in it waits for its end.
func TestNothingIsWrittenInAStall(t *testing.T) {
	stall := Stall{After: 100 * time.Millisecond, For: 300 * time.Millisecond}
	s := Start(t, Faults{Delay: 200 * time.Millisecond, Stalls: []Stall{stall}})
	p := enter(t, s, overBinary, "alice", lobby)
	p.call(publish(lobby, "", ""))
	p.delivered(1)
	if took := time.Since(s.Truth().FirstPublish); took < stall.After+stall.For {
		t.Errorf("the delivery came after %v, in the stall", took)
	}
}

// TestGate says exactly when it is shut, which the test of the server can't.
func TestGate(t *testing.T) {
	g := &gate{stalls: []Stall{{After: 2 * time.Second, For: time.Second}, {After: 4 * time.Second, For: 3 * time.Second}}}
	first := time.Now()
	if g.shutFor(first) != 0 {
		t.Error("the gate is shut before the first publish")
	}
	g.first.Store(&first)
	g.publish() // the second changes nothing
	for _, c := range []struct{ at, want time.Duration }{
		{0, 0}, {1999, 0}, {2000, 1000}, {2999, 1}, {3000, 0}, {3999, 0}, {4000, 3000}, {6500, 500}, {7000, 0},
	} {
		if got := g.shutFor(first.Add(c.at * time.Millisecond)); got != c.want*time.Millisecond {
			t.Errorf("after %d ms the gate is shut for %v, want %d ms", c.at, got, c.want)
		}
	}
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 0}, {1999, 0}, {2000, 1}, {3999, 1}, {4000, 2}, {9000, 2}} {
		if _, got := g.begun(first.Add(c.at * time.Millisecond)); len(got) != c.want {
			t.Errorf("after %d ms %d stalls have begun, want %d", c.at, len(got), c.want)
		}
	}
}

// TestCloseInAStall: a test that ends in the middle of a stall does not wait for its end.
func TestCloseInAStall(t *testing.T) {
	s := Start(t, Faults{Stalls: []Stall{{For: time.Hour}}})
	p := enter(t, s, overBinary, "alice", lobby)
	p.send(publish(lobby, "", ""))
	for len(s.Truth().Stalls) == 0 {
		p.send(ping())
	}
	s.Close()
	if err := p.end(); err == nil {
		t.Error("the connection did not end")
	}
	if truth := s.Truth(); truth.Delivered != 0 || truth.Published != 1 {
		t.Errorf("Truth is %+v, want 1 published and nothing delivered", truth)
	}
}

// TestCloseInADelay: nor for what would be due later.
func TestCloseInADelay(t *testing.T) {
	s := Start(t, Faults{Delay: time.Hour})
	p := enter(t, s, overStream, "alice", lobby)
	if reply := p.call(publish(lobby, "", "")); reply.GetPublished() == nil {
		t.Errorf("the reply is %v", reply)
	}
	// Who hangs up does not get it either.
	q := enter(t, s, overBinary, "bob", lobby)
	q.call(publish(lobby, "", ""))
	q.sendMessage(8, []byte{3, 232})
	q.wantClosed(proto.CloseNormal)
	if len(q.deliveries) != 0 {
		t.Errorf("%d deliveries came", len(q.deliveries))
	}
	s.Close()
	if err := p.end(); err == nil || len(p.deliveries) != 0 {
		t.Errorf("the connection ended with %v after %d deliveries", err, len(p.deliveries))
	}
}

package benchtest

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// seen is what a receiver finds wrong, by itself.
type seen struct {
	came, lost, again, late, garbled, elsewhere int
}

// look compares what came with what was published: bodies by their numbers.
func look(deliveries []*v1.Message, room string, bodies map[uint64]string) seen {
	s := seen{came: len(deliveries)}
	had := map[uint64]bool{}
	newest := uint64(0)
	for _, m := range deliveries {
		switch {
		case had[m.Seq]:
			s.again++
		case m.Seq < newest:
			s.late++
		}
		if m.Room != room {
			s.elsewhere++
		}
		if m.GetText() != bodies[m.Seq] {
			s.garbled++
		}
		had[m.Seq] = true
		newest = max(newest, m.Seq)
	}
	s.lost = len(bodies) - len(had)
	return s
}

const lobby = "lobby"

// body is of another length each time, the empty one too.
func body(i int) string { return strings.Repeat("x", i) }

// answers is what publishers find.
type answers struct{ acknowledged, refused, unanswered int }

// publishAll has p publish n messages at once, and returns the answers, and the bodies of those that have a number.
func publishAll(p *peer, n int) (a answers, bodies map[uint64]string) {
	bodies = map[uint64]string{}
	ids := make([]uint64, n)
	for i := range n {
		ids[i] = p.send(publish(lobby, "", body(i)))
	}
	p.settle()
	seq := uint64(0)
	for i, id := range ids {
		reply := p.replies[id]
		if reply.GetError() != nil {
			wantError(p.t, reply, proto.ErrRateLimited)
			if reply.GetError().GetRetryAfterMs() == 0 {
				p.t.Errorf("the refusal %v does not say when to come again", reply)
			}
			a.refused++
			continue
		}
		seq++
		bodies[seq] = body(i)
		switch {
		case reply == nil:
			a.unanswered++
		case reply.GetPublished().GetSeq() != seq:
			p.t.Errorf("the reply to publish %d is %v, want the number %d", i+1, reply, seq)
		default:
			a.acknowledged++
		}
	}
	return a, bodies
}

func TestEachFaultIsDoneAsOftenAsTruthSays(t *testing.T) {
	const published = 60
	for _, c := range []struct {
		name    string
		faults  Faults
		answers answers
		each    seen  // what each receiver finds
		truth   Truth // of what is not the same for all
	}{
		{"none", Faults{}, answers{60, 0, 0}, seen{came: 60}, Truth{}},
		{"drop", Faults{Drop: 7}, answers{60, 0, 0}, seen{came: 52, lost: 8}, Truth{Dropped: 24}},
		{"drop all", Faults{Drop: 1}, answers{60, 0, 0}, seen{lost: 60}, Truth{Dropped: 180}},
		{"drop the tail", Faults{DropTail: 7}, answers{60, 0, 0}, seen{came: 53, lost: 7}, Truth{TailKept: 21}},
		{"duplicate", Faults{Duplicate: 7}, answers{60, 0, 0}, seen{came: 68, again: 8}, Truth{Duplicated: 24}},
		{"swap", Faults{Swap: 7}, answers{60, 0, 0}, seen{came: 60, late: 8}, Truth{Swapped: 24}},
		{"swap all", Faults{Swap: 1}, answers{60, 0, 0}, seen{came: 60, late: 30}, Truth{Swapped: 90}},
		{"garble", Faults{Garble: 7}, answers{60, 0, 0}, seen{came: 60, garbled: 8}, Truth{Garbled: 24}},
		{"garble all", Faults{Garble: 1}, answers{60, 0, 0}, seen{came: 60, garbled: 60}, Truth{Garbled: 180}},
		{"wrong room", Faults{WrongRoom: 7}, answers{60, 0, 0}, seen{came: 60, elsewhere: 8}, Truth{WrongRoom: 24}},
		{"refuse", Faults{Refuse: 7}, answers{52, 8, 0}, seen{came: 52}, Truth{Refused: 8}},
		{"lose acks", Faults{LoseAck: 7}, answers{52, 0, 8}, seen{came: 60}, Truth{AcksLost: 8}},
		{"lie", Faults{AckLie: 7}, answers{60, 0, 0}, seen{came: 52, lost: 8}, Truth{Lied: 8, Withheld: 24}},
		// 12 times the fifth is dropped; of the 48 others 12 times the fourth, but not 20, 40, 60, is sent twice; of
		// the others 3, 6, 9, 18, 21, 27, 33, 39, 42, 51, 54 and 57 are held until the next that is sent.
		{"deliveries", Faults{Drop: 5, Duplicate: 4, Swap: 3}, answers{60, 0, 0},
			seen{came: 60, lost: 12, again: 12, late: 12}, Truth{Dropped: 36, Duplicated: 36, Swapped: 36}},
		// 20 are refused; of the 40 others 20 are not acknowledged (2, 4, 8, … but not 6, 12, …); of the rest 4 are
		// lied (5, 25, 35, 55).
		{"publishes", Faults{Refuse: 3, LoseAck: 2, AckLie: 5}, answers{20, 20, 20},
			seen{came: 36, lost: 4}, Truth{Refused: 20, AcksLost: 20, Lied: 4, Withheld: 12}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.faults.SwapWait = time.Hour // a slow machine is no reason not to swap
			s := Start(t, c.faults)
			var peers []*peer
			for _, transport := range transports {
				peers = append(peers, enter(t, s, transport, "over "+transport, lobby))
			}
			answers, bodies := publishAll(peers[0], published)
			if answers != c.answers {
				t.Errorf("the publisher found %+v, want %+v", answers, c.answers)
			}
			came := int64(0)
			for i, p := range peers {
				found := look(p.settle(), lobby, bodies)
				if found != c.each {
					t.Errorf("over %s: %+v, want %+v", transports[i], found, c.each)
				}
				came += int64(found.came)
			}
			want := c.truth
			want.Accepted, want.Connected, want.Joined = 3, 3, 3
			want.Published, want.Acknowledged, want.Delivered = published, int64(answers.acknowledged), came
			truth := s.Truth()
			if truth.FirstPublish.IsZero() {
				t.Error("Truth knows of no publish")
			}
			truth.FirstPublish = want.FirstPublish
			if fmt.Sprint(truth) != fmt.Sprint(want) {
				t.Errorf("Truth is\n%+v, want\n%+v", truth, want)
			}
			if lost := int64(3 * c.each.lost); truth.Lost() != lost {
				t.Errorf("Truth says that %d are lost, want %d", truth.Lost(), lost)
			}
		})
	}
}

// TestFaultsCountForEachRoomAndConnection: a receiver of two rooms, and one that comes back, begin to count anew.
func TestFaultsCountForEachRoomAndConnection(t *testing.T) {
	s := Start(t, Faults{Drop: 3})
	p := enter(t, s, overBinary, "alice", "one")
	p.call(join("two"))
	for range 2 {
		p.call(publish("one", "", ""))
		p.call(publish("two", "", ""))
	}
	if n := len(p.settle()); n != 4 {
		t.Errorf("%d deliveries came, want 4: none is the third of its room", n)
	}
	p.call(leave("one"))
	p.call(join("one"))
	for range 2 {
		p.call(publish("one", "", ""))
	}
	if n := len(p.settle()); n != 6 {
		t.Errorf("%d deliveries came, want 6: none is the third since its join", n)
	}
	p.call(publish("two", "", ""))
	if n, truth := len(p.settle()), s.Truth(); n != 6 || truth.Dropped != 1 {
		t.Errorf("%d deliveries came, and %d are dropped; want 6 and 1", n, truth.Dropped)
	}
}

// TestSwapWithoutSuccessor: the last of all can't be exchanged, and must not be lost.
func TestSwapWithoutSuccessor(t *testing.T) {
	const wait = 50 * time.Millisecond
	s := Start(t, Faults{Swap: 2, SwapWait: wait})
	p := enter(t, s, overBinary, "alice", lobby)
	p.call(publish(lobby, "", ""))
	begin := time.Now()
	p.call(publish(lobby, "", ""))
	for i, m := range p.delivered(2) {
		if m.Seq != uint64(i+1) {
			t.Errorf("delivery %d is message %d", i+1, m.Seq)
		}
	}
	if took := time.Since(begin); took < wait {
		t.Errorf("the second delivery waited %v for another, want %v", took, wait)
	}
	p.call(publish(lobby, "", ""))
	if m := p.delivered(3)[2]; m.Seq != 3 {
		t.Errorf("delivery 3 is message %d", m.Seq)
	}
	if swapped := s.Truth().Swapped; swapped != 0 {
		t.Errorf("Truth says that %d were swapped, want none", swapped)
	}
}

// TestRepeatedKey: what LoseAck does not say is said to who asks again.
func TestRepeatedKey(t *testing.T) {
	s := Start(t, Faults{LoseAck: 2})
	p := enter(t, s, overStream, "alice", lobby)
	p.call(publish(lobby, "k1", "one"))
	lost := p.send(publish(lobby, "k2", "two"))
	if p.settle(); p.replies[lost] != nil {
		t.Errorf("the second publish is answered with %v", p.replies[lost])
	}
	again := p.call(publish(lobby, "k2", "two"))
	if again.GetPublished().GetSeq() != 2 {
		t.Errorf("its repetition is answered with %v, want the number 2", again)
	}
	if n := len(p.settle()); n != 2 {
		t.Errorf("%d deliveries came, want 2", n)
	}
	// Another's key is another key.
	if reply := enter(t, s, overStream, "bob", lobby).call(publish(lobby, "k2", "three")); reply.GetPublished().GetSeq() != 3 {
		t.Errorf("bob's publish with that key is answered with %v, want the number 3", reply)
	}
	truth := s.Truth()
	if truth.Published != 4 || truth.Acknowledged != 3 || truth.AcksLost != 1 || truth.Repeated != 1 {
		t.Errorf("Truth is %+v, want 4 published, 3 acknowledged, 1 lost, 1 repeated", truth)
	}
}

func TestCloseAfterSoManyDeliveries(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			s := Start(t, Faults{CloseAfter: 10})
			p := enter(t, s, transport, "alice", lobby)
			publisher := dial(t, s, overBinary)
			publisher.connect("bob")
			publishAll(publisher, 25)
			for i := range 2 {
				if err := p.end(); !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("connection %d ended with %v, want a reset", i+1, err)
				}
				if n := len(p.deliveries); n != 10 {
					t.Fatalf("%d deliveries came over connection %d, want 10", n, i+1)
				}
				p = dial(t, s, transport)
				p.connect("alice")
				p.call(joinAfter(lobby, "", uint64(10*(i+1))))
			}
			if n := len(p.settle()); n != 5 {
				t.Errorf("%d deliveries came over the third connection, want 5", n)
			}
			if truth := s.Truth(); truth.Closed != 2 || truth.Delivered != 25 || truth.Accepted != 4 {
				t.Errorf("Truth is %+v, want 2 closed of 4, 25 delivered", truth)
			}
		})
	}
}

func TestResetConnect(t *testing.T) {
	s := Start(t, Faults{ResetConnect: 3})
	for i := 1; i <= 9; i++ {
		p, err := tryDial(t, s, transports[i%2]) // of WebSocket: its dial needs an answer
		if (err != nil) != (i%3 == 0) {
			t.Errorf("dial %d gave %v", i, err)
		}
		if err == nil {
			p.connect("alice")
		}
	}
	if truth := s.Truth(); truth.Accepted != 9 || truth.ConnectsReset != 3 || truth.Connected != 6 {
		t.Errorf("Truth is %+v, want 9 accepted, 3 reset, 6 connected", truth)
	}
}

func TestRefuseConnect(t *testing.T) {
	s := Start(t, Faults{RefuseConnect: 2})
	for _, transport := range transports {
		dial(t, s, transport).connect("alice")
		p, err := tryDial(t, s, transport)
		if transport == overStream {
			p.wantClosed(proto.CloseOverloaded)
		} else if err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("the second dial over %s gave %v, want 503", transport, err)
		}
	}
	if truth := s.Truth(); truth.Accepted != 6 || truth.ConnectsRefused != 3 || truth.Connected != 3 {
		t.Errorf("Truth is %+v, want 6 accepted, 3 refused, 3 connected", truth)
	}
}

func TestWhomTooMuchWaitsForIsReset(t *testing.T) {
	s := Start(t, Faults{Delay: time.Hour}, func(c *Config) { c.Queue = 100_000 })
	p := enter(t, s, overBinary, "slow", lobby)
	publisher := dial(t, s, overBinary)
	publisher.connect("fast")
	text := strings.Repeat("x", 40_000)
	publisher.call(publish(lobby, "", text))
	publisher.call(publish(lobby, "", text))
	p.settle()
	if truth := s.Truth(); truth.Overflowed != 0 {
		t.Errorf("Truth is %+v, want none overflowed with 80,000 of 100,000 bytes", truth)
	}
	publisher.call(publish(lobby, "", text))
	if err := p.end(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
	if truth := s.Truth(); truth.Overflowed != 1 || truth.Delivered != 0 {
		t.Errorf("Truth is %+v, want 1 overflowed and nothing delivered", truth)
	}
}

func TestFaultsThatCanNotBe(t *testing.T) {
	_, err := New(Faults{Drop: -1, AckLie: 2, AckDelay: 3, Stalls: []Stall{{After: 1}}}, func(c *Config) { c.Mode = Echo })
	if err == nil {
		t.Fatal("a server was started")
	}
	for _, want := range []string{"Drop -1", "AckLie", "AckDelay", "Stalls"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not speak of %s", err, want)
		}
	}
	if _, err := New(Faults{}, func(c *Config) { c.Mode = 3 }); err == nil || !strings.Contains(err.Error(), "Mode 3") {
		t.Errorf("a mode that is none gave %v", err)
	}
	if _, err := New(Faults{}, func(c *Config) { c.Listen = "nowhere" }); err == nil {
		t.Error("a server listens nowhere")
	}
}

package crowd

import (
	"testing"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
	"rookery/bench/result"
)

// pass gives a user an ephemeral message of a sender in room 0.
func (s *standing) pass(slot int, sender, seq uint32) {
	body := s.crowd.finder.Append(nil, ledger.Stamp{User: sender, Seq: seq}, ledger.StampBytes)
	s.tell(slot, dialect.Event{Kind: dialect.Message, Room: 0, Body: body, Ephemeral: true})
}

// TestOnlyWhoStopsReadingMayMiss: of two users who get the same, what a newer message came in place of is dropped
// for the one that the plan has stop reading, and lost for the other. The newest is owed to both, and missing as long as it may still come.
func TestOnlyWhoStopsReadingMayMiss(t *testing.T) {
	for name, c := range map[string]struct {
		share float64
		want  result.Counts
	}{
		"stops":       {1, result.Counts{Expected: 2 * 8, Delivered: 2 * 5, Dropped: 2 * 2, Missing: 2, Gaps: 2}},
		"never stops": {0, result.Counts{Expected: 2 * 8, Delivered: 2 * 5, Lost: 2 * 2, Missing: 2, Gaps: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			s := stand(t, func(p *plan.Plan) {
				p.Publish.Ephemeral, p.Publish.Typing, p.Publish.Receipts = true, 0, 0
				p.Trouble.Stall = plan.Stall{Share: c.share, At: 0, For: time.Second}
			})
			s.ask(func() {
				for slot := range 2 {
					s.welcome(slot, 0)
					for _, seq := range []uint32{1, 4, 5} { // of 5
						s.pass(slot, 7, seq)
					}
					for _, seq := range []uint32{1, 2} { // of 3
						s.pass(slot, 8, seq)
					}
				}
				s.know(8)
				if s.crowd.Complete() {
					t.Error("complete without the newest of a sender")
				}
				s.know(7)
				if got := s.crowd.Complete(); got != (c.share == 1) {
					t.Errorf("complete without what newer ones came in place of: %v", got)
				}
				s.know(8)
				s.crowd.Settle()
				s.want("8 were sent", c.want)
			})
		})
	}
}

// standStalled has one member of an ephemeral room, who is among those that stop reading if share is 1.
func standStalled(t *testing.T, share float64) *standing {
	t.Helper()
	return stand(t, func(p *plan.Plan) {
		p.Publish.Ephemeral, p.Publish.Typing, p.Publish.Receipts = true, 0, 0
		p.Trouble.Stall = plan.Stall{Share: share, For: time.Second}
		p.Clients.Connections = 1
	})
}

// TestDroppedWhenAUserGoes: an account that ends early tells the same, with what was refused known in the end.
func TestDroppedWhenAUserGoes(t *testing.T) {
	for share, want := range map[float64]result.Counts{
		1: {Expected: 4, Delivered: 2, Dropped: 2, Gaps: 1},
		0: {Expected: 4, Delivered: 2, Lost: 2, Gaps: 1},
	} {
		s := standStalled(t, share)
		s.ask(func() {
			s.welcome(0, 0)
			s.pass(0, 7, 1)
			s.pass(0, 7, 5)
			s.crowd.settleAccount(0, 0)
			s.crowd.Learn(News{Untaken: []ledger.Number{{User: 7, Seq: 3}}})
			s.crowd.Settle()
			s.want("1 and 5 came, 3 was refused", want)
		})
	}
}

// TestRefusedIsNotDropped: a hole that the server's refusal has made is owed to nobody, whoever stops reading, and does not stand for
// a newer message that is missing.
func TestRefusedIsNotDropped(t *testing.T) {
	for share, want := range map[float64]result.Counts{
		1: {Expected: 4, Delivered: 2, Dropped: 1, Missing: 1, Gaps: 1},
		0: {Expected: 4, Delivered: 2, Lost: 1, Missing: 1, Gaps: 1},
	} {
		s := standStalled(t, share)
		s.ask(func() {
			s.welcome(0, 0)
			s.pass(0, 7, 1)
			s.pass(0, 7, 5) // of 6
			s.crowd.Learn(News{Rooms: []int{0}, Heads: []int64{4}, Untaken: []ledger.Number{{User: 7, Seq: 2}, {User: 7, Seq: 4}}})
			if s.crowd.Complete() {
				t.Error("complete without the newest of a sender")
			}
			s.crowd.Settle()
			s.want("1 and 5 of 6 came, 2 and 4 were refused", want)
		})
	}
}

// TestKindsAreNotMixed: what is stored and what is not are two things, and typing is owed to nobody.
func TestKindsAreNotMixed(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Publish.Typing = 0.5 })
	s.ask(func() {
		s.welcome(0, 10)
		s.pass(0, 1, 1)
		s.deliver(0, 11, ledger.Stamp{User: 1, Seq: 1})
		s.want("typing, then a message", result.Counts{Delivered: 1, TypingDelivered: 1})
	})
	s = stand(t, func(p *plan.Plan) { p.Publish.Ephemeral, p.Publish.Typing, p.Publish.Receipts = true, 0, 0 })
	s.ask(func() {
		s.welcome(0, 0)
		s.deliver(0, 11, ledger.Stamp{User: 1, Seq: 1})
		s.want("a stored message in a load of ephemeral ones", result.Counts{Foreign: 1})
	})
}

// TestTypingIsAheadOfTheMessage: by the same draws, in every worker alike.
func TestTypingIsAheadOfTheMessage(t *testing.T) {
	for _, arrivals := range []string{"even", "poisson"} {
		part := newPart(t, func(p *plan.Plan) {
			p.Publish.Rate, p.Publish.Arrivals, p.Publish.Typing = 100, arrivals, 1
			p.Time = plan.Time{Duration: 10 * time.Second}
		})
		c, err := New(part)
		if err != nil {
			t.Fatal(err)
		}
		const from = int64(time.Hour)
		c.Load(from)
		var sends, typing []int64
		for ; c.load.next < c.load.to; c.schedule(&c.load.schedule, 0) {
			sends = append(sends, c.load.next)
			c.load.number++
		}
		for s := &c.load.typing; s.next < c.load.to; c.schedule(s, plan.TypingAhead) {
			typing = append(typing, s.next)
			s.number++
		}
		if len(sends) < 500 || len(sends) != len(typing) {
			t.Fatalf("%s: %d sends, %d times typing", arrivals, len(sends), len(typing))
		}
		for i := range sends {
			if want := max(from, sends[i]-int64(plan.TypingAhead)); typing[i] != want {
				t.Fatalf("%s: message %d is due at %d, typing at %d, want %d", arrivals, i, sends[i], typing[i], want)
			}
		}
	}
}

package crowd

import (
	"math/rand/v2"
	"testing"

	"rookery/bench/plan"
)

// TestRequestsAgainstAMap: what is asked, answered and abandoned, and what is still waiting, as a map would tell it.
func TestRequestsAgainstAMap(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		c, err := New(newPart(t, func(p *plan.Plan) { p.Clients.Connections = 5 }))
		if err != nil {
			t.Fatal(err)
		}
		type asked struct {
			slot, room int
			kind       requestKind
			due        int64
		}
		open := map[uint32]asked{}
		unanswered := int64(0)
		for step := range 2000 {
			slot := random.IntN(5)
			switch n := random.IntN(20); {
			case n < 10:
				a := asked{slot, random.IntN(9), requestKind(random.IntN(4)), int64(step)}
				id := c.request(slot, a.kind, a.room, a.due)
				if was, ok := open[id]; ok || id == 0 {
					t.Fatalf("seed %d: the id %d of %+v was given again", seed, id, was)
				}
				open[id] = a
			case n < 19:
				id := uint32(random.IntN(len(c.requests) + 2))
				want, there := open[id]
				got, ok := c.answered(slot, id)
				if there = there && want.slot == slot; ok != there {
					t.Fatalf("seed %d: request %d of user %d is there: %v, want %v", seed, id, slot, ok, there)
				}
				if !ok {
					continue
				}
				if got.due != want.due || int(got.room) != want.room || got.kind != want.kind {
					t.Fatalf("seed %d: request %d is %+v, want %+v", seed, id, got, want)
				}
				delete(open, id)
			default:
				c.abandon(slot)
				for id, a := range open {
					if a.slot != slot {
						continue
					}
					if delete(open, id); a.kind == publishRequest {
						unanswered++
					}
				}
			}
			waiting := int64(0)
			for _, a := range open {
				if a.kind == publishRequest || a.kind == markRequest {
					waiting++
				}
			}
			if c.Waiting() != waiting || c.counts.Unanswered != unanswered {
				t.Fatalf("seed %d: %d wait and %d were abandoned, want %d and %d", seed, c.Waiting(), c.counts.Unanswered, waiting, unanswered)
			}
		}
	}
}

// BenchmarkAbandon is a connection lost while those of all others have a request open: that must not grow with their number.
func BenchmarkAbandon(b *testing.B) {
	p, err := plan.Named("chat")
	if err != nil {
		b.Fatal(err)
	}
	p.Server.Targets, p.Clients.Connections = []string{"tcp://127.0.0.1:1"}, 100_000
	c, err := New(Part{Plan: p, Workers: 1})
	if err != nil {
		b.Fatal(err)
	}
	for slot := range c.users {
		c.request(slot, joinRequest, 0, 0)
	}
	for n := 0; b.Loop(); n++ {
		c.abandon(n % len(c.users))
		c.request(n%len(c.users), joinRequest, 0, 0)
	}
}

package bench

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
	"rookery/bench/result"
	"rookery/gateway/gatewaytest"
)

// TestEphemeralMessagesAreCounted: as exactly as those that the server numbers, by the senders' own numbers.
func TestEphemeralMessagesAreCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults benchtest.Faults
		change func(*plan.Plan)
		want   func(benchtest.Truth) result.Counts // of what is wrong
	}{
		{"a good server", benchtest.Faults{}, func(*plan.Plan) {}, func(benchtest.Truth) result.Counts { return result.Counts{} }},
		{"JSON, two workers", benchtest.Faults{}, func(p *plan.Plan) { p.Server.Codec, p.Clients.Workers = "json", 2 },
			func(benchtest.Truth) result.Counts { return result.Counts{} }},
		// Nobody stops reading, so whatever does not come is lost, newer or not.
		{"drop", benchtest.Faults{Drop: 7}, func(*plan.Plan) {}, func(s benchtest.Truth) result.Counts { return result.Counts{Lost: s.Dropped} }},
		{"swap", benchtest.Faults{Swap: 6}, func(p *plan.Plan) { p.Publish.Senders = 1 }, func(s benchtest.Truth) result.Counts { return result.Counts{Reordered: s.Swapped} }},
		{"duplicate", benchtest.Faults{Duplicate: 5}, func(*plan.Plan) {}, func(s benchtest.Truth) result.Counts {
			return result.Counts{Duplicated: s.Duplicated}
		}},
		{"refuse", benchtest.Faults{Refuse: 4}, func(*plan.Plan) {}, func(s benchtest.Truth) result.Counts { return result.Counts{Refused: s.Refused} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := benchtest.Start(t, c.faults)
			p := smallPlan(s.URL())
			p.Publish.Ephemeral, p.Time.Drain = true, 2*time.Second
			c.change(&p)
			r := runPlan(t, p)
			truth, counts := s.Truth(), r.Counts
			got := result.Counts{
				Lost: counts.Lost, Reordered: counts.Reordered, Duplicated: counts.Duplicated, Foreign: counts.Foreign, Refused: counts.Refused,
				Dropped: counts.Dropped, Unanswered: counts.Unanswered, Acknowledged: counts.Acknowledged,
			}
			if want := c.want(truth); got != want {
				t.Errorf("found %+v\nwant  %+v\ntruth %+v\nfaults %v", got, want, truth, r.Faults)
			}
			owed := (truth.Ephemeral - truth.Refused) * 4
			if truth.Published != 0 || truth.Ephemeral != counts.Sent || counts.Sent == 0 || counts.Expected != owed || counts.Delivered != owed-counts.Lost {
				t.Errorf("sent %d, owed %d, delivered %d\ntruth %+v", counts.Sent, counts.Expected, counts.Delivered, truth)
			}
		})
	}
}

// TestTyping: some senders say that they type, to servers that know of it.
func TestTyping(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Publish.Typing, p.Clients.Workers = 0.5, 2
	r := runPlan(t, p)
	truth, got := s.Truth(), r.Counts
	// A share of a half, drawn 120 times, is between a quarter and three.
	if got.Typing != truth.Ephemeral || got.Typing < 30 || got.Typing > 90 {
		t.Errorf("%d messages of typing were sent, %d came", got.Typing, truth.Ephemeral)
	}
	if got.Sent != truth.Published || got.Expected != got.Delivered || got.Lost != 0 || got.Foreign != 0 {
		t.Errorf("counts are %+v", got)
	}
	// The last ones may be on their way when everything that is owed has come.
	if got.TypingDelivered > 4*got.Typing || got.TypingDelivered < 4*got.Typing-40 {
		t.Errorf("%d of %d messages of typing came to 4 members each", got.TypingDelivered, got.Typing)
	}
}

// leftOut is how many deliveries of ephemeral messages a gateway counts that it left out for connections that were behind, in the end too.
func leftOut(t *testing.T, g *gatewaytest.Server) (n int64) {
	t.Helper()
	response, err := http.Get("http://" + g.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"behind", "left"} {
		name := fmt.Sprintf("\nrookery_ephemeral_dropped_total{reason=%q} ", reason)
		_, value, _ := strings.Cut(string(text), name)
		more := int64(0)
		if _, err := fmt.Sscan(value, &more); err != nil {
			t.Fatalf("the metrics have no%s", name)
		}
		n += more
	}
	return n
}

// TestEphemeralWithTheRealServer: order and completeness, also where a part stops reading. On a busy machine those are behind then too who did
// not stop: they lose no more than what the server counts as left out.
func TestEphemeralWithTheRealServer(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t)
	busy := gatewaytest.Start(t) // has more to do than it may be able to, and then refuses
	for name, change := range map[string]func(*plan.Plan){
		"plain":   func(*plan.Plan) {},
		"raw TCP": func(p *plan.Plan) { p.Server.Targets = []string{"tcp://" + g.Addr()} },
		"chat": func(p *plan.Plan) {
			p.Publish.Ephemeral, p.Publish.Typing = false, 1
			p.Trouble.Moves, p.Trouble.Churn = 20, 5
		},
		"some move and are replaced": func(p *plan.Plan) { p.Trouble.Moves, p.Trouble.Churn = 20, 5 },
		"some stop reading": func(p *plan.Plan) {
			p.Server.Targets = []string{busy.URL()}
			p.Trouble.Stall = plan.Stall{Share: 0.4, At: 100 * time.Millisecond, For: 1500 * time.Millisecond}
			p.Publish.Size, p.Publish.Rate = 60_000, 400               // more than the sockets between hold
			p.Time.Duration, p.Time.Drain = 2*time.Second, time.Minute // what a socket holds has to come
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := smallPlan(g.URL())
			p.Publish.Ephemeral = true
			change(&p)
			r := runPlan(t, p)
			c := r.Counts
			counted := int64(0)
			if p.Trouble.Stall.Share > 0 {
				c.Refused = 0
				if c.Lost > 0 {
					counted = leftOut(t, busy)
				}
			}
			if c.Reordered+c.Duplicated+c.Foreign+c.Refused+c.Disconnected != 0 || c.Delivered == 0 || c.Delivered+c.Lost+c.Dropped != c.Expected {
				t.Errorf("counts are %+v\nfaults %v", c, r.Faults)
			}
			if c.Lost > counted {
				t.Errorf("%d deliveries are lost, the server left out %d\nfaults %v", c.Lost, counted, r.Faults)
			}
			if p.Trouble.Stall.Share == 0 && c.Dropped != 0 {
				t.Errorf("%d deliveries were dropped although nobody stopped reading", c.Dropped)
			}
			if p.Publish.Typing > 0 && c.TypingDelivered == 0 {
				t.Errorf("nobody was seen typing: %+v", c)
			}
			t.Logf("%d sent, %d delivered, %d dropped", c.Sent, c.Delivered, c.Dropped)
		})
	}
}

func TestEphemeralPlansForServersWithout(t *testing.T) {
	p := smallPlan("ws://127.0.0.1:1/")
	p.Server.Dialect, p.Publish.Ephemeral = "socket.io", true
	if err := Check(p); err == nil || !strings.Contains(err.Error(), "publish.ephemeral") {
		t.Errorf("the check says %v", err)
	}
	p.Publish.Ephemeral, p.Publish.Typing = false, 1 // of which Socket.IO is not told
	if err := Check(p); err != nil {
		t.Errorf("the check says %v", err)
	}
}

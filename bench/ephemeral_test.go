package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
	"rookery/bench/result"
	"rookery/gateway"
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
		// Who stops reading may miss what the server leaves out for it. What was refused it leaves out for nobody.
		{"refuse those who stop reading", benchtest.Faults{Refuse: 4}, func(p *plan.Plan) {
			p.Clients.Workers, p.Trouble.Stall = 2, plan.Stall{Share: 1, At: 200 * time.Millisecond, For: 300 * time.Millisecond}
		}, func(s benchtest.Truth) result.Counts { return result.Counts{Refused: s.Refused} }},
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
				Dropped: counts.Dropped, Unanswered: counts.Unanswered,
			}
			if got.Missing = counts.Missing; got.Lost > 0 { // which message is a sender's last is left to the schedule
				got.Lost, got.Missing = counts.Undelivered(), 0
			}
			if want := c.want(truth); got != want {
				t.Errorf("found %+v\nwant  %+v\ntruth %+v\nfaults %v", got, want, truth, r.Faults)
			}
			owed := (truth.Ephemeral - truth.Refused) * 4
			if truth.Published != 0 || truth.Ephemeral != counts.Sent || counts.Sent == 0 || counts.Acknowledged != truth.Ephemeral-truth.Refused || counts.Expected != owed || counts.Delivered != owed-counts.Undelivered() {
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
	if got.Sent != truth.Published || got.Expected != got.Delivered || got.Undelivered() != 0 || got.Foreign != 0 {
		t.Errorf("counts are %+v", got)
	}
	// The last ones may be on their way when everything that is owed has come.
	if got.TypingDelivered > 4*got.Typing || got.TypingDelivered < 4*got.Typing-40 {
		t.Errorf("%d of %d messages of typing came to 4 members each", got.TypingDelivered, got.Typing)
	}
}

// TestEphemeralWithTheRealServer: order and completeness.
func TestEphemeralWithTheRealServer(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t)
	for name, change := range map[string]func(*plan.Plan){
		"plain":   func(*plan.Plan) {},
		"raw TCP": func(p *plan.Plan) { p.Server.Targets = []string{"tcp://" + g.Addr()} },
		"chat": func(p *plan.Plan) {
			p.Publish.Ephemeral, p.Publish.Typing = false, 1
			p.Trouble.Moves, p.Trouble.Churn = 20, 5
		},
		"some move and are replaced": func(p *plan.Plan) { p.Trouble.Moves, p.Trouble.Churn = 20, 5 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := smallPlan(g.URL())
			p.Publish.Ephemeral = true
			change(&p)
			r := runPlan(t, p)
			c := r.Counts
			wrong := c.Undelivered() + c.Dropped + c.Reordered + c.Duplicated + c.Foreign + c.Refused + c.Disconnected
			if wrong != 0 || c.Delivered == 0 || c.Delivered != c.Expected {
				t.Errorf("counts are %+v\nfaults %v", c, r.Faults)
			}
			if p.Publish.Typing > 0 && c.TypingDelivered == 0 {
				t.Errorf("nobody was seen typing: %+v", c)
			}
			t.Logf("%d sent, %d delivered", c.Sent, c.Delivered)
		})
	}
}

// values reads what a gateway counts.
func values(t *testing.T, g *gatewaytest.Server) func(name string) int64 {
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
	return func(name string) (n int64) {
		_, value, _ := strings.Cut(string(text), "\nrookery_"+name+" ")
		if _, err := fmt.Sscan(value, &n); err != nil {
			t.Fatalf("the metrics have no rookery_%s", name)
		}
		return n
	}
}

// await asks for them until something is so.
func await(t *testing.T, g *gatewaytest.Server, what string, so func(value func(string) int64) bool) {
	t.Helper()
	for from := time.Now(); !so(values(t, g)); time.Sleep(20 * time.Millisecond) {
		if time.Since(from) > time.Minute {
			t.Fatalf("waited for a minute: %s", what)
		}
	}
}

// TestEphemeralWhereSomeStopReading: the server's own count is the members', delivery for delivery. What it took, and that is what it did
// not refuse, was owed to the four of the room; what they did not get is what it says it left out. So it is where nobody leaves before
// what a socket holds has come, and the load goes on until a server of any speed has refused something and left something out. On a busy
// machine those are behind as well who did not stop, and for them it is lost, or missing.
func TestEphemeralWhereSomeStopReading(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 80, 6 })
	p := smallPlan(g.URL())
	p.Clients.Connections, p.Rooms.Count, p.Publish.Senders = 4, 1, 2
	p.Publish.Ephemeral, p.Publish.Rate, p.Publish.Size = true, 200, 30_000 // the newest of both are kept
	p.Trouble.Stall = plan.Stall{Share: 0.4, At: 100 * time.Millisecond, For: time.Hour}
	p.Time.Duration, p.Time.Drain = 2*time.Hour, time.Minute
	stop, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { <-ended })
	var r *result.Result
	var err error
	go func() {
		defer close(ended)
		r, err = Run(t.Context(), p, Options{Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr, Stop: stop})
	}()
	await(t, g, "some are refused, and some are kept for who has stopped", func(value func(string) int64) bool {
		return value("ephemeral_kept_bytes") > 0 && value(`request_errors_total{name="rate_limited"}`) > 0
	})
	before := values(t, g)("ephemeral_messages_total")
	await(t, g, "newer ones take their place", func(value func(string) int64) bool { return value("ephemeral_messages_total") > before+20 })
	close(stop)
	if <-ended; err != nil {
		t.Fatal(err)
	}
	addsUp(t, r)
	c := r.Counts
	await(t, g, "all connections have ended", func(value func(string) int64) bool { return value("connections") == 0 })
	value := values(t, g)
	taken, delivered := value("ephemeral_messages_total"), value("ephemeral_delivered_total")
	dropped := value(`ephemeral_dropped_total{reason="behind"}`) + value(`ephemeral_dropped_total{reason="left"}`)
	if c.Acknowledged != taken || c.Expected != 4*taken || c.Delivered != delivered || c.Undelivered()+c.Dropped != dropped || c.Expected != c.Delivered+c.Undelivered()+c.Dropped {
		t.Errorf("the server took %d, delivered %d and left out %d\ncounts are %+v\nfaults %v", taken, delivered, dropped, c, r.Faults)
	}
	if c.Reordered+c.Duplicated+c.Foreign+c.Unanswered+c.Disconnected != 0 || c.Refused == 0 || c.Dropped == 0 {
		t.Errorf("counts are %+v\nfaults %v", c, r.Faults)
	}
	t.Logf("%d sent, %d refused, %d delivered, %d lost, %d dropped", c.Sent, c.Refused, c.Delivered, c.Lost, c.Dropped)
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

package bench

import (
	"os"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/report"
	"rookery/internal/porttest"
)

// TestAServerThatIsAway: users try until it is there again, or as long as the plan says.
func TestAServerThatIsAway(t *testing.T) {
	const awayFor = 3 // seconds
	for _, c := range []struct {
		name     string
		tryFor   time.Duration
		cameBack int64
	}{
		{"until the end", 0, 12},
		{"for a second", time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			listen := porttest.FreeAddress(t) // where its users go on asking while it is down
			address := func(config *benchtest.Config) { config.Listen = listen }
			s := benchtest.Start(t, benchtest.Faults{}, address)
			p := smallPlan(s.URL())
			p.Publish.Rate, p.Time.Duration = 0, (awayFor+3)*time.Second
			p.Clients.Retry.Most, p.Clients.Retry.For = time.Second, c.tryFor
			seconds := 0
			r, err := Run(t.Context(), p, Options{
				Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr,
				Progress: func(p report.Progress) {
					if p.Phase != report.Load {
						return
					}
					switch seconds++; seconds {
					case 1:
						s.Close()
					case 1 + awayFor:
						benchtest.Start(t, benchtest.Faults{}, address)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			addsUp(t, r)
			n := r.Counts
			if n.Disconnected != 12 || n.CameBack != c.cameBack || n.StayedAway != 12-c.cameBack || n.Connected != 12+c.cameBack || n.ConnectsFailed < 12 {
				t.Errorf("%d came back and %d stayed away, want %d of 12 back; counts are %+v", n.CameBack, n.StayedAway, c.cameBack, n)
			}
			if away := r.Latencies.Away; away.Count() != c.cameBack || c.cameBack > 0 && away.Quantile(0) < (awayFor-1)*time.Second {
				t.Errorf("%d times away are known, the shortest %v", away.Count(), away.Quantile(0))
			}
		})
	}
}

// TestSomeDoNotCome: who came does not wait for the others longer than a connect may take.
func TestSomeDoNotCome(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{RefuseConnect: 2})
	p := smallPlan(s.URL())
	p.Server.Targets = append(p.Server.Targets, "ws://127.0.0.1:1/ws") // every second connection goes there, where nobody listens
	p.Clients.Timeout, p.Time.Drain = 2*time.Second, 0
	if r := runPlan(t, p); r.Counts.Connected != 6 || r.Connect.Count != 6 || r.Counts.Sent == 0 {
		t.Errorf("counts are %+v, want a load by the six that came", r.Counts)
	}
}

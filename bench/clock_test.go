package bench

import (
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rookery/bench/internal/crowd"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/worker"
	"rookery/bench/result"
)

// TestClocksThatDrift: a clock that moved by more than the looks may be wrong by is found, the most that it ever was away, and
// the others are left alone.
func TestClocksThatDrift(t *testing.T) {
	var off [3]atomic.Int64 // of the workers' clocks
	f := fakeFleet(t, 3, func(index int, _ worker.Order) worker.Report {
		return worker.Report{Clock: engine.Now() - off[index].Load()}
	})
	f.hosts = []result.Host{{Name: "here"}, {Name: "one"}, {Name: "two"}}
	f.workers[0].host, f.workers[1].host, f.workers[2].host = 1, 1, 2
	off[2].Store(int64(time.Hour))
	for _, l := range f.workers {
		if err := f.compareClocks(l); err != nil {
			t.Fatal(err)
		}
	}
	// Seconds, so that no pause of this machine is as long.
	for _, c := range []struct {
		moves time.Duration // of host 2
		want  time.Duration
	}{{0, 0}, {-20 * time.Second, -20 * time.Second}, {40 * time.Second, 40 * time.Second}, {30 * time.Second, 40 * time.Second}} {
		off[2].Store(int64(time.Hour + c.moves))
		if err := f.recheckClocks(fewQuestions); err != nil {
			t.Fatal(err)
		}
		h := f.hosts[2]
		if got := h.ClockDriftSeconds; math.Abs(got-c.want.Seconds()) > h.ClockDriftErrorSeconds+1e-6 || h.ClockDriftErrorSeconds > 5 {
			t.Errorf("a clock that moved by %v drifted by %v ± %v s, want %v", c.moves, got, h.ClockDriftErrorSeconds, c.want)
		}
		if math.Abs(h.ClockSeconds-3600) > 5 || f.clock(2).off != int64(math.Round(h.ClockSeconds*1e9)) {
			t.Errorf("the first look has become %v s", h.ClockSeconds)
		}
	}
	if f.hosts[0] != (result.Host{Name: "here"}) || f.hosts[1].ClockDriftSeconds != 0 {
		t.Errorf("the hosts whose clocks did not move are %+v", f.hosts[:2])
	}
}

// TestTheBestLookAtAHostCounts: its workers have one clock, and the smallest round trip knows it best.
func TestTheBestLookAtAHostCounts(t *testing.T) {
	f := fakeFleet(t, 2, func(_ int, _ worker.Order) worker.Report { return worker.Report{Clock: engine.Now()} })
	f.hosts = append(f.hosts, result.Host{Name: "other"})
	for _, l := range f.workers {
		l.host = 1
	}
	good := clockLook{off: 5, within: -1} // better than any that is made
	f.clocks = []clockLook{{within: math.MaxInt64}, good}
	for _, l := range f.workers {
		if err := f.compareClocks(l); err != nil {
			t.Fatal(err)
		}
	}
	if f.clock(1) != good || f.clock(0) != (clockLook{}) {
		t.Errorf("the clocks are %+v, want that the best look stayed", f.clocks)
	}
	f.clocks = nil
	for i, l := range f.workers {
		before := f.clock(1)
		if err := f.compareClocks(l); err != nil {
			t.Fatal(err)
		}
		if now := f.clock(1); i > 0 && now.within > before.within || f.hosts[1].ClockErrorSeconds != time.Duration(now.within).Seconds() {
			t.Errorf("after worker %d the clock is %+v, before it %+v, in the result ± %v s", i, now, before, f.hosts[1].ClockErrorSeconds)
		}
	}
}

// TestALongLoadLooksAtTheClocks of other hosts now and then, and in the end of the run.
func TestALongLoadLooksAtTheClocks(t *testing.T) {
	for _, c := range []struct {
		host      int // of the worker
		questions int
	}{{0, 0}, {1, 3*fewQuestions + manyQuestions}} {
		synctest.Test(t, func(t *testing.T) {
			questions := 0
			f := fakeFleet(t, 1, func(_ int, o worker.Order) worker.Report {
				if o.Settle {
					return worker.Report{Final: &worker.Final{Latencies: result.NewLatencies()}}
				}
				if o.Clock {
					questions++
				}
				return worker.Report{Clock: 1, Done: true, Heads: &worker.Heads{}, Status: &worker.Status{Status: crowd.Status{Left: true}}}
			})
			f.hosts, f.workers[0].host = append(f.hosts, result.Host{Name: "other"}), c.host
			r := &run{plan: smallPlan("ws://127.0.0.1:1/ws"), fleet: f, result: &result.Result{Latencies: result.NewLatencies()}}
			r.seconds = &seconds{run: r, grown: make(chan struct{}), whole: make([]result.Second, 1)}
			if stopped, err := r.sleep(t.Context(), 35*time.Second); stopped || err != nil {
				t.Fatalf("stopped %v, %v", stopped, err)
			}
			if err := r.settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if questions != c.questions {
				t.Errorf("a worker of host %d was asked %d times for its clock, want %d", c.host, questions, c.questions)
			}
		})
	}
}

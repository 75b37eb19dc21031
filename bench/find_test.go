package bench

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
	"rookery/bench/result"
)

// limited stands for Run against a server that delivers up to a load, and loses a message above it.
type limited struct {
	limit   float64
	invalid float64       // load that the generator can't make, 0: any
	fails   int           // the step that has no result, 0: none
	stopAt  int           // the step in which the user stops, 0: none
	stop    chan struct{} // closed then
	ran     []string      // names of the steps
}

func (l *limited) run(_ context.Context, p plan.Plan, o Options) (*result.Result, error) {
	l.ran = append(l.ran, o.Step)
	value := p.Publish.Rate
	if p.Find.What == findConnections {
		value = float64(p.Clients.Connections)
	}
	switch len(l.ran) {
	case l.fails:
		return nil, errors.New("no worker")
	case l.stopAt:
		close(l.stop)
	}
	r := &result.Result{Latencies: result.NewLatencies(), LoadFrom: 1, LoadTo: 3, Knee: -1}
	r.Verdict.Valid = l.invalid == 0 || value < l.invalid
	r.Counts.Expected = int64(value)
	if value > l.limit {
		r.Counts.Lost = 1
	}
	for range 4 {
		r.Seconds = append(r.Seconds, result.Second{Counts: result.Counts{Delivered: int64(value)}, Server: result.Process{CPUSeconds: 0.5}})
	}
	return r, nil
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name   string
		find   plan.Find
		server limited
		values []float64
		holds  []bool
		knee   int
	}{
		{"rate", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 3}, limited{limit: 620},
			[]float64{100, 200, 400, 800, 600, 700, 650}, []bool{true, true, true, false, true, false, false}, 4},
		{"the last refinement holds", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 2}, limited{limit: 199},
			[]float64{100, 200, 150, 175}, []bool{true, false, true, true}, 3},
		{"not refined", plan.Find{What: findRate, From: 1.5, Factor: 1.5}, limited{limit: 3},
			[]float64{1.5, 2.25, 3.375}, []bool{true, true, false}, 1},
		{"connections are whole", plan.Find{What: findConnections, From: 3, Factor: 1.5, Refine: 5}, limited{limit: 8},
			[]float64{3, 5, 7, 10, 9, 8}, []bool{true, true, true, false, false, true}, 5},
		{"the first breaks", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 3}, limited{limit: 99},
			[]float64{100}, []bool{false}, -1},
		{"the generator gives out", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 1}, limited{limit: 1e9, invalid: 350},
			[]float64{100, 200, 400, 300}, []bool{true, true, false, true}, 3},
		{"stopped in the first step", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 3}, limited{limit: 1000, stopAt: 1},
			[]float64{100}, []bool{true}, 0},
		{"stopped in the first step, which breaks", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 3}, limited{limit: 1, stopAt: 1},
			[]float64{100}, []bool{false}, -1},
		{"stopped on the way up", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 3}, limited{limit: 300, stopAt: 3},
			[]float64{100, 200}, []bool{true, true}, 1},
		{"stopped in a refinement", plan.Find{What: findRate, From: 100, Factor: 2, Refine: 3}, limited{limit: 390, stopAt: 4},
			[]float64{100, 200, 400}, []bool{true, true, false}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := smallPlan("ws://127.0.0.1:1/ws")
			p.Find = c.find
			p.Find.Until = []string{"lost==0"}
			stop := make(chan struct{})
			c.server.stop = stop
			r, err := find(t.Context(), p, Options{Stop: stop}, c.server.run)
			if err != nil {
				t.Fatal(err)
			}
			var values []float64
			var holds []bool
			for _, step := range r.Steps {
				values, holds = append(values, step.Value), append(holds, step.Holds)
				if step.Seconds != 2 || step.ServerCPU != 0.5 || step.Counts.Delivered != 2*int64(step.Value) || len(step.Checks) != 5 {
					t.Errorf("the step of %v is %+v, want its two seconds of load and five checks", step.Value, step)
				}
			}
			if !slices.Equal(values, c.values) || !slices.Equal(holds, c.holds) || r.Knee != c.knee {
				t.Errorf("steps %v, which held: %v, knee %d\nwant  %v, %v, %d", values, holds, r.Knee, c.values, c.holds, c.knee)
			}
			// The result is that of the knee.
			if want := c.values[max(c.knee, 0)]; r.Counts.Expected != int64(want) {
				t.Errorf("the result is that of %d, want %v", r.Counts.Expected, want)
			}
		})
	}
}

func TestFindEndsWhereNothingBreaks(t *testing.T) {
	server := limited{limit: 1e9}
	p := smallPlan("ws://127.0.0.1:1/ws")
	p.Find = plan.Find{What: findRate, From: 1, Factor: 1.1, Refine: 3, Until: []string{"lost==0"}}
	r, err := find(t.Context(), p, Options{}, server.run)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Steps) != maxSteps || r.Knee != maxSteps-1 {
		t.Errorf("%d steps, knee %d; want %d, and the last one", len(r.Steps), r.Knee, maxSteps)
	}
}

// TestFindKeepsItsSteps: a step without a result ends the search, and what was found before it is not lost.
func TestFindKeepsItsSteps(t *testing.T) {
	for _, c := range []struct {
		name   string
		server limited
		steps  int // in the result, 0: there is none
		knee   int
		err    string
	}{
		{"the first", limited{limit: 1e9, fails: 1}, 0, 0, "step of 10 connections: no worker"},
		{"the second", limited{limit: 1e9, fails: 2}, 1, 0, "step of 20 connections: no worker"},
		{"a refinement", limited{limit: 30, fails: 4}, 3, 1, "step of 30 connections: no worker"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := smallPlan("ws://127.0.0.1:1/ws")
			p.Find = plan.Find{What: findConnections, From: 10, Factor: 2, Refine: 2, Until: []string{"lost==0"}}
			r, err := find(t.Context(), p, Options{}, c.server.run)
			if err == nil || err.Error() != c.err {
				t.Errorf("it ended with %v, want %q", err, c.err)
			}
			if (r == nil) != (c.steps == 0) || r != nil && (len(r.Steps) != c.steps || r.Knee != c.knee || r.Broken != c.err) {
				t.Errorf("the result is %+v, want %d steps, knee %d and the error", r, c.steps, c.knee)
			}
			if got := c.server.ran[len(c.server.ran)-1]; !strings.Contains(c.err, got) {
				t.Errorf("the last step is called %q", got)
			}
		})
	}
}

// TestFindWantsRightDelivery: what goes wrong breaks a step, also where the plan asks for something else.
func TestFindWantsRightDelivery(t *testing.T) {
	for _, c := range []struct {
		name  string
		until string
		wrong result.Counts
		holds bool
	}{
		{"nothing", "sent>=0", result.Counts{}, true},
		{"lost", "sent>=0", result.Counts{Lost: 1}, false},
		{"missing", "sent>=0", result.Counts{Missing: 1}, false},
		{"missing, where the plan allows a loss", "lost<2", result.Counts{Missing: 1}, false},
		{"twice", "sent>=0", result.Counts{Duplicated: 1}, false},
		{"wrong order", "sent>=0", result.Counts{Reordered: 1}, false},
		{"damaged", "sent>=0", result.Counts{Foreign: 1}, false},
		{"lost, as the plan allows", "lost<2", result.Counts{Lost: 1}, true},
		{"twice, where the plan allows a loss", "lost<2", result.Counts{Duplicated: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := smallPlan("ws://127.0.0.1:1/ws")
			p.Find = plan.Find{What: findRate, From: 10, Factor: 2, Until: []string{c.until}}
			r, err := find(t.Context(), p, Options{}, func(context.Context, plan.Plan, Options) (*result.Result, error) {
				r := &result.Result{Latencies: result.NewLatencies(), LoadTo: 1, Verdict: result.Verdict{Valid: true}, Counts: c.wrong}
				r.Counts.Expected, r.Counts.Delivered = 10, 10
				r.Seconds = []result.Second{{Counts: result.Counts{Delivered: 10}}, {Counts: c.wrong}} // after the load
				return r, nil
			})
			if err != nil || r.Steps[0].Holds != c.holds {
				t.Errorf("the step is %+v, %v; want that it holds: %v", r.Steps[0], err, c.holds)
			}
		})
	}
	idle := smallPlan("ws://127.0.0.1:1/ws")
	idle.Publish.Rate, idle.Find = 0, plan.Find{What: findConnections, Until: []string{"connected>0"}}
	if got := rightDelivery(idle); len(got) != 1 {
		t.Errorf("a search without messages has the conditions %q", got)
	}
}

func TestFindRefuses(t *testing.T) {
	for _, until := range []string{"p99", "ack.p99<1s"} {
		p := smallPlan("ws://127.0.0.1:1/ws")
		p.Find = plan.Find{What: findRate, From: 10, Factor: 2, Until: []string{until}}
		if _, err := Find(t.Context(), p, Options{}); err == nil || !strings.Contains(err.Error(), until) {
			t.Errorf("until %q: it gave %v", until, err)
		}
	}
}

// TestFindOnAServer breaks at a load that the server's faults begin with: they are counted for each connection in its room.
func TestFindOnAServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults benchtest.Faults
		until  string
		check  func(t *testing.T, r *result.Result)
	}{
		// Each of the 12 connections gets 20 messages in the first step, 40 in the second.
		{"it drops the thirtieth delivery", benchtest.Faults{Drop: 30}, "lost==0", func(t *testing.T, r *result.Result) {
			last := r.Steps[len(r.Steps)-1]
			if lost := r.Steps[0].Counts.Lost; lost != 0 {
				t.Errorf("the first step lost %d", lost)
			}
			// A host that is too busy ends the search after the first step.
			if len(r.Steps) == 2 && (last.Counts.Lost != 12 || last.Checks[0].Holds || r.Counts.Lost != 0) {
				t.Errorf("the second step lost %d, and the knee %d; want 12 and 0", last.Counts.Lost, r.Counts.Lost)
			}
			if len(r.Steps) > 2 || r.Steps[0].Verdict.Valid && len(r.Steps) != 2 {
				t.Errorf("there are %d steps, want 2", len(r.Steps))
			}
		}},
		{"it is slow", benchtest.Faults{Delay: 50 * time.Millisecond}, "p50<40ms", func(t *testing.T, r *result.Result) {
			if len(r.Steps) != 1 || r.Knee != -1 || r.Steps[0].Delivery.P50 < 49 || r.Counts.Delivered == 0 {
				t.Errorf("knee %d, steps %+v; want one that breaks", r.Knee, r.Steps)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := benchtest.Start(t, c.faults)
			p := smallPlan(s.URL())
			p.Time.Duration, p.Time.Drain = time.Second, 2*time.Second
			p.Find = plan.Find{What: findRate, From: 60, Factor: 2, Until: []string{c.until}}
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			r, err := Find(ctx, p, Options{Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr})
			if err != nil {
				t.Fatal(err)
			}
			for i, step := range r.Steps {
				broken := slices.ContainsFunc(step.Checks, func(check result.Check) bool { return !check.Holds })
				if want := step.Verdict.Valid && !broken; step.Holds != want || step.Value != 60*float64(int(1)<<i) || step.Seconds != 1 {
					t.Errorf("step %d is %+v", i, step)
				}
			}
			c.check(t, r)
		})
	}
}

// TestFindIsStoppedBeforeItBegins: the result is that of a first step without load.
func TestFindIsStoppedBeforeItBegins(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Time.Duration = time.Hour
	p.Find = plan.Find{What: findRate, From: 60, Factor: 2, Until: []string{"lost==0"}}
	stop := make(chan struct{})
	close(stop)
	r, err := Find(t.Context(), p, Options{Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr, Stop: stop})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Steps) != 1 || r.Counts.Connected != 12 {
		t.Errorf("%d steps and %+v, want one of 12 connections", len(r.Steps), r.Counts)
	}
}

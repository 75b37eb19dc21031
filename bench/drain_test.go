package bench

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/internal/crowd"
	"rookery/bench/internal/worker"
	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
)

// fakeFleet has workers that answer each order as the test says. They end with the test.
func fakeFleet(t *testing.T, workers int, answer func(index int, o worker.Order) worker.Report) *fleet {
	f := &fleet{failed: make(chan error, 1), ending: make(chan struct{}), hosts: []result.Host{{Name: "here"}}}
	for index := range workers {
		orders, tell := io.Pipe()
		reports, told := io.Pipe()
		l := &link{name: "a fake", index: index, encoder: json.NewEncoder(tell), closer: tell, answers: make(chan worker.Report, 1)}
		f.workers = append(f.workers, l)
		go func() {
			in, out := json.NewDecoder(orders), json.NewEncoder(told)
			for {
				var o worker.Order
				if in.Decode(&o) != nil {
					told.Close()
					return
				}
				out.Encode(answer(index, o))
			}
		}()
		f.reading.Go(func() { f.readLoop(l, reports, nil) })
	}
	t.Cleanup(f.end)
	return f
}

// TestADrainThatLastsIsCheap: it asks less and less often, not for the rooms while something else is awaited, and tells each worker
// only what is new.
func TestADrainThatLastsIsCheap(t *testing.T) {
	for _, c := range []struct {
		name       string
		unanswered int64
		heads      int // most questions for what is new of the rooms, of 10 s
	}{{"an answer is awaited", 1, 1}, {"a delivery is awaited", 0, 60}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var statuses, heads, known int
				f := fakeFleet(t, 1, func(_ int, o worker.Order) worker.Report {
					switch {
					case o.Heads:
						news := crowd.News{}
						if heads++; heads == 1 {
							news = crowd.News{Rooms: []int{7}, Heads: []int64{5}}
						}
						return worker.Report{Heads: &worker.Heads{Numbered: true, News: news}}
					case o.Status:
						statuses++
						if o.Known != nil {
							known += len(o.Known.Rooms)
						}
						return worker.Report{Status: &worker.Status{Unanswered: c.unanswered, Status: crowd.Status{Left: true}}}
					case o.Settle:
						known += len(o.Known.Rooms)
						return worker.Report{Final: &worker.Final{Latencies: result.NewLatencies()}}
					}
					return worker.Report{Done: true}
				})
				p := smallPlan("ws://127.0.0.1:1/ws")
				p.Rooms.Count, p.Time.Drain = 50_000, 10*time.Second
				r := &run{plan: p, fleet: f, result: &result.Result{Latencies: result.NewLatencies()}}
				r.seconds = &seconds{run: r, grown: make(chan struct{}), whole: make([]result.Second, 1)}
				if err := r.drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				if heads == 0 || heads > c.heads || statuses > 120 {
					t.Errorf("in 10 s the workers were asked %d times for their rooms and %d times how far they are", heads, statuses)
				}
				if known != 1 {
					t.Errorf("they were told of %d rooms, want the one that is new, once", known)
				}
			})
		})
	}
}

// TestHeadsOfSeveralWorkers are the largest numbers, or the sum.
func TestHeadsOfSeveralWorkers(t *testing.T) {
	for _, c := range []struct {
		numbered bool
		want     []int64 // of room 3, each time it was asked; -1: no news
	}{{true, []int64{6, -1, 9}}, {false, []int64{11, 22, 36}}} {
		tells := [][]int64{{5, 6}, {5, 6}, {9, 5}}
		round := 0
		f := fakeFleet(t, 2, func(index int, _ worker.Order) worker.Report {
			return worker.Report{Heads: &worker.Heads{Numbered: c.numbered, News: crowd.News{Rooms: []int{3}, Heads: []int64{tells[round][index]}}}}
		})
		for round = range tells {
			news, err := f.heads(10)
			if err != nil {
				t.Fatal(err)
			}
			switch want := c.want[round]; {
			case want < 0 && len(news.Rooms) == 0:
			case len(news.Rooms) != 1 || news.Rooms[0] != 3 || news.Heads[0] != want:
				t.Errorf("numbered %v, round %d: the news are %+v, want %d of room 3", c.numbered, round, news, want)
			}
		}
	}
}

// TestOneStopEndsTheWait: what is on its way when the user has waited long enough is missing, and the report says so.
func TestOneStopEndsTheWait(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{Drop: 5})
	p := smallPlan(s.URL())
	p.Time.Drain = time.Hour
	stop, stopped := make(chan struct{}), false
	r, err := Run(t.Context(), p, Options{
		Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr, Stop: stop,
		Progress: func(p report.Progress) {
			if p.Phase == report.Draining && !stopped {
				stopped = true
				close(stop)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, r)
	if want := s.Truth().Dropped; r.Counts.Undelivered() != want || want == 0 || !strings.Contains(strings.Join(r.Verdict.Reasons, "\n"), "was ended after") {
		t.Errorf("%d did not come, want %d; the verdict is %+v", r.Counts.Undelivered(), want, r.Verdict)
	}
}

// TestADrainGoesOnAsLongAsSomethingComes, and no longer than its bound.
func TestADrainGoesOnAsLongAsSomethingComes(t *testing.T) {
	const wait = 10 * time.Second
	for _, c := range []struct {
		name  string
		comes time.Duration // a delivery each second, for so long
		takes time.Duration
		says  string
	}{
		{"nothing comes", 0, wait, "was over when nothing had come for 10s"},
		{"something comes for longer than the wait", 25 * time.Second, 35 * time.Second, "was over when nothing had come for 10s"},
		{"something comes without end", time.Hour, plan.DrainsAtMost * wait, "was ended after 1m0s, while something still came"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, settled := time.Now(), time.Time{}
				f := fakeFleet(t, 1, func(_ int, o worker.Order) worker.Report {
					switch {
					case o.Heads:
						return worker.Report{Heads: &worker.Heads{Numbered: true}}
					case o.Status:
						return worker.Report{Status: &worker.Status{Heard: int64(min(time.Since(from), c.comes) / time.Second), Status: crowd.Status{Left: true}}}
					case o.Settle:
						settled = time.Now()
						return worker.Report{Final: &worker.Final{Counts: result.Counts{Expected: 9, Missing: 9}, Latencies: result.NewLatencies()}}
					}
					return worker.Report{Done: true}
				})
				p := smallPlan("ws://127.0.0.1:1/ws")
				p.Time.Drain = wait
				r := &run{plan: p, fleet: f, result: &result.Result{Latencies: result.NewLatencies(), Connect: result.Phase{Count: 1}}}
				r.seconds = &seconds{run: r, grown: make(chan struct{}), whole: make([]result.Second, 1)}
				if err := r.drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := settled.Sub(from); took < c.takes || took > c.takes+pollMost {
					t.Errorf("the wait took %v, want %v", took, c.takes)
				}
				if len(r.said) != 1 || !strings.Contains(r.said[0], c.says) {
					t.Errorf("the verdict says %q, want %q", r.said, c.says)
				}
			})
		})
	}
}

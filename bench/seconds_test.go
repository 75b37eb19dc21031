package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"rookery/bench/internal/worker"
	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
)

// newTestSeconds is of a run with some workers, and without a loop: the test does what that does.
func newTestSeconds(workers int) *seconds {
	r := &run{fleet: &fleet{workers: make([]*link, workers), failed: make(chan error, 1)}}
	return &seconds{
		epoch: int64(100 * time.Second), run: r, parts: map[int]*parts{}, last: make([]result.Counts, workers), grown: make(chan struct{}),
	}
}

// tell has a worker report a second with its totals.
func (s *seconds) tell(from, index int, delivered int64, latency time.Duration) {
	l := result.NewLatencies()
	l.Delivery.Record(latency)
	s.take(workerSecond{from, worker.Second{
		Index: index, Open: 10, Counts: result.Counts{Delivered: delivered}, Latencies: l,
		Client: result.Client{CPUSeconds: 0.25, BusiestLoop: float64(from+1) / 4},
	}})
	s.complete()
}

// watch is the watcher's part of a second.
func (s *seconds) watch(index int) {
	p := s.part(index)
	p.second.Server.CPUSeconds, p.watched = float64(index+1), true
	s.complete()
}

func (s *seconds) expectWhole(t *testing.T, want int) {
	t.Helper()
	if got := len(s.list()); got != want {
		t.Fatalf("%d seconds are whole, want %d", got, want)
	}
}

// TestSecondsWaitForTheLast: each has the part of every worker, whenever it comes, and they come out in order.
// TestCountedSeconds: a second in which there was load for a part of it only would make every rate smaller.
func TestCountedSeconds(t *testing.T) {
	for _, c := range []struct {
		warmup, duration time.Duration
		from, to         int
	}{
		{0, time.Second, 0, 1}, {3 * time.Second, 20 * time.Second, 3, 23},
		{0, 2500 * time.Millisecond, 0, 2}, {500 * time.Millisecond, 2 * time.Second, 1, 2}, {500 * time.Millisecond, 2500 * time.Millisecond, 1, 3},
		{500 * time.Millisecond, 1200 * time.Millisecond, 0, 2}, {time.Second, time.Second + time.Nanosecond, 1, 2},
	} {
		if from, to := countedSeconds(plan.Time{Warmup: c.warmup, Duration: c.duration}); from != c.from || to != c.to {
			t.Errorf("of %v behind %v seconds %d to %d count, want %d to %d", c.duration, c.warmup, from, to, c.from, c.to)
		}
	}
}

func TestSecondsWaitForTheLast(t *testing.T) {
	s := newTestSeconds(2)
	s.tell(0, 0, 5, time.Millisecond)
	s.watch(0)
	s.tell(0, 1, 12, time.Millisecond)
	s.tell(0, 2, 12, time.Millisecond)
	s.watch(1)
	s.expectWhole(t, 0) // worker 1 is late
	s.tell(1, 0, 100, 9*time.Millisecond)
	s.expectWhole(t, 1)
	s.tell(1, 1, 130, 9*time.Millisecond)
	s.expectWhole(t, 2)
	s.tell(1, 2, 131, 9*time.Millisecond)
	s.expectWhole(t, 2) // nobody has watched
	s.watch(2)
	s.expectWhole(t, 3)

	for i, delivered := range []int64{105, 37, 1} {
		second := s.list()[i]
		if second.Counts.Delivered != delivered || second.Open != 20 || second.Delivery.Count != 2 || second.Server.CPUSeconds != float64(i+1) ||
			second.Client.CPUSeconds != 0.5 || second.Client.BusiestLoop != 0.5 {
			t.Errorf("second %d is %+v, want the sum of both workers: %d delivered, 20 open", i, second, delivered)
		}
		if second.Delivery.Max < 8.9 || second.Delivery.P50 > 1.1 {
			t.Errorf("second %d has the latencies %+v, want those of both workers", i, second.Delivery)
		}
	}
	if counts, cpu := s.since(1); counts.Delivered != 38 || cpu != 5 {
		t.Errorf("since second 1 %d were delivered and the server used %v s, want 38 and 5", counts.Delivered, cpu)
	}
	if counts, cpu := s.since(7); counts != (result.Counts{}) || cpu != 0 {
		t.Errorf("since a second that was not yet: %+v and %v s", counts, cpu)
	}
}

// TestNothingIsLostThatComesTooLate: what a worker tells of a second that is over counts in the next.
func TestNothingIsLostThatComesTooLate(t *testing.T) {
	s := newTestSeconds(1)
	s.watch(0)
	s.tell(0, 0, 5, time.Millisecond)
	s.expectWhole(t, 1)
	s.tell(0, 0, 8, time.Millisecond)
	s.watch(1)
	s.expectWhole(t, 2)
	if counts, _ := s.since(0); counts.Delivered != 8 || s.list()[1].Counts.Delivered != 3 {
		t.Errorf("the seconds are %+v, want 5 and 3 delivered", s.list())
	}
}

func TestSecondsBeginAtTheEpoch(t *testing.T) {
	s := newTestSeconds(1)
	for index := range 3 {
		begin := s.begin(index)
		if got := s.index(begin); got != index {
			t.Errorf("second %d begins in second %d", index, got)
		}
		if got := s.index(begin + int64(time.Second) - 1); got != index {
			t.Errorf("second %d ends in second %d", index, got)
		}
	}
}

func TestAwaitASecond(t *testing.T) {
	s := newTestSeconds(1)
	waited := make(chan error, 1)
	go func() { waited <- s.await(t.Context(), 1) }()
	for index := range 2 {
		select {
		case err := <-waited:
			t.Fatalf("await returned %v, and %d seconds were whole", err, index)
		default:
		}
		s.watch(index)
		s.tell(0, index, 1, time.Millisecond)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if err := s.await(t.Context(), 0); err != nil {
		t.Errorf("a second that is over: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user is gone")
	cancel(gone)
	if err := s.await(ctx, 2); err != gone {
		t.Errorf("await ended with %v, want %v", err, gone)
	}
	broken := errors.New("a worker ended")
	s.run.fleet.fail(broken)
	if err := s.await(t.Context(), 2); err != broken {
		t.Errorf("await ended with %v, want %v", err, broken)
	}
}

// TestProgressOfWholeSeconds: it is shown once a second, with what goes on, and not before anything does.
func TestProgressOfWholeSeconds(t *testing.T) {
	s := newTestSeconds(1)
	s.run.plan.Clients.Connections = 12
	var shown []report.Progress
	s.run.options = Options{Step: "60 messages/s", Progress: func(p report.Progress) { shown = append(shown, p) }}
	for index, phase := range []report.Phase{"", report.Connecting, report.Load} {
		if phase != "" {
			s.phase(phase, time.Minute)
		}
		s.watch(index)
		s.tell(0, index, int64(index), time.Millisecond)
	}
	if len(shown) != 2 {
		t.Fatalf("%d seconds were shown, want 2", len(shown))
	}
	for i, want := range []report.Phase{report.Connecting, report.Load} {
		if p := shown[i]; p.Phase != want || p.Step != "60 messages/s" || p.Connections != 12 || p.Length != time.Minute || p.Second.Counts.Delivered != 1 {
			t.Errorf("second %d was shown as %+v", i+1, p)
		}
	}
}

package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rookery/bench/internal/engine"
	"rookery/bench/report"
	"rookery/bench/result"
	"rookery/bench/watch"
)

// seconds puts together what workers and watcher tell of each second. Its loop takes it in; the run's goroutine asks.
type seconds struct {
	// Set at construction.
	epoch int64
	run   *run
	done  chan struct{}
	quit  chan struct{}

	// Owned by the loop.
	parts map[int]*parts
	last  []result.Counts // totals of each worker at its last second

	mu      sync.Mutex // guards all below; held for memory work only
	whole   []result.Second
	grown   chan struct{} // closed when whole grows, then another
	current phase
}

// parts is a second that is not whole yet.
type parts struct {
	from      int // workers that have told theirs
	second    result.Second
	latencies result.Latencies
	watched   bool
}

// phase is what goes on.
type phase struct {
	name   report.Phase
	since  time.Time
	length time.Duration
}

func newSeconds(ctx context.Context, epoch int64, r *run) *seconds {
	s := &seconds{
		epoch: epoch, run: r, done: make(chan struct{}), quit: make(chan struct{}), parts: map[int]*parts{},
		last: make([]result.Counts, len(r.fleet.workers)), grown: make(chan struct{}),
	}
	go s.loop(ctx)
	return s
}

// index is the second in which a moment of the coordinator's clock is.
func (s *seconds) index(at int64) int { return int((at - s.epoch) / int64(time.Second)) }

// begin is when a second begins.
func (s *seconds) begin(index int) int64 { return s.epoch + int64(index)*int64(time.Second) }

// phase says what goes on from now on.
func (s *seconds) phase(name report.Phase, length time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = phase{name, time.Now(), length}
}

// await returns when a second is whole. A worker that tells nothing for answerTime does not run.
func (s *seconds) await(ctx context.Context, index int) error {
	for {
		s.mu.Lock()
		n, grown := len(s.whole), s.grown
		s.mu.Unlock()
		if n > index {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-s.run.fleet.failed:
			return err
		case <-time.After(answerTime):
			return fmt.Errorf("a worker told nothing for %v of what it does: its host may have too much to do", answerTime)
		}
	}
}

// since adds up the counts and the server's CPU from a second on.
func (s *seconds) since(index int) (counts result.Counts, serverCPU float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, second := range s.whole[min(index, len(s.whole)):] {
		counts.Add(second.Counts)
		serverCPU += second.Server.CPUSeconds
	}
	return counts, serverCPU
}

// list gives all whole seconds.
func (s *seconds) list() []result.Second {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole
}

// loop is started by newSeconds and stopped by end.
func (s *seconds) loop(ctx context.Context) {
	defer close(s.done)
	own := watch.NewOwn(time.Now(), nil, nil)
	for watched := 0; ; {
		select {
		case told := <-s.run.fleet.seconds:
			s.take(told)
		case <-time.After(time.Duration(s.begin(watched+1) - engine.Now())):
			p := s.part(watched)
			p.second.Server, p.second.Host = s.run.watcher.Second(ctx, time.Now())
			p.second.Client.Add(own.Second(time.Now()))
			p.watched = true
			watched++
		case <-s.quit:
			return
		}
		s.complete()
	}
}

func (s *seconds) end() {
	close(s.quit)
	<-s.done
}

func (s *seconds) part(index int) *parts {
	p := s.parts[index]
	if p == nil {
		p = &parts{latencies: result.NewLatencies()}
		s.parts[index] = p
	}
	return p
}

// take adds a worker's second. One that came after its second was whole belongs to the next.
func (s *seconds) take(told workerSecond) {
	p := s.part(max(told.Index, len(s.whole)))
	p.from++
	p.second.Open += told.Open
	counts := told.Counts
	counts.Sub(s.last[told.worker])
	s.last[told.worker] = told.Counts
	p.second.Counts.Add(counts)
	p.latencies.Add(told.Latencies)
	p.second.Client.Add(told.Client)
}

// complete hands out the seconds that are whole, in their order.
func (s *seconds) complete() {
	for {
		index := len(s.whole)
		p := s.parts[index]
		if p == nil || !p.watched || p.from < len(s.run.fleet.workers) {
			return
		}
		delete(s.parts, index)
		p.second.Delivery, p.second.Ack, p.second.SendLate = p.latencies.Delivery.Summary(), p.latencies.Ack.Summary(), p.latencies.SendLate.Summary()
		s.mu.Lock()
		s.whole = append(s.whole, p.second)
		close(s.grown)
		s.grown = make(chan struct{})
		current := s.current
		s.mu.Unlock()
		if s.run.options.Progress != nil && current.name != "" {
			s.run.options.Progress(report.Progress{
				Step: s.run.options.Step, Phase: current.name, Connections: int64(s.run.plan.Clients.Connections),
				Elapsed: time.Since(current.since), Length: current.length, Second: p.second,
			})
		}
	}
}

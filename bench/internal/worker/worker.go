package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"rookery/bench/internal/crowd"
	"rookery/bench/internal/engine"
	"rookery/bench/watch"
)

// Config is what a worker is started with.
type Config struct {
	// Version of the program: all workers of a run must have the same.
	Version string
}

// Run does what the coordinator at the other end of in and out says, until in ends or ctx does.
func Run(ctx context.Context, cfg Config, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &worker{encoder: json.NewEncoder(out), orders: json.NewDecoder(in)}
	hello, err := newHello(cfg.Version)
	if err != nil {
		return err
	}
	if err := w.tell(Report{Hello: hello}); err != nil {
		return err
	}
	err = w.serve(ctx, cancel)
	if err != nil && !errors.Is(err, io.EOF) {
		// The coordinator shows it; if it is gone too, the error of Run has to do.
		w.tell(Report{Error: err.Error()})
		return err
	}
	return nil
}

// worker is one run. Its goroutines: serve reads the orders; the loop's, which owns the crowd; and secondsLoop.
type worker struct {
	orders *json.Decoder // owned by serve

	mu      sync.Mutex    // one report is written at a time
	encoder *json.Encoder // guarded by mu

	// Set by Begin.
	crowd *crowd.Crowd
	loop  *engine.Loop
	clock *watch.LoopClock
	queue *watch.LoopClock // of handshakes that wait
	part  *crowd.Part
	epoch int64
}

func (w *worker) tell(r Report) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.encoder.Encode(r)
}

func (w *worker) serve(ctx context.Context, cancel context.CancelFunc) error {
	var running sync.WaitGroup
	failed := make(chan error, 1)
	defer running.Wait()
	defer cancel()
	for {
		var o Order
		if err := w.orders.Decode(&o); err != nil {
			return err
		}
		if o.Begin != nil {
			if err := w.begin(o); err != nil {
				return err
			}
			running.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				if err := w.loop.Run(ctx); err != nil {
					failed <- err
				}
			})
			running.Go(func() { w.secondsLoop(ctx) })
			if err := w.tell(Report{Done: true}); err != nil {
				return err
			}
			continue
		}
		if o.Clock {
			if err := w.tell(Report{Clock: engine.Now()}); err != nil {
				return err
			}
			continue
		}
		if w.crowd == nil {
			return errors.New("BUG: an order came before the worker had a part")
		}
		answer := make(chan Report, 1)
		w.loop.Post(func() { answer <- w.obey(o) })
		select {
		case r := <-answer:
			if err := w.tell(r); err != nil {
				return err
			}
		case err := <-failed:
			return err
		}
	}
}

func (w *worker) begin(o Order) (err error) {
	if w.crowd != nil {
		return errors.New("BUG: a second part for a worker")
	}
	w.part, w.epoch = o.Begin, o.Epoch
	if w.crowd, err = crowd.New(*o.Begin); err != nil {
		return err
	}
	w.clock, w.queue = watch.NewLoopClock(time.Now()), watch.NewLoopClock(time.Now())
	if w.loop, err = engine.New(w.crowd.Capacity(), w.crowd, w.clock, w.queue); err != nil {
		return err
	}
	w.crowd.Attach(w.loop)
	return nil
}

// obey is called on the loop.
func (w *worker) obey(o Order) Report {
	switch {
	case o.Fill:
		w.crowd.Fill()
	case o.Connect:
		w.crowd.Connect(o.At)
	case o.Load:
		w.crowd.Load(o.At)
	case o.End:
		w.crowd.End(o.At)
	case o.Status:
		s := &Status{Status: w.crowd.Status(), Unanswered: w.crowd.Waiting(), Heard: w.crowd.Heard()}
		if o.Known != nil {
			w.crowd.Learn(*o.Known)
			s.Complete = w.crowd.Complete()
		}
		if err := w.crowd.FillError(); err != nil {
			s.FillError = err.Error()
		}
		return Report{Status: s}
	case o.Heads:
		return Report{Heads: &Heads{Numbered: w.crowd.Numbered(), News: w.crowd.News()}}
	case o.Settle:
		w.crowd.Learn(*o.Known)
		w.crowd.Settle()
		return Report{Final: &Final{
			Counts: w.crowd.Counts(), Latencies: w.crowd.Latencies(), Faults: w.crowd.Faults(), TLS: w.crowd.Agreements(), Second: w.crowd.Seconds(),
		}}
	case o.Leave:
		w.crowd.Leave()
	}
	return Report{Done: true}
}

// secondsLoop reports each second of the run, none left out: the coordinator puts them together by their numbers. It is started by
// serve and ends with ctx.
func (w *worker) secondsLoop(ctx context.Context) {
	own := watch.NewOwn(time.Now(), w.clock, w.queue)
	for index := 0; ; index++ {
		end := w.epoch + int64(index+1)*int64(time.Second)
		select {
		case <-time.After(time.Duration(end - engine.Now() - w.part.Clock)):
		case <-ctx.Done():
			return
		}
		taken := make(chan crowd.Second, 1)
		w.loop.Post(func() { taken <- w.crowd.TakeSecond() })
		select {
		case s := <-taken:
			r := &Second{Index: index, Open: s.Open, Counts: s.Counts, Latencies: s.Latencies, Client: own.Second(time.Now())}
			if w.tell(Report{Second: r}) != nil {
				return // the coordinator is gone, and serve notices
			}
		case <-ctx.Done():
			return
		}
	}
}

func newHello(version string) (*Hello, error) {
	machine, err := watch.LookAtMachine()
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	return &Hello{
		Version: version, Name: machine.Name, CPU: machine.CPU, Cores: machine.Cores, MemoryBytes: machine.MemoryBytes,
		Kernel: machine.Kernel, Descriptors: machine.Descriptors,
	}, nil
}

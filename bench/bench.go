// Package bench is the load tester: it runs a plan with workers, on this host and others, and gives the result.
//
//	bench.go    a run from its begin to its load
//	drain.go    its end: what was owed to whom
//	fleet.go    the workers
//	clock.go    the clocks of their hosts
//	check.go    what is refused before it begins
//	place.go    targets, sources, how many workers
//	seconds.go  what the workers and the watcher tell each second, put together
//	serve.go    what a worker and an agent are started with
//	find.go     runs with more and more load
//
// The packages below it: plan (what to do), result (what came out), report (made of it), watch (what it cost), and internal's
// engine, dialect, ledger, crowd and worker (how it is done). Nobody but the workers touches a socket of the load.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"rookery/bench/internal/engine"
	"rookery/bench/internal/floor"
	"rookery/bench/internal/worker"
	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
	"rookery/bench/watch"
)

// Options are what a run needs beside its plan.
type Options struct {
	// Version of the program, in results. Workers on other hosts must have the same.
	Version string
	// Command is what the user called, for the result.
	Command []string
	// Worker starts a worker on this host: a command that runs ServeWorker on its standard input and output.
	Worker []string
	// Stderr gets what a worker says when it crashes, nil: nobody.
	Stderr io.Writer
	// Secret is what agents on other hosts want to see.
	Secret string
	// Progress is called once a second by one goroutine, nil: nobody looks.
	Progress func(report.Progress)
	// Warn is told what may spoil the run, before it begins; nil: nobody.
	Warn func(text string)
	// Stop ends the load early when it is closed, or the wait for what is on its way after it; the result is of what was
	// until then. Nil: never.
	Stop <-chan struct{}
	// Hurry ends that wait also when Stop has ended the load. Nil: never.
	Hurry <-chan struct{}
	// Step names the run within a search.
	Step string
}

// leadTime is between an order to begin at a moment and that moment.
const leadTime = 100 * time.Millisecond

// Run runs a plan, which Check has to take. An error means that there is no result; whether the result is good is
// told by its Verdict and its Asserts.
func Run(ctx context.Context, p plan.Plan, o Options) (*result.Result, error) {
	if err := Check(p); err != nil {
		return nil, err
	}
	conditions, err := report.ParseAll(p.Assert)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{options: o, plan: p, number: rand.Uint32(), result: &result.Result{
		Format: result.Format, Rookery: o.Version, Started: time.Now().UTC(), Command: o.Command, Latencies: result.NewLatencies(), Knee: -1,
	}}
	if r.plan.Rooms.Prefix == "" {
		r.plan.Rooms.Prefix = fmt.Sprintf("bench-%08x-", r.number)
	}
	defer r.end()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.perform(ctx); err != nil {
		return nil, err
	}
	if err := r.measureFloor(); err != nil {
		return nil, err
	}
	r.result.Plan = r.plan
	r.result.Verdict = watch.Judge(r.result)
	for _, text := range append(r.watcher.Trouble(), r.said...) {
		if !slices.Contains(r.result.Verdict.Reasons, text) {
			r.result.Verdict.Reasons = append(r.result.Verdict.Reasons, text)
		}
	}
	r.result.Asserts = conditions.Check(r.result)
	return r.result, nil
}

// run is one run of a plan.
type run struct {
	options Options
	plan    plan.Plan
	number  uint32
	result  *result.Result

	fleet   *fleet
	watcher *watch.Watcher
	seconds *seconds
	said    []string // for the verdict, beside what the figures say
}

// prepare starts the workers and gives them their parts.
func (r *run) prepare(ctx context.Context) (err error) {
	targets, err := resolve(ctx, r.plan.Server.Targets)
	if err != nil {
		return err
	}
	spreadSources(&r.plan, targets)
	if err := r.measureFloor(); err != nil {
		return err
	}
	r.watcher = watch.Begin(ctx, r.plan.Server)
	if r.fleet, err = muster(ctx, r.plan, r.options); err != nil {
		return err
	}
	r.result.Hosts = r.fleet.hosts
	r.warn()
	r.result.ServerBefore, _ = r.watcher.Second(ctx, time.Now())
	epoch := engine.Now()
	parts := r.fleet.parts(r.plan, r.number, targets)
	err = r.fleet.each(func(i int) worker.Order { return worker.Order{Begin: &parts[i], Epoch: epoch} }, nil)
	if err != nil {
		return err
	}
	r.seconds = newSeconds(ctx, epoch, r)
	return nil
}

// floorTime is how long each of two measurements takes.
const floorTime = time.Second

// measureFloor measures, the second time for the mean of both: machines change within a run.
func (r *run) measureFloor() error {
	if !r.plan.Floor {
		return nil
	}
	f, err := floor.Measure(r.plan.Publish.Size, r.plan.Clients.Connections, floorTime)
	if err != nil {
		return err
	}
	if before := r.result.Floor; before.WriteSeconds > 0 {
		f.WriteSeconds, f.ReadSeconds = (f.WriteSeconds+before.WriteSeconds)/2, (f.ReadSeconds+before.ReadSeconds)/2
	}
	r.result.Floor = f
	return nil
}

// warn tells the user what this host does not allow.
func (r *run) warn() {
	if r.plan.Server.TLS.Insecure {
		r.said = append(r.said, insecureText)
	}
	if r.options.Warn == nil {
		return
	}
	if r.plan.Server.TLS.Insecure {
		r.options.Warn(insecureText)
	}
	here := r.fleet.hosts[0].Workers
	placement := watch.Placement{
		Connections: r.plan.Clients.Connections * here / len(r.fleet.workers), Workers: here,
		Sources: max(1, countSources(r.plan)), ServerHere: r.watcher.Here(),
	}
	// Check has taken the plan, so it can be told.
	if traits, err := traitsOf(r.plan); err == nil && r.plan.Trouble.Moves > 0 && !traits.Answers {
		r.options.Warn(fmt.Sprintf("trouble.moves is %v, but nobody moves: the server does not say when a room is left", r.plan.Trouble.Moves))
	}
	if here > 0 {
		for _, problem := range watch.Before(r.plan, placement, watch.ReadLimits()) {
			r.options.Warn(problem.String())
		}
	}
	for _, text := range r.watcher.Trouble() {
		r.options.Warn(text)
	}
}

const insecureText = "INSECURE: the server's certificate is not checked, and anybody may be at the other end and read tokens and messages"

// end ends what prepare began, as far as it came.
func (r *run) end() {
	if r.fleet != nil {
		r.fleet.end()
	}
	if r.seconds != nil {
		r.seconds.end()
	}
	if r.watcher != nil {
		r.watcher.Close()
	}
}

// stopped reports whether the user wants the end.
func (r *run) stopped() bool {
	select {
	case <-r.options.Stop:
		return true
	default:
		return false
	}
}

// perform goes through the run's phases.
func (r *run) perform(ctx context.Context) error {
	for _, phase := range []func(context.Context) error{r.fill, r.connect, r.load, r.drain} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pollEach is between two questions how far the workers are.
const pollEach = 20 * time.Millisecond

// until asks the workers how far they are until they are done.
func (r *run) until(ctx context.Context, done func([]worker.Status) (bool, error)) error {
	for {
		states, err := r.fleet.status(nil)
		if err != nil {
			return err
		}
		if ok, err := done(states); ok || err != nil {
			return err
		}
		select {
		case <-time.After(pollEach):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// fill puts the backlog into the rooms.
func (r *run) fill(ctx context.Context) error {
	if r.plan.Rooms.Backlog == 0 {
		return nil
	}
	r.seconds.phase(report.Filling, 0)
	if err := r.fleet.all(worker.Order{Fill: true}, nil); err != nil {
		return err
	}
	return r.until(ctx, func(states []worker.Status) (bool, error) {
		if r.stopped() {
			return false, errors.New("stopped while the rooms were filled, before there was any load")
		}
		filled := true
		for _, s := range states {
			if s.FillError != "" {
				return false, errors.New(s.FillError)
			}
			filled = filled && s.Filled
		}
		return filled, nil
	})
}

// connect has everybody come, and catch up with what is in the rooms.
func (r *run) connect(ctx context.Context) error {
	r.seconds.phase(report.Connecting, 0)
	from := engine.Now() + int64(leadTime)
	first := r.seconds.index(from)
	if err := r.fleet.all(worker.Order{Connect: true, At: from}, nil); err != nil {
		return err
	}
	var behind int
	var caught int64
	connected := int64(0)
	var moved, came time.Time
	var connects int64
	err := r.until(ctx, func(states []worker.Status) (bool, error) {
		pending, undue, failed, before, cameBefore := 0, 0, int64(0), caught, connects
		behind, caught, connects = 0, 0, 0
		for _, s := range states {
			pending += s.Pending
			undue += s.Undue
			behind += s.Behind
			caught += s.Caught
			connects += s.Came
			failed += s.Failed
		}
		stopped := r.stopped() // then load ends at once too
		if connects > cameBefore || undue > 0 || came.IsZero() {
			came, connected = time.Now(), engine.Now()
		}
		// Who has not come by then goes on trying in the load; if nobody has at all there is nothing to wait for.
		waited := time.Since(came) > r.plan.Clients.Timeout || connects == 0 && failed > 0 && time.Duration(engine.Now()-from) > nobodyTime
		if pending > 0 && !stopped && !waited {
			return false, nil
		}
		if caught > before || moved.IsZero() {
			moved = time.Now()
		}
		// Who gets nothing more for so long has lost it.
		return stopped || behind == 0 || time.Since(moved) > r.plan.Clients.Timeout, nil
	})
	if err != nil {
		return err
	}
	caughtUp := engine.Now()
	if err := r.seconds.await(ctx, r.seconds.index(caughtUp)); err != nil {
		return err
	}
	counts, cpu := r.seconds.since(first)
	r.result.Connect = result.Phase{
		Count: counts.Connected, Failed: counts.ConnectsFailed, Seconds: time.Duration(connected - from).Seconds(), ServerCPUSeconds: cpu,
	}
	if r.plan.Rooms.Backlog > 0 {
		r.result.CatchUp = result.Phase{Count: caught, Failed: int64(behind), Seconds: time.Duration(caughtUp - from).Seconds(), ServerCPUSeconds: cpu}
	}
	return nil
}

// nobodyTime is how long the first of all connects may take once one has failed.
const nobodyTime = 5 * time.Second

// load runs the schedule.
func (r *run) load(ctx context.Context) error {
	if r.result.Connect.Count == 0 {
		return nil // there is nobody to send anything; the faults say why
	}
	t := r.plan.Time
	// At a whole second of the run, so that its seconds are all load or none.
	from := r.seconds.begin(r.seconds.index(engine.Now()+int64(leadTime)) + 1)
	if err := r.fleet.all(worker.Order{Load: true, At: from}, nil); err != nil {
		return err
	}
	first, behind := countedSeconds(t)
	r.result.LoadFrom, r.result.LoadTo = r.seconds.index(from)+first, r.seconds.index(from)+behind
	warm := time.Duration(from-engine.Now()) + t.Warmup
	if t.Warmup > 0 {
		r.seconds.phase(report.WarmUp, warm)
		if stopped, err := r.sleep(ctx, warm); stopped || err != nil {
			return errors.Join(err, r.stopLoad(stopped))
		}
	}
	r.seconds.phase(report.Load, t.Duration)
	stopped, err := r.sleep(ctx, time.Duration(from-engine.Now())+t.Warmup+t.Duration)
	return errors.Join(err, r.stopLoad(stopped))
}

// countedSeconds are those of a load that are all within what counts, from its begin: rates are figures of them. Where none is, they are those that it
// reaches into.
func countedSeconds(t plan.Time) (from, to int) {
	whole := func(d time.Duration) int { return int(d / time.Second) }
	from, to = whole(t.Warmup+time.Second-1), whole(t.Warmup+t.Duration)
	if from >= to {
		from, to = whole(t.Warmup), whole(t.Warmup+t.Duration+time.Second-1)
	}
	return from, to
}

// sleep reports whether the user stopped it. It looks at the clocks of other hosts now and then.
func (r *run) sleep(ctx context.Context, d time.Duration) (stopped bool, err error) {
	end, clocks := time.NewTimer(d), time.NewTicker(clockEach)
	defer end.Stop()
	defer clocks.Stop()
	for {
		select {
		case <-end.C:
			return false, nil
		case <-clocks.C:
			if err := r.fleet.recheckClocks(fewQuestions); err != nil {
				return false, err
			}
		case <-r.options.Stop:
			return true, nil
		case err := <-r.fleet.failed:
			return false, err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

func (r *run) stopLoad(stopped bool) error {
	if !stopped {
		return nil
	}
	now := engine.Now()
	r.result.LoadTo = min(r.result.LoadTo, r.seconds.index(now))
	r.result.LoadFrom = min(r.result.LoadFrom, r.result.LoadTo)
	return r.fleet.all(worker.Order{End: true, At: now}, nil)
}

package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"rookery/bench/internal/crowd"
	"rookery/bench/internal/worker"
	"rookery/bench/plan"
	"rookery/bench/result"
	"rookery/bench/watch"
)

// fleet is the workers of a run. It is used by one goroutine; each worker's reports are read by one of their own.
type fleet struct {
	hosts   []result.Host // the coordinator's first
	workers []*link
	failed  chan error // gets the first error of any worker
	seconds chan workerSecond
	ending  chan struct{} // closed by end
	reading sync.WaitGroup
	known   []uint64    // of each room, see heads
	clocks  []clockLook // of each host, the first look at it
}

// link is a worker as the coordinator sees it.
type link struct {
	name    string // for errors
	host    int    // of fleet.hosts
	encoder *json.Encoder
	closer  io.Closer
	process *exec.Cmd    // nil: on another host
	wait    func() error // for the process; all calls give the same
	answers chan worker.Report
	index   int
}

// workerSecond is a second that a worker has reported.
type workerSecond struct {
	worker int
	worker.Second
}

// muster starts the workers: as many as the descriptors need, or as the plan says, on each host.
func muster(ctx context.Context, p plan.Plan, o Options) (*fleet, error) {
	machine, err := watch.LookAtMachine()
	if err != nil {
		return nil, err
	}
	f := newFleet(ctx, result.Host{
		Name: machine.Name, CPU: machine.CPU, Cores: machine.Cores, MemoryBytes: machine.MemoryBytes, Kernel: machine.Kernel,
	})
	started := false
	defer func() {
		if !started {
			f.end()
		}
	}()
	// This host does nothing but coordinate if there are others.
	count := p.Clients.Workers
	if len(p.Clients.Hosts) == 0 {
		if count == 0 {
			count = workersFor(p.Clients.Connections, machine.Descriptors)
		}
		for range count {
			if err := f.startHere(o); err != nil {
				return nil, err
			}
		}
	}
	for _, address := range p.Clients.Hosts {
		f.hosts = append(f.hosts, result.Host{Name: address})
		host := len(f.hosts) - 1
		hello, err := f.startThere(ctx, address, host, o)
		if err != nil {
			return nil, err
		}
		more := count
		if more == 0 {
			more = workersFor((p.Clients.Connections+len(p.Clients.Hosts)-1)/len(p.Clients.Hosts), hello.Descriptors)
		}
		for range more - 1 {
			if _, err := f.startThere(ctx, address, host, o); err != nil {
				return nil, err
			}
		}
	}
	started = true
	return f, nil
}

// newFleet has no workers yet. The end of ctx ends every wait for one.
func newFleet(ctx context.Context, here result.Host) *fleet {
	f := &fleet{failed: make(chan error, 1), seconds: make(chan workerSecond, 256), ending: make(chan struct{}), hosts: []result.Host{here}}
	context.AfterFunc(ctx, func() { f.fail(context.Cause(ctx)) })
	return f
}

// startHere starts a worker on this host.
func (f *fleet) startHere(o Options) error {
	cmd := exec.Command(o.Worker[0], o.Worker[1:]...)
	// A coordinator that is killed takes its workers along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = o.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	l := &link{name: fmt.Sprintf("worker %d", len(f.workers)), encoder: json.NewEncoder(in), closer: in, process: cmd, wait: sync.OnceValue(cmd.Wait)}
	_, err = f.add(l, out, o.Version)
	return err
}

// startThere has an agent on another host start a worker.
func (f *fleet) startThere(ctx context.Context, address string, host int, o Options) (*worker.Hello, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("load host %s: %w; is \"rookery bench agent\" running there?", address, err)
	}
	if err := worker.Greet(conn, o.Secret); err != nil {
		conn.Close()
		return nil, fmt.Errorf("load host %s: %w", address, err)
	}
	l := &link{name: fmt.Sprintf("worker %d on %s", len(f.workers), address), host: host, encoder: json.NewEncoder(conn), closer: conn}
	hello, err := f.add(l, conn, o.Version)
	if err != nil {
		return nil, err
	}
	h := &f.hosts[host]
	if h.Workers == 1 {
		h.CPU, h.Cores, h.MemoryBytes, h.Kernel = hello.CPU, hello.Cores, hello.MemoryBytes, hello.Kernel
	}
	return hello, f.compareClocks(l)
}

// add waits for a worker's first word and reads what it reports from then on.
func (f *fleet) add(l *link, out io.Reader, version string) (*worker.Hello, error) {
	l.index, l.answers = len(f.workers), make(chan worker.Report, 1)
	f.workers = append(f.workers, l)
	f.hosts[l.host].Workers++
	hello := make(chan *worker.Hello, 1)
	f.reading.Go(func() { f.readLoop(l, out, hello) })
	select {
	case h := <-hello:
		if h.Version != version {
			return nil, fmt.Errorf("%s is rookery %s, and this is %s: use the same program on all hosts", l.name, h.Version, version)
		}
		return h, nil
	case err := <-f.failed:
		return nil, err
	case <-time.After(answerTime):
		return nil, fmt.Errorf("%s did not say anything in %v: its host may have too much to do", l.name, answerTime)
	}
}

// readLoop reads what a worker reports. It is started by add and ends with the worker's output, which end closes.
func (f *fleet) readLoop(l *link, out io.Reader, hello chan<- *worker.Hello) {
	decoder := json.NewDecoder(out)
	for {
		var r worker.Report
		err := decoder.Decode(&r)
		switch {
		case err != nil:
			f.fail(fmt.Errorf("%s ended: %w", l.name, l.cause(err)))
			close(l.answers)
			return
		case r.Error != "":
			f.fail(fmt.Errorf("%s: %s", l.name, r.Error))
		case r.Hello != nil:
			hello <- r.Hello
		case r.Second != nil:
			select {
			case f.seconds <- workerSecond{l.index, *r.Second}:
			case <-f.ending:
			}
		default:
			select {
			case l.answers <- r:
			case <-f.ending:
			}
		}
	}
}

// cause is why a worker's output ended: how its process did, if that was not in order. "signal: killed" is mostly the kernel's, for
// want of memory.
func (l *link) cause(read error) error {
	switch {
	case !errors.Is(read, io.EOF) && !errors.Is(read, io.ErrUnexpectedEOF):
		return read
	case l.process == nil:
		return errors.New("its agent has closed the connection")
	}
	return cmp.Or(l.wait(), read)
}

// fail keeps the first error.
func (f *fleet) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// answerTime is how long a worker that is there may say nothing, from its start on. One that has ended is known at once, by the end of
// its output; so this is only for one that hangs. It is long because hosts of a load are the busiest there are: a worker has to be read
// from the disk and begin, and each answer waits for its loop, beside whatever else has the processors. The user can end a run sooner.
const answerTime = 2 * time.Minute

// answer waits for a worker's.
func (f *fleet) answer(l *link) (worker.Report, error) {
	select {
	case r, ok := <-l.answers:
		if !ok {
			return r, f.reason(fmt.Errorf("%s is gone", l.name))
		}
		return r, nil
	case err := <-f.failed:
		return worker.Report{}, err
	case <-time.After(answerTime):
		return worker.Report{}, fmt.Errorf("%s did not answer in %v: its host may have too much to do", l.name, answerTime)
	}
}

// reason is the error that a worker gave, or else the other one.
func (f *fleet) reason(other error) error {
	select {
	case err := <-f.failed:
		return err
	default:
		return other
	}
}

// each gives every worker its order, then takes every answer.
func (f *fleet) each(order func(int) worker.Order, take func(int, worker.Report)) error {
	for i, l := range f.workers {
		if err := l.encoder.Encode(order(i)); err != nil {
			return f.reason(fmt.Errorf("%s can't be told anything: %w", l.name, err))
		}
	}
	for i, l := range f.workers {
		r, err := f.answer(l)
		if err != nil {
			return err
		}
		if take != nil {
			take(i, r)
		}
	}
	return nil
}

// all is each with one order. Its moment is on the coordinator's clock, which the workers know.
func (f *fleet) all(order worker.Order, take func(int, worker.Report)) error {
	return f.each(func(int) worker.Order { return order }, take)
}

// parts gives each worker its part.
func (f *fleet) parts(p plan.Plan, number uint32, targets []netip.AddrPort) []crowd.Part {
	parts := make([]crowd.Part, len(f.workers))
	for i, l := range f.workers {
		parts[i] = crowd.Part{
			Plan: p, Run: number, Worker: i, Workers: len(f.workers), Targets: targets,
			Token: p.Server.Token, Key: p.Server.Key, CA: p.Server.TLS.CA, Clock: f.clock(l.host).off,
		}
	}
	return parts
}

// end ends the workers and waits for them.
func (f *fleet) end() {
	select {
	case <-f.ending:
		return
	default:
		close(f.ending)
	}
	for _, l := range f.workers {
		l.closer.Close() // a worker ends with its input
	}
	for _, l := range f.workers {
		if l.process == nil {
			continue
		}
		kill := time.AfterFunc(10*time.Second, func() { l.process.Process.Kill() })
		l.wait()
		kill.Stop()
	}
	f.reading.Wait()
}

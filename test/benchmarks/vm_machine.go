package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"rookery/test/benchmarks/control"
	"rookery/test/measure"
	"rookery/test/vm"
)

const (
	// machineMiB is what a machine needs without connections, its files among it.
	machineMiB = 1536
	// connectionBytes is what one takes of it: 8 kB of the kernel for both ends, and those of server and load
	// tester with what their collectors let lie about.
	connectionBytes = 12 << 10
)

// machine is a virtual machine with programs in it. When one of them ends, or the machine does, everything that is
// being done fails with the reason.
type machine struct {
	*vm.Machine
	equipment   *equipment
	mebibytes   int             // of memory
	descriptors uint64          // that each program may open; 0: as many as the machine lets the first one
	ctx         context.Context // of all that is done with the machine
	fail        context.CancelCauseFunc

	mu       sync.Mutex       // held for memory work only
	orders   int              // guarded by mu
	waiting  map[int]waiter   // for answers, by the orders' numbers; guarded by mu
	programs map[int]*program // by PID; guarded by mu
}

// waiter is for the answer to an order.
type waiter struct {
	answer  chan control.Event
	program *program // that the order starts, nil: none
}

// program is a rookery in the machine.
type program struct {
	name   string
	hear   func(string) // is given each line; nil: nobody is
	pid    int          // set by hearLoop, before the answer to start
	ended  chan struct{}
	status string // set by hearLoop, before ended

	mu    sync.Mutex // held for memory work only
	said  []string   // the newest lines; guarded by mu
	asked bool       // to end; guarded by mu
}

// roomy are the kernel's parameters where there are a million sockets.
var roomy = []string{
	"transparent_hugepage=madvise", // as servers have it: Go asks for huge pages where it wants them
	"thash_entries=1048576",
	"slab_nomerge", // each cache counts its own objects
}

// boot gives a machine with room for both ends of so many connections.
func (e *equipment) boot(ctx context.Context, connections int) (*machine, error) {
	return e.turnOn(ctx, vm.Config{
		Processors: processors, MemoryMiB: machineMiB + connections*connectionBytes>>20, Dir: e.work,
		Parameters: roomy,
	})
}

// turnOn gives a machine that boots into our programs.
func (e *equipment) turnOn(ctx context.Context, c vm.Config) (*machine, error) {
	free, err := measure.Kibibytes("/proc/meminfo", "MemAvailable")
	if err != nil {
		return nil, err
	}
	if free>>20 < int64(c.MemoryMiB) {
		return nil, fmt.Errorf("the machine needs %d MiB of memory, and this host has %d: end something, or use --scale", c.MemoryMiB, free>>20)
	}
	c.Kernel, c.Initramfs, c.Port = e.kernel, e.initramfs, control.AdminPort
	// Timers at ticks: Go's monitor, which sleeps 20 microseconds at a time, would take much of an emulated processor.
	c.Parameters = slices.Concat(c.Parameters, []string{"selinux=0", "highres=off", "nohz=off"})
	ctx, fail := context.WithCancelCause(ctx)
	booted, _, err := vm.Boot(ctx, c)
	if err != nil {
		fail(err)
		return nil, err
	}
	m := &machine{
		Machine: booted, equipment: e, mebibytes: c.MemoryMiB, ctx: ctx, fail: fail, waiting: map[int]waiter{}, programs: map[int]*program{},
	}
	go m.hearLoop() // ends when the machine is off
	return m, nil
}

// off ends the machine, and whatever is in it.
func (m *machine) off() {
	m.fail(errors.New("the machine was turned off"))
	m.Off()
}

// hearLoop takes what the guest says.
func (m *machine) hearLoop() {
	for {
		var event control.Event
		if err := m.Guest.Receive(&event); err != nil {
			m.fail(m.lost(err))
			return
		}
		switch event.Kind {
		case control.Said:
			m.program(event.PID).say(event.Text)
		case control.Ended:
			m.ended(m.program(event.PID), event.Text)
		default:
			m.deliver(event)
		}
	}
}

// lost says why a machine is gone.
func (m *machine) lost(err error) error {
	console, readErr := os.ReadFile(m.Console)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if strings.Contains(string(console), "Out of memory") {
		return fmt.Errorf("the machine ran out of its %d MiB of memory", m.mebibytes)
	}
	return fmt.Errorf("the machine is gone: %w; its console said:\n%s", err, vm.LastWords(m.Console))
}

// deliver gives an answer to who waits for it. What a program says comes after the answer that has its number.
func (m *machine) deliver(event control.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, found := m.waiting[event.Number]
	if !found {
		return // nobody waits any more
	}
	delete(m.waiting, event.Number)
	if w.program != nil && event.Kind == control.Done {
		w.program.pid = event.PID
		m.programs[event.PID] = w.program
	}
	w.answer <- event
}

func (m *machine) program(pid int) *program {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.programs[pid]
}

// ended ends everything if nobody asked the program to.
func (m *machine) ended(p *program, status string) {
	p.mu.Lock()
	asked, said := p.asked, strings.Join(p.said, "\n")
	p.mu.Unlock()
	p.status = status
	close(p.ended)
	if !asked {
		m.fail(fmt.Errorf("rookery %s ended in the machine, %s; it said:\n%s", p.name, status, said))
	}
}

// newestLines of a program are kept for an error.
const newestLines = 20

func (p *program) say(line string) {
	p.mu.Lock()
	p.said = append(p.said[max(0, len(p.said)-newestLines+1):], line)
	p.mu.Unlock()
	if p.hear != nil {
		p.hear(line)
	}
}

// lines are the newest.
func (p *program) lines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, "\n")
}

// answerPatience is far over what an answer takes on a host that is busy.
const answerPatience = 3 * time.Minute

// ask gives an order and waits for its answer.
func (m *machine) ask(o control.Order) (control.Event, error) { return m.askFor(o, nil) }

func (m *machine) askFor(o control.Order, p *program) (control.Event, error) {
	answer := make(chan control.Event, 1)
	m.mu.Lock()
	m.orders++
	o.Number = m.orders
	m.waiting[o.Number] = waiter{answer, p}
	m.mu.Unlock()
	if err := m.Guest.Send(o); err != nil {
		return control.Event{}, errors.Join(context.Cause(m.ctx), err)
	}
	timer := time.NewTimer(answerPatience)
	defer timer.Stop()
	select {
	case event := <-answer:
		if event.Kind == control.Failed {
			return event, fmt.Errorf("the guest could not %s %s: %s", o.Kind, o.Path, event.Text)
		}
		return event, nil
	case <-timer.C:
		return control.Event{}, fmt.Errorf("the guest has not answered for %v", answerPatience)
	case <-m.ctx.Done():
		return control.Event{}, context.Cause(m.ctx)
	}
}

// Server and load tester have a processor each. Between two address spaces an emulated processor forgets all that it knew of
// memory and code: with both on both a connect costs three times as much.
const (
	serverProcessor = iota
	benchProcessor
	processors // of the machine; more than the host has gain nothing
)

// start runs rookery on a processor, with arguments; hear is given each line that it says, if it is not nil.
func (m *machine) start(processor int, environment []string, hear func(string), args ...string) (*program, error) {
	p := &program{name: args[0], hear: hear, ended: make(chan struct{})}
	_, err := m.askFor(control.Order{Kind: control.Start, Args: args, Environment: environment, Processor: processor, Descriptors: m.descriptors}, p)
	return p, err
}

// finish runs rookery until it ends by itself, and gives what it said.
func (m *machine) finish(args ...string) (string, error) {
	var said strings.Builder // hearLoop's until the program has ended
	p := &program{name: args[0], hear: func(line string) { said.WriteString(line + "\n") }, ended: make(chan struct{}), asked: true}
	if _, err := m.askFor(control.Order{Kind: control.Start, Args: args}, p); err != nil {
		return "", err
	}
	select {
	case <-p.ended:
	case <-m.ctx.Done():
		return "", context.Cause(m.ctx)
	}
	if p.status != "exit status 0" {
		return "", fmt.Errorf("rookery %s: %s; it said:\n%s", strings.Join(args, " "), p.status, said.String())
	}
	return said.String(), nil
}

// interrupt ends a program, and waits for it.
func (m *machine) interrupt(p *program) error {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	if _, err := m.ask(control.Order{Kind: control.Interrupt, PID: p.pid}); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	}
}

// read gives a file of the machine.
func (m *machine) read(path string) (string, error) {
	event, err := m.ask(control.Order{Kind: control.Read, Path: path})
	return event.Text, err
}

// pause waits.
func (m *machine) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	}
}

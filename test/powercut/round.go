package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"rookery/test/powercut/control"
	"rookery/test/powercut/disk"
)

// phase is what the machine was doing when its power went.
type phase string

const (
	recovering phase = "mounting and recovery"
	verifying  phase = "reading back"
	publishing phase = "publishing"
	leaving    phase = "clean end"
	left       phase = "after unmounting"
)

var phases = []phase{recovering, verifying, publishing, leaving, left}

// decision is all of a round that does not depend on time.
type decision struct {
	phase  phase
	policy disk.Policy
	// writes: the cut comes right after so many more, where that is not 0, or when patience ends.
	writes   int
	patience time.Duration
	// first is the time in the phase before the last; wait is the time in the phase until the cut.
	first, wait time.Duration
	// auditFirst: nobody publishes before all is read.
	auditFirst, auditAll bool
	// makeRoom: on a full disk, drop the ballast and see the log go on before the cut.
	makeRoom bool
	random   *rand.Rand // for the disk
}

func (l *life) decide() decision {
	between := func(milliseconds int) time.Duration {
		return time.Duration(l.random.IntN(milliseconds*1000)) * time.Microsecond
	}
	d := decision{policy: disk.RandomPolicy(l.random)}
	switch n := l.random.IntN(20); {
	case n < 2:
		d.phase, d.wait = recovering, between(1500)
	case n < 3:
		// Mounting and opening write little; nothing but their writes finds each of their steps.
		d.phase, d.writes, d.patience = recovering, 1+l.random.IntN(25), 3*time.Second
	case n < 4:
		d.phase, d.wait = verifying, between(1000)
	case n < 15:
		d.phase, d.wait = publishing, between(2000)
	case n < 19:
		d.phase, d.first, d.wait = leaving, between(1000), between(900)
	default:
		d.phase, d.first, d.wait = left, between(1000), between(100)
	}
	if l.random.IntN(4) > 0 && d.phase != recovering && d.phase != left {
		d.writes, d.patience = 1+l.random.IntN(12), 3*time.Second
		if d.phase == leaving {
			d.patience = 300 * time.Millisecond // it may have written its last
		}
	}
	d.auditFirst = l.random.IntN(2) == 0
	d.makeRoom = l.random.IntN(2) == 0
	d.random = rand.New(rand.NewPCG(l.random.Uint64(), 0))
	if l.run.options.expectLoss != "" {
		d.phase, d.policy = publishing, disk.KeepPrefix
	}
	return d
}

// round is one boot up to the cut.
type round struct {
	life     *life
	decision decision
	machine  *machine
	clients  sync.WaitGroup

	mounting, serving, unmounted, acknowledged *mark
	stopped, healed                            *mark // of the log, with a full disk
	broken                                     *mark // something that ends the round at once

	// Owned by watchLoop until it has ended.
	found found
	lines []string
	free  int64

	faultsMu sync.Mutex
	faults   []string // guarded by faultsMu
}

// mark is something that happens once. Its zero value is of no use.
type mark struct {
	once sync.Once
	done chan struct{}
}

func newMark() *mark    { return &mark{done: make(chan struct{})} }
func (m *mark) happen() { m.once.Do(func() { close(m.done) }) }

// outcome is what a round has shown.
type outcome struct {
	phase phase
	cut   disk.Cut
	found found
	took  time.Duration
	hung  int // boots that came to nothing before
	// faults are what must not be. An error of the harness itself is returned beside.
	faults []string
}

// play boots the disk's machine, lets people use it, and cuts its power.
func (l *life) play(ctx context.Context, d decision) (outcome, error) {
	begun := time.Now()
	// A fault of this round is one of this disk, as it was before the machine looked at it.
	if err := l.save(l.run.keptImage()); err != nil {
		return outcome{}, err
	}
	l.disk.TurnOn()
	delays := rand.New(rand.NewPCG(d.random.Uint64(), 1))
	m, hung, err := boot(ctx, l.machine, l.disk, l.flushTakes, delays)
	if err != nil {
		return outcome{}, err
	}
	r := &round{
		life: l, decision: d, machine: m,
		mounting: newMark(), serving: newMark(), unmounted: newMark(), acknowledged: newMark(),
		stopped: newMark(), healed: newMark(), broken: newMark(),
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watchLoop()
	}()
	err = m.Guest.Send(l.plan())
	if err == nil {
		r.live(ctx)
	}
	o := outcome{phase: d.phase, cut: m.cut(d)}
	<-watched
	r.clients.Wait()
	if len(r.faults) == 0 {
		r.readConsole()
	}
	o.hung = hung
	o.found, o.faults, o.took = r.found, r.faults, time.Since(begun)
	if verdict := l.ledger.Verdict(); verdict != "" {
		o.faults = append(o.faults, strings.Split(verdict, "\n")...)
	}
	if r.free > 0 && r.free < fewBytes {
		l.full = true
	}
	if len(o.faults) > 0 {
		return o, r.keep(o)
	}
	return o, errors.Join(err, ctx.Err())
}

// fault ends the round.
func (r *round) fault(format string, values ...any) {
	r.faultsMu.Lock()
	defer r.faultsMu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, values...))
	r.broken.happen()
}

// watchLoop takes what the guest tells, until the machine is off.
func (r *round) watchLoop() {
	for event := range r.machine.events {
		switch event.Kind {
		case control.Mounting:
			r.mounting.happen()
		case control.Starting:
			r.free = event.Free
			r.found.packed += event.Packed
		case control.Said:
			r.lines = append(r.lines, event.Text)
			if r.found.take(event.Text, r.life.cramped) && r.life.run.options.expectLoss == "" {
				r.fault("the server said: %s", event.Text)
			}
			r.notice(event.Text)
		case control.Ended:
			r.ended(event.Text)
		case control.Unmounted:
			r.unmounted.happen()
		case control.Failed:
			r.fault("the guest failed: %s", event.Text)
		}
	}
}

// ended looks at the server's status. One that leaves while its disk is full says that it failed, since
// not all is written that it wanted to write.
func (r *round) ended(status string) {
	asked := r.decision.phase == leaving || r.decision.phase == left
	if !asked || status != "exit status 0" && !r.life.cramped {
		r.fault("the server ended: %s", status)
	}
}

func (r *round) notice(line string) {
	for text, m := range map[string]*mark{saysServing: r.serving, saysStopped: r.stopped, saysHealed: r.healed} {
		if strings.Contains(line, text) {
			m.happen()
		}
	}
}

// await waits for a mark; false means that the round is over.
func (r *round) await(ctx context.Context, m *mark, what string) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-m.done:
		return true
	case <-timer.C:
		r.fault("%s did not come within %v", what, patience)
	case <-r.broken.done:
	case <-ctx.Done():
	}
	return false
}

// pause waits; false means that the round is over.
func (r *round) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.broken.done:
	case <-ctx.Done():
	}
	return false
}

// live goes up to the moment of the cut.
func (r *round) live(ctx context.Context) {
	d := r.decision
	if !r.await(ctx, r.mounting, "mounting") {
		return
	}
	if d.phase == recovering {
		r.pause(ctx, d.wait)
		return
	}
	if !r.await(ctx, r.serving, "the server") {
		return
	}
	audited := newMark()
	r.clients.Go(func() {
		defer audited.happen()
		// An error is that of a connection, and comes with the cut or with a fault of the server.
		r.life.auditor.audit(r.machine.Address, d.auditAll, d.auditFirst || d.phase == verifying)
	})
	if d.phase == verifying {
		r.pause(ctx, d.wait)
		return
	}
	if d.auditFirst && !r.await(ctx, audited, "the end of the reading") {
		return
	}
	r.open()
	if r.life.cramped {
		r.cramp(ctx)
		return
	}
	if !r.await(ctx, r.acknowledged, "an acknowledgement") {
		return
	}
	if d.phase == publishing {
		r.pause(ctx, d.wait)
		return
	}
	if r.pause(ctx, d.first) && r.await(ctx, audited, "the end of the reading") {
		r.leave(ctx)
	}
}

// open lets the clients in. They stay until the machine is off.
func (r *round) open() {
	for _, p := range r.life.publishers {
		r.clients.Go(func() { p.publish(r.machine.Address, r.acknowledged.happen) })
	}
	r.clients.Go(func() { r.life.watcher.watch(r.machine.Address) })
}

func (r *round) leave(ctx context.Context) {
	if err := r.machine.Guest.Send(control.Order{Kind: control.Leave}); err != nil {
		r.fault("the guest takes no orders: %v", err)
		return
	}
	if r.decision.phase == left && !r.await(ctx, r.unmounted, "the end of the server") {
		return
	}
	r.pause(ctx, r.decision.wait)
}

// cramp publishes until the disk is full, and beyond.
func (r *round) cramp(ctx context.Context) {
	d := r.decision
	select {
	case <-r.stopped.done:
	case <-r.broken.done:
		return
	case <-time.After(d.first + d.wait + 10*time.Second): // there was more room than that
	case <-ctx.Done():
		return
	}
	if d.makeRoom {
		if !r.pause(ctx, d.first) {
			return
		}
		if err := r.machine.Guest.Send(control.Order{Kind: control.DropBallast}); err != nil {
			r.fault("the guest takes no orders: %v", err)
			return
		}
		select {
		case <-r.stopped.done:
			if !r.await(ctx, r.healed, "that the log goes on with room again") {
				return
			}
		default:
		}
	}
	if d.phase == leaving || d.phase == left {
		r.leave(ctx)
		return
	}
	r.pause(ctx, d.wait)
}

func (r *round) readConsole() {
	console, err := os.ReadFile(r.machine.Console)
	if err != nil {
		r.fault("console: %v", err)
		return
	}
	for line := range strings.Lines(string(console)) {
		if kernelFault.MatchString(line) {
			r.fault("the kernel said: %s", strings.TrimSpace(line))
		}
	}
}

// keep leaves what is needed to find the cause: the image of the disk before the round is there.
func (r *round) keep(o outcome) error {
	text := strings.Join(r.lines, "\n") + "\n\n" + strings.Join(o.faults, "\n") + "\n"
	console, err := os.ReadFile(r.machine.Console)
	return errors.Join(err,
		os.WriteFile(filepath.Join(r.life.run.kept, "server.log"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(r.life.run.kept, "console.log"), console, 0o600))
}

package loop

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/rate"
)

// Engine is all the loops and the gnet engine that runs them.
type Engine struct {
	// Set at construction.
	cfg       Config
	admission *admission
	buckets   *rate.Table
	slow      *slowMode
	streamKey [32]byte // of the names of streams, events.go
	started   time.Time
	booted    chan struct{}
	halted    chan struct{} // closed when gnet has ended
	ended     chan struct{} // closed when Run has ended
	counters  []*Counters

	// Shared; atomics.
	admitted atomic.Int64 // connections on all loops, never more than the capacity
	refused  atomic.Int64 // and those that are only there to be told why not
	capacity atomic.Int64 // most connections at once; more are refused with 503
	rules    atomic.Pointer[Rules]
	rates    atomic.Pointer[rates]   // those of rules
	draining atomic.Bool             // no new connections
	refusing atomic.Bool             // Refuse was called; written under mu
	refusers atomic.Int64            // loops that refuse requests
	loops    atomic.Pointer[[]*Loop] // replaced as a whole by adopt, under mu

	// What an operator looks at; traces are replaced as a whole, under mu.
	surveying atomic.Pointer[surveying] // the one that loops are asked for
	traces    atomic.Pointer[[]*handoff.Trace]

	watching sync.WaitGroup // the watchers' goroutines
	wanting  rate.Line      // about connections for which there are no descriptors, no memory or no watches: where they run out it is thousands
	unread   rate.Line      // about those for which the log can't be read

	mu          sync.Mutex // guards the growth of loops, refusing, the list of traces, late and lateRefused
	late        []int      // descriptors of connections that were accepted after Freeze
	lateRefused int        // so many of them are counted as refused, the others as admitted

	// A takeover: carry.go, landing.go.
	frozen         atomic.Bool
	given          atomic.Bool   // all loops stand still, or have ended
	released       chan struct{} // closed by Stop
	unsettled      atomic.Int32  // loops whose connections are not all in their rooms again
	unheard        atomic.Int32  // loops that have not read yet what clients had sent until they came
	settled, heard chan struct{}

	// gnet is written by OnBoot, before booted is closed.
	gnet     gnet.Engine
	boot     sync.Once
	entering sync.Mutex // gnet's choice of a loop for who enters is for one at a time
	stopped  atomic.Bool
}

// New makes the engine. Run starts it.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg:       cfg,
		admission: newAdmission(),
		buckets:   rate.NewTable(),
		slow:      newSlowMode(cfg.RetryWindow),
		started:   time.Now(),
		booted:    make(chan struct{}),
		halted:    make(chan struct{}),
		ended:     make(chan struct{}),
		settled:   make(chan struct{}),
		heard:     make(chan struct{}),
		released:  make(chan struct{}),
	}
	if cfg.Returning != nil {
		e.started = e.started.Add(-remembered)
		e.unsettled.Store(int32(len(cfg.Inboxes)))
		e.unheard.Store(int32(len(cfg.Inboxes)))
		e.slow.restore(cfg.Slow)
		for _, states := range cfg.Returning {
			for i := range states {
				if !asksAgain(&states[i]) {
					e.admitted.Add(1)
				}
			}
		}
	}
	_, _ = rand.Read(e.streamKey[:]) // it never fails
	e.loops.Store(&[]*Loop{})
	e.traces.Store(&[]*handoff.Trace{})
	e.SetRules(cfg.Rules)
	for range cfg.Inboxes {
		e.counters = append(e.counters, newCounters())
	}
	return e
}

// Counters gives those of every loop.
func (e *Engine) Counters() []*Counters { return e.counters }

// Waiting gives the bytes that each loop's mailbox holds.
func (e *Engine) Waiting() []int64 {
	held := make([]int64, len(e.cfg.Inboxes))
	for i, inbox := range e.cfg.Inboxes {
		held[i] = inbox.Held()
	}
	return held
}

// Open returns the number of connections now.
func (e *Engine) Open() int { return int(e.admitted.Load() + e.refused.Load()) }

// admit takes a place of the capacity, if there is one. One counter decides: the difference of
// two would let in one too many between their changes.
func (e *Engine) admit() bool {
	if e.admitted.Add(1) <= e.capacity.Load() {
		return true
	}
	e.admitted.Add(-1)
	return false
}

// admitRefused takes a place of those that are kept for who is told that there is none.
func (e *Engine) admitRefused() bool {
	if e.refused.Add(1) <= RefusalReserve {
		return true
	}
	e.refused.Add(-1)
	return false
}

// SetRules replaces the rules. Keys and origins hold for who connects from now on, caps
// count the connections made under a cap, rates hold at once for everybody.
func (e *Engine) SetRules(r Rules) {
	e.rules.Store(&r)
	e.rates.Store(newRates(r.Rates))
	e.admission.setRules(r)
}

// SetCapacity sets the most connections at once, Capacity returns it. Those that are there
// stay when it falls.
func (e *Engine) SetCapacity(n int) { e.capacity.Store(int64(n)) }

// Capacity is documented with SetCapacity.
func (e *Engine) Capacity() int { return int(e.capacity.Load()) }

// buffered is what all sockets together did not take.
func (e *Engine) buffered() (total int64) {
	for _, c := range e.counters {
		total += c.Buffered.Load()
	}
	return total
}

// Booted is closed when all listeners are there and the loops run. Run returns an error if they can't.
func (e *Engine) Booted() <-chan struct{} { return e.booted }

// KeepAlive is when the kernel asks a silent peer by itself. Heartbeats are what finds a dead one; where they come more seldom
// than the kernel's question, that would be asked of everybody in between for nothing: at 200,000 connections and two minutes 1,700
// times a second. The kernel takes nine hours at most.
func KeepAlive(heartbeat time.Duration) net.KeepAliveConfig {
	idle := min(max(2*time.Minute, 3*heartbeat), 9*time.Hour)
	return net.KeepAliveConfig{Enable: true, Idle: idle, Interval: idle / 5, Count: 5}
}

// Run listens on addr ("host:port") and serves until Stop. It returns an error when it
// could not start or when gnet ended by itself, which it does without an error of its own:
// then every connection is lost and the caller must not go on.
func (e *Engine) Run(addr string) error {
	defer close(e.ended)
	ticking := make(chan struct{})
	var ticker sync.WaitGroup
	ticker.Go(func() { e.tickLoop(ticking) })
	err := gnet.Run(&handler{e}, "tcp://"+addr,
		gnet.WithNumEventLoop(len(e.cfg.Inboxes)),
		gnet.WithReusePort(true),
		gnet.WithTicker(true), // see OnTick
		gnet.WithTCPKeepAlive(KeepAlive(e.cfg.Heartbeat).Idle),
		gnet.WithLogger(gnetLogger{e.cfg.Log, new(sync.Map), e.cfg.AcceptFailed}),
	)
	e.letGo()
	close(e.halted)
	close(ticking)
	ticker.Wait()
	for _, l := range *e.loops.Load() {
		l.dropCarried()
		l.watcher.close()
		if !l.bell.hung {
			close(l.gone) // gnet has ended before it had the bell, so it did not close it
		}
		l.bell.close()
	}
	e.watching.Wait()
	switch {
	case err != nil:
		return fmt.Errorf("listen on %s: %w", addr, err)
	case !e.stopped.Load():
		return errors.New("the event loops ended by themselves; see the log line before this one")
	}
	return nil
}

// tickLoop gives every loop a Tick: started and ended by Run.
func (e *Engine) tickLoop(stop <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		for _, l := range *e.loops.Load() {
			// A loop that has not taken its last tick is not given another.
			if !l.ticked.Swap(true) {
				l.inbox.PutAlways(handoff.Event{Kind: handoff.Tick}, 0)
			}
		}
	}
}

// Drain refuses new connections and asks every client to leave: each after a moment of its
// own within over, to come back within window after that.
func (e *Engine) Drain(over, window time.Duration) {
	e.draining.Store(true)
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{
			Kind: handoff.Drain, At: over.Milliseconds(), Seq: uint64(window.Milliseconds()),
		}, 0)
	}
}

// Refuse has every request answered with the error draining. When Refusing is true nothing
// flows into the rooms any more; what comes out of them is still delivered.
func (e *Engine) Refuse() {
	e.mu.Lock()
	e.refusing.Store(true) // for loops that are adopted from here on
	loops := *e.loops.Load()
	e.mu.Unlock()
	for _, l := range loops {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Refuse}, 0)
	}
}

// Refusing reports whether every loop has come to what Refuse asked.
func (e *Engine) Refusing() bool { return int(e.refusers.Load()) >= len(*e.loops.Load()) }

// Shut starts the closing handshake with every client that is left.
func (e *Engine) Shut() {
	e.draining.Store(true)
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Shut}, 0)
	}
}

// Revoke ends the sessions of a token, by identity.HashTokenID of its id, or if user is not empty those of the user whose tokens
// were issued up to a moment: within a second. Whoever calls it has seen to it that the Authenticator takes them no more.
func (e *Engine) Revoke(token uint64, user string, upTo time.Time) {
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Revoke, ID: token, Room: user, At: upTo.Unix()}, 0)
	}
}

// Silent gives for how long the loop that has been silent for longest has not taken a tick, of which it is given ten a second. A
// loop that never had a connection is none of them, nor are those that have given theirs away.
func (e *Engine) Silent() (longest time.Duration) {
	if e.given.Load() {
		return 0
	}
	for _, l := range *e.loops.Load() {
		longest = max(longest, time.Since(e.started)-time.Duration(l.tickedAt.Load()))
	}
	return longest
}

// Slow reports whether a loop takes so long for the sockets that are ready, or for a turn, that who wants to be accepted waits: gnet accepts one of them in each pass over
// those, and a turn is part of it. Safe for concurrent use.
func (e *Engine) Slow() bool {
	return slices.ContainsFunc(*e.loops.Load(), func(l *Loop) bool { return l.slow.Load() })
}

// Slowed counts the users that wait in slow mode, or did a while ago.
func (e *Engine) Slowed() int { return e.slow.len() }

// Evicted counts the buckets of rates that were forgotten for want of room.
func (e *Engine) Evicted() uint64 { return e.buckets.Evicted() }

// Shrink has the tables of connections give back what those that have left took of them.
func (e *Engine) Shrink() {
	e.admission.shrink()
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Shrink}, 0)
	}
}

// Flushed reports whether no loop has events, fan-out or outbound bytes left.
func (e *Engine) Flushed() bool {
	for i, l := range *e.loops.Load() {
		if l.inbox.Held() > 0 || e.counters[i].Buffered.Load() > 0 {
			return false
		}
	}
	return true
}

// Stop closes what is left and makes Run return. A second call does nothing.
func (e *Engine) Stop(ctx context.Context) error {
	if e.stopped.Swap(true) {
		return nil
	}
	close(e.released)
	// gnet's Stop looks every half second whether the loops have ended, and never sooner than after the first. With a context that
	// is over it only asks them to; that they have ended is what Run says.
	over, cancel := context.WithCancel(ctx)
	cancel()
	err := e.gnet.Stop(over)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, gneterrors.ErrEngineInShutdown) { // released is enough for loops that stand still
		return err
	}
	select {
	case <-e.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adopt gives gnet's loop a Loop of ours, at the first connection on it: gnet has no list
// of its loops.
func (e *Engine) adopt(events gnet.EventLoop) (*Loop, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	loops := *e.loops.Load()
	index := len(loops)
	if e.frozen.Load() {
		return nil, errFrozen
	}
	if index == len(e.cfg.Inboxes) {
		panic("BUG: gnet runs more loops than it was told to")
	}
	l := newLoop(e, uint16(index), events)
	w, err := newWatcher(l.index)
	if err != nil {
		return nil, err
	}
	l.watcher = w
	l.tickedAt.Store(int64(time.Since(e.started)))
	b, err := hang(l, events)
	if err != nil {
		w.close()
		return nil, err
	}
	l.bell, l.ring, l.arm = b, b.ring, w.arm
	l.ringIn = func(d time.Duration) { b.alarm.Reset(d) }
	l.inbox.Listen(b.ring)
	w.start(b.ring, &e.watching)
	l.refusing = e.refusing.Load()
	loops = append(slices.Clone(loops), l)
	e.loops.Store(&loops)
	if l.refusing {
		e.refusers.Add(1) // behind the list, or Refusing would count it for one that is on it
	}
	return l, nil
}

var errFrozen = errors.New("connections are being handed over")

func (e *Engine) loop(events gnet.EventLoop) (*Loop, error) {
	for _, l := range *e.loops.Load() {
		if l.events == events {
			return l, nil
		}
	}
	l, err := e.adopt(events)
	if err == nil {
		l.restore() // not under the lock: the other loops do it at the same time
	}
	return l, err
}

// handler is the engine as gnet sees it: its callbacks must be methods of what Run is
// given, but are none of Engine's own.
type handler struct{ engine *Engine }

func (h *handler) OnBoot(g gnet.Engine) gnet.Action {
	h.engine.gnet = g
	return gnet.None
}

func (h *handler) OnShutdown(gnet.Engine) {}

// OnTick is first called right when the loops have been started. OnBoot is called before there are any, and gnet makes its list of
// them without a lock: whoever gives it a connection in between reads what is being written.
func (h *handler) OnTick() (time.Duration, gnet.Action) {
	h.engine.boot.Do(func() { close(h.engine.booted) })
	return time.Hour, gnet.None
}

func (h *handler) OnOpen(g gnet.Conn) ([]byte, gnet.Action) {
	if b, is := g.Context().(*bell); is {
		b.hung = true
		return nil, gnet.None
	}
	if h.engine.frozen.Load() {
		return nil, h.engine.pass(g)
	}
	l, err := h.engine.loop(g.EventLoop())
	if errors.Is(err, errFrozen) {
		return nil, h.engine.pass(g)
	}
	if err != nil {
		h.engine.wanting.Log(h.engine.cfg.Log, slog.LevelError, "refuse a connection", "err", err)
		return nil, gnet.Close
	}
	if g.Context() == (starter{}) {
		return nil, gnet.Close
	}
	return nil, l.accept(g)
}

func (h *handler) OnTraffic(g gnet.Conn) gnet.Action {
	switch c := g.Context().(type) {
	case *bell:
		c.answered(g)
		begun := time.Now()
		c.loop.line.reached(begun)
		if c.loop.timed < c.loop.now {
			c.loop.timeOut() // ticks came amid reading
		}
		if c.loop.work(); c.loop.ended {
			return gnet.Shutdown
		}
		c.loop.line.turn = time.Since(begun)
	case *conn:
		if c.loop.frozen && c.moves() {
			return c.loop.hold(c)
		}
		return c.loop.turnToRead(c)
	}
	return gnet.None
}

func (h *handler) OnClose(g gnet.Conn, err error) gnet.Action {
	switch c := g.Context().(type) {
	case *bell:
		close(c.loop.gone) // gnet closes it with its loop
	case *conn:
		c.loop.closed(c, err)
	}
	return gnet.None
}

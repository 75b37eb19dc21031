package loop

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Loop is our state beside one of gnet's event loops. Only that loop's goroutine touches
// it, but for the fields that say otherwise.
type Loop struct {
	// Set at construction.
	engine  *Engine
	cfg     *Config
	index   uint16
	events  gnet.EventLoop
	inbox   *handoff.Mailbox[handoff.Event]
	bell    *bell
	watcher *watcher
	ring    func()                     // has work called again after other sockets: bell.ring
	ringIn  func(time.Duration)        // rings then; what was said before is forgotten
	put     func(fd int, b []byte) int // writes what a socket takes: put, nothing in tests
	arm     func(*conn) error          // has writable called when the socket takes bytes: watcher.arm
	slice   int                        // members that a turn serves: sliceWrites, fewer in tests
	counted *Counters

	// Set by the ticker, cleared by the loop.
	ticked atomic.Bool

	// Written by the loop, read from any goroutine: when it took its last tick, since the engine's start.
	tickedAt atomic.Int64
	slow     atomic.Bool // line.slow at the last tick

	// To whoever hands over, see carry.go: gone is closed by the loop at its end, the others have its answers, and what it is to do when it stands still.
	gone     chan struct{}
	quiet    chan bool
	packed   chan packed
	takeBack chan chan struct{} // take back what you gave, and say so

	// The table of connections: a handle's slot is an index here.
	slots  []slot
	free   []uint32
	opened uint32 // connections so far: each has a generation of its own

	now   moment // advanced by ticks
	stood moment // in sum, what ticks were late by that is not counted
	looks moment // counted up as times run out, ten a second where the loop is not late: a connection's heard is of this clock while it is probed
	timed moment // up to which times have run out
	taken []handoff.Event
	// spares is how many arrays of events are to go when they have been worked off: two take turns with the mailbox.
	spares   int
	load     load
	line     line
	whole    bool // the traffic being worked off held a whole message
	requests int  // frames and HTTP requests since the last turn, see portion

	// Ephemeral messages for who is behind, see ephemeral.go.
	kept     int          // bytes, of all rooms
	resuming queue[*conn] // connections that drained and are owed some

	// Fan-out and catch-up.
	rooms     map[string]*localRoom
	observed  map[string]struct{}  // rooms, here or not, of which the keeper of presence is told
	leaves    map[leaving][]uint64 // requests to leave rooms whose joins are not answered yet, in their order
	busy      queue[*localRoom]    // rooms with messages to fan out
	gathering gathering            // those that wait for their windows first
	lagging   queue[*conn]         // connections that may be owed something
	paging    queue[*conn]         // of these, those that need a page of the log
	reading   int                  // pages of catch-up ordered and not yet here
	asking    queue[handoff.Read]  // history requests that wait their turn
	asked     int                  // pages of history ordered and not yet here

	// The last messages of rooms in which somebody is behind, see recent.go. Few rooms have them, so that the others carry no pointer.
	recent      map[*localRoom]*recent
	recentBytes int

	// Rooms with members, see membership.go.
	watchers map[string][]uint32  // by user: connections that are told of their rooms
	expelled map[string]expulsion // by user: those whose connections are being looked for
	toExpel  map[string]expulsion // came meanwhile
	swept    int                  // the next slot to look at

	// Deadlines, see clock.go.
	urgent []handoff.Handle // connections that have one
	patrol int              // next slot to look at
	rounds rounds           // through the table, for tokens that hold no longer: expiry.go

	// What an operator looks at, see survey.go and trace.go. Nil while nobody does.
	surveyed *survey
	tally    *tally
	traces   []*handoff.Trace
	tracing  int // the slot looked at last for users who are traced
	untraced int // slots still to be looked at

	// Connects that are with the application, by slot: few at a time, so that the others carry no pointer. See application.go.
	consulted map[uint32]*asked

	// Streams of events, and POSTs on their way to them, by slot: few connections are either, so that the others carry no pointer. See
	// events.go and post.go.
	streams map[uint32]*eventStream
	posts   map[uint32]*post

	// A takeover, see carry.go and landing.go. back is what was read of connections and is still to be worked off, by slot.
	frozen                  bool        // what is read is not worked off any more
	ended                   bool        // it does nothing more
	given                   []gnet.Conn // in the order of their states
	givenAway, givenRefused int         // how many have left with these, and how many of them are counted as refused; read when the loop has ended
	back                    map[uint32][]byte
	returning               map[string][]returning // by room: subscriptions that came with their connections, until the shard has said where the room stands
	unasked                 []string               // rooms among these that the shard was not asked about yet
	settled                 bool                   // nothing is returning any more
	carried                 int                    // connections that came, and that no gnet has: lifted.go
	landing                 bool                   // what they had sent until they came is still being read
	landed                  int                    // slots before which all are read
	read                    []byte                 // buffer for what is read of one of them

	// The drain.
	draining  bool          // who connects is told to go
	askedToGo int           // slots before which all are
	over      time.Duration // each goes at a moment within this
	window    time.Duration // and comes back at a moment within this
	refusing  bool          // every request is answered with the error draining

	reused *reused // see reused.go

	// Outbound of this turn, see outbound.go.
	dirty   []outbox
	fullest int // bytes of the largest one that holds several pieces

	// Records of TLS, see secure.go: buffers that the connections share.
	plain    []byte
	borrowed bool // plain is in use by the connection whose turn it is
	sealed   []byte
}

// slot is a place in the table. The generation is the connection's, so that a handle to the one before is known to
// be stale.
type slot struct {
	conn       *conn
	generation uint32
	expires    uint32 // second of Unix time in which its identity does, 0: never; see expiry.go
}

func newLoop(e *Engine, index uint16, events gnet.EventLoop) *Loop {
	return &Loop{
		engine: e, cfg: &e.cfg, index: index, events: events,
		inbox: e.cfg.Inboxes[index], counted: e.counters[index],
		rooms: make(map[string]*localRoom), observed: make(map[string]struct{}), leaves: make(map[leaving][]uint64), watchers: make(map[string][]uint32),
		recent: make(map[*localRoom]*recent), consulted: make(map[uint32]*asked), streams: make(map[uint32]*eventStream), posts: make(map[uint32]*post), back: make(map[uint32][]byte), returning: make(map[string][]returning),
		traces: *e.traces.Load(),
		slice:  sliceWrites, put: put, reused: newReused(), now: e.moment(), timed: e.moment(),
		gone: make(chan struct{}), quiet: make(chan bool, 1), packed: make(chan packed, 1), takeBack: make(chan chan struct{}),
	}
}

// accept takes a new connection into the table, if only to tell it that there is no room.
func (l *Loop) accept(g gnet.Conn) gnet.Action {
	l.counted.Opened.Add(1)
	from := remoteAddr(g)
	secure, kernel := tlsOf(g)
	refused, entered := l.admission(from, secure || kernel)
	if refused != refusedNot && entered != lodged && !l.engine.admitRefused() {
		l.counted.Refused[refusedFlood].Add(1)
		return gnet.Close
	}
	l.counted.Connections.Add(1)
	c := &conn{loop: l, sock: g, heard: l.now, refused: refused, address: entered, secure: secure, kernel: kernel}
	// With TLS a header would stand before the handshake, where nobody looks for one.
	if rules := l.engine.rules.Load(); rules.ProxyProtocol != NoProxyProtocol && !secure && !kernel && rules.trusts(from) {
		c.phase = introducing
	}
	if n := len(l.free); n > 0 {
		c.handle.Slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.handle.Slot = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
		if l.untraced > 0 {
			l.untraced++ // the walk is longer by one
		}
	}
	s := &l.slots[c.handle.Slot]
	l.opened++
	*s = slot{conn: c, generation: l.opened}
	c.handle.Generation, c.handle.Loop = s.generation, l.index
	g.SetContext(c)
	l.deadline(c, l.cfg.HandshakeTimeout)
	l.deny(c, denialByRefusal(refused), nil)
	return gnet.None
}

// admission says whether a connection may stay, and counts one that may. One that has paid was taken from the rate of its address before.
func (l *Loop) admission(from netip.Addr, paid bool) (refusal, *address) {
	if !l.engine.admit() {
		if l.engine.draining.Load() {
			return refusedDraining, nil
		}
		return refusedFull, nil
	}
	if l.engine.draining.Load() {
		// It may bring a POST for a stream that is there, which shows only later. So it has a place as anybody has: in a wave of them those
		// of who is refused would not do, and who was closed without an answer would not know whether its POST was taken.
		return refusedDraining, lodged
	}
	refused, entered := l.enterFrom(from, paid)
	if refused != refusedNot {
		l.engine.admitted.Add(-1)
	}
	return refused, entered
}

// admitLate admits a connection that came while the server drains, for a POST. Every answer on it is its last one, so the drain does not
// wait for it.
func (l *Loop) admitLate(c *conn) {
	if c.address == nil {
		if !l.engine.admit() {
			c.refused = refusedFull
			l.deny(c, denialByRefusal(c.refused), nil)
			return
		}
		l.engine.refused.Add(-1)
		c.address = lodged
	}
	from := remoteAddr(c.sock)
	// Who is behind a proxy has not paid for the handshake of TLS: it is the proxy's.
	refused, entered := l.enterFrom(from, (c.secure || c.kernel) && from == peerAddr(c.sock))
	if c.refused = refused; refused != refusedNot {
		l.deny(c, denialByRefusal(refused), nil) // and keeps its place until it has been told
		return
	}
	c.address = entered
}

// enterFrom counts a connection for its address, but for a proxy's: whose it is shows later.
func (l *Loop) enterFrom(from netip.Addr, paid bool) (refusal, *address) {
	if l.engine.rules.Load().trusts(from) {
		return refusedNot, anywhere
	}
	if !paid && !l.engine.admitOpen(from) {
		return refusedRate, nil
	}
	entered := l.engine.admission.enter(from, false)
	if entered == nil {
		return refusedAddress, nil
	}
	return refusedNot, entered
}

// conn returns the connection of a handle, or nil if it is gone.
func (l *Loop) conn(h handoff.Handle) *conn {
	if int(h.Slot) < len(l.slots) && l.slots[h.Slot].generation == h.Generation {
		return l.slots[h.Slot].conn
	}
	return nil
}

// work is a turn of the loop: sockets that gnet does not tell of, what other owners had to say, then fan-out up to a slice, then
// everything leaves.
func (l *Loop) work() {
	l.look() // before there is something to be written that more is to leave with
	l.taken = l.inbox.Take(l.taken)
	for i := range l.taken {
		if l.take(&l.taken[i]); l.ended {
			return
		}
	}
	clear(l.taken)
	if l.taken = l.taken[:0]; l.spares > 0 {
		l.spares--
		l.taken = nil
	}
	l.sweepExpelled()
	l.askToGo()
	l.markTraced()
	l.surveySome()
	l.askForReturning()
	l.settleIn()
	l.landSome()
	l.resumeSome()
	l.gathered()
	crowded := l.requests > l.slice
	l.writeOut()
	l.pump()
	if l.busy.len() > 0 || l.lagging.len() > 0 || l.resuming.len() > 0 || len(l.expelled) > 0 || l.asksToGo() || l.untraced > 0 || l.surveyed != nil {
		l.ring()
		crowded = true
	}
	if crowded {
		// The shards and the committer have their turn too: a loop that reads or writes all the time never blocks, and the runtime would
		// take its processor away only after ten milliseconds, at each step of a message's way once.
		runtime.Gosched()
	}
}

// writeOut fans out up to a turn's members and writes what there is.
func (l *Loop) writeOut() {
	if l.load.gathered {
		begun := time.Now()
		defer func() { l.load.fanningOut += time.Since(begun) }()
	}
	l.fanOut(l.portion())
	l.catchUp(l.turn())
	l.flush()
}

func (l *Loop) take(e *handoff.Event) {
	switch e.Kind {
	case handoff.Delivery:
		l.deliver(e) // its bytes are released when it is fanned out
		return
	case handoff.Ephemeral:
		l.pass(e) // the same
		return
	case handoff.Published:
		l.published(e) // when it is written
		return
	case handoff.Joined:
		l.joined(e)
	case handoff.Page, handoff.Refused, handoff.Granted, handoff.Answer, handoff.Marked, handoff.Told, handoff.Responded,
		handoff.Posted, handoff.Taken:
		l.takeFor(e)
	case handoff.Admitted:
		l.admitted(e)
	case handoff.Denied:
		l.denied(e)
	case handoff.MemberChanged:
		l.memberChanged(e)
	case handoff.MemberRemoved:
		l.memberRemoved(e)
	case handoff.RoomChanged:
		l.roomChanged(e)
	case handoff.Personal:
		l.tellWatchers(e, nil)
	case handoff.Banned:
		l.expel(expulsion{e.Member.User, proto.CloseBanned, "you are banned from this server"})
	case handoff.Disconnect:
		l.expel(expulsion{e.Member.User, proto.CloseNormal, e.Text})
	case handoff.Observe:
		l.observe(e)
	case handoff.Ignore:
		l.ignore(e.Room)
	case handoff.Changed:
		l.presenceChanged(e)
	case handoff.Tick:
		l.ticked.Store(false)
		l.tickedAt.Store(int64(time.Since(l.engine.started)))
		l.slow.Store(l.line.slow)
		l.tick()
	case handoff.Drain:
		l.drain(time.Duration(e.At)*time.Millisecond, time.Duration(e.Seq)*time.Millisecond)
	case handoff.Refuse:
		l.refusing = true
		l.engine.refusers.Add(1)
	case handoff.Shut:
		l.shut()
	case handoff.Revoke:
		l.revoke(e)
	case handoff.Shrink:
		l.shrink()
	case handoff.Retrace:
		l.retrace()
	case handoff.Survey:
		l.survey()
	case handoff.Freeze:
		l.freeze(time.Duration(e.At) * time.Millisecond)
	case handoff.Quiet:
		l.quiet <- l.isQuiet()
	case handoff.Pack:
		p := l.pack()
		l.packed <- p
		l.standStill(p)
	case handoff.Land:
		l.land()
	}
	l.done(e.Size)
}

// atOnce is how many connections are told of an end before what they are told is written, some 15 ms: a loop may have hundreds of thousands.
const atOnce = 1024

// drain asks every client to go, each at a moment of its own so that they don't all
// arrive somewhere else at once.
func (l *Loop) drain(over, window time.Duration) {
	l.draining, l.over, l.window = true, over, window
}

// askToGo asks a part of them each turn. Whoever begins a session in a place that it has been to is asked there.
func (l *Loop) askToGo() {
	if !l.asksToGo() {
		return
	}
	for end := min(l.askedToGo+atOnce, len(l.slots)); l.askedToGo < end; l.askedToGo++ {
		if c := l.slots[l.askedToGo].conn; c != nil && c.phase == connected {
			l.goaway(c)
		}
	}
}

func (l *Loop) asksToGo() bool { return l.draining && l.askedToGo < len(l.slots) }

func (l *Loop) goaway(c *conn) {
	after := rand.Int64N(l.over.Milliseconds() + 1)
	if c.events {
		l.retryAfter(c, leastRetry+rand.N(l.window+1))
	}
	l.reply(c, &v1.ServerFrame{Op: &v1.ServerFrame_Goaway{Goaway: &v1.GoAway{
		Reason: "draining", AfterMs: uint32(after), WindowMs: uint32(l.window.Milliseconds()),
	}}})
}

func (l *Loop) shut() {
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil {
			l.close(c, proto.CloseDraining, "")
		}
		l.flushMany()
	}
}

// maxRebuilt is how many entries are moved to a smaller map at once: some milliseconds.
const maxRebuilt = 50_000

// shrink makes the tables as large as what is in them: neither slices nor maps become smaller by themselves.
func (l *Loop) shrink() {
	n := len(l.slots)
	for n > 0 && l.slots[n-1].conn == nil {
		n--
	}
	l.slots = slices.Clone(l.slots[:n])
	l.free = slices.Clone(slices.DeleteFunc(l.free, func(slot uint32) bool { return int(slot) >= n }))
	l.urgent, l.dirty, l.gathering = slices.Clone(l.urgent), slices.Clone(l.dirty), slices.Clone(l.gathering)
	l.busy.shrink()
	l.resuming.shrink()
	l.lagging.shrink()
	l.asking.shrink()
	l.paging.shrink()
	l.spares = 2
	if len(l.rooms) <= maxRebuilt {
		l.rooms = rebuilt(l.rooms)
	}
	if len(l.leaves) <= maxRebuilt {
		l.leaves = rebuilt(l.leaves)
	}
	if len(l.streams)+len(l.posts) <= maxRebuilt {
		l.streams, l.posts = rebuilt(l.streams), rebuilt(l.posts)
	}
	if len(l.watchers)+len(l.recent) <= maxRebuilt {
		l.watchers, l.recent = rebuilt(l.watchers), rebuilt(l.recent)
	}
	if len(l.returning)+len(l.back) <= maxRebuilt {
		l.returning, l.back = rebuilt(l.returning), rebuilt(l.back)
	}
}

// rebuilt is a map without the room that its earlier entries took.
func rebuilt[K comparable, V any](m map[K]V) map[K]V {
	smaller := make(map[K]V, len(m))
	maps.Copy(smaller, m)
	return smaller
}

// closed is gnet's last word about a connection; it also comes in the middle of a write
// that fails.
func (l *Loop) closed(c *conn, err error) {
	if c.sock == nil || c.kernel && l.stays(c, err) {
		return
	}
	l.endRecords(c)
	c.sock = nil
	l.forget(c)
	c.decoder.Release()
	delete(l.back, c.handle.Slot)
	delete(l.streams, c.handle.Slot)
	delete(l.posts, c.handle.Slot)
	if c.address != lodged {
		l.engine.admission.exit(c.address)
	}
	s := &l.slots[c.handle.Slot]
	s.conn = nil
	l.free = append(l.free, c.handle.Slot)
	l.counted.Connections.Add(-1)
	l.counted.Buffered.Add(-int64(c.buffered))
	c.buffered = 0
	if c.lodges() {
		l.engine.admitted.Add(-1)
	} else {
		l.engine.refused.Add(-1)
	}
	if c.refused != refusedNot {
		l.counted.Refused[c.refused].Add(1)
	} else {
		l.counted.Closed[closedIndex(c.closed)].Add(1)
	}
}

// lodges reports whether the connection is counted as admitted, and not as one that is only told why it is not.
func (c *conn) lodges() bool { return c.refused == refusedNot || c.address == lodged }

// queue is a FIFO that reuses its array.
type queue[T any] struct {
	items []T
	first int
}

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) push(item T) { q.items = append(q.items, item) }

func (q *queue[T]) pop() T {
	var zero T
	item := q.items[q.first]
	q.items[q.first] = zero
	q.first++
	switch {
	case q.first == len(q.items):
		q.items, q.first = q.items[:0], 0
	case q.first > 1024 && q.first > len(q.items)/2:
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	return item
}

// shrink makes the array as large as what is in it.
func (q *queue[T]) shrink() { q.items, q.first = slices.Clone(q.items[q.first:]), 0 }

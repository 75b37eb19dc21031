package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/takeover"
)

// The side of a takeover that takes. Connections get their places before a loop takes any of its own. Their subscriptions join
// again, from their positions and without a word to anybody. When all of all loops have, gnet is given the sockets, and what
// clients have sent meanwhile is read: none of it meets a room whose members are not there yet.

const (
	// leastLanding and mostLanding are how many sockets of all loops are being given to gnet, each with two more descriptors for a moment.
	// The least have those that are kept for connections which are refused.
	leastLanding = RefusalReserve / 2
	mostLanding  = 128
	// lookEvery is after how many of a loop, at least, it is looked again which of the others have something to read.
	lookEvery = 128
	// lookShare is after what part of many: a look costs by their number, and after every 128 of 300,000 it would cost more than
	// landing does. Who sends something waits for that part to land.
	lookShare = 64
	// remembered is how far back a time may lie that a connection comes with: the clock of an engine begins so much earlier.
	remembered = 24 * time.Hour
)

// returning is a subscription that came with its connection.
type returning struct {
	of       handoff.Handle
	position uint64
}

// starter is the context of a connection that is only there to have gnet's loop meet ours.
type starter struct{}

// lander is that of one which lands. down is written by the loop; whoever gnet has told that it is through with the socket may read it.
type lander struct {
	conn *conn
	down bool // gnet has opened it
}

// Restore has the loops take in the connections of Config.Returning, and returns when these are served. reading is called when those
// are read whose peers have sent something meanwhile. Only after Booted, and before Enter.
func (e *Engine) Restore(reading func()) error {
	var starting []<-chan gnet.RegisteredResult
	for range e.cfg.Inboxes {
		opened, err := e.startLoop()
		if err != nil {
			return fmt.Errorf("start an event loop: %w", err)
		}
		starting = append(starting, opened)
	}
	for _, opened := range starting {
		if result := <-opened; result.Err != nil {
			return fmt.Errorf("start an event loop: %w", result.Err)
		}
	}
	if n := len(*e.loops.Load()); n < len(e.cfg.Inboxes) {
		// gnet says nothing of a socket that it could not watch.
		return fmt.Errorf("start the event loops: %d of %d begin; the log lines before this one say why, or memory or fs.epoll.max_user_watches is used up", n, len(e.cfg.Inboxes))
	}
	started := time.Now()
	<-e.settled
	settled := time.Now()
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Land}, 0)
	}
	<-e.heard
	reading()
	<-e.landed
	e.cfg.Log.Info("took over", "connections", e.Open(), "rooms", settled.Sub(started).Round(time.Millisecond), "sockets", time.Since(settled).Round(time.Millisecond))
	return nil
}

// startLoop has the next of gnet's loops open a connection; gnet takes them in turn.
func (e *Engine) startLoop() (<-chan gnet.RegisteredResult, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pair[0])
	file := os.NewFile(uintptr(pair[1]), "starter")
	far, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return nil, err
	}
	opened, err := e.gnet.Register(gnet.NewNetConnContext(gnet.NewContext(context.Background(), starter{}), far))
	if err != nil {
		far.Close()
		return nil, err
	}
	return opened, nil
}

// restore takes the connections in that are this loop's.
func (l *Loop) restore() {
	if l.cfg.Returning == nil {
		return
	}
	all := l.cfg.Returning[l.index]
	l.cfg.Returning[l.index] = nil
	l.opened = l.cfg.Generations[l.index]
	places := uint32(0)
	for i := range all {
		places = max(places, all[i].Slot+1)
	}
	l.slots = make([]slot, places)
	l.aloft.items = make([]handoff.Handle, 0, len(all))
	for i := range all {
		l.takeIn(&all[i])
	}
	for i := range l.slots {
		if l.slots[i].conn == nil {
			l.free = append(l.free, uint32(i))
		}
	}
	l.askForReturning()
	l.settleIn()
}

// takeIn gives a connection its place, with all that it had.
func (l *Loop) takeIn(t *takeover.Connection) {
	s := &lifted{fd: t.FD, outbound: slices.Clone(t.Outbound), socket: t.Socket, from: cameFrom(t)}
	c := &conn{
		loop: l, sock: s, handle: handoff.Handle{Slot: t.Slot, Generation: t.Generation, Loop: l.index},
		phase: phase(t.Phase), codec: t.Codec, stream: t.Stream, kernel: t.Kernel, probed: t.Probed, away: t.Away, closed: t.Closed,
		heard: l.before(t.Heard), took: l.before(t.Took),
	}
	l.slots[t.Slot] = slot{conn: c, generation: t.Generation}
	l.counted.Connections.Add(1)
	if asksAgain(t) && !l.engine.admit() {
		c.refused = refusedFull
		l.engine.refused.Add(1)
	}
	if from := remoteAddr(s); c.refused == refusedNot && l.engine.rules.Load().trusts(from) {
		c.address = anywhere
	} else if c.refused == refusedNot {
		c.address = l.engine.admission.enter(from, true)
	}
	switch {
	case t.Due > 0:
		l.deadline(c, time.Duration(t.Due)*time.Millisecond)
	case c.phase < connected:
		l.deadline(c, l.cfg.HandshakeTimeout)
	case c.phase == closing && len(t.Outbound) == 0:
		l.deadline(c, closeTimeout) // only the end of its records waited, see lastWord
	}
	if t.Identity != nil {
		l.identify(c, t.Identity)
		c.user = l.engine.admission.login(t.Identity.User, true)
		l.countSession(c, 1)
		if t.Watching {
			l.watch(c)
		}
		for i := range t.Rooms {
			l.comeBack(c, &t.Rooms[i])
		}
	}
	if len(t.Inbound) > 0 {
		l.back[t.Slot] = slices.Clone(t.Inbound)
	}
	l.aloft.push(c.handle)
	l.engine.flying.Add(1)
	if len(s.outbound) > 0 {
		c.backed = true
		l.buffered(c, len(s.outbound))
		l.hurry(c)
		l.await(c)
	}
}

// asksAgain reports whether a connection that comes has a place only if there is one. The others stay, whatever the limits are now: New has
// counted them, so that nobody else is given their places before all loops have taken them in.
func asksAgain(t *takeover.Connection) bool {
	return phase(t.Phase) == sniffing || phase(t.Phase) == introducing
}

// cameFrom is the safe context of a connection.
func cameFrom(t *takeover.Connection) any {
	var w *weight
	if t.Kernel {
		w = &weight{}
	}
	switch {
	case t.Origin.IsValid() || t.Peer.IsValid():
		return &origin{peer: t.Peer, address: t.Origin, weight: w}
	case t.Kernel:
		return w
	}
	return nil
}

// before is the moment that many milliseconds ago.
func (l *Loop) before(ms int64) moment {
	return l.now - min(moment(max(0, ms)/tick.Milliseconds()), l.now-1)
}

// comeBack gives a connection a subscription again.
func (l *Loop) comeBack(c *conn, t *takeover.Room) {
	r := l.local(t.Name)
	i := l.refer(c, r, joining)
	s := &c.subscriptions[i]
	s.watching, s.typing = t.Watching, t.Typing
	c.typed = c.typed || t.Typing
	if t.Member != nil {
		r.present(c, t.Member)
	}
	if l.returning[r.name] == nil {
		l.unasked = append(l.unasked, r.name)
	}
	l.returning[r.name] = append(l.returning[r.name], returning{c.handle, t.Position})
}

// askForReturning asks the shards where the rooms stand, each once, as far as they take it: ticks see to it that the rest is asked.
func (l *Loop) askForReturning() {
	for len(l.unasked) > 0 {
		if r := l.rooms[l.unasked[0]]; r != nil {
			if !l.cfg.Rooms.Send(handoff.Command{
				Kind: handoff.Join, From: handoff.Handle{Loop: l.index}, Room: r.name, Ephemeral: l.cfg.Ephemeral(r.name),
			}) {
				return
			}
			r.ordered = true
		}
		l.unasked = l.unasked[1:]
	}
}

// returned is where a room stands whose subscriptions came with their connections: they go on.
func (l *Loop) returned(e *handoff.Event) {
	r := l.rooms[e.Room]
	waiting := l.returning[e.Room]
	delete(l.returning, e.Room)
	if r == nil {
		return // all have left
	}
	r.begin, r.asked = e.Begin, l.now
	if len(r.members) == int(r.holes) {
		l.drop(r)
		r.seq = e.Seq
	}
	if r.seq != e.Seq {
		panic("BUG: the return to room " + r.name + " and its deliveries crossed")
	}
	for _, w := range waiting {
		c := l.conn(w.of)
		if c == nil {
			continue
		}
		i := c.answered(r, joining)
		switch {
		case i < 0: // it is closing
		case c.subscriptions[i].removed:
			l.left(c, 0, r.name)
			l.remove(c, i)
		default:
			l.enter(c, i, w.position)
		}
	}
}

// settleIn notes that all subscriptions are there that came with connections.
func (l *Loop) settleIn() {
	if l.settled || len(l.returning) > 0 || l.cfg.Returning == nil {
		return
	}
	l.settled = true
	if l.engine.unsettled.Add(-1) == 0 {
		close(l.engine.settled)
	}
}

// land begins to give the sockets to gnet, and has those told of presence again that were.
func (l *Loop) land() {
	for i := range l.slots {
		c := l.slots[i].conn
		if c == nil {
			continue
		}
		for _, s := range c.subscriptions {
			if s.watching {
				l.cfg.Presence.Tell(handoff.Presence{Kind: handoff.AskPresence, From: c.handle, Codec: c.codec, Room: s.room.name, Watch: true})
			}
		}
	}
	l.descending = true
	if l.first = l.readableFirst(); l.first == 0 {
		l.engine.heardFirst()
	}
	l.looked = untilNextLook(l.aloft.len())
	l.landSome()
	l.engine.touched(0)
}

// landSome gives gnet the next sockets when it has taken those before.
func (l *Loop) landSome() {
	if !l.descending || l.landing > 0 {
		return
	}
	for most := l.engine.landingAtOnce(); l.landing < most && l.aloft.len() > 0; {
		if l.looked--; l.looked < 0 {
			l.readableFirst()
			l.looked = untilNextLook(l.aloft.len())
		}
		h := l.aloft.pop()
		c := l.conn(h)
		if c == nil {
			l.touched()
			continue
		}
		if err := l.approach(c); err != nil {
			if !errors.Is(err, errPeerGone) {
				l.cfg.Log.Error("a connection that was handed over is closed", "conn", c.name(), "err", err)
			}
			l.abort(c)
			l.touched()
			continue
		}
		l.landing++
	}
}

// untilNextLook is how many of so many land before it is looked again.
func untilNextLook(aloft int) int { return max(lookEvery, aloft/lookShare) }

// readableFirst has those land first whose peers have sent something, and gives their number: only they wait, for what is written to the others leaves
// as ever.
func (l *Loop) readableFirst() (next int) {
	handles := l.aloft.items[l.aloft.first:]
	sockets := make([]unix.PollFd, len(handles))
	for i, h := range handles {
		sockets[i] = unix.PollFd{Fd: -1, Events: unix.POLLIN} // which poll takes no notice of
		if c := l.conn(h); c != nil {
			sockets[i].Fd = int32(c.sock.Fd())
		}
	}
	if n, err := unix.Poll(sockets, 0); n == 0 || err != nil {
		return 0
	}
	for i := range sockets {
		if sockets[i].Revents != 0 {
			handles[next], handles[i] = handles[i], handles[next]
			sockets[next], sockets[i] = sockets[i], sockets[next]
			next++
		}
	}
	return next
}

// landingAtOnce is how many sockets of a loop may be on their way to gnet: as descriptors are free.
func (e *Engine) landingAtOnce() int {
	spare := int(e.capacity.Load()-e.admitted.Load()) / 2
	return max(1, min(mostLanding, max(leastLanding, spare))/len(e.cfg.Inboxes))
}

// errPeerGone is of a socket that was reset on its way here.
var errPeerGone = errors.New("the peer has left")

// approach has gnet open a connection of a duplicate of its descriptor.
func (l *Loop) approach(c *conn) error {
	fd, err := unix.FcntlInt(uintptr(c.sock.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate a descriptor: %w", err)
	}
	file := os.NewFile(uintptr(fd), "connection")
	socket, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return fmt.Errorf("look at a socket: %w", err)
	}
	if socket.RemoteAddr() == nil {
		// Its peer has reset it since, and gnet can't do with that.
		socket.Close()
		return errPeerGone
	}
	landing := &lander{conn: c}
	opened, err := l.events.Enroll(gnet.NewContext(context.Background(), landing), socket)
	if err != nil {
		socket.Close()
		return fmt.Errorf("give a socket to an event loop: %w", err)
	}
	l.engine.watching.Go(func() {
		select {
		case <-opened:
			// Whatever it says: gnet says nothing of a socket that it could not watch, and reports it as taken.
			if !landing.down {
				l.inbox.PutAlways(handoff.Event{Kind: handoff.Missed, To: c.handle}, 0)
			}
		case <-l.engine.halted: // what gnet was still to do it never does
		}
	})
	return nil
}

// missed is a socket that gnet could not take.
func (l *Loop) missed(c *conn) {
	if c != nil {
		l.cfg.Log.Error("a connection that was handed over is closed: no event loop takes it; out of descriptors, of memory or of fs.epoll.max_user_watches?", "conn", c.name())
		l.abort(c)
	}
	l.touchedDown()
}

// touchDown is gnet's first word about a connection that it was given.
func (l *Loop) touchDown(g gnet.Conn, landing *lander) gnet.Action {
	defer l.touchedDown()
	c := landing.conn
	landing.down = true
	s, aloft := c.sock.(*lifted)
	if !aloft {
		return gnet.Close // it has ended meanwhile
	}
	g.SetContext(c)
	g.SetSafeContext(s.SafeContext())
	l.watcher.disarm(s.fd)
	alive := KeepAlive(l.cfg.Heartbeat)
	_ = g.SetKeepAlive(true, alive.Idle, alive.Interval, alive.Count) // as gnet's listeners have it: net.FileConn has set 15 s. It is no TCP socket if that fails
	c.sock = g
	l.forgive(c)
	if len(s.outbound) > 0 {
		_, _ = g.Write(s.outbound) // a failing write closes the connection
	}
	unix.Close(s.fd)
	if c.sock != nil && c.backed {
		l.drained(c)
	}
	switch {
	case c.sock != g:
		return gnet.Close // the write has ended it, or has left it to its last word
	case len(l.back[c.handle.Slot]) == 0:
		return gnet.None
	}
	return l.traffic(c)
}

// forgive gives a connection time to be read that has landed: what it was to send in time may wait in the kernel.
func (l *Loop) forgive(c *conn) {
	if c.probed {
		c.heard = l.now - moment(l.cfg.Heartbeat/tick) // the answer has a heartbeat from now on, as in inspect
	}
	soon := l.now.add(time.Second)
	if c.due != 0 && c.phase != closing {
		c.due = max(c.due, soon)
	}
	if c.half != 0 {
		c.half = max(c.half, soon)
	}
}

func (l *Loop) touchedDown() {
	if l.landing--; l.landing == 0 && l.aloft.len() > 0 {
		// Not at once: gnet works off its tasks before it asks epoll, and those who have landed want to be read.
		l.ring()
	}
	l.touched()
}

// touched counts a connection that has landed, or has ended before.
func (l *Loop) touched() {
	if l.first > 0 {
		if l.first--; l.first == 0 {
			l.engine.heardFirst()
		}
	}
	l.engine.touched(1)
}

// heardFirst is called by a loop when those have landed that had something to be read.
func (e *Engine) heardFirst() {
	if e.unheard.Add(-1) == 0 {
		close(e.heard)
	}
}

// touched counts connections that have landed, or have ended before.
func (e *Engine) touched(n int64) {
	if e.flying.Add(-n) == 0 && e.descended.CompareAndSwap(false, true) {
		close(e.landed)
	}
}

package loop

import (
	"context"
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
// again, from their positions and without a word to anybody. When all of all loops have, what clients have sent meanwhile is read: none of it meets a
// room whose members are not there yet.

// remembered is how far back a time may lie that a connection comes with: the clock of an engine begins so much earlier.
const remembered = 24 * time.Hour

// returning is a subscription that came with its connection.
type returning struct {
	of       handoff.Handle
	position uint64
}

// starter is the context of a connection that is only there to have gnet's loop meet ours.
type starter struct{}

// Restore has the loops take in the connections of Config.Returning, and returns when these are served, and what their peers had sent until then is
// read. Only after Booted, and before Enter.
func (e *Engine) Restore() error {
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
	for i := range all {
		l.takeIn(&all[i])
	}
	l.free = l.free[:0] // some may have ended already
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
	s := &lifted{fd: t.FD, came: true, outbound: slices.Clone(t.Outbound), socket: t.Socket, from: cameFrom(t)}
	c := &conn{
		loop: l, sock: s, handle: handoff.Handle{Slot: t.Slot, Generation: t.Generation, Loop: l.index},
		phase: phase(t.Phase), codec: t.Codec, stream: t.Stream, kernel: t.Kernel, probed: t.Probed, away: t.Away, closed: t.Closed,
		heard: l.before(t.Heard), took: l.before(t.Took),
	}
	l.slots[t.Slot] = slot{conn: c, generation: t.Generation}
	l.carried++
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
	l.unasked = nil // with the names
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

// land begins to read what clients send, first of those who have sent something already: only they wait, for what is written to the others leaves as ever. And it
// has those told of presence again that were.
func (l *Loop) land() {
	l.read, l.landing = make([]byte, readBytes), true
	sockets := make([]unix.PollFd, len(l.slots))
	for i := range l.slots {
		sockets[i].Fd = -1 // which poll takes no notice of
		c := l.slots[i].conn
		if c == nil {
			continue
		}
		for _, s := range c.subscriptions {
			if s.watching {
				l.cfg.Presence.Tell(handoff.Presence{Kind: handoff.AskPresence, From: c.handle, Codec: c.codec, Room: s.room.name, Watch: true})
			}
		}
		if c.aloft() {
			sockets[i] = unix.PollFd{Fd: int32(c.sock.Fd()), Events: unix.POLLIN}
		}
	}
	_, _ = unix.Poll(sockets, 0) // if it fails all have their turn with the others
	for i := range sockets {
		if c := l.slots[i].conn; c != nil && (sockets[i].Revents != 0 || len(l.back[uint32(i)]) > 0) {
			l.listen(c)
		}
	}
	l.watcher.told.Store(true)
	l.ring()
}

// landedAtOnce is how many places of the table a turn begins to read, of those whose clients have sent nothing: one or two milliseconds.
const landedAtOnce = 256

// landSome goes on with the others.
func (l *Loop) landSome() {
	if !l.landing || l.landed >= len(l.slots) {
		return
	}
	for range min(landedAtOnce, len(l.slots)-l.landed) {
		if c := l.slots[l.landed].conn; c != nil {
			l.listen(c)
		}
		l.landed++
	}
	l.watcher.told.Store(true)
	l.ring()
}

// forgive gives a connection time to be read: what it was to send in time may wait in the kernel.
func (l *Loop) forgive(c *conn) {
	if c.probed {
		c.heard = l.looks // the answer has a heartbeat from now on, as in inspect
	}
	soon := l.now.add(time.Second)
	if c.due != 0 && c.phase != closing {
		c.due = max(c.due, soon)
	}
	if c.half != 0 {
		c.half = max(c.half, soon)
	}
}

// caughtUp is called by a loop that has read what its clients had sent until they came.
func (e *Engine) caughtUp() {
	if e.unheard.Add(-1) == 0 {
		close(e.heard)
	}
}

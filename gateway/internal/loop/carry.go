package loop

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/takeover"
	"rookery/proto"
)

// The side of a takeover that gives: of what connections send nothing is worked off any more, what is under way ends, and each becomes a
// state and a descriptor.
//
// Whoever has sent something waits from then on, so with thousands of connections it counts what is done for each. gnet can't be told to read no more,
// and to take a connection out of it (lifted.go) takes four calls of the kernel. So that is done only for those that send something meanwhile, or have
// something to be written. The others stay where they are, and their loops stand still once they are given away: gnet asks for no sockets then, and reads
// nothing. How it goes on is said by Stop, if another process has them, or before that by TakeBack.

// Freeze has the loops work off nothing any more. What is accepted from now on is for Late. Connections with TLS whose keys are this process's,
// and not the kernel's, and streams of events, whose POSTs it alone would take, are sent away, to come back at moments of their own within window.
func (e *Engine) Freeze(window time.Duration) {
	e.mu.Lock() // no loop comes up meanwhile: one that does not know of it would go on reading
	e.frozen.Store(true)
	loops := *e.loops.Load()
	e.mu.Unlock()
	for _, l := range loops {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Freeze, At: window.Milliseconds()}, 0)
	}
}

// Quiet reports whether every request has its answer, but for publishes, and nothing is to be fanned out. After Freeze, for one goroutine.
func (e *Engine) Quiet() bool {
	quiet := true
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Quiet}, 0)
	}
	for _, l := range *e.loops.Load() {
		select {
		case is := <-l.quiet:
			quiet = quiet && is
		case <-l.gone: // with its connections: nobody waits for it
		}
	}
	return quiet
}

// Idle reports whether the loops have worked off what waited for them.
func (e *Engine) Idle() bool {
	for _, l := range *e.loops.Load() {
		select {
		case <-l.gone:
		default:
			if l.inbox.Held() > 0 {
				return false
			}
		}
	}
	return true
}

// packed is what a loop gives.
type packed struct {
	loop       uint16
	generation uint32
	states     []takeover.Packed
	left, lost int
}

// Pack gives all connections, in the order of the loops, how many could not be given and were closed, and how many ephemeral messages are lost that were kept
// for full sockets. Nothing else is told of their
// going: they go on elsewhere. The loops do nothing more. Those of a loop that has ended have ended with it. The descriptors are the engine's, which closes them when it ends, unless they are taken
// back. After Freeze, for one goroutine.
func (e *Engine) Pack() (b *takeover.Bundle, left, lost int) {
	b = &takeover.Bundle{Loops: make([][]takeover.Packed, len(e.cfg.Inboxes))}
	b.TokenIDKey, b.Slow = identity.TokenIDKey(), e.slow.list()
	b.Generations = make([]uint32, len(e.cfg.Inboxes))
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Pack}, 0)
	}
	for _, l := range *e.loops.Load() {
		select {
		case p := <-l.packed:
			b.Loops[p.loop], b.Generations[p.loop] = p.states, p.generation
			left += p.left
			lost += p.lost
		case <-l.gone: // which one that stands still is not
		}
	}
	e.given.Store(true)
	return b, left, lost
}

// TakeBack takes the connections of a bundle from Pack out of gnet, so that another engine of this process can have them: with it the descriptors are the
// caller's. A connection that can't be taken out is closed, and not in the bundle any more. Before Stop, for one goroutine.
func (e *Engine) TakeBack(b *takeover.Bundle) {
	done, asked := make(chan struct{}), 0
	for _, l := range *e.loops.Load() {
		select {
		case l.takeBack <- done:
			asked++
		case <-l.gone:
		}
	}
	for range asked {
		<-done
	}
	for i, states := range b.Loops {
		b.Loops[i] = slices.DeleteFunc(states, func(p takeover.Packed) bool { return p.FD < 0 })
	}
}

// Late gives the descriptors of connections that were accepted after Freeze and not given yet, of which nothing was read. They are the
// caller's.
func (e *Engine) Late() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	late := e.late
	e.admitted.Add(int64(e.lateRefused - len(late)))
	e.refused.Add(-int64(e.lateRefused))
	e.late, e.lateRefused = nil, 0
	return late
}

// pass keeps a new connection for Late. gnet closes its own descriptor.
func (e *Engine) pass(g gnet.Conn) gnet.Action {
	if fd, err := unix.FcntlInt(uintptr(g.Fd()), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		e.Keep(fd)
	}
	return gnet.Close
}

// Keep keeps a connection for Late that was accepted after Freeze. Where there is no room for it now, whoever it goes to may have some, or else says
// that it is full: for as many as may be told so at once. Safe for concurrent use.
func (e *Engine) Keep(fd int) {
	admitted := e.admit()
	if !admitted && !e.admitRefused() {
		unix.Close(fd)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.late = append(e.late, fd)
	if !admitted {
		e.lateRefused++
	}
}

// letGo counts the places of connections that were given away, when their descriptors are closed.
func (e *Engine) letGo() {
	for _, l := range *e.loops.Load() {
		e.admitted.Add(int64(l.givenRefused - l.givenAway))
		e.refused.Add(-int64(l.givenRefused))
	}
}

// freeze begins to hold what connections send. What is written to them leaves as ever.
func (l *Loop) freeze(window time.Duration) {
	l.flush()
	l.frozen, l.over, l.window = true, 0, window
	for i := range l.slots {
		c := l.slots[i].conn
		if c == nil || !c.secure && !c.events && c.phase != receiving {
			continue
		}
		if c.phase == connected {
			l.goaway(c)
		}
		l.close(c, proto.CloseDraining, "")
		l.flushMany()
	}
	l.gathered()
	if l.busy.len() > 0 {
		l.ring()
	}
}

// moves reports whether a connection can go on elsewhere: not where its answer is its end, and not with TLS or POSTs that are this process's.
func (c *conn) moves() bool {
	switch c.phase {
	case answering, delivering, receiving:
		return false
	}
	return !c.secure && !c.events
}

// hold is for what a connection has sent after the freeze, and gnet has just read: it is kept, and no more is read.
func (l *Loop) hold(c *conn) gnet.Action {
	l.hear(c)
	if err := l.lift(c); err != nil {
		l.engine.wanting.Log(l.cfg.Log, slog.LevelError, "a connection can't be handed over", "conn", c.name(), "err", err)
		l.close(c, proto.CloseDraining, "")
		l.flush()
		return gnet.None
	}
	return gnet.Close // as it has been: gnet takes that for a stale event and stops
}

// isQuiet reports whether nothing is under way that a connection waits for.
func (l *Loop) isQuiet() bool {
	if l.asking.len() > 0 || l.busy.len() > 0 || len(l.gathering) > 0 {
		return false
	}
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && !c.isQuiet() {
			return false
		}
	}
	return true
}

func (c *conn) isQuiet() bool {
	return c.readings == 0 && !c.asking && c.phase != answering && c.phase != delivering &&
		!slices.ContainsFunc(c.subscriptions, func(s subscription) bool { return s.member < 0 })
}

// pack makes states of the connections, and forgets these without telling anybody. Of those that gnet has their descriptors go out beside their
// sockets: nothing is done to them.
func (l *Loop) pack() packed {
	p := packed{loop: l.index, generation: l.opened, states: make([]takeover.Packed, 0, len(l.slots))}
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && c.sock != nil && c.missed() {
			p.lost += l.resumeAway(c)
		}
	}
	l.flush()
	var state takeover.Connection
	var block []byte // of states: each of its own would be memory that the kernel has to find
	for i := range l.slots {
		c := l.slots[i].conn
		if c == nil || c.sock == nil {
			continue
		}
		if l.endRevoked(c); c.sock == nil {
			continue
		}
		if !c.moves() && !(c.aloft() && c.phase == closing) {
			p.left++
			l.abort(c)
			continue
		}
		if c.phase != closing && !c.isQuiet() {
			p.left++
			l.close(c, proto.CloseDraining, "")
			if l.flush(); c.sock == nil {
				continue
			}
		}
		if !c.aloft() && c.sock.OutboundBuffered() > 0 {
			if err := l.lift(c); err != nil {
				l.engine.wanting.Log(l.cfg.Log, slog.LevelError, "a connection can't be handed over", "conn", c.name(), "err", err)
				p.left++
				l.abort(c)
				continue
			}
			if c.sock == nil { // it has ended within
				p.left++
				continue
			}
		}
		if cap(block)-len(block) < leastBlock {
			block = make([]byte, 0, blockBytes)
		}
		begin := len(block)
		l.carry(c, &state)
		block = state.Append(block)
		p.states = append(p.states, takeover.Packed{FD: c.sock.Fd(), State: block[begin:len(block):len(block)]})
		l.given = append(l.given, c.sock)
		if l.givenAway++; !c.lodges() {
			l.givenRefused++
		}
		c.sock.SetContext(nil) // so that its end is none of ours
		c.sock = nil
		l.slots[i].conn = nil
	}
	return p
}

// A block of states is begun anew when it has less room than most states need.
const (
	blockBytes = 64 << 10
	leastBlock = 1 << 10
)

// standStill waits for how a takeover goes on whose connections were given away. Afterwards the loop has ended: gnet must not ask its sockets for anything
// more, not even for what it has been told already.
func (l *Loop) standStill(p packed) {
	select {
	case <-l.engine.released:
	case done := <-l.takeBack:
		for i, g := range l.given {
			if held, own := g.(*lifted); own {
				held.fd = -1 // it is in the bundle
				continue
			}
			fd, err := unix.FcntlInt(uintptr(g.Fd()), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				l.engine.wanting.Log(l.cfg.Log, slog.LevelError, "a connection that was to be handed over is lost", "err", err)
				fd = -1
			}
			_ = l.events.Close(g)
			p.states[i].FD = fd
		}
		l.givenAway, l.givenRefused = 0, 0 // this process has them still
		done <- struct{}{}
		<-l.engine.released
	}
	for _, g := range l.given {
		if held, own := g.(*lifted); own && held.fd >= 0 {
			unix.Close(held.fd)
		}
	}
	l.given, l.ended = nil, true
}

// endRevoked closes a connection whose end was decided, and that the walk through the table has not come to.
func (l *Loop) endRevoked(c *conn) {
	who := c.identity
	if who == nil {
		return
	}
	x, expelled := l.expelled[who.User]
	if !expelled {
		x, expelled = l.toExpel[who.User]
	}
	switch {
	case expelled:
		l.close(c, x.code, x.reason)
	case l.rounds.current.has(who) || l.rounds.next.has(who):
		l.close(c, proto.CloseTokenRevoked, "the token was revoked")
	}
	l.flush()
}

// carry makes t a connection as it goes on elsewhere. Its bytes are valid until the loop does anything else, and its rooms until the next one.
func (l *Loop) carry(c *conn, t *takeover.Connection) {
	rooms := t.Rooms[:0]
	*t = takeover.Connection{
		Slot: c.handle.Slot, Generation: c.handle.Generation,
		Phase: uint8(c.phase), Codec: c.codec, Stream: c.stream, Kernel: c.kernel, Probed: c.probed, Away: c.away, Watching: c.watching, Closed: c.closed,
		Heard: ago(l.now, c.heard), Took: ago(l.now, c.took),
		Inbound: append(c.decoder.AppendHeld(nil), l.unread(c)...), Identity: c.identity, Socket: socketAddr(c.sock),
	}
	if held, is := c.sock.(*lifted); is {
		t.Outbound = held.outbound
	}
	if from, ok := c.sock.SafeContext().(*origin); ok {
		t.Origin, t.Peer = from.address, from.peer
	}
	if c.probed {
		t.Heard = l.cfg.Heartbeat.Milliseconds() // it is of another clock; the answer has all its time again, see forgive
	}
	if c.due != 0 {
		t.Due = max(1, -ago(l.now, c.due))
	}
	if c.refused != refusedNot {
		// Whether there is room is asked again.
		t.Codec, t.Stream = proto.Undecided, false
		if c.phase != introducing {
			t.Phase = uint8(sniffing)
		}
	}
	for _, s := range c.subscriptions {
		rooms = append(rooms, takeover.Room{
			Name: s.room.name, Position: c.position(&s), Watching: s.watching, Typing: s.typing, Member: s.room.told(c),
		})
	}
	t.Rooms = rooms
}

// ago is how many milliseconds a moment is before now, less than 0 if it is after.
func ago(now, then moment) int64 { return (int64(now) - int64(then)) * tick.Milliseconds() }

// position is the last message of a room that the connection was given.
func (c *conn) position(s *subscription) uint64 {
	if c.replay != nil {
		if e := c.replay.find(s.room); e != nil {
			return e.position
		}
	}
	return s.room.upcoming(s.member) - 1
}

// told is what the keeper of members has told of the connection's user in a room with members, and of the room.
func (r *localRoom) told(c *conn) *handoff.Membership {
	m := r.membership
	if m == nil {
		return nil
	}
	p := m.users[c.identity.User]
	peer := m.direct[0]
	if peer == c.identity.User {
		peer = m.direct[1]
	}
	return &handoff.Membership{
		User: c.identity.User, Role: p.role, MutedUntil: p.mutedUntil, Peer: peer, Kind: m.kind, Title: m.title, Speak: m.speak, SlowMS: m.slowMS,
	}
}

// list gives the messages that still count.
func (s *slowMode) list() (list []takeover.Slow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, spoken := range s.last {
		list = append(list, takeover.Slow{Room: who.room, User: who.user, At: spoken.at, Over: spoken.over})
	}
	slices.SortFunc(list, func(a, b takeover.Slow) int { return cmp.Compare(a.Over.UnixNano(), b.Over.UnixNano()) })
	return list
}

// restore takes messages that another process let through. The hash of their keys is that one's own: the same message again waits.
func (s *slowMode) restore(list []takeover.Slow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range list {
		if m.Over.After(time.Now()) {
			s.last[speaker{m.Room, m.User}] = spoken{at: m.At, over: m.Over}
		}
	}
	s.most = max(leastSlow, 2*len(s.last))
}

package loop

import (
	"cmp"
	"slices"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/takeover"
	"rookery/proto"
)

// The side of a takeover that gives: connections stop being read, what is under way ends, and each becomes a state and a descriptor.
// The engine goes on accepting, for whoever comes after it.

// Freeze has the loops read nothing any more. What is accepted from now on is for Late. Connections with TLS whose keys are this process's,
// and not the kernel's, and streams of events, whose POSTs it alone would take, are sent away, to come back at moments of their own within window.
func (e *Engine) Freeze(window time.Duration) {
	e.mu.Lock() // no loop comes up meanwhile: one that does not know of it would go on reading
	e.frozen.Store(true)
	loops := *e.loops.Load()
	e.mu.Unlock()
	e.quiet, e.packed = make(chan bool, len(loops)), make(chan packed, len(loops))
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
	for range *e.loops.Load() {
		quiet = <-e.quiet && quiet
	}
	return quiet
}

// Idle reports whether the loops have worked off what waited for them.
func (e *Engine) Idle() bool {
	for _, l := range *e.loops.Load() {
		if l.inbox.Held() > 0 {
			return false
		}
	}
	return true
}

// packed is what a loop gives.
type packed struct {
	loop       uint16
	generation uint32
	states     []takeover.Packed
	left       int
}

// Pack gives all connections, in the order of the loops, and how many could not be given and were closed. Nothing else is told of their
// going: they go on elsewhere. After Freeze, for one goroutine.
func (e *Engine) Pack() (b *takeover.Bundle, left int) {
	b = &takeover.Bundle{Loops: make([][]takeover.Packed, len(e.cfg.Inboxes))}
	b.TokenIDKey, b.Slow = identity.TokenIDKey(), e.slow.list()
	b.Generations = make([]uint32, len(e.cfg.Inboxes))
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Pack}, 0)
	}
	for range *e.loops.Load() {
		p := <-e.packed
		b.Loops[p.loop], b.Generations[p.loop] = p.states, p.generation
		left += p.left
	}
	return b, left
}

// Late gives the descriptors of connections that were accepted after Freeze and not given yet, of which nothing was read. They are the
// caller's.
func (e *Engine) Late() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	late := e.late
	e.late = nil
	e.admitted.Add(-int64(len(late)))
	return late
}

// pass keeps a new connection for Late. gnet closes its own descriptor.
func (e *Engine) pass(g gnet.Conn) gnet.Action {
	if !e.admit() {
		return gnet.Close
	}
	fd, err := unix.FcntlInt(uintptr(g.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		e.admitted.Add(-1)
		return gnet.Close
	}
	e.mu.Lock()
	e.late = append(e.late, fd)
	e.mu.Unlock()
	return gnet.Close
}

// freeze takes the connections out of gnet. What is written to them from now on leaves as ever.
func (l *Loop) freeze(window time.Duration) {
	l.flush()
	l.frozen, l.over, l.window = true, 0, window
	for i := range l.slots {
		c := l.slots[i].conn
		if c == nil || c.phase == answering || c.phase == delivering {
			continue // its answer is its end
		}
		if _, held := c.sock.(*lifted); held {
			continue // for its last word, see kernel.go
		}
		if c.secure || c.events || c.phase == receiving {
			if c.phase == connected {
				l.goaway(c)
			}
			l.close(c, proto.CloseDraining, "")
			continue
		}
		if err := l.lift(c); err != nil {
			l.cfg.Log.Error("a connection can't be handed over", "conn", c.name(), "err", err)
			l.close(c, proto.CloseDraining, "")
		}
	}
	l.gathered()
	if l.busy.len() > 0 {
		l.ring()
	}
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

// pack makes states of the connections, and forgets these without telling anybody.
func (l *Loop) pack() packed {
	p := packed{loop: l.index, generation: l.opened}
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && c.sock != nil && c.missed() {
			l.resumeAway(c)
		}
	}
	l.flush()
	for i := range l.slots {
		c := l.slots[i].conn
		if c == nil || c.sock == nil {
			continue
		}
		if l.endRevoked(c); c.sock == nil {
			continue
		}
		s, is := c.sock.(*lifted)
		if !is {
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
		state := l.carried(c, s)
		p.states = append(p.states, takeover.Packed{FD: s.fd, State: state.Append(nil)})
		c.sock = nil
		l.slots[i].conn = nil
	}
	return p
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

// carried is a connection as it goes on elsewhere.
func (l *Loop) carried(c *conn, s *lifted) *takeover.Connection {
	t := &takeover.Connection{
		FD: s.fd, Slot: c.handle.Slot, Generation: c.handle.Generation,
		Phase: uint8(c.phase), Codec: c.codec, Stream: c.stream, Kernel: c.kernel, Probed: c.probed, Away: c.away, Watching: c.watching, Closed: c.closed,
		Heard: ago(l.now, c.heard), Took: ago(l.now, c.took),
		Inbound: append(c.decoder.AppendHeld(nil), l.back[c.handle.Slot]...), Outbound: s.outbound, Identity: c.identity,
	}
	if from, ok := s.from.(*origin); ok {
		t.Origin, t.Peer = from.address, from.peer
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
		t.Rooms = append(t.Rooms, takeover.Room{
			Name: s.room.name, Position: c.position(&s), Watching: s.watching, Typing: s.typing, Member: s.room.told(c),
		})
	}
	return t
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

package loop

import (
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/takeover"
)

// takeOver has another loop go on with the model's connections, as in a process that takes over: another shard has the log, and pages that were on their
// way are lost. Requests have their answers by then, but what is to be fanned out may be still, of the log; and of what sockets did not take and of what
// is kept for who is behind nothing may be missing.
func (m *model) takeOver() {
	m.rig.rooms.full = false
	m.rig.put(handoff.Event{Kind: handoff.Freeze})
	for waits := true; waits; {
		for m.collect(); len(m.mail) > 0; m.collect() {
			m.shard()
		}
		m.turn()
		m.worked()
		waits = !m.mayGo() || m.rng.IntN(3) > 0 && (m.rig.rung || m.rig.loop.inbox.Held() > 0)
	}
	for _, c := range m.clients {
		for _, room := range m.rooms {
			if m.subscription(c, room) != nil {
				m.leaves(c, room)
				m.books.asked[stay{c, room}] = m.books.given[room]
			}
		}
		m.check(c)
		conn := c.socket.context.(*conn)
		conn.sock = &lifted{fd: -1, outbound: c.socket.buffered}
	}
	old := m.rig.loop
	p := old.pack()
	if len(p.states) != len(m.clients) || p.left != 0 || old.kept != 0 || old.counted.EphemeralKept.Load() != 0 {
		m.t.Fatalf("of %d connections %d go over, %d do not; %d bytes of ephemeral messages are kept", len(m.clients), len(p.states), p.left, old.kept)
	}
	m.ended = append(m.ended, old.counted)
	states := make([]takeover.Connection, len(p.states))
	for i := range states {
		if err := states[i].Decode(p.states[i].State); err != nil {
			m.t.Fatal(err)
		}
	}
	begins := m.rig.rooms.begins
	m.rig = m.newRig(func(c *Config) {
		c.Returning, c.Generations = [][]takeover.Connection{states}, []uint32{p.generation}
	})
	m.rig.rooms.begins = begins
	l := m.rig.loop
	l.restore()
	for _, c := range m.clients {
		conn := l.conn(c.socket.context.(*conn).handle)
		c.socket.context, c.socket.loop, c.socket.buffered = conn, m.rig.events, conn.sock.(*lifted).outbound
		conn.sock = c.socket
		l.carried--
	}
	clear(m.listens)
	for !l.settled {
		m.collect()
		m.shard()
		m.turn()
		m.worked()
	}
	if l.unasked != nil {
		m.t.Error("the names of the rooms that were asked about are kept")
	}
	m.rig.put(handoff.Event{Kind: handoff.Land})
}

// mayGo reports whether what a takeover waits for has come about.
func (m *model) mayGo() bool {
	l := m.rig.loop
	for _, r := range l.rooms {
		if len(r.pending) > int(r.stored) || r.batch != nil && !r.batch.ephemeral.empty() {
			return false
		}
	}
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && !c.isQuiet() {
			return false
		}
	}
	return true
}

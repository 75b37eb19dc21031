package benchtest

import (
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"rookery/proto"
)

// keepMessages is how many messages a room keeps for catch-up and history.
const keepMessages = 1 << 16

// room is the messages of one name and who gets them. Guarded by Server.mu.
type room struct {
	name string
	keep int

	members   map[*member]struct{}
	messages  []*message // the newest, without a hole
	begin     uint64     // the number of the first of them
	released  uint64     // up to where DropTail lets deliveries go
	publishes int        // for the faults of publishes
	joins     int        // for RefuseJoin
	marks     int        // for the faults of marks
	keys      map[string]*message
}

func newRoom(name string, keep int) *room {
	return &room{name: name, keep: keep, begin: 1, members: map[*member]struct{}{}, keys: map[string]*message{}}
}

// head is the number of the newest message.
func (r *room) head() uint64 { return r.begin + uint64(len(r.messages)) - 1 }

// at is the message with a number from begin to head.
func (r *room) at(seq uint64) *message { return r.messages[seq-r.begin] }

// roomLocked finds a room, or makes it: a name is enough.
func (s *Server) roomLocked(name string) *room {
	r := s.rooms[name]
	if r == nil {
		r = newRoom(name, max(keepMessages, s.faults.DropTail))
		s.rooms[name] = r
	}
	return r
}

// next makes the message that is to be added next.
func (r *room) next(from string, content []byte) *message {
	at := time.Now().UnixMilli()
	if len(r.messages) > 0 {
		at = max(at, r.at(r.head()).header.At) // docs/protocol.md: it never runs backwards in a room
	}
	h := proto.Header{Room: r.name, Seq: r.head() + 1, At: at, From: from}
	return &message{seq: h.Seq, header: h, content: content, encoded: proto.Encode(h, content)}
}

// addLocked puts a message into its room and delivers what is to be delivered now.
func (s *Server) addLocked(r *room, m *message) {
	r.messages = append(r.messages, m)
	if m.key != "" {
		r.keys[m.key] = m
	}
	tail := uint64(s.faults.DropTail)
	owed := int64(len(r.members))
	switch {
	case m.lied:
		s.tally.withheld.Add(owed)
	case tail > 0:
		m.kept = owed
		s.tally.tailKept.Add(owed)
	}
	for r.released+tail < r.head() {
		r.released++
		free := r.at(r.released)
		s.tally.tailKept.Add(-free.kept)
		for member := range r.members {
			if free.seq >= member.from {
				member.deliverLocked(free)
			}
		}
	}
	for len(r.messages) > r.keep {
		delete(r.keys, r.messages[0].key)
		r.messages[0] = nil
		r.messages = r.messages[1:]
		r.begin++
	}
}

// member is a connection in a room. Guarded by Server.mu.
type member struct {
	conn *conn
	room *room
	from uint64 // the first number that it is to get
	// deliveries is for the faults of deliveries.
	deliveries int
	held       *item // waits for its successor, or has waited too long
}

// enterLocked makes a connection a member, and delivers what it has missed.
func (s *Server) enterLocked(c *conn, r *room, from uint64) {
	m := &member{conn: c, room: r, from: from}
	c.rooms[r.name] = m
	r.members[m] = struct{}{}
	if from < r.begin {
		gap := proto.AppendGap(nil, c.codec, r.name, from, r.begin-1, proto.GapExpired)
		c.out.push(s.faults.Delay, &item{kind: kindOf(c.codec), payload: gap})
	}
	for seq := max(from, r.begin); seq <= r.released; seq++ {
		m.deliverLocked(r.at(seq))
	}
}

// leaveLocked ends the membership. A delivery that waits for its successor has none any more.
func (m *member) leaveLocked() {
	delete(m.room.members, m)
	delete(m.conn.rooms, m.room.name)
	m.conn.out.pushBefore(m.held, nil, m.conn.server.faults.Delay)
}

// part ends all memberships of a connection.
func (s *Server) part(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range c.rooms {
		m.leaveLocked()
	}
}

// deliverLocked queues a message for a member, with the fault whose turn it is.
func (m *member) deliverLocked(msg *message) {
	if msg.lied {
		return
	}
	m.deliveries++
	s, c := m.conn.server, m.conn
	f := &s.faults
	encoded := func(msg *message, fault *atomic.Int64) *item {
		i := msg.item(c.codec)
		i.counts = [2]*atomic.Int64{&s.tally.delivered, fault}
		return i
	}
	var items []*item
	switch n := m.deliveries; {
	case every(f.Drop, n):
		s.tally.dropped.Add(1)
		return
	case every(f.Duplicate, n):
		items = append(items, encoded(msg, nil), encoded(msg, &s.tally.duplicated))
	case every(f.Swap, n) && m.held == nil:
		m.held = encoded(msg, nil)
		c.out.push(f.Delay+f.SwapWait, m.held)
		return
	case every(f.Garble, n):
		items = append(items, encoded(msg.garbled(), &s.tally.garbled))
	case every(f.WrongRoom, n):
		items = append(items, encoded(msg.elsewhere(), &s.tally.wrongRoom))
	default:
		items = append(items, encoded(msg, nil))
	}
	c.out.pushBefore(m.held, &s.tally.swapped, f.Delay, items...)
	m.held = nil
}

// everyone is the name of the one room of Broadcast. Each connection of Echo has a room of this name by itself.
const everyone = "everyone"

// enterRelay makes a connection of Echo or Broadcast a member of its only room.
func (c *conn) enterRelay() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.connected.Add(1)
	r := newRoom(everyone, s.faults.DropTail)
	if s.config.Mode == Broadcast {
		if s.rooms[everyone] == nil {
			s.rooms[everyone] = r
		}
		r = s.rooms[everyone]
	}
	s.enterLocked(c, r, r.head()+1)
}

// relay passes a message on to all members of the sender's room.
func (c *conn) relay(kind ws.OpCode, payload []byte) {
	s := c.server
	s.gate.publish()
	s.tally.published.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := c.rooms[everyone].room
	s.addLocked(r, &message{seq: r.head() + 1, kind: kind, payload: payload})
}

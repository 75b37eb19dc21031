package loop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestSeamAgainstAModel runs one loop with a log, a shard and sockets that are plain slices,
// and picks at random who takes the next step: a message is committed, the shard works off
// a command, a page is read, a socket fills up or drains, a client joins with a
// position, leaves, goes. The model is what a client may see: the numbers of a room go up by
// one from where it joined, and at the end, when everything has come to rest, it has seen all.
func TestSeamAgainstAModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	runs := 60
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		runs = 1
	}
	for i := range runs {
		seed := seed + uint64(i)
		m := newModel(t, seed)
		for i := range 3000 {
			if i%100 == 0 {
				m.busy = m.rng.IntN(25) // quiet times let who is behind become live again
			}
			m.step()
		}
		m.rest()
		if t.Failed() {
			t.Fatalf("repeat with ROOKERY_SEED=%d", seed)
		}
		if i == 0 {
			t.Logf("seed %d: %d messages, %d pages, %d times behind, %d sockets full", seed, m.published,
				m.pages, m.rig.loop.counted.FellBehind.Load(), m.rig.loop.counted.Full.Load())
		}
	}
}

type model struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	rig  *rig

	clients []*modelClient
	rooms   []string

	// The log and the shard.
	log       map[string]uint64 // committed head
	visible   map[string]uint64 // head as the shard knows it
	listens   map[string]bool   // the loop is given the room's deliveries
	mail      []func()          // the shard's mailbox
	published int
	pages     int
	busy      int // how many steps of a hundred publish
}

type modelClient struct {
	socket *fakeSocket
	nextID uint64
	asked  map[uint64]string // join under way: id to room
	seen   map[string]uint64 // joined rooms: last number seen
	after  map[uint64]uint64 // by id of the join
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)),
		rig:   newRig(t, nil),
		rooms: []string{"a", "b", "c"},
		log:   map[string]uint64{}, visible: map[string]uint64{}, listens: map[string]bool{},
	}
	for range 5 {
		m.clients = append(m.clients, m.newClient())
	}
	return m
}

func (m *model) newClient() *modelClient {
	codec, stream := proto.Binary, m.rng.IntN(2) == 0
	if !stream && m.rng.IntN(2) == 0 {
		codec = proto.JSON
	}
	return &modelClient{
		socket: m.rig.open(stream, codec), nextID: 10,
		asked: map[uint64]string{}, after: map[uint64]uint64{}, seen: map[string]uint64{},
	}
}

func (m *model) step() {
	c := m.clients[m.rng.IntN(len(m.clients))]
	room := m.rooms[m.rng.IntN(len(m.rooms))]
	switch n := m.rng.IntN(100); {
	case n < m.busy:
		m.publish(room)
	case n < 25:
		m.read()
	case n < 45:
		m.shard()
	case n < 60:
		m.read()
	case n < 80:
		m.rig.loop.work()
	case n < 82:
		c.socket.room = m.rng.IntN(400) // about to be full
	case n < 91:
		c.socket.room += m.rng.IntN(20000)
		m.wake(c)
	case n < 97:
		m.toggle(c, room)
	case n < 98:
		m.rig.rooms.full = !m.rig.rooms.full && m.rng.IntN(3) == 0
	case n < 99:
		m.rig.put(handoff.Event{Kind: handoff.Tick})
	default:
		m.rig.events.Close(c.socket)
		for i := range m.clients {
			if m.clients[i] == c {
				m.clients[i] = m.newClient()
			}
		}
	}
	m.collect()
	for _, c := range m.clients {
		m.check(c)
	}
}

// publish commits messages; the shard hears of it later.
func (m *model) publish(room string) {
	for range 1 + m.rng.IntN(4) {
		m.log[room]++
		m.published++
		seq := m.log[room]
		m.mail = append(m.mail, func() {
			m.visible[room] = seq
			if m.listens[room] {
				m.rig.deliver(room, seq)
			}
		})
	}
}

// collect puts what the loop has sent into the shard's mailbox.
func (m *model) collect() {
	for _, c := range m.rig.rooms.commands {
		m.mail = append(m.mail, func() { m.command(c) })
	}
	m.rig.rooms.commands = nil
}

func (m *model) command(c handoff.Command) {
	switch c.Kind {
	case handoff.Join:
		m.listens[c.Room] = true
		head := m.visible[c.Room]
		m.rig.put(handoff.Event{
			Kind: handoff.Joined, To: c.From, ID: c.ID, Room: c.Room, Seq: head,
			HasAfter: c.HasAfter, After: c.After, Recovered: c.HasAfter && c.After <= head,
		})
	case handoff.Gone:
		if !m.listens[c.Room] {
			m.t.Errorf("room %s is given up and was not asked for", c.Room)
		}
		delete(m.listens, c.Room)
	}
}

func (m *model) shard() {
	if len(m.mail) > 0 {
		next := m.mail[0]
		m.mail = m.mail[1:]
		next()
	}
}

// read answers an ordered page, in any order among connections, with some of what there is.
func (m *model) read() {
	if len(m.rig.rooms.reads) == 0 {
		return
	}
	i := m.rng.IntN(len(m.rig.rooms.reads))
	r := m.rig.rooms.reads[i]
	m.rig.rooms.reads = append(m.rig.rooms.reads[:i], m.rig.rooms.reads[i+1:]...)
	codec := proto.Binary
	if r.JSON {
		codec = proto.JSON
	}
	e := handoff.Event{Kind: handoff.Page, To: r.To, Room: r.Room, Seq: r.Position, Frames: make([]byte, handoff.Headroom)}
	for range 1 + m.rng.IntN(8) {
		if e.Seq == m.log[r.Room] {
			break
		}
		e.Seq++
		e.Frames = append(e.Frames, encoded(r.Room, e.Seq).Frame(codec)...)
	}
	m.pages++
	m.rig.put(e)
}

// wake tells the loop that a full socket takes bytes again, as the watcher would.
func (m *model) wake(c *modelClient) {
	conn := c.socket.context.(*conn)
	if m.rig.armed[conn] {
		delete(m.rig.armed, conn)
		m.rig.put(handoff.Event{Kind: handoff.Writable, To: conn.handle})
	}
}

func (m *model) toggle(c *modelClient, room string) {
	if c.socket.closed {
		return
	}
	for _, asked := range c.asked {
		if asked == room {
			if m.rng.IntN(4) == 0 && !m.leaving(c, room) { // a leave right behind the join
				m.leave(c, room)
			}
			return
		}
	}
	if _, joined := c.seen[room]; joined && !m.leaving(c, room) {
		m.leave(c, room)
		if m.rng.IntN(2) == 0 {
			return
		} // else join again right behind
	}
	join := &v1.Join{Room: room}
	c.nextID++
	if m.rng.IntN(4) > 0 {
		after := uint64(0)
		if head := m.visible[room]; head > 0 {
			after = m.rng.Uint64N(head + 1)
		}
		join.After = &after
		c.after[c.nextID] = after
	}
	c.asked[c.nextID] = room
	m.rig.request(c.socket, &v1.ClientFrame{Id: c.nextID, Op: &v1.ClientFrame_Join{Join: join}})
}

// leaving: a leave was sent, or the join was refused, and the client has not read it yet.
func (m *model) leaving(c *modelClient, room string) bool {
	return c.socket.context.(*conn).find(room) < 0
}

func (m *model) leave(c *modelClient, room string) {
	c.nextID++
	m.rig.request(c.socket, &v1.ClientFrame{Id: c.nextID, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}})
}

// check reads what has reached the client.
func (m *model) check(c *modelClient) {
	for _, f := range m.rig.sent(c.socket) {
		switch op := f.Op.(type) {
		case *v1.ServerFrame_Joined:
			room := c.asked[f.Id]
			delete(c.asked, f.Id)
			c.seen[room] = op.Joined.Head
			if after, ok := c.after[f.Id]; ok {
				if !op.Joined.GetRecovered() {
					m.t.Errorf("join after %d was not recovered", after)
				}
				c.seen[room] = after
			}
		case *v1.ServerFrame_Left:
			delete(c.seen, op.Left.Room)
		case *v1.ServerFrame_Message:
			last, joined := c.seen[op.Message.Room]
			if !joined || op.Message.Seq != last+1 {
				m.t.Errorf("message %d of %s came after %d, joined %v", op.Message.Seq, op.Message.Room, last, joined)
			}
			c.seen[op.Message.Room] = op.Message.Seq
		case *v1.ServerFrame_Error:
			if op.Error.Name != proto.ErrOverloaded.Name {
				m.t.Errorf("answered with %v", op.Error)
			}
			delete(c.asked, f.Id)
		}
	}
}

// rest lets everything flow until nothing moves, and asks that everybody has seen all.
func (m *model) rest() {
	m.rig.rooms.full = false
	for range 20000 {
		for _, c := range m.clients {
			c.socket.room = 1 << 30
			m.wake(c)
		}
		m.collect()
		m.shard()
		m.read()
		m.rig.put(handoff.Event{Kind: handoff.Tick})
		m.rig.work()
		for _, c := range m.clients {
			m.check(c)
		}
		if len(m.mail) == 0 && len(m.rig.rooms.reads) == 0 && len(m.rig.rooms.commands) == 0 && m.rig.loop.inbox.Held() == 0 && m.settled() {
			break
		}
	}
	l := m.rig.loop
	for i, c := range m.clients {
		for room, seen := range c.seen {
			if seen != m.log[room] {
				m.t.Errorf("client %d has seen %d of %s, which has %d", i, seen, room, m.log[room])
			}
		}
		if conn := c.socket.context.(*conn); conn.replay != nil {
			m.t.Errorf("client %d is not live again: %s", i, describe(conn))
		}
	}
	if l.counted.Behind.Load() != 0 || l.reading != 0 || l.inbox.Held() != 0 {
		m.t.Errorf("at rest %d are behind, %d pages under way, %d bytes held", l.counted.Behind.Load(), l.reading, l.inbox.Held())
	}
	for _, c := range m.clients {
		m.rig.events.Close(c.socket)
	}
	m.collect()
	for len(m.mail) > 0 {
		m.shard()
	}
	if len(m.listens) != 0 {
		m.t.Errorf("the loop is still given %v when everybody is gone", m.listens)
	}
	if len(l.leaves) != 0 || len(l.rooms) != 0 || l.counted.Subscriptions.Load() != 0 || l.counted.Connections.Load() != 0 {
		m.t.Errorf("left behind: %d rooms, %d subscriptions, %d connections", len(l.rooms), l.counted.Subscriptions.Load(), l.counted.Connections.Load())
	}
}

func (m *model) settled() bool {
	for _, c := range m.clients {
		if c.socket.context.(*conn).replay != nil || len(c.asked) > 0 {
			return false
		}
		for room, seen := range c.seen {
			if seen != m.log[room] {
				return false
			}
		}
	}
	return true
}

func describe(c *conn) string {
	s := fmt.Sprintf("backed %v, waiting %v, reading %v;", c.backed, c.waiting, c.replay.reading != nil)
	for _, e := range c.replay.entries {
		s += fmt.Sprintf(" %s at %d of %d,", e.room.name, e.position, e.room.seq)
	}
	return s
}

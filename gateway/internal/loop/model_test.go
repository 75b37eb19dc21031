package loop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestSeamAgainstAModel runs one loop with a log, a shard and sockets that are plain slices,
// and picks at random who takes the next step: a message is committed, the shard works off
// a command, a page is read, a socket fills up or drains, a client joins with a
// position, leaves, goes. The model is what a client may see: the numbers of a room go up by
// one from where it joined, and at the end, when everything has come to rest, it has seen all.
// Ephemeral messages of a sender only ever go up too, and the newest of each sender and key is
// there in the end for all that were members when it was passed on. What the loop counts of them is the truth: see books.
// Messages change others, and a log forgets its oldest: nobody who is behind is given what is not so any more, see recent_model_test.go.
func TestSeamAgainstAModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	runs := 24
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		runs = 1
	}
	synctest.Test(t, func(t *testing.T) { modelRuns(t, seed, runs) }) // for windows and pauses
}

func modelRuns(t *testing.T, seed uint64, runs int) {
	kept := int64(0)
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
		kept += m.rig.loop.counted.RecentDeliveries.Load()
		if t.Failed() {
			t.Fatalf("repeat with ROOKERY_SEED=%d", seed)
		}
		if i == 0 {
			counted := m.rig.loop.counted
			t.Logf("seed %d: %d messages, %d pages, %d times behind, %d sockets full; %d ephemeral, %d delivered, %d and %d dropped",
				seed, m.published, m.pages, counted.FellBehind.Load(), counted.Full.Load(), m.passed,
				counted.EphemeralDelivered.Load(), counted.EphemeralDropped[dropBehind].Load(), counted.EphemeralDropped[dropLeft].Load())
		}
	}
	if t.Logf("%d deliveries from memory", kept); kept == 0 {
		t.Error("nobody who was behind was given what is kept")
	}
}

type model struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	rig  *rig

	ended []*Counters // of loops that others have taken over from

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

	// Ephemeral messages, numbered in the order of the shard.
	passed int
	newest map[ephemeralKey]int
	books  books
	turns  turns
}

type ephemeralKey struct{ room, from, key string }

type modelClient struct {
	socket *fakeSocket
	nextID uint64
	asked  map[uint64]string // join under way: id to room
	seen   map[string]uint64 // joined rooms: last number seen
	after  map[uint64]uint64 // by id of the join

	since     map[string]int       // by room: ephemeral messages before the shard counted the membership
	ephemeral map[ephemeralKey]int // number of the last one seen, while joined
	highest   map[ephemeralKey]int // the same for all keys of a sender
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)),
		rooms: []string{"a", "b", "c"},
		log:   map[string]uint64{}, visible: map[string]uint64{}, listens: map[string]bool{},
		newest: map[ephemeralKey]int{}, books: newBooks(), turns: newTurns(),
	}
	m.rig = m.newRig(nil)
	m.rig.rooms.begins = map[string]uint64{}
	for range 5 {
		m.clients = append(m.clients, m.newClient())
	}
	return m
}

func (m *model) newRig(change func(*Config)) *rig {
	r := newRig(m.t, func(c *Config) {
		c.Window = func(room string) time.Duration {
			if room == "c" {
				return 3 * time.Millisecond
			}
			return 0
		}
		if change != nil {
			change(c)
		}
	})
	r.loop.bell = &bell{loop: r.loop}
	r.loop.slice = 1 + m.rng.IntN(6) // sockets fill up and drain between the slices of a batch
	return r
}

func (m *model) newClient() *modelClient {
	codec, stream := proto.Binary, m.rng.IntN(2) == 0
	if !stream && m.rng.IntN(2) == 0 {
		codec = proto.JSON
	}
	c := &modelClient{
		socket: m.rig.open(stream, codec), nextID: 10,
		asked: map[uint64]string{}, after: map[uint64]uint64{}, seen: map[string]uint64{},
		since: map[string]int{}, ephemeral: map[ephemeralKey]int{}, highest: map[ephemeralKey]int{},
	}
	c.socket.wrote = func(b []byte) { m.written(c, b) }
	return c
}

func (m *model) step() {
	c := m.clients[m.rng.IntN(len(m.clients))]
	room := m.rooms[m.rng.IntN(len(m.rooms))]
	switch n := m.rng.IntN(100); {
	case n < m.busy && m.rng.IntN(3) == 0:
		m.pass(room)
	case n < m.busy:
		m.publish(room)
	case n < 25:
		m.read()
	case n < 45:
		for range 1 + m.rng.IntN(5) {
			m.shard()
		}
	case n < 60:
		m.read()
	case n < 80:
		m.turn()
		m.worked()
	case n < 84:
		c.socket.room = m.rng.IntN(400) // about to be full
	case n < 91:
		c.socket.room += m.rng.IntN(1500)
		m.wake(c)
	case n < 97:
		m.toggle(c, room)
	case n < 98 && m.rng.IntN(2) == 0:
		m.trim(room)
	case n < 98:
		m.rig.rooms.full = !m.rig.rooms.full && m.rng.IntN(3) == 0
	case n < 99:
		m.rig.put(handoff.Event{Kind: handoff.Tick})
		m.rig.loop.load.pause = time.Duration(m.rng.IntN(3)) * time.Millisecond
	case m.rng.IntN(5) == 0:
		m.takeOver()
	default:
		m.ends(c)
		if m.rng.IntN(2) == 0 {
			m.rig.put(handoff.Event{Kind: handoff.Shrink}) // before anybody has its place
			m.turn()
			m.worked()
		}
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
				message := modelMessage(room, seq)
				m.rig.put(handoff.Event{Kind: handoff.Delivery, Room: room, Seq: seq, Message: message, Size: message.Size()})
			}
		})
	}
}

// pass has the shard pass on ephemeral messages of a few senders and keys.
func (m *model) pass(room string) {
	for range 1 + m.rng.IntN(6) {
		k := ephemeralKey{room, fmt.Sprintf("user%d", m.rng.IntN(2)), fmt.Sprintf("key%d", m.rng.IntN(3))}
		m.mail = append(m.mail, func() {
			m.passed++
			m.newest[k] = m.passed
			if m.listens[room] {
				m.books.give(room)
				m.rig.pass(k.room, k.from, k.key, m.passed)
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
		for _, client := range m.clients {
			if client.socket.context.(*conn).handle == c.From {
				client.since[c.Room] = m.passed
				m.books.asked[stay{client, c.Room}] = m.books.given[c.Room]
			}
		}
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
	codec := r.Codec
	e := handoff.Event{Kind: handoff.Page, To: r.To, Room: r.Room, Seq: r.Position, Frames: make([]byte, handoff.Headroom)}
	if m.rng.IntN(10) == 0 {
		// The index of changes is behind: the same page is asked for again.
		m.rig.put(handoff.Event{Kind: handoff.Page, To: r.To, Room: r.Room, Seq: r.Position, Code: proto.ErrOverloaded})
		return
	}
	if begin := m.rig.rooms.Begin(r.Room); begin > e.Seq+1 {
		e.Frames = proto.AppendGap(e.Frames, codec, r.Room, e.Seq+1, begin-1, proto.GapExpired)
		e.Seq = begin - 1
	}
	for range 1 + m.rng.IntN(8) {
		if e.Seq == m.log[r.Room] {
			break
		}
		e.Seq++
		e.Frames = append(e.Frames, folded(r.Room, e.Seq, m.log[r.Room], codec)...)
	}
	m.pages++
	m.turns.paged[r.To] = true
	m.rig.put(e)
}

// wake tells the loop that a full socket takes bytes again, as the watcher would.
func (m *model) wake(c *modelClient) {
	conn := c.socket.context.(*conn)
	if m.rig.armed[conn] {
		delete(m.rig.armed, conn)
		m.rig.loop.stir(conn.handle, unix.EPOLLOUT)
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
	asked := len(m.rig.rooms.commands)
	m.rig.request(c.socket, &v1.ClientFrame{Id: c.nextID, Op: &v1.ClientFrame_Join{Join: join}})
	if len(m.rig.rooms.commands) == asked && m.rig.loop.rooms[room] != nil {
		c.since[room] = m.passed // the loop has answered by itself
		m.entersHere(c, room)
	}
}

// leaving: a leave was sent, or the join was refused, and the client has not read it yet.
func (m *model) leaving(c *modelClient, room string) bool {
	return c.socket.context.(*conn).find(room) < 0
}

func (m *model) leave(c *modelClient, room string) {
	c.nextID++
	m.leaves(c, room)
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
			for k := range c.ephemeral {
				if k.room == op.Left.Room {
					delete(c.ephemeral, k)
				}
			}
		case *v1.ServerFrame_Message:
			if op.Message.Ephemeral {
				m.checkEphemeral(c, op.Message)
				continue
			}
			last, joined := c.seen[op.Message.Room]
			if !joined || op.Message.Seq != last+1 {
				m.t.Errorf("message %d of %s came after %d, joined %v", op.Message.Seq, op.Message.Room, last, joined)
			}
			c.seen[op.Message.Room] = op.Message.Seq
		case *v1.ServerFrame_Gap:
			if last, joined := c.seen[op.Gap.Room]; !joined || op.Gap.First != last+1 {
				m.t.Errorf("%v came after %d, joined %v", op.Gap, last, joined)
			}
			c.seen[op.Gap.Room] = op.Gap.Last
		case *v1.ServerFrame_Error:
			if op.Error.Name != proto.ErrOverloaded.Name {
				m.t.Errorf("answered with %v", op.Error)
			}
			delete(c.asked, f.Id)
		}
	}
}

// checkEphemeral: messages of a sender come in their order, so no key is older than it was before.
func (m *model) checkEphemeral(c *modelClient, message *v1.Message) {
	number, err := strconv.Atoi(strings.TrimRight(message.GetText(), "x"))
	if err != nil || message.Seq != 0 {
		m.t.Errorf("an ephemeral message came as %v", message)
	}
	if _, joined := c.seen[message.Room]; !joined {
		m.t.Errorf("ephemeral message %d of %s came to who has not joined it", number, message.Room)
	}
	sender := ephemeralKey{message.Room, message.From, ""}
	if number <= c.highest[sender] {
		m.t.Errorf("ephemeral message %d of %v came after %d", number, sender, c.highest[sender])
	}
	c.highest[sender] = number
	c.ephemeral[ephemeralKey{message.Room, message.From, message.Key}] = number
	m.books.came++
}

// missing lists the newest messages that a client should have and has not.
func (m *model) missing(c *modelClient) (list []string) {
	for k, number := range m.newest {
		if _, joined := c.seen[k.room]; joined && number > c.since[k.room] && c.ephemeral[k] != number {
			list = append(list, fmt.Sprintf("%v is at %d, not %d", k, c.ephemeral[k], number))
		}
	}
	return list
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
		time.Sleep(longestPause)
		m.turn()
		for m.rig.rung {
			m.rig.rung = false
			m.turn()
		}
		m.worked()
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
		for _, what := range m.missing(c) {
			m.t.Errorf("client %d: %s", i, what)
		}
		if conn := c.socket.context.(*conn); conn.replay != nil {
			m.t.Errorf("client %d is not live again: %s", i, describe(conn))
		}
	}
	for _, r := range l.rooms {
		if r.ephemerals != nil {
			m.t.Errorf("at rest room %s holds %+v", r.name, *r.ephemerals)
		}
	}
	if l.kept != 0 || l.counted.EphemeralKept.Load() != 0 || l.resuming.len() != 0 {
		t := "at rest %d bytes of ephemeral messages are kept, the metric says %d, %d connections resume"
		m.t.Errorf(t, l.kept, l.counted.EphemeralKept.Load(), l.resuming.len())
	}
	if len(l.recent) != 0 || l.recentBytes != 0 || l.counted.RecentBytes.Load() != 0 {
		m.t.Errorf("at rest %d rooms keep messages, %d bytes, the metric says %d", len(l.recent), l.recentBytes, l.counted.RecentBytes.Load())
	}
	if l.counted.Behind.Load() != 0 || l.reading != 0 || l.inbox.Held() != 0 {
		m.t.Errorf("at rest %d are behind, %d pages under way, %d bytes held", l.counted.Behind.Load(), l.reading, l.inbox.Held())
	}
	if l.load.windows != 0 || l.load.gathering != 0 || l.busy.len() != 0 || len(l.gathering) != 0 {
		m.t.Errorf("at rest %d bytes gather in %d rooms; %d are busy, %d wait", l.load.gathering, l.load.windows, l.busy.len(), len(l.gathering))
	}
	for _, c := range m.clients {
		m.ends(c)
	}
	m.balance()
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
		if len(m.missing(c)) > 0 {
			return false
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

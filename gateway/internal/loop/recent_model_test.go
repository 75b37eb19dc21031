package loop

import (
	"fmt"
	"maps"
	"slices"
	"time"

	pb "google.golang.org/protobuf/proto"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// turns are what the model of model_test.go knows of the loop's turn, beside which writes are held: what the loop had been told by then, it may not
// give in an older form to who is behind.
type turns struct {
	told   map[string]uint64 // by room: the last message that the loop had been given
	past   map[string]uint64 // the last one that had been fanned out to everybody
	begins map[string]uint64 // where the log began
	paged  map[handoff.Handle]bool
	inTurn map[handoff.Handle]bool // of those connections, whose page was in the mailbox: it was read before
}

func newTurns() turns { return turns{paged: map[handoff.Handle]bool{}} }

// turn is a turn of the loop, at its bell or amid reading.
func (m *model) turn() {
	time.Sleep(time.Duration(m.rng.IntN(2000)) * time.Microsecond)
	t := &m.turns
	t.told, t.past, t.begins = map[string]uint64{}, map[string]uint64{}, maps.Clone(m.rig.rooms.begins)
	for name, r := range m.rig.loop.rooms {
		t.told[name], t.past[name] = r.seq, r.seq-uint64(r.stored)
		if r.batch != nil && !r.batch.stored.empty() {
			t.past[name] = r.batch.first() - 1
		}
	}
	t.inTurn, t.paged = t.paged, map[handoff.Handle]bool{}
	l, gnet := m.rig.loop, &handler{m.rig.loop.engine}
	if c := m.clients[m.rng.IntN(len(m.clients))]; m.rng.IntN(3) == 0 && !c.socket.closed && !l.frozen {
		l.requests = mostRead
		l.bell.rung.Store(true)
		c.nextID++
		m.rig.receive(c.socket, &v1.ClientFrame{Id: c.nextID, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
		gnet.OnTraffic(c.socket)
		return
	}
	gnet.OnTraffic(&fakeSocket{context: l.bell})
}

// concerns says which message another one changes or is a reply in the thread of, 0: it is a message like any other.
func concerns(seq uint64) (earlier uint64, change bool) {
	if seq%5 != 0 && seq%7 != 0 {
		return 0, false
	}
	earlier = seq - 1 - seq*2654435761>>7%min(9, seq-1)
	if change = seq%5 == 0; change && earlier%5 == 0 {
		earlier-- // changes are not changed
	}
	return earlier, change
}

func modelMessage(room string, seq uint64) *proto.Encoded {
	earlier, change := concerns(seq)
	if earlier == 0 {
		return encoded(room, seq)
	}
	p := &v1.Publish{Content: &v1.Publish_Text{Text: "says something"}}
	if change {
		p.Change = &v1.Change{Target: earlier, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}
	} else {
		p.Thread = earlier
	}
	return proto.Encode(proto.Header{Room: room, Seq: seq, At: 1, From: "bob"}, proto.AppendContent(nil, p))
}

// revision is the last message up to head that makes what the log gives of another what it is, 0: there is none.
func revision(seq, head uint64) uint64 {
	about := seq
	target, change := concerns(seq)
	if change {
		about = target // what an edit has said ends with the next one
	}
	for n := min(head, about+20); n > seq; n-- {
		if earlier, changes := concerns(n); earlier == about && (changes || !change) {
			return n
		}
	}
	return 0
}

// folded is a message as the log gives it when head is its last one; the revision stands for all that makes it another.
func folded(room string, seq, head uint64, codec proto.Codec) []byte {
	n := revision(seq, head)
	if n == 0 {
		return modelMessage(room, seq).Frame(codec)
	}
	return proto.AppendServerFrame(nil, codec, &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
		Room: room, Seq: seq, At: 1, From: "bob", Revision: n,
	}}})
}

// written is shown each write to a client.
func (m *model) written(c *modelClient, b []byte) {
	t := &m.turns
	for _, f := range m.rig.sent(&fakeSocket{context: c.socket.context, out: slices.Clone(b)}) {
		message := f.GetMessage()
		if message == nil || message.Ephemeral || message.Seq > t.past[message.Room] {
			continue // what is fanned out is as it was published
		}
		if message.Revision == 0 {
			var whole v1.ServerFrame
			published := modelMessage(message.Room, message.Seq).Frame(proto.JSON)
			if err := proto.DecodeServerFrame(&whole, proto.JSON, published); err != nil || !pb.Equal(whole.GetMessage(), message) {
				m.t.Errorf("who is behind was given %v, want %s (%v)", message, published, err)
			}
		}
		what := fmt.Sprintf("message %d of %s, revision %d, was given to who is behind", message.Seq, message.Room, message.Revision)
		if n := revision(message.Seq, t.told[message.Room]); message.Revision < n {
			m.t.Errorf("%s when the loop had been told of %d, and it is %d", what, t.told[message.Room], n)
		}
		if begin := t.begins[message.Room]; message.Seq < begin && !t.inTurn[c.socket.context.(*conn).handle] {
			m.t.Errorf("%s when the log began at %d", what, begin)
		}
	}
}

// trim has the log forget some of a room's oldest messages.
func (m *model) trim(room string) {
	begin := m.rig.rooms.Begin(room)
	if left := m.visible[room] + 1 - begin; left > 0 {
		m.rig.rooms.begins[room] = begin + m.rng.Uint64N(left+1)
	}
}

package loop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"go.uber.org/goleak"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// fakeSocket is a connection as the loop sees it: it takes room bytes, gnet buffers the rest,
// and what was taken can be read like a peer would.
type fakeSocket struct {
	gnet.Conn // nil: whatever is not below must not be called

	context  any
	safe     any
	in       []byte
	peeked   int // bytes that it has shown
	room     int // bytes that it still takes
	buffered []byte
	out      []byte
	writes   int
	closed   bool
	fault    error          // of the next write, which closes
	wrote    func(b []byte) // is shown what each write has; nil: nobody is
	file     *os.File       // whose descriptor it has; nil: none
	loop     *fakeEvents
	from     string // its peer's address; empty: 127.0.0.1
}

func (s *fakeSocket) Context() any         { return s.context }
func (s *fakeSocket) SetContext(v any)     { s.context = v }
func (s *fakeSocket) SafeContext() any     { return s.safe }
func (s *fakeSocket) SetSafeContext(v any) { s.safe = v }
func (s *fakeSocket) InboundBuffered() int { return len(s.in) }
func (s *fakeSocket) OutboundBuffered() int {
	return len(s.buffered)
}

func (s *fakeSocket) Fd() int {
	if s.file == nil {
		return -1
	}
	return int(s.file.Fd())
}

func (s *fakeSocket) RemoteAddr() net.Addr {
	if s.from == "" {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	}
	return &net.TCPAddr{IP: net.ParseIP(s.from)}
}

func (s *fakeSocket) Peek(n int) ([]byte, error) {
	if n <= 0 {
		n = len(s.in)
	}
	s.peeked += n
	return s.in[:n], nil
}

func (s *fakeSocket) Discard(n int) (int, error) {
	if n <= 0 {
		n = len(s.in)
	}
	s.in = s.in[n:]
	return n, nil
}

func (s *fakeSocket) Write(b []byte) (int, error) {
	if s.closed {
		panic("write to a closed socket")
	}
	s.writes++
	if s.fault != nil {
		_ = s.loop.Close(s)
		return 0, s.fault
	}
	if s.wrote != nil {
		s.wrote(b)
	}
	if len(s.buffered) > 0 {
		s.buffered = append(s.buffered, b...)
		return len(b), nil
	}
	n := min(len(b), s.room)
	s.room -= n
	s.out = append(s.out, b[:n]...)
	s.buffered = append(s.buffered, b[n:]...)
	return len(b), nil
}

func (s *fakeSocket) Flush() error {
	n := min(len(s.buffered), s.room)
	s.room -= n
	s.out = append(s.out, s.buffered[:n]...)
	s.buffered = s.buffered[n:]
	return nil
}

// fakeEvents is gnet's event loop, of which only Close is used.
type fakeEvents struct {
	gnet.EventLoop
	loop *Loop
}

func (e *fakeEvents) Close(g gnet.Conn) error {
	s := g.(*fakeSocket)
	if s.closed {
		return nil
	}
	s.closed = true
	if c, is := s.context.(*conn); is {
		e.loop.closed(c, s.fault)
	}
	return nil
}

// fakeRooms keeps what it is sent.
type fakeRooms struct {
	begins   map[string]uint64
	commands []handoff.Command
	reads    []handoff.Read
	full     bool
}

func (r *fakeRooms) Send(c handoff.Command) bool {
	if r.full && c.Kind != handoff.Gone {
		return false
	}
	r.commands = append(r.commands, c)
	return true
}

func (r *fakeRooms) Read(read handoff.Read) bool {
	if r.full {
		return false
	}
	r.reads = append(r.reads, read)
	return true
}

func (r *fakeRooms) Begin(room string) uint64 { return max(1, r.begins[room]) }

type anyone struct{}

func (anyone) Authenticate(_, name string) (identity.Identity, error) {
	if name == "" {
		return identity.Identity{}, identity.ErrNameRequired
	}
	return identity.Identity{User: name}, nil
}

// rig is a loop without sockets.
type rig struct {
	t       testing.TB
	loop    *Loop
	rooms   *fakeRooms
	events  *fakeEvents
	rung    bool
	ringsIn time.Duration
	armed   map[*conn]bool
}

// fakeKeeper takes every mark, or none if it is full.
type fakeKeeper struct {
	marks []handoff.Mark
	full  bool
}

func (k *fakeKeeper) Mark(m handoff.Mark) bool {
	if k.full {
		return false
	}
	k.marks = append(k.marks, m)
	return true
}

// fakeMembers keeps what it is asked, or takes nothing if it is full.
type fakeMembers struct {
	requests []handoff.MemberRequest
	banned   map[string]int64
	full     bool
}

func (m *fakeMembers) Ask(r handoff.MemberRequest) bool {
	if m.full {
		return false
	}
	m.requests = append(m.requests, r)
	return true
}

func (m *fakeMembers) Banned(user string) int64 { return m.banned[user] }

// fakePresence takes everything, or no questions if it is full.
type fakePresence struct {
	said []handoff.Presence
	full bool
}

func (k *fakePresence) Ask(p handoff.Presence) bool {
	if !k.full {
		k.Tell(p)
	}
	return !k.full
}

func (k *fakePresence) Tell(p handoff.Presence) { k.said = append(k.said, p) }

func newRig(t testing.TB, change func(*Config)) *rig {
	r := &rig{t: t, rooms: &fakeRooms{}, events: &fakeEvents{}, armed: map[*conn]bool{}}
	cfg := Config{
		Rooms: r.rooms, Rules: Rules{Auth: anyone{}}, Epoch: "7f3a",
		Inboxes: []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](1 << 20)},
		Log:     slog.New(slog.DiscardHandler),
		Members: &fakeMembers{},
		Kind: func(room string) handoff.RoomKind {
			if strings.HasPrefix(room, "group:") {
				return handoff.Group
			}
			return handoff.Plain
		},
		DirectRoom: func(a, b string) string { return "group:" + a + b },
		Receipts:   &fakeKeeper{}, KeepsReceipts: func(string) bool { return true },
		Presence: &fakePresence{}, KeepsPresence: func(string) bool { return true },
		MembersPin: func(string) bool { return true },

		SessionEnded: func(string) {},
		AcceptFailed: func(error) {},
		Ephemeral:    func(room string) bool { return room == "ephemeral" },
		Asks:         func(string) bool { return false },
		Window:       func(string) time.Duration { return 0 },
		Page:         func(string) (File, bool) { return File{}, false },

		MessageBytes: 64 << 10, HeaderBytes: 8 << 10, RoomsPerConnection: 100,
		OutboundBytes: 1 << 20, OutboundTotal: 1 << 30,
		HandshakeTimeout: time.Minute, FrameTimeout: time.Minute, StallTimeout: time.Hour, Heartbeat: time.Hour,
		RetryWindow: time.Minute,
	}
	if change != nil {
		change(&cfg)
	}
	e := New(cfg)
	e.SetCapacity(1 << 20)
	r.loop = newLoop(e, 0, r.events)
	r.events.loop = r.loop
	r.loop.watcher = &watcher{fd: -1}               // of nothing
	r.loop.put = func(int, []byte) int { return 0 } // so that the fake socket gets everything
	r.loop.ring = func() { r.rung = true }
	r.loop.ringIn = func(d time.Duration) { r.ringsIn = d }
	r.loop.arm = func(c *conn) error {
		r.armed[c] = true
		return nil
	}
	return r
}

// open makes a connection that is authenticated.
func (r *rig) open(stream bool, codec proto.Codec) *fakeSocket {
	s := &fakeSocket{room: 1 << 30, loop: r.events}
	if r.loop.accept(s) != gnet.None {
		r.t.Fatal("the connection was not accepted")
	}
	c := s.context.(*conn)
	c.stream, c.codec, c.phase = stream, codec, opened
	r.request(s, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice"}}})
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetConnected() == nil {
		r.t.Fatalf("connect was answered with %v", frames)
	}
	return s
}

// request has the loop work off a frame that came over the socket.
func (r *rig) request(s *fakeSocket, f *v1.ClientFrame) {
	r.receive(s, f)
	r.loop.traffic(s.context.(*conn))
}

// receive has a socket receive a frame.
func (r *rig) receive(s *fakeSocket, f *v1.ClientFrame) {
	c := s.context.(*conn)
	b := proto.AppendClientFrame(nil, c.codec, f)
	if c.stream {
		s.in = append(s.in, b...)
	} else {
		frame := ws.MaskFrame(ws.NewFrame(opCode(c.codec), true, b))
		var buffer bytes.Buffer
		_ = ws.WriteFrame(&buffer, frame)
		s.in = append(s.in, buffer.Bytes()...)
	}
}

// put gives the loop an event and lets it work.
func (r *rig) put(e handoff.Event) {
	r.loop.inbox.PutAlways(e, e.Size)
}

func (r *rig) work() {
	r.loop.work()
	for r.rung {
		r.rung = false
		r.loop.work()
	}
}

// wait is a time in which the loop has its ticks, and does nothing else.
func (r *rig) wait(d time.Duration) {
	for range d / tick {
		r.loop.engine.started = r.loop.engine.started.Add(-tick)
		r.loop.tick()
		r.loop.flush()
	}
}

// sent takes what the peer of a socket has received, as frames.
func (r *rig) sent(s *fakeSocket) []*v1.ServerFrame {
	c := s.context.(*conn)
	var frames []*v1.ServerFrame
	for len(s.out) > 0 {
		var whole []byte
		if c.stream {
			length, n := binary.Uvarint(s.out)
			if n <= 0 || len(s.out) < n+int(length) {
				return frames // half a frame: the rest is still buffered
			}
			whole, s.out = s.out[:n+int(length)], s.out[n+int(length):]
		} else {
			h, n := header(s.out)
			if n == 0 || len(s.out) < n+int(h.Length) {
				return frames
			}
			whole, s.out = s.out[n:n+int(h.Length)], s.out[n+int(h.Length):]
			if h.OpCode != opCode(c.codec) {
				continue
			}
		}
		for len(whole) > 0 {
			frame, rest, err := proto.Next(c.codec, whole)
			if err != nil {
				r.t.Fatalf("sent what is no frame: %v", err)
			}
			whole = rest
			f := &v1.ServerFrame{}
			if err := proto.DecodeServerFrame(f, c.codec, frame); err != nil {
				r.t.Fatalf("sent what is no frame: %v", err)
			}
			frames = append(frames, f)
		}
	}
	return frames
}

// header reads a server's frame header, n 0 if it is not whole.
func header(b []byte) (h ws.Header, n int) {
	in := bytes.NewReader(b)
	h, err := ws.ReadHeader(in)
	if err != nil {
		return h, 0
	}
	return h, len(b) - in.Len()
}

// join makes a socket a member, at the head that the shard says, if it is asked.
func (r *rig) join(s *fakeSocket, room string, head uint64) {
	r.t.Helper()
	asked := len(r.rooms.commands)
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}})
	if c := s.context.(*conn); len(r.rooms.commands) > asked {
		r.put(handoff.Event{Kind: handoff.Joined, To: c.handle, ID: 2, Room: room, Seq: head})
	}
	r.work()
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetJoined().GetHead() != head {
		r.t.Fatalf("join was answered with %v", frames)
	}
}

func encoded(room string, seq uint64) *proto.Encoded {
	content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: fmt.Sprintf("%s %d %s", room, seq, strings.Repeat("x", int(seq*7%90)))}})
	return proto.Encode(proto.Header{Room: room, Seq: seq, At: 1, From: "bob"}, content)
}

func (r *rig) deliver(room string, seq uint64) {
	m := encoded(room, seq)
	r.put(handoff.Event{Kind: handoff.Delivery, Room: room, Seq: seq, Message: m, Size: m.Size()})
}

// pass gives the loop an ephemeral message that says its number.
func (r *rig) pass(room, from, key string, number int) {
	text := fmt.Sprintf("%d%s", number, strings.Repeat("x", number*7%90))
	content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: text}})
	m := proto.Encode(proto.Header{Room: room, At: 1, From: from, Ephemeral: true, Key: key}, content)
	r.put(handoff.Event{Kind: handoff.Ephemeral, Room: room, Message: m, Size: m.Size()})
}

// seqs are the numbers of the messages among frames.
func seqs(frames []*v1.ServerFrame) (list []uint64) {
	for _, f := range frames {
		if m := f.GetMessage(); m != nil {
			list = append(list, m.Seq)
		}
	}
	return list
}

func upTo(first, last uint64) (list []uint64) {
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return list
}

func (r *rig) mustGet(s *fakeSocket, want []uint64) {
	r.t.Helper()
	if got := seqs(r.sent(s)); !slices.Equal(got, want) {
		r.t.Fatalf("the peer was sent messages %v, want %v", got, want)
	}
}

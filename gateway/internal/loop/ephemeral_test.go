package loop

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// numbers are those of the ephemeral messages among frames, as rig.pass wrote them.
func numbers(t *testing.T, frames []*v1.ServerFrame) (list []int) {
	t.Helper()
	for _, f := range frames {
		m := f.GetMessage()
		if m == nil || !m.Ephemeral {
			t.Fatalf("sent %v, want an ephemeral message", f)
		}
		n, err := strconv.Atoi(strings.TrimRight(m.GetText(), "x"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// drain has a full socket take n bytes more.
func (r *rig) drain(s *fakeSocket, n int) {
	s.room += n
	c := s.context.(*conn)
	if r.armed[c] {
		delete(r.armed, c)
		r.loop.stir(c.handle, unix.EPOLLOUT)
	}
	r.work()
}

// block makes a member's socket full by what it is sent of another room.
func (r *rig) block(s *fakeSocket, seq uint64) {
	r.t.Helper()
	s.room = 1
	r.deliver("block", seq)
	r.work()
	if !s.context.(*conn).backed {
		r.t.Fatal("the socket is not full")
	}
}

func TestEphemeralMessagesLeaveWithTheRest(t *testing.T) {
	for _, w := range []struct {
		stream bool
		codec  proto.Codec
	}{{true, proto.Binary}, {false, proto.Binary}, {false, proto.JSON}} {
		r := newRig(t, nil)
		s := r.open(w.stream, w.codec)
		r.join(s, "r", 7)
		s.writes = 0
		r.pass("r", "bob", "typing", 1)
		r.deliver("r", 8)
		r.pass("r", "bob", "", 2)
		r.work()
		frames := r.sent(s)
		if s.writes != 1 || len(frames) != 3 {
			t.Fatalf("%d frames in %d writes: %v", len(frames), s.writes, frames)
		}
		// "hello" must not overtake the "is typing" before it.
		if got := numbers(t, frames[:2]); !slices.Equal(got, []int{1, 2}) || frames[2].GetMessage().Seq != 8 {
			t.Errorf("sent %v", frames)
		}
		if m := frames[0].GetMessage(); m.Key != "typing" || m.Seq != 0 || m.From != "bob" {
			t.Errorf("sent %v", m)
		}
		if r.loop.inbox.Held() != 0 || r.loop.rooms["r"].ephemerals != nil {
			t.Errorf("%d bytes of the mailbox are held, the room keeps %v", r.loop.inbox.Held(), r.loop.rooms["r"].ephemerals)
		}
	}
}

// TestStoredMessagesDoNotOvertake: more waits than leaves in one piece.
func TestStoredMessagesDoNotOvertake(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	r.join(s, "r", 0)
	stored := uint64(0)
	for n := 1; n <= 2000; n++ { // some 150 bytes each
		r.pass("r", "bob", "key", n)
		if n%500 == 0 {
			stored++
			r.deliver("r", stored)
		}
	}
	r.work()
	last, number := uint64(0), 0
	for _, f := range r.sent(s) {
		switch m := f.GetMessage(); {
		case m.Ephemeral:
			number = numbers(t, []*v1.ServerFrame{f})[0]
		case m.Seq != last+1:
			t.Errorf("message %d came after %d", m.Seq, last)
		default:
			last = m.Seq
			if number < int(500*m.Seq) {
				t.Errorf("message %d came before the ephemeral one %d", m.Seq, 500*m.Seq)
			}
		}
	}
	if last != stored || number != 2000 || r.loop.inbox.Held() != 0 {
		t.Errorf("sent up to %d and %d, %d bytes of the mailbox are held", last, number, r.loop.inbox.Held())
	}
}

func TestWhoIsBehindGetsTheNewestOfEachKey(t *testing.T) {
	r := newRig(t, nil)
	slow, other, live := r.open(true, proto.Binary), r.open(false, proto.JSON), r.open(true, proto.Binary)
	for _, s := range []*fakeSocket{slow, other, live} {
		r.join(s, "r", 0)
		r.join(s, "block", 0)
	}
	live.room = 1 << 30
	r.block(slow, 1)
	r.mustGet(live, upTo(1, 1))
	r.mustGet(other, upTo(1, 1))
	var seen []int
	for i := 1; i <= 90; i++ {
		if i == 61 {
			seen = numbers(t, r.sent(live))
			r.block(other, 2)
			r.mustGet(live, upTo(2, 2))
		}
		r.pass("r", "bob", fmt.Sprintf("key%d", i%3), i)
		r.pass("r", "carol", "key0", 1000+i)
		r.work()
	}
	if got := append(seen, numbers(t, r.sent(live))...); len(got) != 180 || got[0] != 1 || got[179] != 1090 {
		t.Errorf("who is live got %v", got)
	}
	r.deliver("r", 1)
	r.work()
	p := r.loop.rooms["r"].ephemerals
	if len(p.kept) != 4 || len(p.stopped) != 2 {
		t.Errorf("%d messages are kept for %d members", len(p.kept), len(p.stopped))
	}
	r.drain(slow, 1<<20)
	frames := r.sent(slow)
	if len(frames) < 6 || frames[0].GetMessage().GetSeq() != 1 {
		t.Fatalf("sent %v", frames)
	}
	if got := numbers(t, frames[1:5]); !slices.Equal(got, []int{88, 89, 90, 1090}) {
		t.Errorf("who was behind got %v", got)
	}
	// The stored message is untouched by all of this, and comes behind: it is newer.
	if m := frames[5].GetMessage(); m.GetRoom() != "r" || m.GetSeq() != 1 {
		t.Errorf("the stored message came as %v", frames[5])
	}
	dropped := &r.loop.counted.EphemeralDropped
	if n := dropped[dropBehind].Load(); n != 176 {
		t.Errorf("%d deliveries are counted as dropped, want 176", n)
	}
	r.pass("r", "bob", "key0", 91)
	r.work()
	if got := numbers(t, r.sent(slow)); !slices.Equal(got, []int{91}) {
		t.Errorf("who is live again got %v", got)
	}
	r.events.Close(other) // it got 1 to 60 of both, and is owed 61 messages
	if n := dropped[dropLeft].Load(); n != 61 {
		t.Errorf("%d deliveries are counted as dropped by leaving, want 61", n)
	}
	if r.loop.rooms["r"].ephemerals != nil || r.loop.kept != 0 {
		t.Errorf("nobody is behind, and %d bytes are kept", r.loop.kept)
	}
}

// TestACatchUpGetsEphemeralMessages: they have no place in the order that is being caught up.
func TestACatchUpGetsEphemeralMessages(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	after := uint64(0)
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r", After: &after}}})
	r.put(handoff.Event{Kind: handoff.Joined, To: s.context.(*conn).handle, ID: 2, Room: "r", Seq: 5, HasAfter: true, Recovered: true})
	r.work()
	r.sent(s)
	r.pass("r", "bob", "", 1)
	r.work()
	if got := numbers(t, r.sent(s)); !slices.Equal(got, []int{1}) {
		t.Errorf("got %v", got)
	}
	if c := s.context.(*conn); c.replay == nil || len(c.replay.entries) != 1 || c.replay.entries[0].position != 0 {
		t.Errorf("the catch-up is at %+v", s.context.(*conn).replay)
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	big := strings.Repeat("x", 20<<10)
	for name, c := range map[string]struct {
		messages int
		text     string
		kept     int
	}{
		"messages":           {300, "", keptMessages},
		"bytes":              {10, big, 3},
		"one longer than it": {2, strings.Repeat("x", 70<<10), 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := r.open(true, proto.Binary)
			r.join(s, "r", 0)
			r.join(s, "block", 0)
			r.block(s, 1)
			for i := range c.messages {
				content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: strconv.Itoa(i) + c.text}})
				m := proto.Encode(proto.Header{Room: "r", At: 1, From: "bob", Ephemeral: true, Key: strconv.Itoa(i)}, content)
				r.put(handoff.Event{Kind: handoff.Ephemeral, Room: "r", Message: m, Size: m.Size()})
			}
			r.work()
			p := r.loop.rooms["r"].ephemerals
			if len(p.kept) != c.kept || p.kept[c.kept-1].number != uint64(c.messages) || len(p.kept) > 1 && p.size > keptBytes {
				t.Errorf("%d messages with %d bytes are kept", len(p.kept), p.size)
			}
			if n := r.loop.counted.EphemeralEvicted.Load(); n != int64(c.messages-c.kept) {
				t.Errorf("%d are counted as evicted, want %d", n, c.messages-c.kept)
			}
			s.room = 1 << 20
			r.drain(s, 1)
			if got := len(r.sent(s)); got != 1+c.kept {
				t.Errorf("sent %d messages", got)
			}
			if n := r.loop.counted.EphemeralDropped[dropBehind].Load(); n != int64(c.messages-c.kept) {
				t.Errorf("%d deliveries are counted as dropped, want %d", n, c.messages-c.kept)
			}
		})
	}
}

// TestADrainGivesARoomAtATime: what is kept in many rooms could be more than a connection may
// have waiting, and all rooms together more than the loop keeps.
func TestADrainGivesARoomAtATime(t *testing.T) {
	r := newRig(t, func(c *Config) { c.RoomsPerConnection = 1000 })
	s := r.open(true, proto.Binary)
	r.join(s, "block", 0)
	const rooms = 300
	text := strings.Repeat("x", 30<<10)
	for i := range rooms {
		r.join(s, strconv.Itoa(i), 0)
	}
	r.block(s, 1)
	for i := range rooms {
		content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: text}})
		m := proto.Encode(proto.Header{Room: strconv.Itoa(i), At: 1, From: "bob", Ephemeral: true}, content)
		r.put(handoff.Event{Kind: handoff.Ephemeral, Room: strconv.Itoa(i), Message: m, Size: m.Size()})
		r.work()
	}
	kept := rooms - int(r.loop.counted.EphemeralEvicted.Load())
	if r.loop.kept > keptTotal || kept == rooms || kept < 200 {
		t.Fatalf("%d messages with %d bytes are kept", kept, r.loop.kept)
	}
	got, most := 0, 0
	for range 10 * rooms {
		r.drain(s, 100<<10)
		most = max(most, len(s.buffered))
		for _, f := range r.sent(s) {
			if f.GetMessage().Ephemeral {
				got++
			}
		}
	}
	if got != kept || r.loop.kept != 0 {
		t.Errorf("%d messages came, %d were kept, %d bytes are left", got, kept, r.loop.kept)
	}
	if most > keptBytes+64<<10 {
		t.Errorf("%d bytes waited at once", most)
	}
}

// TestManyDrainAtOnce: a socket that drained is not shown newer messages
// before it was given what was kept.
func TestManyDrainAtOnce(t *testing.T) {
	r := newRig(t, nil)
	sockets := make([]*fakeSocket, 3*maxResuming)
	for i := range sockets {
		sockets[i] = r.open(true, proto.Binary)
		r.join(sockets[i], "r", 0)
		r.join(sockets[i], "block", 0)
		sockets[i].room = 1
	}
	r.deliver("block", 1)
	r.work()
	r.pass("r", "bob", "", 1)
	r.pass("r", "bob", "", 2)
	r.work()
	for _, s := range sockets {
		s.room = 1 << 20
		r.loop.stir(s.context.(*conn).handle, unix.EPOLLOUT)
	}
	r.pass("r", "bob", "", 3)
	r.loop.work() // a turn: the first of them resume, all are shown 3
	r.work()
	for i, s := range sockets {
		got := numbers(t, r.sent(s)[1:])
		if !slices.Equal(got, []int{2, 3}) && !slices.Equal(got, []int{3}) {
			t.Fatalf("socket %d got %v", i, got)
		}
	}
}

// TestWhoJoinsWhileARoomGathers: the loop does not ask again and again whether what came before has left.
func TestWhoJoinsWhileARoomGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Window = func(string) time.Duration { return time.Second } })
		early, late := r.open(true, proto.Binary), r.open(true, proto.Binary)
		r.join(early, "r", 0)
		r.pass("r", "bob", "", 1)
		r.loop.work()
		r.rung = false
		r.request(late, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r"}}})
		if frames := r.sent(late); len(frames) != 1 || frames[0].GetJoined() == nil {
			t.Fatalf("join was answered with %v", frames)
		}
		r.pass("r", "bob", "", 2)
		r.loop.work()
		if r.rung {
			t.Fatal("the loop has itself rung at once while the room gathers")
		}
		time.Sleep(time.Second)
		r.work()
		for s, want := range map[*fakeSocket][]int{early: {1, 2}, late: {2}} {
			if got := numbers(t, r.sent(s)); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		if r.loop.rooms["r"].ephemerals != nil {
			t.Errorf("the room holds %+v", r.loop.rooms["r"].ephemerals)
		}
	})
}

// TestWhoJoinsAndLeavesWhileARoomGathers: when the room has its turn there may be no such place in the table any more.
func TestWhoJoinsAndLeavesWhileARoomGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Window = func(string) time.Duration { return time.Second } })
		early, late := r.open(true, proto.Binary), r.open(true, proto.Binary)
		r.join(early, "r", 0)
		r.pass("r", "bob", "", 1)
		r.work()
		r.join(late, "r", 0)
		r.events.Close(late)
		r.put(handoff.Event{Kind: handoff.Shrink})
		r.work()
		time.Sleep(time.Second)
		r.work()
		if got := numbers(t, r.sent(early)); !slices.Equal(got, []int{1}) || r.loop.rooms["r"].ephemerals != nil {
			t.Errorf("got %v, and the room holds %+v", got, r.loop.rooms["r"].ephemerals)
		}
	})
}

// TestATakeoverGivesWhatIsKept: of all rooms, as far as that may wait, and the rest is counted. Nobody is closed for what it is given.
func TestATakeoverGivesWhatIsKept(t *testing.T) {
	text := strings.Repeat("x", 30<<10)
	for name, c := range map[string]struct {
		outbound int   // that waits already
		total    int64 // that may wait for all
		given    int
	}{
		"some waits": {10 << 10, 1 << 30, 5}, "much waits": {800 << 10, 1 << 30, 3}, "nearly too much waits": {900 << 10, 1 << 30, 0},
		"little may wait for all": {10 << 10, 200 << 10, 3}, "less may wait for all": {10 << 10, 100 << 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) { cfg.OutboundTotal = c.total })
			s := r.open(true, proto.Binary)
			r.join(s, "block", 0)
			rooms := []string{"a", "b", "c", "d", "e"}
			for _, room := range rooms {
				r.join(s, room, 0)
			}
			r.block(s, 1)
			for _, room := range rooms {
				for range 2 { // the second takes the place of the first
					m := proto.Encode(proto.Header{Room: room, At: 1, From: "bob", Ephemeral: true},
						proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: text}}))
					r.put(handoff.Event{Kind: handoff.Ephemeral, Room: room, Message: m, Size: m.Size()})
				}
			}
			r.work()
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			defer unix.Close(pair[1])
			socket := &lifted{fd: pair[0], outbound: make([]byte, c.outbound)}
			s.context.(*conn).sock = socket
			p := r.loop.pack()
			if len(p.states) != 1 || p.left != 0 || p.lost != len(rooms)-c.given {
				t.Fatalf("%d connections go along, %d were closed, %d messages are lost", len(p.states), p.left, p.lost)
			}
			if n := len(socket.outbound) - c.outbound; n < c.given*len(text) || n > c.given*(len(text)+200) {
				t.Errorf("%d bytes more wait for the socket, want %d messages", n, c.given)
			}
			counted := r.loop.counted
			delivered, behind, left := counted.EphemeralDelivered.Load(), counted.EphemeralDropped[dropBehind].Load(), counted.EphemeralDropped[dropLeft].Load()
			if want := int64(c.given); delivered != want || behind != want || left != 10-2*want || r.loop.kept != 0 {
				t.Errorf("of 10 messages %d are counted as delivered, %d as dropped for newer ones and %d as left; %d bytes are kept", delivered, behind, left, r.loop.kept)
			}
		})
	}
}

func TestEphemeralRoom(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(false, proto.JSON)
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "ephemeral"}}})
	if c := r.rooms.commands[0]; c.Kind != handoff.Join || !c.Ephemeral {
		t.Fatalf("asked for %+v", c)
	}
	r.put(handoff.Event{Kind: handoff.Joined, To: s.context.(*conn).handle, ID: 2, Room: "ephemeral", Begin: 1})
	r.work()
	if j := r.sent(s)[0].GetJoined(); !j.GetEphemeral() || j.Head != 0 || j.Begin != 1 {
		t.Errorf("joined: %v", j)
	}
	r.request(s, &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "ephemeral"}}})
	if h := r.sent(s)[0].GetHistory(); !h.GetEphemeral() || len(h.Messages) != 0 || h.More || h.Epoch != "7f3a" {
		t.Errorf("history: %v", h)
	}
	publish := func(id uint64, room string, ephemeral bool) {
		r.rooms.commands = nil
		r.request(s, &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
			Room: room, Ephemeral: ephemeral, Content: &v1.Publish_Text{Text: "x"},
		}}})
	}
	for _, c := range []struct {
		id              uint64
		room            string
		mark, ephemeral bool
	}{{0, "ephemeral", false, true}, {4, "ephemeral", false, true}, {0, "r", true, true}, {5, "r", true, true}, {6, "r", false, false}} {
		publish(c.id, c.room, c.mark)
		if len(r.rooms.commands) != 1 || r.rooms.commands[0].Ephemeral != c.ephemeral || r.rooms.commands[0].ID != c.id {
			t.Errorf("%+v became %+v", c, r.rooms.commands)
		}
	}
	publish(0, "r", false)
	if frames := r.sent(s); len(r.rooms.commands) != 0 || frames[0].GetError().GetName() != proto.ErrBadRequest.Name {
		t.Errorf("a publish without an id was answered with %v", frames)
	}
}

// TestIdleConnectionsPayNothing: what ephemeral messages need is there only while somebody is behind.
func TestIdleConnectionsPayNothing(t *testing.T) {
	for name, c := range map[string]struct{ size, most uintptr }{
		"conn":         {unsafe.Sizeof(conn{}), 144},
		"subscription": {unsafe.Sizeof(subscription{}), 16},
		"localRoom":    {unsafe.Sizeof(localRoom{}), 144}, // a size of the allocator
	} {
		if c.size > c.most {
			t.Errorf("%s has %d bytes, want %d at most", name, c.size, c.most)
		}
	}
}

func TestEphemeralFanOutAllocatesPerMessageNotPerMember(t *testing.T) {
	r := newRig(t, nil)
	members := make([]*fakeSocket, 100)
	for i := range members {
		members[i] = r.open(true, proto.Binary)
		r.join(members[i], "r", 0)
		members[i].out = make([]byte, 0, 1<<20)
	}
	n := 0
	allocs := testing.AllocsPerRun(100, func() {
		n++
		r.pass("r", "bob", "key", n)
		r.work()
	})
	// Encoding the message, the batch, the room's ephemerals, and growing queues; for 100 members.
	if allocs > 25 {
		t.Errorf("%v allocations for a message to 100 members", allocs)
	}
}

// TestReceiptsForWhoIsBehind: the newest of each user comes, between ephemeral messages of the same user.
func TestReceiptsForWhoIsBehind(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	r.join(s, "r", 0)
	r.join(s, "block", 0)
	r.block(s, 1)
	receipt := func(user string, read uint64) {
		m := proto.EncodeFrame("r", user, "receipt", &v1.ServerFrame{Op: &v1.ServerFrame_Receipt{Receipt: &v1.Receipt{Room: "r", User: user, Read: read}}})
		if m.Size() < len(m.Frame(proto.Binary)) {
			t.Errorf("a frame of %d bytes counts %d", len(m.Frame(proto.Binary)), m.Size())
		}
		r.put(handoff.Event{Kind: handoff.Ephemeral, Room: "r", Message: m, Size: m.Size()})
	}
	for read := range uint64(3) {
		receipt("ann", 1+read)
		receipt("bob", 10+read)
		r.pass("r", "ann", "cursor", int(read))
	}
	r.work()
	s.room = 1 << 20
	r.drain(s, 1)
	var got []string
	for _, f := range r.sent(s)[1:] {
		if m := f.GetMessage(); m != nil {
			got = append(got, "message "+strings.TrimRight(m.GetText(), "x"))
			continue
		}
		got = append(got, fmt.Sprint(f.GetReceipt().GetUser(), " ", f.GetReceipt().GetRead()))
	}
	if want := []string{"ann 3", "bob 12", "message 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

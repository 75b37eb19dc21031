package loop

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// standBehind opens connections whose sockets are full, so that they fall behind with the next message of room r.
func (r *rig) standBehind(n int, stream bool, codec proto.Codec) (all []*fakeSocket) {
	for range n {
		s := r.open(stream, codec)
		r.join(s, "r", 0)
		r.join(s, "block", 0)
		all = append(all, s)
	}
	for _, s := range all {
		s.room = 1
	}
	r.deliver("block", 1)
	r.work()
	return all
}

// publish delivers message seq of room r.
func (r *rig) publish(seq uint64, p *v1.Publish) *proto.Encoded {
	m := proto.Encode(proto.Header{Room: "r", Seq: seq, At: 1, From: "bob"}, proto.AppendContent(nil, p))
	r.put(handoff.Event{Kind: handoff.Delivery, Room: "r", Seq: seq, Message: m, Size: m.Size()})
	r.work()
	return m
}

func text(s string) *v1.Publish { return &v1.Publish{Content: &v1.Publish_Text{Text: s}} }

// TestWhoIsBehindNeedsNoPage: in each codec and transport what is kept comes as it would have come live, and goes with the last that is behind.
func TestWhoIsBehindNeedsNoPage(t *testing.T) {
	for name, w := range map[string]struct {
		stream bool
		codec  proto.Codec
	}{"tcp": {true, proto.Binary}, "binary": {false, proto.Binary}, "json": {false, proto.JSON}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			slow := r.standBehind(3, w.stream, w.codec)
			published := []*v1.Publish{
				text("ä text \"with\" <much> in it"), {Content: &v1.Publish_Data{Data: []byte{0, 1, 255}}}, {}, {Content: &v1.Publish_Text{Text: "t"}, ReplyTo: 1, Kind: "k", Mentions: []string{"carol"}},
			}
			var want []byte
			for i, p := range published {
				want = append(want, r.publish(uint64(i+1), p).Frame(w.codec)...)
			}
			if n := r.loop.counted.RecentBytes.Load(); n < int64(len(published)*20) {
				t.Errorf("%d bytes are kept", n)
			}
			for i, s := range slow {
				if i == 0 {
					trace, end := r.traced("alice") // its writes are shown whole
					defer end()
					r.drain(s, 1<<30)
					if entries, _ := lines(trace); len(entries) != 4 || entries[3] != "out message r 0 4 " {
						t.Errorf("the trace says %q", entries)
					}
				} else {
					r.drain(s, 1<<30)
				}
				if !bytes.Contains(s.out, want) {
					t.Errorf("who was behind was sent %q, and not %q", s.out, want)
				}
			}
			if len(r.rooms.reads) != 0 || r.loop.counted.RecentDeliveries.Load() != 3*4 {
				t.Errorf("%d pages were read, %d deliveries are of what is kept", len(r.rooms.reads), r.loop.counted.RecentDeliveries.Load())
			}
			if len(r.loop.recent) != 0 || r.loop.recentBytes != 0 || r.loop.counted.RecentBytes.Load() != 0 || r.loop.counted.Behind.Load() != 0 {
				t.Errorf("nobody is behind, and %d bytes of %d rooms are kept", r.loop.recentBytes, len(r.loop.recent))
			}
		})
	}
}

// TestWhatIsNotSoAnyMoreIsRead: a message that was changed, one whose thread has grown, a change, and what the log has forgotten.
func TestWhatIsNotSoAnyMoreIsRead(t *testing.T) {
	edit := func(target uint64) *v1.Publish {
		return &v1.Publish{Content: &v1.Publish_Text{Text: "new"}, Change: &v1.Change{Target: target, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}}
	}
	for name, c := range map[string]struct {
		third  *v1.Publish
		begins uint64
		reads  []uint64 // positions behind which pages are read, each answered with one message
		comes  []uint64 // from memory, before the first page
	}{
		"nothing":            {third: text("3"), comes: upTo(1, 5)},
		"an edit":            {third: edit(2), reads: []uint64{0, 1, 2}},
		"of what was before": {third: edit(1000), comes: []uint64{1, 2}, reads: []uint64{2}},
		"a deletion":         {third: &v1.Publish{Change: &v1.Change{Target: 1, Op: &v1.Change_Delete{Delete: &v1.Delete{}}}}, reads: []uint64{0, 1, 2}},
		"a reply":            {third: &v1.Publish{Thread: 1, Content: &v1.Publish_Text{Text: "reply"}}, reads: []uint64{0, 1}},
		"the log begins":     {third: text("3"), begins: 4, reads: []uint64{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			slow := r.standBehind(1, true, proto.Binary)[0]
			r.publish(1, text("1"))
			r.publish(2, text("2"))
			r.publish(3, c.third)
			r.publish(4, text("4"))
			r.publish(5, text("5"))
			r.rooms.begins = map[string]uint64{"r": c.begins}
			r.drain(slow, 1<<30)
			r.mustGet(slow, append([]uint64{1, 1}[:1], c.comes...)) // the first is of the other room
			for _, after := range c.reads {
				if len(r.rooms.reads) != 1 || r.rooms.reads[0].Position != after {
					t.Fatalf("read was %v, want behind %d", r.rooms.reads, after)
				}
				read := r.rooms.reads[0]
				r.rooms.reads = nil
				r.put(handoff.Event{Kind: handoff.Page, To: read.To, Room: "r", Seq: after + 1, Frames: append(make([]byte, handoff.Headroom), encoded("r", after+1).Frame(proto.Binary)...)})
				r.work()
			}
			rest := upTo(1, 5)
			if n := len(c.comes); n > 0 {
				rest = rest[n:]
			}
			r.mustGet(slow, rest)
			if len(r.rooms.reads) != 0 || len(r.loop.recent) != 0 {
				t.Errorf("it has all, and %v is read, %d rooms keep something", r.rooms.reads, len(r.loop.recent))
			}
		})
	}
}

// TestWhatIsKeptOfRoomsIsBounded: of a room the oldest goes, of a loop what the room with most has.
func TestWhatIsKeptOfRoomsIsBounded(t *testing.T) {
	r := newRig(t, nil)
	slow := r.open(false, proto.JSON)
	rooms := []string{"r", "s", "t", "u", "v"}
	for _, room := range append(rooms, "block") {
		r.join(slow, room, 0)
	}
	slow.room = 1
	r.deliver("block", 1)
	r.work()
	long := proto.AppendContent(nil, text(string(bytes.Repeat([]byte("m"), 10_000))))
	kept := func(room string) *recent { return r.loop.recent[r.loop.rooms[room]] }
	for _, room := range rooms {
		for seq := uint64(1); seq <= 500; seq++ {
			m := proto.Encode(proto.Header{Room: room, Seq: seq, At: 1, From: "bob"}, long)
			r.put(handoff.Event{Kind: handoff.Delivery, Room: room, Seq: seq, Message: m, Size: m.Size()})
			r.work()
			if p := kept(room); p.size > recentRoom || r.loop.recentBytes > recentTotal || int64(r.loop.recentBytes) != r.loop.counted.RecentBytes.Load() {
				t.Fatalf("room %s keeps %d bytes, the loop %d, the metric says %d", room, p.size, r.loop.recentBytes, r.loop.counted.RecentBytes.Load())
			}
		}
		if p := kept(room); p.find(500) < 0 || p.find(1) >= 0 || p.size < recentRoom/2 {
			t.Errorf("room %s keeps %d bytes from message %d on", room, p.size, p.chunks[0].first)
		}
	}
	empty := 0
	for _, room := range rooms {
		if kept(room).size == 0 {
			empty++
		}
	}
	if empty != len(rooms)-1 || r.loop.recentBytes > recentTotal/2 {
		t.Errorf("%d rooms lost all, and %d bytes are kept; want all that had much, so that it is not looked for them with each message", empty, r.loop.recentBytes)
	}
	r.events.Close(slow)
	if len(r.loop.recent) != 0 || r.loop.recentBytes != 0 {
		t.Errorf("nobody is behind, and %d bytes are kept", r.loop.recentBytes)
	}
}

// TestChunksCountThemselves: between changes each holds one message, which may be shorter than what the chunk takes beside it.
func TestChunksCountThemselves(t *testing.T) {
	r := newRig(t, nil)
	r.join(r.open(true, proto.Binary), "r", 0)
	room := r.loop.rooms["r"]
	r.loop.addBehind(room)
	for seq := uint64(1); seq < 100_000; seq += 2 {
		r.loop.remember(room, proto.Encode(proto.Header{Room: "r", Seq: seq, At: 1, From: "bob"}, proto.AppendContent(nil, text("hi"))))
	}
	n := len(r.loop.recent[room].chunks)
	if n*int(unsafe.Sizeof(chunk{})) > recentRoom || n < 10_000 {
		t.Errorf("%d chunks are kept of a room", n)
	}
	if last := r.loop.recent[room].chunks[n-1]; last.first != 99_999 {
		t.Errorf("the newest message that is kept is %d", last.first)
	}
	r.loop.endBehind(room)
	if r.loop.recentBytes != 0 {
		t.Errorf("nobody is behind, and %d bytes are kept", r.loop.recentBytes)
	}
}

// TestABusyRoomsMembersBecomeLive though the next message is always there before the last was fanned out.
func TestABusyRoomsMembersBecomeLive(t *testing.T) {
	r := newRig(t, nil)
	r.loop.slice = 1 // two members take two turns
	slow := r.standBehind(2, false, proto.Binary)
	seq := uint64(0)
	next := func() {
		seq++
		r.deliver("r", seq)
		r.loop.work()
	}
	for range 4 {
		next()
	}
	for _, s := range slow {
		s.room = 1 << 30
		r.loop.stir(s.context.(*conn).handle, unix.EPOLLOUT)
	}
	for range 20 {
		next()
	}
	if n := r.loop.counted.Behind.Load(); n != 0 || !r.loop.rooms["r"].unserved() {
		t.Errorf("%d are behind, and messages wait to be fanned out: %v", n, r.loop.rooms["r"].unserved())
	}
	r.work()
	for i, s := range slow {
		if got := seqs(r.sent(s))[1:]; !slices.Equal(got, upTo(1, seq)) {
			t.Errorf("member %d was sent %v, want up to %d", i, got, seq)
		}
	}
}

// TestWhoIsBehindIsServedInSlices: a crowd does not keep the loop from its other work.
func TestWhoIsBehindIsServedInSlices(t *testing.T) {
	r := newRig(t, nil)
	slow := r.standBehind(10, true, proto.Binary)
	r.publish(1, text("1"))
	r.loop.slice = 4
	for _, s := range slow {
		s.room = 1 << 30
		r.loop.stir(s.context.(*conn).handle, unix.EPOLLOUT)
	}
	var turns []string
	for range 4 {
		r.rung = false
		r.loop.work()
		turns = append(turns, fmt.Sprint(r.loop.counted.RecentDeliveries.Load(), r.rung))
	}
	if !slices.Equal(turns, []string{"4 true", "8 true", "10 false", "10 false"}) {
		t.Errorf("deliveries after each turn, and whether there is another: %v", turns)
	}
}

// TestPagesAndWhatIsKeptTakeTurns: a connection that is behind in two rooms, of which one is to be read, is given both.
func TestPagesAndWhatIsKeptTakeTurns(t *testing.T) {
	r := newRig(t, nil)
	slow := r.standBehind(1, true, proto.Binary)[0]
	r.publish(1, text("1"))
	r.publish(2, &v1.Publish{Change: &v1.Change{Target: 1, Op: &v1.Change_Delete{Delete: &v1.Delete{}}}})
	r.deliver("block", 2)
	r.work()
	r.drain(slow, 1<<30)
	for range 4 {
		for _, read := range r.rooms.reads {
			if read.Room != "r" {
				t.Errorf("room %s is read behind %d", read.Room, read.Position)
			}
			r.put(handoff.Event{Kind: handoff.Page, To: read.To, Room: "r", Seq: read.Position + 1, Frames: append(make([]byte, handoff.Headroom), encoded("r", read.Position+1).Frame(proto.Binary)...)})
		}
		r.rooms.reads = nil
		r.work()
	}
	got := map[string][]uint64{}
	for _, f := range r.sent(slow) {
		got[f.GetMessage().Room] = append(got[f.GetMessage().Room], f.GetMessage().Seq)
	}
	if fmt.Sprint(got) != "map[block:[1 2] r:[1 2]]" || r.loop.counted.Behind.Load() != 0 {
		t.Errorf("sent %v, %d subscriptions are behind", got, r.loop.counted.Behind.Load())
	}
}

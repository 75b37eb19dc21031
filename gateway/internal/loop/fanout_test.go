package loop

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestWhatWaitsLeavesInOneWrite(t *testing.T) {
	for _, stream := range []bool{true, false} {
		r := newRig(t, nil)
		s := r.open(stream, proto.Binary)
		r.join(s, "a", 0)
		r.join(s, "b", 0)
		s.writes = 0
		c := s.context.(*conn)
		r.put(handoff.Event{Kind: handoff.Published, To: c.handle, ID: 9, Room: "a", Seq: 1, At: 1})
		r.deliver("a", 1)
		r.deliver("b", 1)
		r.deliver("a", 2)
		r.work()
		if s.writes != 1 {
			t.Errorf("stream %v: a reply and three messages took %d writes", stream, s.writes)
		}
		frames := r.sent(s)
		if frames[0].GetPublished().GetSeq() != 1 || len(frames) != 4 {
			t.Errorf("stream %v: sent %v", stream, frames)
		}
	}
}

// TestReplyAndOwnCopyLeaveTogether: with more small rooms than a turn serves, each publisher gets its reply and its copy in one write.
func TestReplyAndOwnCopyLeaveTogether(t *testing.T) {
	r := newRig(t, nil)
	type publisher struct {
		socket *fakeSocket
		room   string
	}
	var publishers []publisher
	for i := range 3 * sliceWrites {
		p := publisher{r.open(true, proto.Binary), fmt.Sprintf("room-%d", i)}
		r.join(p.socket, p.room, 0)
		p.socket.writes = 0
		publishers = append(publishers, p)
	}
	for _, p := range publishers {
		for id := range uint64(2) {
			r.put(handoff.Event{Kind: handoff.Published, To: p.socket.context.(*conn).handle, ID: 10 + id, Room: p.room, Seq: 1 + id, Size: handoff.ReplySize})
			r.deliver(p.room, 1+id)
		}
	}
	r.work()
	for _, p := range publishers {
		frames := r.sent(p.socket)
		if p.socket.writes != 1 || len(frames) != 4 || frames[0].Id != 10 || frames[1].Id != 11 {
			t.Fatalf("%s: two replies and two messages took %d writes: %v", p.room, p.socket.writes, frames)
		}
	}
	if held := r.loop.inbox.Held(); held != 0 {
		t.Errorf("%d bytes of the mailbox are held", held)
	}
}

// TestRepliesThatWaitForNothing: of a room whose turn comes late or in slices, or that has no members left.
func TestRepliesThatWaitForNothing(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Window = func(room string) time.Duration { return map[string]time.Duration{"gathers": time.Hour}[room] }
	})
	s := r.open(true, proto.Binary)
	handle := s.context.(*conn).handle
	published := func(room string) {
		t.Helper()
		r.put(handoff.Event{Kind: handoff.Published, To: handle, ID: 9, Room: room, Seq: 1, Size: handoff.ReplySize})
		r.loop.work()
		frames := r.sent(s)
		if len(frames) == 0 || frames[0].GetPublished().GetRoom() != room {
			t.Errorf("%s: the publisher was sent %v", room, frames)
		}
		r.work()
		r.sent(s)
	}
	published("unknown")
	r.join(s, "gathers", 0)
	r.deliver("gathers", 1)
	published("gathers")
	for range sliceWrites + 1 {
		r.join(r.open(true, proto.Binary), "big", 0)
	}
	r.deliver("big", 1)
	published("big")

	// The last member goes between the reply and the room's turn.
	member := r.open(true, proto.Binary)
	for i := range sliceWrites {
		r.join(member, fmt.Sprintf("before-%d", i), 0)
	}
	last := r.open(true, proto.Binary)
	r.join(last, "left", 0)
	for i := range sliceWrites {
		r.deliver(fmt.Sprintf("before-%d", i), 1)
	}
	r.put(handoff.Event{Kind: handoff.Published, To: handle, ID: 9, Room: "left", Seq: 1, Size: handoff.ReplySize})
	r.deliver("left", 1)
	r.loop.work()
	if frames := r.sent(s); len(frames) != 0 {
		t.Fatalf("the room had its turn already: %v", frames)
	}
	r.events.Close(last)
	r.work()
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetPublished() == nil {
		t.Errorf("when the room was left the publisher was sent %v", frames)
	}
	if held := r.loop.inbox.Held() - r.loop.load.gathering; held != 0 {
		t.Errorf("%d bytes of the mailbox are held", held)
	}
}

// TestAReplyThatComesAmidABatch: a publish that is repeated is answered without a delivery, also while the room's members are half served.
func TestAReplyThatComesAmidABatch(t *testing.T) {
	r := newRig(t, nil)
	var publisher *fakeSocket
	for range sliceWrites - 1 {
		publisher = r.open(true, proto.Binary)
		r.join(publisher, "first", 0)
		r.join(publisher, "second", 0)
	}
	r.deliver("first", 1)
	r.deliver("second", 1)
	r.loop.work()
	if r.loop.rooms["second"].batch == nil {
		t.Fatal("the second room is not half served, which shows nothing")
	}
	r.put(handoff.Event{Kind: handoff.Published, To: publisher.context.(*conn).handle, ID: 9, Room: "second", Seq: 1, Size: handoff.ReplySize})
	r.work()
	if frames := r.sent(publisher); frames[len(frames)-1].GetPublished() == nil {
		t.Errorf("the publisher was sent %v", frames)
	}
	if held := r.loop.inbox.Held(); held != 0 {
		t.Errorf("%d bytes of the mailbox are held", held)
	}
}

func TestBigRoomIsServedInSlices(t *testing.T) {
	r := newRig(t, nil)
	members := make([]*fakeSocket, 3*sliceWrites)
	for i := range members {
		members[i] = r.open(true, proto.Binary)
		r.join(members[i], "big", 0)
	}
	small := r.open(true, proto.Binary)
	r.join(small, "small", 0)

	r.deliver("big", 1)
	r.deliver("small", 1)
	r.loop.work()
	served := 0
	for _, s := range members {
		served += len(s.out)
	}
	if !r.rung || served != sliceWrites*len(members[0].out) {
		t.Fatalf("the first slice served %d bytes, rung %v", served, r.rung)
	}
	r.deliver("big", 2) // gathers while 1 is being handed out
	r.loop.work()
	r.mustGet(small, upTo(1, 1)) // did not wait for the whole of the big room
	r.work()
	for _, s := range members {
		r.mustGet(s, upTo(1, 2))
	}
	if held := r.loop.inbox.Held(); held != 0 {
		t.Errorf("%d bytes of the mailbox were not given back", held)
	}
}

// TestATurnServesAsManyAsHaveAsked: while much is read much is served, or what was accepted would wait for as long as there is something to read.
func TestATurnServesAsManyAsHaveAsked(t *testing.T) {
	r := newRig(t, nil)
	member := r.open(true, proto.Binary)
	const rooms = 4 * sliceWrites
	for i := range rooms {
		r.join(member, fmt.Sprintf("room-%d", i), 0)
	}
	r.loop.work() // for what has asked so far
	for i := range rooms {
		r.deliver(fmt.Sprintf("room-%d", i), 1)
	}
	for id := range uint64(2 * sliceWrites) {
		r.request(member, &v1.ClientFrame{Id: 1 + id, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	}
	r.sent(member)
	for turn, want := range []int{2 * sliceWrites, sliceWrites} {
		if r.loop.work(); len(r.sent(member)) != want || !r.rung {
			t.Fatalf("turn %d did not serve %d, or it did not ask for the next: %v", turn, want, r.rung)
		}
	}
	r.loop.requests = longestTurn + 1
	if got := r.loop.portion(); got != longestTurn {
		t.Errorf("a turn serves %d members, want %d at most", got, longestTurn)
	}
}

func TestMembersLeaveBetweenSlices(t *testing.T) {
	r := newRig(t, nil)
	members := make([]*fakeSocket, 2*sliceWrites)
	for i := range members {
		members[i] = r.open(true, proto.Binary)
		r.join(members[i], "big", 0)
	}
	r.deliver("big", 1)
	r.loop.work()
	// One that was served, one that was not, and the last, which closing gaps would move.
	for _, i := range []int{3, sliceWrites + 3, len(members) - 1} {
		r.events.Close(members[i])
	}
	late := r.open(true, proto.Binary)
	r.join(late, "big", 1)
	r.work()
	for i, s := range members {
		switch i {
		case sliceWrites + 3, len(members) - 1:
			r.mustGet(s, nil)
		default:
			r.mustGet(s, upTo(1, 1))
		}
	}
	r.mustGet(late, nil)
	r.deliver("big", 2)
	r.work()
	r.mustGet(members[0], upTo(2, 2))
	r.mustGet(members[3], nil)
	r.mustGet(late, upTo(2, 2))
	room := r.loop.rooms["big"]
	if room.holes != 0 || len(room.members) != 2*sliceWrites-2 {
		t.Errorf("%d members with %d holes", len(room.members), room.holes)
	}
}

func TestAWriteThatFailsEndsOneConnection(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.open(true, proto.Binary), r.open(true, proto.Binary)
	r.join(a, "r", 0)
	r.join(b, "r", 0)
	a.fault = errors.New("broken pipe")
	r.deliver("r", 1)
	r.work()
	if !a.closed || b.closed {
		t.Fatal("the wrong connection was closed")
	}
	r.mustGet(b, upTo(1, 1))
	if n := len(r.rooms.commands); n != 1 {
		t.Fatalf("the shard was told %d things while there is a member", n)
	}
	r.events.Close(b)
	last := r.rooms.commands[len(r.rooms.commands)-1]
	if last.Kind != handoff.Gone || last.Room != "r" {
		t.Errorf("the shard was told %+v", last)
	}
}

func TestStaleEventsAreDropped(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	old := s.context.(*conn).handle
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r"}}})
	r.events.Close(s)
	again := r.open(true, proto.Binary) // takes the same slot
	if h := again.context.(*conn).handle; h.Slot != old.Slot || h.Generation == old.Generation {
		t.Fatalf("handles %v and %v", old, h)
	}
	for _, e := range []handoff.Event{
		{Kind: handoff.Joined, To: old, ID: 2, Room: "r", Seq: 5},
		{Kind: handoff.Published, To: old, ID: 3, Room: "r", Seq: 6},
		{Kind: handoff.Answer, To: old, ID: 4, Frames: []byte("x")},
	} {
		r.put(e)
	}
	r.loop.stir(old, unix.EPOLLIN|unix.EPOLLOUT)
	r.work()
	if frames := r.sent(again); len(frames) != 0 {
		t.Errorf("the new connection was sent %v", frames)
	}
	// The shard need not go on for it.
	if last := r.rooms.commands[len(r.rooms.commands)-1]; last.Kind != handoff.Gone || last.Room != "r" {
		t.Errorf("the shard was told %+v", last)
	}
}

func TestFanOutAllocatesPerMessageNotPerMember(t *testing.T) {
	r := newRig(t, nil)
	members := make([]*fakeSocket, 100)
	for i := range members {
		members[i] = r.open(true, proto.Binary)
		r.join(members[i], "r", 0)
		members[i].out = make([]byte, 0, 1<<20)
	}
	seq := uint64(0)
	allocs := testing.AllocsPerRun(100, func() {
		seq++
		r.deliver("r", seq)
		r.work()
	})
	// Encoding the message, the batch, and growing queues; for 100 members.
	if allocs > 25 {
		t.Errorf("%v allocations for a message to 100 members", allocs)
	}
}

func BenchmarkFanOut(b *testing.B) {
	for _, size := range []int{2, 100, 5000} {
		b.Run(fmt.Sprintf("members=%d", size), func(b *testing.B) {
			r := newRig(b, nil)
			members := make([]*fakeSocket, size)
			for i := range members {
				members[i] = r.open(false, proto.Binary)
				r.join(members[i], "r", 0)
			}
			b.ReportAllocs()
			for seq := range uint64(b.N) {
				r.deliver("r", seq+1)
				r.work()
				for _, s := range members {
					s.out = s.out[:0]
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/delivery")
		})
	}
}

// TestABurstDoesNotOverfillAConnection: a turn may have much more for a member than its socket
// takes. It is owed that, and must not be closed for it.
func TestABurstDoesNotOverfillAConnection(t *testing.T) {
	for name, send := range map[string]func(r *rig, room string, n uint64){
		"stored": func(r *rig, room string, n uint64) {
			content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Data{Data: make([]byte, 60<<10)}})
			m := proto.Encode(proto.Header{Room: room, Seq: n, At: 1, From: "bob"}, content)
			r.put(handoff.Event{Kind: handoff.Delivery, Room: room, Seq: n, Message: m, Size: m.Size()})
		},
		"ephemeral": func(r *rig, room string, n uint64) {
			content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Data{Data: make([]byte, 60<<10)}})
			m := proto.Encode(proto.Header{Room: room, At: 1, From: "bob", Ephemeral: true}, content)
			r.put(handoff.Event{Kind: handoff.Ephemeral, Room: room, Message: m, Size: m.Size()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := r.open(true, proto.Binary)
			rooms := []string{"a", "b", "c"}
			for _, room := range rooms {
				r.join(s, room, 0)
			}
			s.room = 100 << 10
			for n := range uint64(40) {
				for _, room := range rooms {
					send(r, room, n+1)
				}
			}
			r.work()
			if s.closed || len(s.buffered) > gatherBytes+2*batchBytes {
				t.Errorf("closed %v, with %d bytes waiting", s.closed, len(s.buffered))
			}
		})
	}
}

package loop

import (
	"fmt"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestJoinsThatNeedNoShard: a loop with members of a room knows where it stands, unless the client knows more or the
// shard was asked too long ago.
func TestJoinsThatNeedNoShard(t *testing.T) {
	r := newRig(t, nil)
	first := r.open(true, proto.Binary)
	r.join(first, "r", 7)
	r.deliver("r", 8)
	r.work()

	join := func(after *uint64, epoch string) (*fakeSocket, *v1.Joined) {
		s := r.open(true, proto.Binary)
		r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r", After: after, Epoch: epoch}}})
		for _, f := range r.sent(s) {
			if f.GetJoined() != nil {
				return s, f.GetJoined()
			}
		}
		return s, nil
	}
	at := func(seq uint64) *uint64 { return &seq }
	s, joined := join(nil, "")
	if joined.GetHead() != 8 || joined.Recovered != nil || joined.Epoch != "7f3a" {
		t.Errorf("a join at the live edge was answered with %v", joined)
	}
	r.deliver("r", 9)
	r.work()
	r.mustGet(s, upTo(9, 9))
	if _, joined := join(at(9), "7f3a"); !joined.GetRecovered() || joined.Head != 9 {
		t.Errorf("a join after the head was answered with %v", joined)
	}
	if _, joined := join(at(2), "other"); joined == nil || joined.GetRecovered() {
		t.Errorf("a join of another epoch was answered with %v", joined)
	}
	if n := len(r.rooms.commands); n != 1 {
		t.Fatalf("the shard was sent %v", r.rooms.commands)
	}
	s, joined = join(at(4), "")
	r.work()
	if !joined.GetRecovered() || len(r.rooms.reads) != 1 || r.rooms.reads[0].Position != 4 {
		t.Errorf("a join from behind was answered with %v, and reads %v", joined, r.rooms.reads)
	}
	r.events.Close(s)

	if _, joined := join(at(10), ""); joined != nil || len(r.rooms.commands) != 2 {
		t.Errorf("a client that has seen more than the loop was answered with %v", joined)
	}
	r.loop.now = r.loop.now.add(knownFor)
	if _, joined := join(nil, ""); joined != nil || len(r.rooms.commands) != 3 {
		t.Errorf("where the room begins was told as it was long ago: %v", joined)
	}
}

// TestAnswersInTheOrderOfTheRequests: join, leave and join again, sent in one piece.
func TestAnswersInTheOrderOfTheRequests(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	join := &v1.ClientFrame_Join{Join: &v1.Join{Room: "r"}}
	leave := &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: "r"}}
	for id := uint64(2); id < 10; id += 2 {
		r.request(s, &v1.ClientFrame{Id: id, Op: join})
		r.request(s, &v1.ClientFrame{Id: id + 1, Op: leave})
		if id == 4 {
			r.join(r.open(true, proto.Binary), "r", 5) // the loop knows where the room stands from here on
		}
	}
	for _, command := range r.rooms.commands {
		if command.From == c.handle {
			r.put(handoff.Event{Kind: handoff.Joined, To: c.handle, ID: command.ID, Room: "r", Seq: 5})
		}
	}
	r.work()
	for want, frames := uint64(2), r.sent(s); want < 10; want++ {
		if len(frames) == 0 || frames[0].Id != want {
			t.Fatalf("answer %d is missing or not in its place: %v", want, frames)
		}
		frames = frames[1:]
	}
	if len(r.loop.leaves) != 0 || len(c.subscriptions) != 0 {
		t.Errorf("%d leaves wait, %d subscriptions are left", len(r.loop.leaves), len(c.subscriptions))
	}
}

// TestLeavesOfManyConnections: what answers the leaves of one connection, or ends those of another, leaves those of the others alone.
func TestLeavesOfManyConnections(t *testing.T) { leavesAmong(t, 300, 1000) }

// BenchmarkLeaves: however many leaves of others wait.
func BenchmarkLeaves(b *testing.B) {
	for _, waiting := range []int{0, 50_000} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				leavesAmong(b, 300, waiting)
			}
		})
	}
}

// leavesAmong has one connection join and leave so many rooms, and another end amid that, while so many leaves of others wait. A benchmark's timer runs in the turn only.
func leavesAmong(t testing.TB, rooms, waiting int) {
	r := newRig(t, func(cfg *Config) { cfg.RoomsPerConnection = rooms })
	for i := range waiting {
		r.loop.leaves[leaving{from: handoff.Handle{Slot: uint32(i + 2)}}] = []uint64{1}
	}
	var ends [2]*fakeSocket
	for n := range ends {
		ends[n] = r.open(true, proto.Binary)
		c := ends[n].context.(*conn)
		for i := range rooms {
			room := fmt.Sprintf("%d of %d", i, n)
			r.loop.join(c, uint64(2*i+2), &v1.Join{Room: room})
			r.loop.leave(c, uint64(2*i+3), &v1.Leave{Room: room})
		}
	}
	for _, join := range r.rooms.commands[:rooms] {
		r.put(handoff.Event{Kind: handoff.Joined, To: join.From, ID: join.ID, Room: join.Room})
	}
	if b, ok := t.(*testing.B); ok {
		b.StartTimer()
		defer b.StopTimer()
	}
	r.loop.work()
	_ = r.events.Close(ends[1])
	if n := len(r.sent(ends[0])); n != 2*rooms {
		t.Fatalf("%d of %d joins and leaves were answered", n, 2*rooms)
	}
	if n := len(r.loop.leaves); n != waiting || len(r.loop.rooms) != 0 {
		t.Fatalf("%d leaves wait, and %d rooms are there; want %d of others", n, len(r.loop.rooms), waiting)
	}
}

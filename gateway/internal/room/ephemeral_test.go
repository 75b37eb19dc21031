package room

import (
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

func (b *bench) pass(loop uint16, id uint64, key string) {
	b.t.Helper()
	b.send(handoff.Command{
		Kind: handoff.Publish, From: handoff.Handle{Loop: loop, Slot: 1}, ID: id, Ephemeral: true,
		Room: "lobby", User: "alice", Key: key, Content: []byte{0x2a, 1, 'x'},
	})
}

// TestEphemeralMessagesPassByTheLog: while a stored message waits for the disk, ephemeral ones overtake
// it in their order, and what the log is given shows nothing of them.
func TestEphemeralMessagesPassByTheLog(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.join(0, 1)
	b.join(1, 2)
	b.publish(0, 3, "key")
	b.wait(1)
	b.pass(0, 4, "key") // the same key is no repetition
	b.pass(0, 5, "key")
	b.pass(1, 0, "")
	for _, id := range []uint64{4, 5} {
		if e := b.must(0, handoff.Published, id, 0); e.At == 0 {
			t.Errorf("answered with %+v", e)
		}
		if e := b.must(0, handoff.Ephemeral, 0, 0); !e.Message.Ephemeral || e.Message.Key != "key" || e.Message.From != "alice" || e.Message.Seq != 0 {
			t.Errorf("passed on %+v", e.Message)
		}
	}
	b.must(0, handoff.Ephemeral, 0, 0)
	for range 3 {
		b.must(1, handoff.Ephemeral, 0, 0) // and no answer to the one without an id
	}
	b.log.commit(1, nil)
	b.must(0, handoff.Published, 3, 1)
	b.must(0, handoff.Delivery, 0, 1)
	b.must(1, handoff.Delivery, 0, 1)
	if records := b.log.records["lobby"]; len(records) != 1 || len(b.log.appended) != 0 {
		t.Errorf("the log has %v", records)
	}
	b.publish(0, 6, "key")
	b.must(0, handoff.Published, 6, 1)
	if s := b.rooms.Stats(); s.Ephemeral != 3 || s.Published != 1 || s.Keys != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestEphemeralMessageToNobodyIsAnswered(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.pass(0, 1, "")
	b.must(0, handoff.Published, 1, 0)
	if s := b.rooms.Stats(); s.Rooms != 0 {
		t.Errorf("%d rooms are held for it", s.Rooms)
	}
}

func TestEphemeralMessagesArePushedBackWhileALoopIsFull(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.join(1, 9)
	b.loops[1].PutAlways(handoff.Event{Kind: handoff.Tick}, 1<<20)
	b.pass(0, 1, "")
	b.pass(0, 0, "")
	for _, id := range []uint64{1, 0} { // an error comes without an id too
		if e := b.must(0, handoff.Refused, id, 0); e.Code != proto.ErrOverloaded {
			t.Fatalf("refused with %v", e.Code)
		}
	}
}

// TestJoinOfAnEphemeralRoom: whatever the log has of the room, its position is 0.
func TestJoinOfAnEphemeralRoom(t *testing.T) {
	log := newFakeLog()
	b := start(t, log, nil)
	defer b.rooms.Close()
	b.publish(0, 1, "")
	b.wait(1)
	log.commit(1, nil)
	b.must(0, handoff.Published, 1, 1)
	for _, c := range []struct {
		after     uint64
		recovered bool
	}{{0, true}, {1, false}} {
		b.send(handoff.Command{Kind: handoff.Join, From: handoff.Handle{Loop: 0}, ID: 2, Room: "lobby", Ephemeral: true, HasAfter: true, After: c.after, Epoch: "7f3a"})
		if e := b.must(0, handoff.Joined, 2, 0); e.Begin != 1 || e.Recovered != c.recovered {
			t.Errorf("after %d: %+v", c.after, e)
		}
	}
}

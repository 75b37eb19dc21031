package loop

import (
	"slices"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// mustFail takes the one frame that was sent, which has to be an error of that name.
func (r *rig) mustFail(s *fakeSocket, id uint64, want proto.ErrorCode) {
	r.t.Helper()
	frames := r.sent(s)
	if len(frames) != 1 || frames[0].Id != id || frames[0].GetError().GetName() != want.Name || frames[0].GetError().GetRetry() != want.Retry {
		r.t.Fatalf("sent %v, want the error %s to request %d", frames, want.Name, id)
	}
}

func publishFrame(id uint64) *v1.ClientFrame {
	return &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "x"}}}}
}

func historyFrame(id uint64) *v1.ClientFrame {
	return &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "r"}}}
}

// trap is an authenticator with a fault.
type trap struct{}

func (trap) Authenticate(_, name string) (identity.Identity, error) {
	if name == "boom" {
		panic("an index out of range")
	}
	return identity.Identity{User: name}, nil
}

// TestAPanicClosesOneConnection: what a peer can bring about by its bytes must not end the
// process, nor what others have.
func TestAPanicClosesOneConnection(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rules.Auth = trap{} })
	other := r.open(true, proto.Binary)
	r.join(other, "r", 0)

	s := r.open(true, proto.Binary)
	r.join(s, "r", 0)
	c := s.context.(*conn)
	s.in = proto.AppendClientFrame(nil, proto.Binary, publishFrame(7))
	s.in = proto.AppendClientFrame(s.in, proto.Binary, &v1.ClientFrame{Id: 8, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "boom"}}})
	if action := r.loop.traffic(c); action != gnet.Close {
		t.Fatalf("gnet is told %v, want to close", action)
	}
	r.events.Close(s) // as gnet does then
	counted := r.loop.counted
	if n := counted.Panics.Load(); n != 1 {
		t.Errorf("%d panics were counted", n)
	}
	if n := counted.Closed[closedIndex(proto.CloseInternal.Code)].Load(); n != 1 {
		t.Errorf("%d connections were counted as closed by a fault of the server", n)
	}
	r.deliver("r", 1)
	r.work()
	r.mustGet(other, upTo(1, 1))
}

// TestAPanicOfAnEventClosesItsConnection: what the others of a loop have does not depend on an answer to one of them.
func TestAPanicOfAnEventClosesItsConnection(t *testing.T) {
	r := newRig(t, nil)
	other, s := r.open(true, proto.Binary), r.open(true, proto.Binary)
	r.join(other, "r", 0)
	r.join(s, "r", 0)
	c := s.context.(*conn)
	held := r.loop.inbox.Held()
	r.loop.inbox.PutAlways(handoff.Event{Kind: handoff.Marked, To: c.handle, Frames: []byte{1}, Size: 1}, 1) // no room for a header
	r.work()
	if c.sock != nil {
		t.Error("the connection is still there")
	}
	counted := r.loop.counted
	if panics, closed := counted.Panics.Load(), counted.Closed[closedIndex(proto.CloseInternal.Code)].Load(); panics != 1 || closed != 1 {
		t.Errorf("%d panics and %d closed connections were counted", panics, closed)
	}
	if n := r.loop.inbox.Held(); n != held {
		t.Errorf("the mailbox holds %d bytes, before it were %d", n, held)
	}
	r.put(handoff.Event{Kind: handoff.Marked, To: c.handle, Frames: []byte{1}}) // it has gone
	r.deliver("r", 1)
	r.work()
	r.mustGet(other, upTo(1, 1))
}

// TestAPanicOfARoomEndsTheProcess: there is no connection that could be closed for it.
func TestAPanicOfARoomEndsTheProcess(t *testing.T) {
	r := newRig(t, nil)
	r.join(r.open(true, proto.Binary), "r", 0)
	defer func() {
		if recover() == nil {
			t.Error("a delivery was skipped, and the loop went on")
		}
	}()
	r.deliver("r", 2)
	r.work()
}

func TestFailuresOfTheRoomsAreTold(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(false, proto.JSON)
	c := s.context.(*conn)

	r.request(s, publishFrame(7))
	r.put(handoff.Event{Kind: handoff.Refused, To: c.handle, ID: 7, Code: proto.ErrLogUnavailable, Text: "The log can't be written."})
	r.work()
	r.mustFail(s, 7, proto.ErrLogUnavailable)

	r.request(s, historyFrame(8))
	r.put(handoff.Event{Kind: handoff.Answer, To: c.handle, ID: 8, Code: proto.ErrHistoryDamaged, Text: "It can't be read."})
	r.work()
	r.mustFail(s, 8, proto.ErrHistoryDamaged)

	r.rooms.full = true
	r.request(s, publishFrame(9))
	r.mustFail(s, 9, proto.ErrOverloaded)
	r.request(s, &v1.ClientFrame{Id: 10, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r"}}})
	r.mustFail(s, 10, proto.ErrOverloaded)
	r.rooms.full = false
	r.join(s, "r", 0) // nothing is left of the one that was refused

	r.put(handoff.Event{Kind: handoff.Refuse})
	r.work()
	r.request(s, publishFrame(11))
	r.mustFail(s, 11, proto.ErrDraining)
	if n := len(r.rooms.commands); n != 2 { // the first publish, the join
		t.Errorf("%d commands went to the rooms", n)
	}
}

func TestHistoryUnderWayIsBounded(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	for id := range uint64(maxReadings) {
		r.request(s, historyFrame(10+id))
	}
	r.request(s, historyFrame(50))
	r.mustFail(s, 50, proto.ErrRateLimited)
	page := proto.NewHistory(proto.Binary, 10, "r", "7f3a", 1)
	r.put(handoff.Event{Kind: handoff.Answer, To: s.context.(*conn).handle, ID: 10, Frames: page.Append(make([]byte, handoff.Headroom), false, false)})
	r.work()
	r.sent(s)
	r.request(s, historyFrame(51))
	if frames := r.sent(s); len(frames) != 0 {
		t.Errorf("with one answered, another was answered with %v", frames)
	}
}

func TestQueueKeepsItsOrderAndLittleMemory(t *testing.T) {
	var q queue[int]
	next, pushed := 0, 0
	for range 200 {
		for range 100 {
			q.push(pushed)
			pushed++
		}
		for range 95 {
			if got := q.pop(); got != next {
				t.Fatalf("popped %d, want %d", got, next)
			}
			next++
		}
	}
	if q.len() != pushed-next || cap(q.items) > 8*q.len() {
		t.Errorf("%d of %d wait, in an array of %d", q.len(), pushed-next, cap(q.items))
	}
}

// TestMarks: what goes to the keeper of receipts, and what does not.
func TestMarks(t *testing.T) {
	keeper := &fakeKeeper{}
	r := newRig(t, func(c *Config) {
		c.Receipts = keeper
		c.Rules.Auth = someRooms{}
		c.KeepsReceipts = func(room string) bool { return room != "none" }
	})
	s := r.open(true, proto.Binary)
	r.join(s, "r", 0)
	send := func(f *v1.ClientFrame) {
		s.in = proto.AppendClientFrame(nil, proto.Binary, f)
		r.loop.traffic(s.context.(*conn))
		r.loop.flush()
	}
	mark := func(id uint64, room string, delivered, read uint64) {
		send(&v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Delivered: delivered, Read: read}}})
	}
	mark(0, "r", 7, 5)
	mark(3, "r", 0, 6)
	send(&v1.ClientFrame{Id: 4, Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: "r"}}})
	user := s.context.(*conn).identity.User
	from := s.context.(*conn).handle
	want := []handoff.Mark{
		{From: from, Codec: proto.Binary, Room: "r", User: user, Delivered: 7, Read: 5},
		{From: from, Codec: proto.Binary, ID: 3, Room: "r", User: user, Read: 6},
		{From: from, Codec: proto.Binary, ID: 4, Room: "r", User: user, Ask: true},
	}
	if !slices.Equal(keeper.marks, want) {
		t.Errorf("the keeper was sent %+v, want %+v", keeper.marks, want)
	}
	if frames := r.sent(s); len(frames) != 0 {
		t.Errorf("sent %v", frames)
	}
	for id, c := range []struct {
		room            string
		delivered, read uint64
		want            proto.ErrorCode
	}{
		{"none", 1, 1, proto.ErrBadRequest},
		{"secret", 1, 1, proto.ErrRoomForbidden},
		{"", 1, 1, proto.ErrBadRequest},
		{"r", 0, 0, proto.ErrBadRequest},
		{"r", 0, proto.MaxInteger + 1, proto.ErrBadRequest},
		{"other", 1, 1, proto.ErrNotJoined},
	} {
		mark(uint64(id), c.room, c.delivered, c.read) // the first has no id, and is refused all the same
		r.mustFail(s, uint64(id), c.want)
	}
	send(&v1.ClientFrame{Id: 8, Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: "r", Read: 1, Epoch: "another"}}})
	r.mustFail(s, 8, proto.ErrBadRequest)
	mark(0, "r", 7, 7)
	keeper.full = true
	mark(9, "r", 1, 0)
	r.mustFail(s, 9, proto.ErrOverloaded)
	// A finished reply is passed on; one for a connection that is gone is dropped.
	reply := proto.AppendServerFrame(make([]byte, handoff.Headroom), proto.Binary, &v1.ServerFrame{Id: 4, Op: &v1.ServerFrame_Receipts{Receipts: &v1.Receipts{Room: "r"}}})
	for _, kind := range []handoff.EventKind{handoff.Told, handoff.Marked} {
		r.loop.take(&handoff.Event{Kind: kind, To: from, Frames: slices.Clone(reply)})
		r.loop.flush()
		if frames := r.sent(s); len(frames) != 1 || frames[0].Id != 4 || frames[0].GetReceipts().GetRoom() != "r" {
			t.Errorf("sent %v", frames)
		}
	}
	// No more questions than so many wait for their answers, of which one is that there is none.
	keeper.full = false
	for id := range uint64(maxReadings) {
		send(&v1.ClientFrame{Id: 10 + id, Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: "r"}}})
	}
	send(&v1.ClientFrame{Id: 20, Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: "r"}}})
	r.mustFail(s, 20, proto.ErrRateLimited)
	r.loop.take(&handoff.Event{Kind: handoff.Told, To: from, ID: 10, Code: proto.ErrInternal, Text: "They can't be read."})
	r.loop.flush()
	r.mustFail(s, 10, proto.ErrInternal)
	send(&v1.ClientFrame{Id: 21, Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: "r"}}})
	if frames := r.sent(s); len(frames) != 0 {
		t.Errorf("sent %v when one was answered", frames)
	}
	r.events.Close(s)
	r.loop.take(&handoff.Event{Kind: handoff.Marked, To: from, Frames: reply})
	r.loop.take(&handoff.Event{Kind: handoff.Told, To: from, Frames: reply})
}

// someRooms lets everybody into all rooms but secret ones.
type someRooms struct{}

func (someRooms) Authenticate(_, name string) (identity.Identity, error) {
	return identity.Identity{User: name, Rights: &identity.Rights{Join: []string{"r", "none", "other"}, Publish: []string{"r", "other"}}}, nil
}

// TestKeepAlive: the kernel does not ask whom a heartbeat asks anyway.
func TestKeepAlive(t *testing.T) {
	for heartbeat, want := range map[time.Duration]time.Duration{
		time.Second:      2 * time.Minute,
		25 * time.Second: 2 * time.Minute,
		time.Minute:      3 * time.Minute,
		24 * time.Hour:   9 * time.Hour,
	} {
		if got := KeepAlive(heartbeat).Idle; got != want {
			t.Errorf("heartbeat %v: the kernel asks after %v, want %v", heartbeat, got, want)
		}
	}
}

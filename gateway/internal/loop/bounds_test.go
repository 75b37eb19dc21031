package loop

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestHeadroomFitsTheLongestHeader(t *testing.T) {
	if handoff.Headroom != framing.MaxHeaderSize {
		t.Errorf("handoff.Headroom is %d, framing.MaxHeaderSize %d", handoff.Headroom, framing.MaxHeaderSize)
	}
}

func TestHistoryIsOrderedInTurn(t *testing.T) {
	r := newRig(t, nil)
	var sockets []*fakeSocket
	for range 2 * maxReading {
		s := r.open(true, proto.Binary)
		for id := range uint64(maxReadings) {
			r.request(s, &v1.ClientFrame{Id: 10 + id, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "r"}}})
		}
		sockets = append(sockets, s)
	}
	if n := len(r.rooms.reads); n != maxReading {
		t.Fatalf("%d pages were ordered at once, want %d", n, maxReading)
	}
	r.events.Close(sockets[len(sockets)-1]) // what it still waits for is never ordered
	answered := 0
	for len(r.rooms.reads) > 0 {
		read := r.rooms.reads[0]
		r.rooms.reads = r.rooms.reads[1:]
		page := proto.NewHistory(proto.Binary, read.ID, "r", "7f3a", 1)
		r.put(handoff.Event{Kind: handoff.Answer, To: read.To, ID: read.ID, Frames: page.Append(make([]byte, handoff.Headroom), false, false)})
		r.work()
		if len(r.rooms.reads) > maxReading {
			t.Fatalf("%d pages are under way", len(r.rooms.reads))
		}
		answered++
	}
	if want := (2*maxReading - 1) * maxReadings; answered != want {
		t.Errorf("%d pages were ordered, want %d", answered, want)
	}
	for _, s := range sockets[:len(sockets)-1] {
		if frames := r.sent(s); len(frames) != maxReadings {
			t.Fatalf("a peer got %d answers, want %d", len(frames), maxReadings)
		}
	}
}

func TestPipelinedRequestsAreBoundedByWhatThePeerTakes(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Page = func(string) (File, bool) {
			return File{Body: bytes.Repeat([]byte("x"), 20<<10), Type: "text/plain"}, true
		}
	})
	s := &fakeSocket{loop: r.events} // takes nothing
	r.loop.accept(s)
	s.in = []byte(strings.Repeat("GET /page HTTP/1.1\r\nHost: x\r\n\r\n", 2000))
	r.loop.traffic(s.context.(*conn))
	if !s.closed || len(s.buffered) > 2<<20 {
		t.Errorf("closed %v with %d bytes waiting, want closed with about %d", s.closed, len(s.buffered), r.loop.cfg.OutboundBytes)
	}
}

func TestNoMessageFollowsLeft(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r"}}})
	r.request(s, &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: "r"}}})
	if frames := r.sent(s); len(frames) != 0 {
		t.Fatalf("%v was sent before the join is answered", frames)
	}
	r.put(handoff.Event{Kind: handoff.Joined, To: c.handle, ID: 2, Room: "r", Seq: 5})
	r.deliver("r", 6)
	r.work()
	frames := r.sent(s)
	if len(frames) != 2 || frames[0].GetJoined() == nil || frames[1].GetLeft() == nil {
		t.Errorf("sent %v", frames)
	}
	r.events.Close(s)
	kinds := ""
	for _, command := range r.rooms.commands {
		kinds += fmt.Sprint(command.Kind, " ")
	}
	if want := fmt.Sprint(handoff.Join, " ", handoff.Gone, " "); kinds != want {
		t.Errorf("the shard was sent %s, want %s", kinds, want)
	}
}

func TestRefusedConnectionsDoNotCountAgainstOthers(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rules.ConnectionsPerIP = 5 })
	r.loop.engine.SetCapacity(10)
	lingering := 0
	for range 5 + 2*RefusalReserve {
		s := &fakeSocket{loop: r.events}
		if r.loop.accept(s) == gnet.None {
			lingering++
		} else if s.context != nil {
			r.events.Close(s) // as gnet does
		}
	}
	if got := r.loop.engine.admitted.Load(); got != 5 {
		t.Errorf("%d connections count, want the 5 that the address may have", got)
	}
	if lingering > 5+RefusalReserve {
		t.Errorf("%d connections linger", lingering)
	}
	r.loop.engine.SetRules(Rules{Auth: anyone{}}) // as for a peer of another address
	s := &fakeSocket{loop: r.events}
	if r.loop.accept(s); s.context.(*conn).refused != refusedNot {
		t.Error("another peer was refused although there is room")
	}
}

func TestThoseStalledLongestGoFirst(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OutboundTotal = 35 })
	var sockets []*fakeSocket
	for i := range 5 {
		s := r.open(true, proto.Binary)
		s.room = 0
		r.loop.write(s.context.(*conn), make([]byte, 10))
		r.loop.flush()
		s.context.(*conn).took = moment(10 - i) // the last has taken nothing for longest
		sockets = append(sockets, s)
	}
	r.loop.relieve()
	for i, s := range sockets {
		if s.closed != (i >= 3) {
			t.Errorf("connection %d: closed %v", i, s.closed)
		}
	}
}

// TestAFullSocketIsNotProbed: what a slow reader would answer to waits behind what it has not
// read yet. StallTimeout is its limit, and the heartbeat begins anew when it has caught up.
func TestAFullSocketIsNotProbed(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Heartbeat, c.StallTimeout = 2*time.Second, time.Minute })
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	s.room = 0
	r.loop.write(c, make([]byte, 100))
	r.loop.flush()
	r.wait(30 * time.Second)
	if s.closed {
		t.Fatalf("it was closed with code %d, %v before its time", c.closed, r.loop.cfg.StallTimeout/2)
	}
	s.room = 1 << 20
	r.loop.writable(c)
	s.out = nil
	r.wait(3 * time.Second)
	if frames := r.sent(s); s.closed || len(frames) != 1 || frames[0].GetPing() == nil {
		t.Fatalf("closed %v, sent %v; want to be asked for a sign of life", s.closed, frames)
	}
	r.wait(3 * time.Second)
	if c.closed != proto.CloseHeartbeatTimeout.Code {
		t.Errorf("without one it ended with code %d", c.closed)
	}

	stalled := r.open(true, proto.Binary)
	stalled.room = 0
	r.loop.write(stalled.context.(*conn), make([]byte, 100))
	r.loop.flush()
	r.wait(62 * time.Second)
	if got := stalled.context.(*conn).closed; !stalled.closed || got != proto.CloseStalled.Code {
		t.Errorf("one that takes nothing: closed %v with code %d", stalled.closed, got)
	}
}

// TestAnAnswerForWhoIsClosing finds nobody whose rights could be looked at.
func TestAnAnswerForWhoIsClosing(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	r.request(s, &v1.ClientFrame{Id: 10, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "r"}}})
	if len(r.rooms.reads) != 1 {
		t.Fatalf("%d pages were ordered", len(r.rooms.reads))
	}
	r.loop.close(c, proto.CloseBadFrame, "")
	r.loop.flush()
	r.sent(s)
	s.out = nil
	page := proto.NewHistory(proto.Binary, 10, "r", "7f3a", 1)
	r.put(handoff.Event{Kind: handoff.Answer, To: c.handle, ID: 10, Room: "r", Frames: page.Append(make([]byte, handoff.Headroom), false, false)})
	r.work()
	if c.phase != closing || len(s.out) > 0 {
		t.Errorf("phase %d, %d bytes were sent", c.phase, len(s.out))
	}
}

// TestNobodyIsClosedUnasked: a loop that is so busy that its ticks come once a second has a heartbeat of ticks between two looks at
// a connection only if it looks at few for each. Whoever answers stays.
func TestNobodyIsClosedUnasked(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Heartbeat = 20 * time.Second })
	answering := r.open(true, proto.Binary)
	silent := r.open(true, proto.Binary)
	for range 2000 {
		r.open(true, proto.Binary)
	}
	asked := 0
	for second := range 300 {
		if second == 6 { // so that it has been silent for less than a heartbeat at the next look
			r.request(answering, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
		}
		r.loop.engine.started = r.loop.engine.started.Add(-time.Second)
		r.loop.tick()
		r.loop.flush()
		for _, f := range r.sent(answering) {
			if f.GetPing() != nil {
				asked++
				r.request(answering, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
			}
		}
		answering.out = nil
		if answering.closed {
			t.Fatalf("one that answers was closed, asked %d times", asked)
		}
	}
	if asked < 8 || asked > 16 {
		t.Errorf("it was asked %d times in 15 heartbeats", asked)
	}
	if !silent.closed {
		t.Error("one that never answers is still there")
	}
}

func TestDeadlinesDoNotCountTheLoopsOwnStall(t *testing.T) {
	r := newRig(t, func(c *Config) { c.FrameTimeout = 10 * time.Second })
	s := r.open(true, proto.Binary)
	b := proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	s.in = b[:2:2]
	r.loop.traffic(s.context.(*conn))
	// The loop is held for 20 s; the rest came meanwhile and waits in the socket.
	r.loop.engine.started = r.loop.engine.started.Add(-20 * time.Second)
	r.loop.tick()
	r.loop.flush()
	s.in = b
	r.loop.traffic(s.context.(*conn))
	if got := r.sent(s); len(got) != 1 || got[0].GetPong() == nil {
		t.Errorf("the peer was told %v", got)
	}
}

// TestADrainTakesTurns, in which others are served, and asks each once, also who begins a session meanwhile.
func TestADrainTakesTurns(t *testing.T) {
	r := newRig(t, nil)
	var all []*fakeSocket
	for range 3 * atOnce {
		s := &fakeSocket{room: 1 << 30, loop: r.events}
		r.loop.accept(s)
		c := s.context.(*conn)
		c.stream, c.codec, c.phase = true, proto.Binary, opened
		all = append(all, s)
	}
	connect := func(s *fakeSocket) {
		r.request(s, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice"}}})
	}
	early, late := all[0], all[len(all)-1]
	for _, s := range all[1 : len(all)-1] {
		connect(s)
	}
	asked := func() (n int) {
		for _, s := range all {
			for _, f := range r.sent(s) {
				if f.GetGoaway() != nil {
					n++
				}
			}
		}
		return n
	}
	r.put(handoff.Event{Kind: handoff.Drain, At: 2000, Seq: 30000})
	r.loop.work()
	first := asked()
	connect(early)
	connect(late)
	r.work()
	if rest := asked(); first != atOnce-1 || first+rest != len(all) {
		t.Errorf("%d are asked to go in the first turn and %d later, want %d and all %d once", first, rest, atOnce-1, len(all))
	}
}

// TestAnEndForAll is written as it goes: what is to be said to everybody would be memory.
func TestAnEndForAll(t *testing.T) {
	r := newRig(t, nil)
	for range 4 * atOnce {
		r.open(true, proto.Binary)
	}
	r.loop.dirty = nil
	r.loop.shut()
	if n := cap(r.loop.dirty); n > 2*atOnce {
		t.Errorf("%d outboxes were waiting", n)
	}
}

func TestWhoConnectsDuringTheDrainIsToldToGo(t *testing.T) {
	r := newRig(t, nil)
	early := r.open(true, proto.Binary)
	late := &fakeSocket{room: 1 << 20, loop: r.events}
	r.loop.accept(late)
	c := late.context.(*conn)
	c.stream, c.codec, c.phase = true, proto.Binary, opened
	r.put(handoff.Event{Kind: handoff.Drain, At: 2000, Seq: 30000})
	r.work()
	r.request(late, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "bob"}}})
	for name, s := range map[string]*fakeSocket{"early": early, "late": late} {
		frames := r.sent(s)
		if g := frames[len(frames)-1].GetGoaway(); g == nil || g.AfterMs > 2000 || g.WindowMs != 30000 {
			t.Errorf("%s: %v", name, frames)
		}
	}
}

func TestARingAfterTheEndGoesNowhere(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	b := &bell{file: write}
	number := write.Fd()
	write.Close()
	// Whatever is opened next gets the number.
	next, err := os.Create(t.TempDir() + "/segment")
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if next.Fd() != number {
		t.Fatalf("the number %d was not used again but %d: the test shows nothing", number, next.Fd())
	}
	b.ring()
	if st, _ := next.Stat(); st.Size() != 0 {
		t.Errorf("%d bytes were written into a file that has the number now", st.Size())
	}
}

// TestTablesShrinkWhenAWaveHasLeft: who is still there stays reachable, and who has left does not come back as somebody else.
func TestTablesShrinkWhenAWaveHasLeft(t *testing.T) {
	r := newRig(t, nil)
	var sockets []*fakeSocket
	for i := range 1000 {
		s := r.open(true, proto.Binary)
		r.join(s, fmt.Sprint("room-", i%100), 0)
		sockets = append(sockets, s)
	}
	for i, s := range sockets { // a burst that is in all queues
		c := s.context.(*conn)
		r.deliver(fmt.Sprint("room-", i%100), uint64(i/100)+1)
		r.loop.resumeLater(c)
		r.loop.lag(c)
		r.loop.asking.push(handoff.Read{})
	}
	r.work()
	for _, s := range sockets {
		r.sent(s)
	}
	last := sockets[999].context.(*conn).handle
	for i, s := range sockets {
		if i != 10 {
			r.events.Close(s)
		}
	}
	r.put(handoff.Event{Kind: handoff.Shrink})
	r.work()
	if cap(r.loop.slots) > 20 || cap(r.loop.free) > 20 || len(r.loop.rooms) != 1 {
		t.Errorf("%d slots, %d free, %d rooms", cap(r.loop.slots), cap(r.loop.free), len(r.loop.rooms))
	}
	r.put(handoff.Event{Kind: handoff.Retrace})
	r.work() // with the other array of events
	for _, room := range []string{"a", "b"} {
		r.loop.busy.push(r.loop.local(room))
	}
	if l := r.loop; cap(l.busy.items)+cap(l.resuming.items)+cap(l.lagging.items)+cap(l.asking.items)+cap(l.taken)+cap(l.dirty) > 40 {
		t.Errorf("the queues have room for %d, %d, %d and %d, events for %d, outbound for %d",
			cap(l.busy.items), cap(l.resuming.items), cap(l.lagging.items), cap(l.asking.items), cap(l.taken), cap(l.dirty))
	}
	for _, room := range []string{"a", "b"} {
		if got := r.loop.busy.pop(); got.name != room {
			t.Errorf("out of a queue that was shrunk comes %q, want %q", got.name, room)
		}
		r.loop.retire(r.loop.rooms[room])
	}
	r.deliver("room-10", 11)
	r.put(handoff.Event{Kind: handoff.Published, To: last, ID: 7, Room: "room-99", Seq: 1})
	r.work()
	r.mustGet(sockets[10], upTo(11, 11))
	for range 1000 {
		s := r.open(true, proto.Binary)
		if h := s.context.(*conn).handle; h == last {
			t.Fatalf("a new connection has the handle %v of one that has left", h)
		}
	}
	r.put(handoff.Event{Kind: handoff.Published, To: last, ID: 7, Room: "room-99", Seq: 1})
	r.work()
	for slot := range r.loop.slots {
		if frames := r.sent(r.loop.slots[slot].conn.sock.(*fakeSocket)); len(frames) > 0 {
			t.Errorf("slot %d was sent %v", slot, frames)
		}
	}
}

package loop

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/takeover"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// sockets is a rig whose sockets have much to be read, so that gnet comes to the bell late.
type sockets struct {
	*rig
	h  *handler
	id uint64
}

func newSockets(t *testing.T, change func(*Config)) *sockets {
	r := newRig(t, change)
	r.loop.bell = &bell{loop: r.loop}
	return &sockets{r, &handler{r.loop.engine}, 100}
}

// ask has gnet read a request.
func (k *sockets) ask(s *fakeSocket, f *v1.ClientFrame) gnet.Action {
	k.id++
	f.Id = k.id
	s.in = append(s.in, proto.AppendClientFrame(nil, proto.Binary, f)...)
	return k.h.OnTraffic(s)
}

func (k *sockets) pings(s *fakeSocket, n int) (action gnet.Action) {
	for range n {
		action = k.ask(s, &v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	}
	return action
}

// TestATurnAmidManyRequests: what was accepted does not wait until all sockets have been read.
func TestATurnAmidManyRequests(t *testing.T) {
	k := newSockets(t, nil)
	busy, member := k.open(true, proto.Binary), k.open(true, proto.Binary)
	k.join(member, "r", 0)
	k.loop.requests = 0
	k.deliver("r", 1)
	k.pings(busy, mostRead-1)
	k.mustGet(member, nil)
	if action := k.pings(busy, 1); action != gnet.None {
		t.Errorf("gnet is told %v", action)
	}
	k.mustGet(member, []uint64{1})
	k.deliver("r", 2)
	k.pings(busy, mostRead-1)
	k.mustGet(member, nil)
}

// TestATurnAmidManyHandshakes: they take as long as requests that hold frames, and longer.
func TestATurnAmidManyHandshakes(t *testing.T) {
	k := newSockets(t, nil)
	member := k.open(true, proto.Binary)
	k.join(member, "r", 0)
	k.loop.requests = 0
	k.deliver("r", 1)
	for i := range mostRead {
		k.mustGet(member, nil)
		s := &fakeSocket{room: 1 << 30, loop: k.events}
		if k.loop.accept(s) != gnet.None {
			t.Fatalf("connection %d is not accepted", i)
		}
		s.in = []byte("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		k.h.OnTraffic(s)
	}
	k.mustGet(member, []uint64{1})
}

// TestAConnectionThatEndsInATurnAmidItsRequests: gnet is told, which would go on with it.
func TestAConnectionThatEndsInATurnAmidItsRequests(t *testing.T) {
	k := newSockets(t, nil)
	s := k.open(true, proto.Binary)
	k.join(s, "r", 0)
	k.loop.requests = 0
	k.deliver("r", 1)
	k.pings(s, mostRead-1)
	s.wrote = func([]byte) { s.fault = unix.EPIPE } // the answer to the last one is still taken
	if action := k.pings(s, 1); action != gnet.Close || s.context.(*conn).sock != nil {
		t.Errorf("gnet is told %v", action)
	}
}

// TestNobodyIsClosedForWhatLiesInItsSocket: ticks that come amid reading end nothing before the bell is reached, by when it is read.
func TestNobodyIsClosedForWhatLiesInItsSocket(t *testing.T) {
	k := newSockets(t, func(c *Config) { c.Heartbeat = 2 * time.Second })
	busy, alive, dead := k.open(true, proto.Binary), k.open(true, proto.Binary), k.open(true, proto.Binary)
	l := k.loop
	l.bell.ring()
	pass := func() {
		for range 30 { // as much as a tick counts of a loop that was held up
			l.engine.started = l.engine.started.Add(-time.Second)
			k.put(handoff.Event{Kind: handoff.Tick})
			k.pings(busy, mostRead)
		}
	}
	reach := func() { k.h.OnTraffic(&fakeSocket{context: l.bell}) }
	pass()
	reach()
	k.wait(3 * tick) // they are asked one after the other
	if frames := append(k.sent(alive), k.sent(dead)...); len(frames) != 2 || frames[0].GetPing() == nil || frames[1].GetPing() == nil {
		t.Fatalf("two silent connections were sent %v", frames)
	}
	l.bell.ring()
	pass()
	if !alive.closed && !dead.closed {
		k.pings(alive, 1)
	}
	reach()
	if code := alive.context.(*conn).closed; code != 0 {
		t.Errorf("one whose answer lay in its socket was closed with %d", code)
	}
	k.wait(3 * time.Second)
	if code := dead.context.(*conn).closed; code != proto.CloseHeartbeatTimeout.Code {
		t.Errorf("a silent one was closed with %d", code)
	}
}

// TestAPanicAmidManyRequestsClosesOneConnection: nothing is given to it in a turn before gnet closes it.
func TestAPanicAmidManyRequestsClosesOneConnection(t *testing.T) {
	k := newSockets(t, func(c *Config) { c.Rules.Auth = trap{} })
	s := k.open(true, proto.Binary)
	k.join(s, "r", 0)
	k.loop.requests = mostRead
	k.deliver("r", 1)
	if action := k.ask(s, &v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "boom"}}}); action != gnet.Close {
		t.Errorf("gnet is told %v", action)
	}
	k.mustGet(s, nil)
}

// TestATakeoverInATurnAmidRequests: the connection whose requests were read goes over with half of the next one, and gnet asks it for nothing more.
func TestATakeoverInATurnAmidRequests(t *testing.T) {
	k := newSockets(t, nil)
	s := k.open(true, proto.Binary)
	c := s.context.(*conn)
	k.put(handoff.Event{Kind: handoff.Freeze})
	k.put(handoff.Event{Kind: handoff.Pack})
	close(k.loop.engine.released)
	whole := pingFrames(2, mostRead)
	half := pingFrames(2+mostRead, 1)[:1]
	s.in = append(whole, half...)
	if action := k.h.OnTraffic(s); action != gnet.Shutdown {
		t.Errorf("gnet is told %v", action)
	}
	p := <-k.loop.packed
	if len(p.states) != 1 || p.left != 0 {
		t.Fatalf("%d connections go over, %d do not", len(p.states), p.left)
	}
	var state takeover.Connection
	if err := state.Decode(p.states[0].State); err != nil || !slices.Equal(state.Inbound, half) {
		t.Errorf("what was read of it is %x, %v; want %x", state.Inbound, err, half)
	}
	if answered := len(k.sent(&fakeSocket{context: c, out: s.out})); answered != mostRead {
		t.Errorf("%d of %d requests were answered", answered, mostRead)
	}
}

// TestWhatLayInItsSocketTooLongIsRefused: where that goes on, until the bell is reached in time again.
func TestWhatLayInItsSocketTooLongIsRefused(t *testing.T) {
	k := newSockets(t, nil)
	s := k.open(true, proto.Binary)
	now := time.Now()
	// round is what gnet does between two answers of the bell: passed is for how long it has been passed over.
	round := func(passed time.Duration, want bool) {
		t.Helper()
		k.loop.line.passed(now, true)
		for end := now.Add(passed); now.Before(end); {
			now = now.Add(min(end.Sub(now), longInLine/3))
			k.loop.line.passed(now, true)
		}
		sent := len(k.rooms.commands)
		k.ask(s, &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "hi"}}}})
		frames := k.sent(s)
		if taken := len(k.rooms.commands) > sent; taken != want {
			t.Fatalf("after %v taken is %v: %v", passed, taken, frames)
		}
		if !want && (len(frames) != 1 || frames[0].GetError().GetName() != proto.ErrOverloaded.Name) {
			t.Fatalf("refused with %v", frames)
		}
		k.loop.line.reached(now)
	}
	for range 6 {
		round(longInLine+1, true)
	}
	for range 10 {
		round(longFor/4, false)
		round(longInLine, true) // the first that are read have not waited longer
	}
	round(longInLine/2, true)
	round(longInLine+1, true)

	// A bell that nobody has rung is not passed over.
	for range 100 {
		k.loop.line.passed(now, false)
		now = now.Add(longFor)
	}
	if k.loop.line.old {
		t.Error("what is read is refused although nothing waits")
	}
}

// TestAStopIsNoOverload: of the process, amid a pass that is long already, or between two.
func TestAStopIsNoOverload(t *testing.T) {
	k := newSockets(t, nil)
	w := &k.loop.line
	now := time.Now()
	pass := func() {
		now = now.Add(longInLine / 3)
		w.passed(now, true)
		if w.old {
			t.Fatal("what is read is refused")
		}
	}
	for range 3 {
		pass()
		pass()
		pass()
		now = now.Add(time.Minute)
		pass()
		w.reached(now)
		now = now.Add(time.Minute)
	}
	// Steps that are all as long are an overload.
	for range 20 {
		now = now.Add(2 * longInLine)
		w.passed(now, true)
	}
	if !w.old {
		t.Error("where each step takes as long nothing is refused")
	}
}

// TestWhatLayInASocketThatHasLanded is refused as well, whose line is the watcher's.
func TestWhatLayInASocketThatHasLanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, peers := landingRig(t, 3*watchedAtOnce, nil)
		for _, p := range peers {
			p.say(connectFrame("alice"))
		}
		r.loop.land()
		r.work()
		publish := proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{
			Id: 2, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "hi"}}},
		})
		// round has all of them publish, and says how many were refused.
		round := func(turns time.Duration) (refused int) {
			for _, p := range peers {
				p.told()
				p.say(publish)
			}
			r.rooms.commands = nil
			for more := true; more; more = r.rung {
				r.rung = false
				r.loop.work()
				time.Sleep(turns)
			}
			for _, p := range peers {
				if frames := p.told(); len(frames) == 1 && frames[0].GetError().GetName() == proto.ErrOverloaded.Name {
					refused++
				}
			}
			if taken := len(r.rooms.commands); taken+refused != len(peers) {
				t.Fatalf("of %d publishes %d were taken and %d refused", len(peers), taken, refused)
			}
			return refused
		}
		const turn = longInLine/2 + 1
		const turns = 3*watchedAtOnce/mostRead + 1 // the last one finds the mark
		for passed := time.Duration(0); passed <= longFor; passed += turns * turn {
			if n := round(turn); n != 0 {
				t.Fatalf("%d are refused after %v", n, passed)
			}
		}
		// gnet's sockets are another line: of these nobody has waited.
		other, accepted := r.open(true, proto.Binary), 0
		r.loop.ring = func() {
			r.rung = true
			if r.loop.watcher.line.old {
				sent := len(r.rooms.commands)
				r.request(other, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "hi"}}}})
				accepted += len(r.rooms.commands) - sent
				r.rooms.commands = r.rooms.commands[:sent]
			}
		}
		if n := round(turn); n != 2*watchedAtOnce || accepted == 0 {
			t.Errorf("%d are refused where two thirds waited for too long, and of gnet's %d are taken", n, accepted)
		}
		r.events.Close(other)
		for range 2 {
			if n := round(0); n != 0 {
				t.Errorf("%d are refused that have not waited", n)
			}
		}
	})
}

// TestALoopWithLongPassesIsSlow: then others accept beside it.
func TestALoopWithLongPassesIsSlow(t *testing.T) {
	k := newSockets(t, nil)
	now := time.Now()
	for _, c := range []struct {
		passed time.Duration
		want   bool
	}{{slowPass / 2, false}, {slowPass + 1, true}, {slowPass / 2, false}} {
		k.loop.line.passed(now, true)
		now = now.Add(c.passed)
		k.loop.line.passed(now, true)
		for range 2 { // amid the pass and behind it
			k.loop.take(&handoff.Event{Kind: handoff.Tick})
			if got := k.loop.slow.Load(); got != c.want {
				t.Errorf("after a pass of %v it is %v", c.passed, got)
			}
			k.loop.line.reached(now)
		}
		k.loop.line.reached(now) // a bell that was not passed over
	}
}

// slowly takes longer for each connect than a pass may.
type slowly struct{}

func (slowly) Authenticate(_, name string) (identity.Identity, error) {
	time.Sleep(slowPass + 1)
	return identity.Identity{User: name}, nil
}

// TestALoopWithLongTurnsIsSlow: behind a takeover most is read in turns, and gnet has nothing to pass over.
func TestALoopWithLongTurnsIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, peers := landingRig(t, 1, func(c *Config) { c.Rules.Auth = slowly{} })
		l := r.loop
		l.bell = &bell{loop: l}
		h := &handler{l.engine}
		r.put(handoff.Event{Kind: handoff.Land})
		r.work()
		for _, says := range []bool{false, true, false} {
			if says {
				peers[0].say(connectFrame("alice"))
			}
			h.OnTraffic(&fakeSocket{context: l.bell})
			r.put(handoff.Event{Kind: handoff.Tick})
			h.OnTraffic(&fakeSocket{context: l.bell})
			if got := l.slow.Load(); got != says {
				t.Errorf("behind a turn of %v the loop is slow: %v", l.line.turn, got)
			}
		}
	})
}

// TestATurnReadsSoMuchOfThoseThatHaveLanded, and no more: what was accepted does not wait for all of it.
func TestATurnReadsSoMuchOfThoseThatHaveLanded(t *testing.T) {
	r, peers := landingRig(t, 5, nil)
	r.loop.land()
	for _, p := range peers {
		p.say(connectFrame("alice"))
	}
	r.work()
	for _, p := range peers {
		p.told()
		p.say(pingFrames(2, mostRead/2))
	}
	for turn, left := 1, len(peers); left > 0; turn++ {
		r.rung = false
		r.loop.work()
		if !r.rung {
			t.Fatalf("turn %d is the last one", turn)
		}
		read := 0
		for _, p := range peers {
			if n := len(p.answers()); n > 0 {
				read++
			}
		}
		if read != min(2, left) {
			t.Fatalf("in turn %d %d of %d are read that have half of what a turn reads", turn, read, left)
		}
		left -= read
	}
	r.work()
}

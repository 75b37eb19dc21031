package loop

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/takeover"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestNobodyIsClosedUnread: while nothing is read of a connection no time runs out for what its peer is to send, and when it is there is some left.
func TestNobodyIsClosedUnread(t *testing.T) {
	for name, wait := range map[string]struct {
		begin func(l *Loop, c *conn)
		code  uint16 // that its time runs out with
	}{
		"an answer to a heartbeat": {func(l *Loop, c *conn) { c.phase, c.probed = connected, true }, proto.CloseHeartbeatTimeout.Code},
		"a request to connect":     {func(l *Loop, c *conn) { l.deadline(c, time.Second) }, proto.CloseConnectTimeout.Code},
		"the rest of a message":    {func(l *Loop, c *conn) { c.due = 0; c.half = l.now.add(time.Second); l.hurry(c) }, proto.CloseFrameTimeout.Code},
	} {
		t.Run(name, func(t *testing.T) {
			r, peers := landingRig(t, 1, func(c *Config) { c.Heartbeat = 2 * time.Second })
			c := r.loop.slots[0].conn
			wait.begin(r.loop, c)
			r.wait(30 * time.Second)
			if frames := peers[0].told(); c.closed != 0 || len(frames) > 0 || peers[0].left {
				t.Fatalf("it was closed with %d, and sent %v", c.closed, frames)
			}
			r.loop.land()
			r.work()
			r.loop.tick()
			if c.closed != 0 {
				t.Fatalf("it was closed with %d when it is read", c.closed)
			}
			if r.wait(4 * time.Second); c.closed != wait.code {
				t.Errorf("later it is closed with %d, want %d", c.closed, wait.code)
			}
		})
	}
}

// TestNobodyIsClosedForWhatLiesUnread: of many that have come and speak at once a turn reads some. No time runs out for the others.
func TestNobodyIsClosedForWhatLiesUnread(t *testing.T) {
	for name, wait := range map[string]func(l *Loop, c *conn){
		"an answer to a heartbeat": func(_ *Loop, c *conn) { c.phase, c.due, c.probed = connected, 0, true },
		"a request to connect":     func(l *Loop, c *conn) { l.deadline(c, 2*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			r, peers := landingRig(t, watchedAtOnce+1, func(c *Config) { c.Heartbeat = 2 * time.Second })
			for _, p := range peers {
				wait(r.loop, p.conn)
			}
			r.loop.land()
			r.work()
			for _, p := range peers[1:] {
				p.say(pingFrames(7, 1)[:2])
			}
			r.wait(3 * time.Second)
			for i, p := range peers[1:] {
				if p.conn.closed != 0 {
					t.Fatalf("number %d was closed with %d", i, p.conn.closed)
				}
			}
			if peers[0].conn.closed == 0 && peers[0].conn.sock != nil {
				t.Error("one that is silent is there still")
			}
			r.work()
			if r.loop.slots[1].conn.probed {
				t.Error("what lay there is not read")
			}
		})
	}
}

// landed is the peer of a connection that came by a takeover.
type landed struct {
	rig    *rig
	fd     int
	conn   *conn
	socket *fakeSocket // what it was sent, and is no whole frame
	left   bool        // the other side has ended it
}

// say sends frames.
func (p *landed) say(b []byte) {
	p.rig.t.Helper()
	if n, err := unix.Write(p.fd, b); n != len(b) {
		p.rig.t.Fatalf("%d of %d bytes are sent: %v", n, len(b), err)
	}
}

// told takes the frames that it was sent.
func (p *landed) told() []*v1.ServerFrame {
	p.rig.t.Helper()
	buffer := make([]byte, 256<<10)
	for {
		switch n, err := unix.Read(p.fd, buffer); {
		case err == unix.EAGAIN:
			return p.rig.sent(p.socket)
		case err != nil && err != unix.ECONNRESET:
			p.rig.t.Fatal(err)
		case n <= 0:
			p.left = true
			return p.rig.sent(p.socket)
		default:
			p.socket.out = append(p.socket.out, buffer[:n]...)
		}
	}
}

// answers are the ids of the requests that were answered.
func (p *landed) answers() (ids []uint64) {
	for _, f := range p.told() {
		ids = append(ids, f.Id)
	}
	return ids
}

func pingFrames(first, n int) (b []byte) {
	for id := range n {
		b = proto.AppendClientFrame(b, proto.Binary, &v1.ClientFrame{Id: uint64(first + id), Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	}
	return b
}

func connectFrame(name string) []byte {
	return proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: name}}})
}

// landingRig is a loop to which so many connections have come by a takeover, of raw TCP, whose connect is awaited. It does not listen yet.
func landingRig(t *testing.T, n int, change func(*Config)) (r *rig, peers []*landed) {
	t.Helper()
	back := make([]takeover.Connection, n)
	for i := range back {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := &landed{fd: ends[0]}
		t.Cleanup(func() { p.leave() })
		peers = append(peers, p)
		back[i] = takeover.Connection{
			FD: ends[1], Slot: uint32(i), Generation: uint32(i + 1), Phase: uint8(opened), Stream: true, Codec: proto.Binary,
		}
	}
	r = newRig(t, func(c *Config) {
		c.Returning, c.Generations = [][]takeover.Connection{back}, []uint32{uint32(n)}
		if change != nil {
			change(c)
		}
	})
	w, err := newWatcher(0)
	if err != nil {
		t.Fatal(err)
	}
	r.loop.watcher, r.loop.arm, r.loop.put = w, w.arm, put
	r.loop.restore()
	for i, p := range peers {
		p.rig, p.conn = r, r.loop.slots[i].conn
		p.socket = &fakeSocket{context: p.conn}
	}
	t.Cleanup(func() {
		r.loop.dropCarried()
		w.close()
		if n := r.loop.counted.Connections.Load(); r.loop.carried != 0 || n != 0 {
			t.Errorf("in the end %d connections are there, and %d are read", n, r.loop.carried)
		}
	})
	return r, peers
}

func (p *landed) leave() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
	p.fd = -1
}

// TestWhoHasLandedIsRead: more than a turn sees to, what they sent before and what they send then, to their ends.
func TestWhoHasLandedIsRead(t *testing.T) {
	const many = 2*max(watchedAtOnce, landedAtOnce) + 7
	r, peers := landingRig(t, many, nil)
	for _, p := range peers {
		p.say(connectFrame("alice"))
	}
	r.work()
	for i, p := range peers {
		if frames := p.told(); len(frames) > 0 {
			t.Fatalf("%d is told %v before anybody is read", i, frames)
		}
	}
	r.loop.land()
	r.work()
	select {
	case <-r.loop.engine.heard:
	default:
		t.Error("the loop does not say that it has read what there was")
	}
	for i, p := range peers {
		if frames := p.told(); len(frames) != 1 || frames[0].GetConnected() == nil {
			t.Fatalf("%d is told %v", i, frames)
		}
	}
	for round := range 3 {
		frame := pingFrames(2+round, 1)
		for _, half := range [][]byte{frame[:1], frame[1:]} {
			for _, p := range peers {
				p.say(half)
			}
			r.work()
		}
		for i, p := range peers {
			if ids := p.answers(); !slices.Equal(ids, []uint64{uint64(2 + round)}) {
				t.Fatalf("in round %d requests %v of %d are answered", round, ids, i)
			}
		}
	}
	for i, p := range peers {
		if i%2 == 0 {
			p.leave()
		}
	}
	r.work()
	if n := r.loop.counted.Connections.Load(); n != many/2 || r.loop.carried != many/2 {
		t.Errorf("of %d connections %d are there, and %d are read", many, n, r.loop.carried)
	}
}

// TestMuchToReadAndWrite: of a flood more than one reading holds, with frames that are cut anywhere, nothing is lost, and others have their turns; and
// what the flooded one does not take leaves when it does.
func TestMuchToReadAndWrite(t *testing.T) {
	const floods, each = 3, 10_000
	r, peers := landingRig(t, 2, nil)
	if err := unix.SetsockoptInt(peers[0].conn.sock.Fd(), unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10); err != nil {
		t.Fatal(err)
	}
	r.loop.land()
	peers[0].say(connectFrame("alice"))
	r.work()
	peers[0].told()
	for flood := range floods {
		peers[0].say(pingFrames(2+flood*each, each))
		peers[1].say(connectFrame("bob"))
		for range 2 { // the first one reads the flood
			r.loop.work()
		}
		if frames := peers[1].told(); len(frames) == 0 {
			t.Fatalf("the other one waits in flood %d", flood)
		}
		r.work()
		var ids []uint64
		for turns := 0; len(ids) < each; turns++ {
			if turns == 1000 {
				t.Fatalf("%d of %d are answered", len(ids), each)
			}
			r.loop.work()
			ids = append(ids, peers[0].answers()...)
		}
		for i, id := range ids {
			if id != uint64(2+flood*each+i) {
				t.Fatalf("answer %d of flood %d is %d", i, flood, id)
			}
		}
	}
	if r.loop.counted.Full.Load() == 0 {
		t.Error("the socket was never full")
	}
}

// TestWhoHasSpokenIsFirst: who has sent something is read in the first turn, be it the last of thousands; who sends something only then waits for a part of
// the others.
func TestWhoHasSpokenIsFirst(t *testing.T) {
	const many = 3 * landedAtOnce
	r, peers := landingRig(t, many, nil)
	last, next := peers[many-1], peers[many-2]
	last.say(connectFrame("alice"))
	r.loop.land()
	next.say(connectFrame("bob"))
	r.loop.work()
	if frames := last.told(); len(frames) != 1 || frames[0].GetConnected() == nil {
		t.Errorf("in the first turn it is told %v", frames)
	}
	select {
	case <-r.loop.engine.heard:
		t.Error("the loop says that it reads all")
	default:
	}
	r.work()
	if frames := next.told(); len(frames) != 1 || frames[0].GetConnected() == nil {
		t.Errorf("in the end the other one is told %v", frames)
	}
}

// TestWhatCameAlong: frames that were read by the process before are worked off, though nothing follows.
func TestWhatCameAlong(t *testing.T) {
	r, peers := landingRig(t, 1, nil)
	r.loop.putBack(peers[0].conn, connectFrame("alice"))
	r.loop.land()
	r.work()
	if frames := peers[0].told(); len(frames) != 1 || frames[0].GetConnected() == nil {
		t.Errorf("it is told %v", frames)
	}
}

// TestTheEndBehindWords: what stands before a peer's end is answered, also when both come to light at once.
func TestTheEndBehindWords(t *testing.T) {
	r, peers := landingRig(t, 1, nil)
	peers[0].say(connectFrame("alice"))
	if err := unix.Shutdown(peers[0].fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	r.loop.land()
	r.work()
	if frames := peers[0].told(); len(frames) != 1 || frames[0].GetConnected() == nil || !peers[0].left {
		t.Errorf("it is told %v, and the end: %v", frames, peers[0].left)
	}
}

// TestAPeerLeavesWhatItHasNotTaken: a broken socket ends its connection, whether that is found by reading or by writing.
func TestAPeerLeavesWhatItHasNotTaken(t *testing.T) {
	r, peers := landingRig(t, 2, nil)
	r.loop.land()
	for _, p := range peers {
		p.say(connectFrame("alice"))
		r.work()
		for id := 2; !p.conn.backed; id += 1000 {
			p.say(pingFrames(id, 1000))
			r.work()
		}
	}
	peers[0].leave()
	r.loop.stir(peers[0].conn.handle, unix.EPOLLOUT|unix.EPOLLERR)
	peers[1].leave()
	r.work()
	for i, p := range peers {
		if p.conn.sock != nil {
			t.Errorf("connection %d is there", i)
		}
	}
	if n := r.loop.counted.Buffered.Load(); n != 0 {
		t.Errorf("%d bytes wait for nobody", n)
	}
}

// TestAFaultWithOneThatHasLanded closes that connection alone.
func TestAFaultWithOneThatHasLanded(t *testing.T) {
	r, peers := landingRig(t, 2, func(c *Config) { c.Rules.Auth = trap{} })
	r.loop.land()
	peers[0].say(connectFrame("boom"))
	peers[1].say(connectFrame("alice"))
	r.work()
	if peers[0].told(); !peers[0].left || r.loop.counted.Panics.Load() != 1 {
		t.Errorf("it has ended: %v, faults: %d", peers[0].left, r.loop.counted.Panics.Load())
	}
	if frames := peers[1].told(); len(frames) != 1 || frames[0].GetConnected() == nil {
		t.Errorf("the other one is told %v", frames)
	}
}

// TestWhoHasLandedGoesOn: in the next takeover nothing more is read, so that what comes goes over in the kernel, and what was read as a state.
func TestWhoHasLandedGoesOn(t *testing.T) {
	r, peers := landingRig(t, 2, nil)
	r.loop.land()
	half := pingFrames(2, 1)[:1]
	peers[0].say(append(connectFrame("alice"), half...))
	peers[1].say(connectFrame("bob"))
	r.work()
	r.put(handoff.Event{Kind: handoff.Freeze})
	r.work()
	peers[0].say(pingFrames(2, 1)[1:])
	peers[1].leave() // which is found where it goes
	r.work()
	if len(peers[0].answers()) != 1 {
		t.Error("it is answered behind the freeze")
	}
	close(r.loop.engine.released)
	r.put(handoff.Event{Kind: handoff.Pack})
	r.loop.work()
	p := <-r.loop.packed
	if len(p.states) != 2 || p.left != 0 {
		t.Fatalf("%d connections go over, %d do not", len(p.states), p.left)
	}
	var state takeover.Connection
	if err := state.Decode(p.states[0].State); err != nil || !slices.Equal(state.Inbound, half) {
		t.Errorf("what was read of it is %x, %v; want %x", state.Inbound, err, half)
	}
	r.loop.carried = 0 // they are another process's
	r.loop.counted.Connections.Store(0)
}

// TestTheWatcherRings when a socket becomes ready, each time, and its goroutine ends with it.
func TestTheWatcherRings(t *testing.T) {
	r, peers := landingRig(t, 1, nil)
	rung := make(chan struct{}, 100)
	ring := func() { rung <- struct{}{} }
	r.loop.watcher.start(ring, &r.loop.engine.watching)
	<-rung // as it begins
	r.loop.land()
	r.work()
	for round := range 3 {
		peers[0].say(pingFrames(2+round, 1))
		select {
		case <-rung:
		case <-time.After(time.Minute):
			t.Fatalf("nobody rings in round %d", round)
		}
		r.work()
	}
	r.loop.watcher.close()
	r.loop.engine.watching.Wait()
}

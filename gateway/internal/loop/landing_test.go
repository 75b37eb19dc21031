package loop

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/takeover"
	"rookery/proto"
)

// TestLooksWhileLanding: what it costs to look who has something to read grows with the connections and not with their square, and
// nobody waits for more than a part of the others.
func TestLooksWhileLanding(t *testing.T) {
	for _, n := range []int{1, 100, 15_000, 300_000, 1_000_000} {
		cost := 0
		for aloft := n; aloft > 0; {
			cost += aloft
			next := untilNextLook(aloft)
			if next < 1 || next > max(128, aloft/50) {
				t.Fatalf("of %d, %d land until the next look", aloft, next)
			}
			aloft -= next
		}
		if cost > 70*n {
			t.Errorf("%d connections are looked at %d times", n, cost)
		}
	}
}

// TestNobodyIsClosedUnread: while nothing is read of a connection no time runs out for what its peer is to send, and when it has
// landed there is some left.
func TestNobodyIsClosedUnread(t *testing.T) {
	for name, wait := range map[string]struct {
		begin func(l *Loop, c *conn)
		code  uint16 // that its time runs out with
	}{
		"an answer to a heartbeat": {func(l *Loop, c *conn) { c.probed = true }, proto.CloseHeartbeatTimeout.Code},
		"a request to connect":     {func(l *Loop, c *conn) { c.phase = opened; l.deadline(c, time.Second) }, proto.CloseConnectTimeout.Code},
		"the rest of a message":    {func(l *Loop, c *conn) { c.half = l.now.add(time.Second); l.hurry(c) }, proto.CloseFrameTimeout.Code},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Heartbeat = 2 * time.Second })
			s := r.open(true, proto.Binary)
			c := s.context.(*conn)
			pass := func(seconds int) {
				for range seconds { // as much as a tick counts of a loop that was held up
					r.loop.engine.started = r.loop.engine.started.Add(-time.Second)
					r.loop.tick()
					r.loop.flush()
				}
			}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			defer unix.Close(pair[1])
			wait.begin(r.loop, c)
			c.sock = &lifted{fd: pair[0]}
			pass(30)
			if n, err := unix.Read(pair[1], make([]byte, 100)); c.closed != 0 || err != unix.EAGAIN {
				t.Fatalf("it was closed with %d, and sent %d bytes, %v", c.closed, n, err)
			}
			c.sock = s
			r.loop.forgive(c)
			r.loop.tick()
			if c.closed != 0 {
				t.Fatalf("it was closed with %d when it had landed", c.closed)
			}
			if pass(4); c.closed != wait.code {
				t.Errorf("later it is closed with %d, want %d", c.closed, wait.code)
			}
		})
	}
}

// enroller is an event loop that opens no socket it is given, and says of each what a test has it say.
type enroller struct {
	*fakeEvents
	say func(opened chan<- gnet.RegisteredResult)
}

func (e *enroller) Enroll(_ context.Context, c net.Conn) (<-chan gnet.RegisteredResult, error) {
	opened := make(chan gnet.RegisteredResult, 1)
	c.Close()
	e.say(opened)
	return opened, nil
}

// aloft is a loop to which so many connections have come by a takeover. The other ends of their sockets are peers.
func aloft(t *testing.T, n int, say func(opened chan<- gnet.RegisteredResult)) (r *rig, peers []*os.File) {
	t.Helper()
	var back []takeover.Connection
	for i := range n {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		peer := os.NewFile(uintptr(pair[0]), "peer")
		t.Cleanup(func() { peer.Close() })
		peers = append(peers, peer)
		back = append(back, takeover.Connection{FD: pair[1], Slot: uint32(i), Generation: uint32(i + 1), Phase: uint8(opened)})
	}
	r = newRig(t, func(c *Config) {
		c.Returning, c.Generations = [][]takeover.Connection{back}, []uint32{uint32(n)}
	})
	r.loop.events = &enroller{r.events, say}
	r.loop.watcher = &watcher{fd: -1} // of nothing
	r.loop.restore()
	return r, peers
}

// TestNobodyLands: of sockets that no event loop takes the connections end, and the landing does, whatever gnet says of them. It says of one that
// epoll did not take that it is there.
func TestNobodyLands(t *testing.T) {
	for name, say := range map[string]func(chan<- gnet.RegisteredResult){
		"it is there": func(opened chan<- gnet.RegisteredResult) { opened <- gnet.RegisteredResult{}; close(opened) },
		"an error": func(opened chan<- gnet.RegisteredResult) {
			opened <- gnet.RegisteredResult{Err: unix.EMFILE}
			close(opened)
		},
		"nothing": func(opened chan<- gnet.RegisteredResult) { close(opened) },
	} {
		t.Run(name, func(t *testing.T) {
			r, peers := aloft(t, 300, say)
			turn := make(chan struct{}, 1)
			r.loop.inbox.Listen(func() {
				select {
				case turn <- struct{}{}:
				default:
				}
			})
			r.loop.land()
			for landed := false; !landed; {
				select {
				case <-r.loop.engine.landed:
					landed = true
				case <-turn:
					r.work()
				case <-time.After(time.Minute):
					t.Fatalf("%d connections have not landed, and %d are being given to gnet", r.loop.engine.flying.Load(), r.loop.landing)
				}
			}
			r.loop.engine.watching.Wait()
			if n := r.loop.counted.Connections.Load(); n != 0 || r.loop.landing != 0 {
				t.Errorf("%d connections are there, and %d are being given to gnet", n, r.loop.landing)
			}
			for _, peer := range peers {
				if n, err := peer.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Fatalf("a peer reads %d bytes, %v; want the end", n, err)
				}
			}
		})
	}
}

// TestTheEndOfALanding: nobody waits for gnet's word when it has ended.
func TestTheEndOfALanding(t *testing.T) {
	r, _ := aloft(t, 10, func(chan<- gnet.RegisteredResult) {})
	r.loop.land()
	close(r.loop.engine.halted)
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.loop.engine.watching.Wait()
	}()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatal("the engine waits for sockets that gnet does not open any more")
	}
	r.loop.work() // none has missed, for none will be answered
	if n := r.loop.counted.Connections.Load(); n != 10 {
		t.Errorf("%d of 10 connections are there", n)
	}
	for _, s := range r.loop.slots {
		r.loop.abort(s.conn)
	}
}

package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

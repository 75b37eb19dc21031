package loop

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/takeover"
	"rookery/proto"
)

// running is an engine that runs, with so many loops. Its end is ended's.
func running(t *testing.T, loops int) (e *Engine, ended <-chan error) {
	t.Helper()
	r := newRig(t, func(c *Config) {
		for range loops - 1 {
			c.Inboxes = append(c.Inboxes, handoff.NewMailbox[handoff.Event](1<<20))
		}
	})
	e = r.loop.engine
	end := make(chan error, 1)
	go func() { end <- e.Run("127.0.0.1:0") }()
	<-e.Booted()
	for range loops {
		opened, err := e.startLoop()
		if err != nil {
			t.Fatal(err)
		}
		if result := <-opened; result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	return e, end
}

// endGnet has gnet end, as it does by itself behind an accept that fails.
func endGnet(e *Engine) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.gnet.Stop(over) // which says that it has not waited
}

// inTime fails a test whose step never ends.
func inTime[T any](t *testing.T, what string, step func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- step() }()
	select {
	case result := <-done:
		return result
	case <-time.After(time.Minute):
		t.Fatalf("%s never ends", what)
		panic("unreachable")
	}
}

// TestGnetEndsAmidATakeover: nobody waits for loops that have ended, and what those that stand still gave goes on.
func TestGnetEndsAmidATakeover(t *testing.T) {
	for name, standing := range map[string]bool{"all loops have ended": false, "one stands still": true} {
		t.Run(name, func(t *testing.T) {
			e, ended := running(t, 2)
			e.Freeze(0)
			if standing {
				inTime(t, "Quiet of loops that run", e.Quiet) // as before every Pack: now gnet has their bells
				l := (*e.loops.Load())[0]
				l.inbox.PutAlways(handoff.Event{Kind: handoff.Pack}, 0)
				l.packed <- inTime(t, "a loop's packing", func() packed { return <-l.packed })
				endGnet(e)
				inTime(t, "the other loop", func() struct{} { return <-(*e.loops.Load())[1].gone })
			} else {
				endGnet(e)
				inTime(t, "gnet", func() struct{} { return <-e.halted })
				// Where nobody takes out what waits, and comes after.
				(*e.loops.Load())[0].inbox.PutAlways(handoff.Event{Kind: handoff.Quiet}, 1)
				if !inTime(t, "Quiet", e.Quiet) || !e.Idle() {
					t.Error("something is under way on loops that have ended")
				}
			}
			b := inTime(t, "Pack", func() *takeover.Bundle { b, _, _ := e.Pack(); return b })
			inTime(t, "TakeBack", func() bool { e.TakeBack(b); return true })
			_ = e.Stop(t.Context())
			inTime(t, "Run", func() error { return <-ended })
		})
	}
}

// TestStopBehindGnetsEnd: loops that stood still end when they are released, perhaps before gnet is told to.
func TestStopBehindGnetsEnd(t *testing.T) {
	e, ended := running(t, 1)
	endGnet(e)
	inTime(t, "gnet", func() struct{} { return <-e.halted })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		t.Errorf("Stop says %v of loops that have ended", err)
	}
	inTime(t, "Run", func() error { return <-ended })
}

// TestWhoComesToAFullServer during a takeover is kept for whoever says that it is full, as far as that can be said; and those that were given away
// count as long as they have descriptors here.
func TestWhoComesToAFullServer(t *testing.T) {
	e, ended := running(t, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Enter(accepted, netip.MustParseAddr("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	e.SetCapacity(1)
	e.Freeze(0)
	late := func(come int) int {
		t.Helper()
		for range come {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			e.Keep(fd)
		}
		kept := e.Late()
		for _, fd := range kept {
			if err := unix.Close(fd); err != nil {
				t.Errorf("a connection that was kept is closed: %v", err)
			}
		}
		return len(kept)
	}
	for _, step := range []func(){func() {}, func() { e.Pack() }} {
		step()
		for range 2 {
			if n := late(RefusalReserve + 10); n != RefusalReserve {
				t.Errorf("of those that come to a full server %d are kept, want %d", n, RefusalReserve)
			}
		}
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	inTime(t, "Run", func() error { return <-ended })
	if n := late(RefusalReserve + 10); n != RefusalReserve+1 || e.Open() != 0 {
		t.Errorf("when it has given all away %d are kept, want %d, and %d are open", n, RefusalReserve+1, e.Open())
	}
}

// brokenSocket ends when what waits for it is to be written to a file: gnet closes it, and its number is somebody else's at once.
type brokenSocket struct {
	*fakeSocket
	number, next int
}

func (s *brokenSocket) Fd() int { return s.number }

func (s *brokenSocket) Flush() error {
	_ = unix.Dup3(s.next, s.number, unix.O_CLOEXEC)
	c := s.context.(*conn)
	c.loop.closed(c, unix.EPERM)
	return unix.EPERM
}

// TestAConnectionThatEndsAmidItsLift is not given away, and nothing is done to whom its descriptor's number is of by then.
func TestAConnectionThatEndsAmidItsLift(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	stays := r.open(true, proto.Binary)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	next, err := unix.Eventfd(7, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(next)
	s.buffered = []byte("what the socket did not take")
	s.context.(*conn).sock = &brokenSocket{s, pair[0], next}
	p := r.loop.pack()
	if len(p.states) != 1 || p.left != 1 || r.loop.given[0] != stays {
		t.Errorf("%d connections are given, %d are counted as left", len(p.states), p.left)
	}
	var count [8]byte
	if n, err := unix.Read(pair[0], count[:]); n != 8 || err != nil || count[0] != 7 {
		t.Errorf("whoever has the number reads %d bytes, %v, %v", n, count, err)
	}
}

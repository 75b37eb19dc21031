package gateway

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUsher: nobody accepts from the listener but the usher, and it only while the loops are slow.
func TestUsher(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, true); err != nil { // as gnet's are
		t.Fatal(err)
	}
	const clients = usherMost + 10
	for range clients {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}

	var slow atomic.Bool
	var looks, entered atomic.Int32
	u := &usher{listeners: func() []int { return []int{fd} }, slow: func() bool { looks.Add(1); return slow.Load() }, enter: func(fd int) {
		defer unix.Close(fd)
		entered.Add(1)
	}}
	u.start()
	defer u.close()
	await := func(what string, come func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !come(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d looks, %d of %d are let in", what, looks.Load(), entered.Load(), clients)
			}
		}
	}
	await("loops in time", func() bool { return looks.Load() >= 3 })
	if n := entered.Load(); n != 0 {
		t.Errorf("%d are let in beside loops that accept themselves", n)
	}
	before := looks.Load()
	slow.Store(true)
	await("slow loops", func() bool { return entered.Load() == clients })
	u.close()
	u.close()
	if n := looks.Load() - before; n < 2 {
		t.Errorf("%d were let in by %d looks, each is for %d", clients, n, usherMost)
	}
}

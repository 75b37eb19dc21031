package loop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/proto"
)

// TestRecordsBehindTheEnd: who was told to come back, since its keys have changed perhaps, and is read on by the process that has taken over, sends what
// can't be opened and has done nothing wrong. Behind any other end it has.
func TestRecordsBehindTheEnd(t *testing.T) {
	for _, c := range []struct {
		code proto.CloseCode
		want int64
	}{{proto.CloseGoingAway, 0}, {proto.CloseNormal, 1}} {
		r := newRig(t, nil)
		conn := r.open(true, proto.Binary).context.(*conn)
		conn.kernel = true
		r.loop.close(conn, c.code, "")
		r.loop.flush()
		r.loop.closed(conn, os.NewSyscallError("read", unix.EBADMSG))
		if n := r.loop.counted.Denied[deniedTLS].Load(); n != c.want || conn.sock != nil {
			t.Errorf("behind %s a record that can't be opened is denied %d times, and the connection is there: %v", c.code.Name, n, conn.sock != nil)
		}
	}
}

// TestWhatTheKernelHasCostsUsLittle: a connection whose records the kernel has takes at most 256 bytes more of the heap than a plain one. What it is to
// the process does not depend on a kernel that has the module.
func TestWhatTheKernelHasCostsUsLittle(t *testing.T) {
	const connections, most = 1000, 256
	plain := heapOfEach(t, connections, func(engine *Engine, address string) net.Conn { return dial(t, address) })
	kernel := heapOfEach(t, connections, func(engine *Engine, _ string) net.Conn {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client := dial(t, l.Addr().String())
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.EnterSecure(accepted, netip.MustParseAddr("127.0.0.1"), nil); err != nil {
			t.Fatal(err)
		}
		return client
	})
	t.Logf("plain %.0f bytes each, the kernel's %.0f", plain, kernel)
	if kernel > plain+most {
		t.Errorf("a connection of the kernel's takes %.0f bytes, a plain one %.0f", kernel, plain)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// heapOfEach is what a connection takes, with its client here. What an engine needs once is there before.
func heapOfEach(t *testing.T, n int, open func(engine *Engine, address string) net.Conn) float64 {
	t.Helper()
	// The port is ours until the engine has it, too: it listens with SO_REUSEPORT.
	held, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	if err := unix.SetsockoptInt(held, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(held, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(held)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	engine := newRig(t, nil).loop.engine
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(address) }()
	<-engine.Booted()
	clients := make([]net.Conn, 0, n+n/10)
	grow := func(to int) float64 {
		for len(clients) < to {
			clients = append(clients, open(engine, address))
		}
		for end := time.Now().Add(20 * time.Second); engine.Open() < to; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d connections of %d are open", engine.Open(), to)
			}
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools had, and finalizers
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := grow(n / 10)
	each := (grow(n+n/10) - before) / float64(n)
	for _, c := range clients {
		c.Close()
	}
	if err := engine.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return each
}

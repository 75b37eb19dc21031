package loop

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
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

// socketPair gives both ends of a connection that the test closes at its end.
func socketPair(t *testing.T) (here, there *os.File) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	here, there = os.NewFile(uintptr(ends[0]), "here"), os.NewFile(uintptr(ends[1]), "there")
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// TestAWriteFindsABadRecord: one behind good ones may show when they are answered, in the middle of a turn. The peer is told what is wrong, and gnet that it
// has nothing more to do with the connection.
func TestAWriteFindsABadRecord(t *testing.T) {
	here, there := socketPair(t)
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	c.kernel = true
	s.file, s.fault = here, os.NewSyscallError("write", unix.EBADMSG)
	one := proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	s.in = append(one, one...)
	if action := r.loop.traffic(c); action != gnet.Close {
		t.Errorf("gnet is told %v, want to close", action)
	}
	if _, kept := c.sock.(*lifted); !kept || c.phase != closing || !s.closed {
		t.Fatalf("it is kept: %v, in the phase %v; gnet has closed it: %v", kept, c.phase, s.closed)
	}
	if n := r.loop.counted.Denied[deniedTLS].Load(); n != 1 {
		t.Errorf("it is denied %d times", n)
	}
	if b, err := io.ReadAll(there); err != nil || len(b) != 2 {
		t.Errorf("the peer reads %x, %v; want an alert and the end", b, err)
	}
	r.loop.abort(c)
	if c.sock != nil {
		t.Error("it is still there")
	}
}

// TestWhatTheKernelHasCostsUsLittle: a connection whose records the kernel has takes at most 256 bytes more of the heap than a plain one. What it is to
// the process does not depend on a kernel that has the module.
func TestWhatTheKernelHasCostsUsLittle(t *testing.T) {
	const connections, most = 500, 256
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

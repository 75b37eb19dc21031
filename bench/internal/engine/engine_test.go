package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a handler that tells a test what it was called with.
type fake struct {
	opened   chan int
	received chan []byte
	closed   chan error
	consume  func(in []byte) int
	open     func(c int) // nil: nothing is done when a connection is opened
}

func (f *fake) Opened(c int) {
	if f.open != nil {
		f.open(c)
	}
	f.opened <- c
}
func (f *fake) Received(c int, in []byte) int {
	n := f.consume(in)
	f.received <- bytes.Clone(in[:n])
	return n
}
func (f *fake) Closed(c int, err error) { f.closed <- err }
func (f *fake) Due(now int64) int64     { return now + int64(time.Hour) }

type noMeter struct{}

func (noMeter) Wake(time.Time)  {}
func (noMeter) Sleep(time.Time) {}

func all(in []byte) int { return len(in) }

// start runs a loop and gives a listener to connect to.
func start(t *testing.T, consume func([]byte) int) (*Loop, *fake, *net.TCPListener) {
	t.Helper()
	return startMetered(t, consume, noMeter{})
}

// startMetered is start with a meter of the handshakes that wait.
func startMetered(t *testing.T, consume func([]byte) int, queue Meter) (*Loop, *fake, *net.TCPListener) {
	t.Helper()
	f := &fake{opened: make(chan int, 10), received: make(chan []byte, 1000), closed: make(chan error, 10), consume: consume}
	l, err := New(4, f, noMeter{}, queue)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the loop ended with %v", err)
		}
		listener.Close()
	})
	return l, f, listener
}

// on calls f on the loop.
func on[T any](l *Loop, f func() T) T {
	answer := make(chan T)
	l.Post(func() { answer <- f() })
	return <-answer
}

// wait gives what comes on a channel in time.
func wait[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
		panic("not reached")
	}
}

func connect(t *testing.T, l *Loop, f *fake, listener *net.TCPListener, c int) *net.TCPConn {
	t.Helper()
	target := listener.Addr().(*net.TCPAddr).AddrPort()
	if err := on(l, func() error { return l.Dial(c, target, netip.MustParseAddr("127.0.0.9"), nil) }); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if got := wait(t, f.opened, "Opened"); got != c {
		t.Fatalf("connection %d opened, want %d", got, c)
	}
	return conn
}

// TestNothingIsPostedBehindTheEnd: the loop's descriptors are closed then, and others may have their numbers.
func TestNothingIsPostedBehindTheEnd(t *testing.T) {
	l, err := New(1, &fake{}, noMeter{}, noMeter{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	other, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	if other != l.bell {
		same, err := unix.FcntlInt(uintptr(other), unix.F_DUPFD_CLOEXEC, l.bell)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(same)
		if same != l.bell {
			t.Fatalf("the number %d of the bell is somebody else's already", l.bell)
		}
	}
	l.Post(func() {})
	var count [8]byte
	if n, err := unix.Read(other, count[:]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d bytes were written into what has the number of the bell, %v", n, err)
	}
}

func TestBytesGoBothWays(t *testing.T) {
	l, f, listener := start(t, all)
	conn := connect(t, l, f, listener, 2)
	if host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); host != "127.0.0.9" {
		t.Errorf("the connection comes from %s", host)
	}
	if err := on(l, func() error { return l.Write(2, []byte("hello")) }); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q arrived, %v", got, err)
	}
	conn.Write([]byte("back"))
	if got := wait(t, f.received, "Received"); string(got) != "back" {
		t.Errorf("%q was received", got)
	}
	if l.BytesIn() != 4 || l.BytesOut() != 5 {
		t.Errorf("%d bytes in, %d out", l.BytesIn(), l.BytesOut())
	}
}

// TestWhatIsLeftComesAgain: a handler that takes only whole tens gets them in order, whatever the reads were.
func TestWhatIsLeftComesAgain(t *testing.T) {
	l, f, listener := start(t, func(in []byte) int { return len(in) / 10 * 10 })
	conn := connect(t, l, f, listener, 0)
	var sent, got []byte
	for i := range 500 {
		piece := bytes.Repeat([]byte{byte(i)}, 1+i%37)
		sent = append(sent, piece...)
		conn.Write(piece)
	}
	for len(got) < len(sent)/10*10 {
		got = append(got, wait(t, f.received, "Received")...)
	}
	if !bytes.Equal(got, sent[:len(got)]) {
		t.Error("bytes are lost or out of order")
	}
}

// TestAPeerThatTakesNothing: what the socket does not take waits, up to a bound, and goes out in order when it can.
func TestAPeerThatTakesNothing(t *testing.T) {
	l, f, listener := start(t, all)
	conn := connect(t, l, f, listener, 1)
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	var sent int
	var err error
	for err == nil && sent < 1000*len(piece) {
		if err = on(l, func() error { return l.Write(1, piece) }); err == nil {
			sent += len(piece)
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d bytes that nobody read: %v", sent, err)
	}
	if waiting := on(l, func() int { return l.Unsent(1) }); waiting == 0 || waiting > MaxUnsent {
		t.Errorf("%d bytes wait, want some and %d at most", waiting, MaxUnsent)
	}
	got := make([]byte, len(piece))
	for read := 0; read < sent; read += len(piece) {
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, piece) {
			t.Fatalf("the bytes after %d of %d differ, %v", read, sent, err)
		}
	}
	if waiting := on(l, func() int { return l.Unsent(1) }); waiting != 0 {
		t.Errorf("%d bytes wait after all was read", waiting)
	}
}

func TestWhoIsPausedReadsNothing(t *testing.T) {
	l, f, listener := start(t, all)
	conn := connect(t, l, f, listener, 0)
	other := connect(t, l, f, listener, 1)
	on(l, func() bool { l.Pause(0); return true })
	conn.Write([]byte("quiet"))
	other.Write([]byte("loud"))
	if got := wait(t, f.received, "Received"); string(got) != "loud" {
		t.Errorf("%q was received first", got)
	}
	on(l, func() bool { l.Resume(0); return true })
	if got := wait(t, f.received, "Received"); string(got) != "quiet" {
		t.Errorf("%q was received then", got)
	}
}

// TestWhoIsPausedAndIsReset is told of it: nothing is read of such a connection, and it must not stay for ever.
func TestWhoIsPausedAndIsReset(t *testing.T) {
	l, f, listener := start(t, all)
	peer := connect(t, l, f, listener, 0)
	on(l, func() bool { l.Pause(0); return true })
	peer.SetLinger(0)
	peer.Close()
	if err := wait(t, f.closed, "the end"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("it ended with %v", err)
	}
}

// awaitReset returns when the kernel has the RST of a connection's peer.
func awaitReset(t *testing.T, l *Loop, c int) {
	t.Helper()
	poll := []unix.PollFd{{Fd: l.sockets[c].fd}} // of errors and hangups poll tells by itself
	if n, err := unix.Poll(poll, 20_000); n != 1 || err != nil {
		t.Errorf("no reset came: %d, %v", n, err)
	}
}

// TestWhatCameBeforeAResetIsRead: whoever finds out first that the connection is gone, a write, what was left of one or the
// loop itself, what the peer sent before is received.
func TestWhatCameBeforeAResetIsRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(l *Loop) // before the peer sends and resets
		find    func(t *testing.T, l *Loop)
	}{
		{"a write", func(*Loop) {}, func(t *testing.T, l *Loop) {
			for range 2 {
				if err := l.Write(0, []byte("x")); !errors.Is(err, ErrBroken) {
					t.Errorf("a write to a connection that was reset: %v", err)
				}
			}
		}},
		{"what was left of a write", func(l *Loop) {
			for l.Unsent(0) == 0 {
				l.Write(0, make([]byte, 64<<10))
			}
		}, func(t *testing.T, l *Loop) {
			l.handle(0, unix.EPOLLOUT|unix.EPOLLIN|unix.EPOLLHUP, l.sockets[0].generation)
		}},
		{"the loop, of one that is paused", func(l *Loop) { l.Pause(0) }, func(t *testing.T, l *Loop) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, f, listener := start(t, all)
			peer := connect(t, l, f, listener, 0)
			want := bytes.Repeat([]byte("before"), 8000) // less than a receive buffer holds
			on(l, func() bool {
				l.buffer = make([]byte, 10_000) // more than one read takes
				c.prepare(l)
				if n, err := peer.Write(want); n != len(want) || err != nil {
					t.Errorf("the peer wrote %d, %v", n, err)
				}
				peer.SetLinger(0)
				peer.Close()
				awaitReset(t, l, 0)
				c.find(t, l)
				return true
			})
			if err := wait(t, f.closed, "Closed"); err == nil {
				t.Error("the end is taken for an orderly one")
			}
			var got []byte
			for len(f.received) > 0 {
				got = append(got, <-f.received...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes were received before the end, want %d", len(got), len(want))
			}
		})
	}
}

func TestHowConnectionsEnd(t *testing.T) {
	l, f, listener := start(t, all)
	conn := connect(t, l, f, listener, 0)
	conn.Close()
	if err := wait(t, f.closed, "Closed"); err != nil {
		t.Errorf("an orderly end is %v", err)
	}
	conn = connect(t, l, f, listener, 0)
	conn.SetLinger(0)
	conn.Close()
	if err := wait(t, f.closed, "Closed"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a reset is %v", err)
	}
	conn = connect(t, l, f, listener, 0)
	on(l, func() bool { l.Close(0, Orderly); return true })
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the peer of an orderly end reads %v", err)
	}
	conn = connect(t, l, f, listener, 0)
	on(l, func() bool { l.Close(0, Reset); return true })
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the peer of a reset reads %v", err)
	}
	if err := on(l, func() error { return l.Write(0, []byte("x")) }); !errors.Is(err, ErrNotOpen) {
		t.Errorf("a write to a closed connection is %v", err)
	}
	select {
	case err := <-f.closed:
		t.Errorf("Closed was called for what Close closed: %v", err)
	default:
	}
}

func TestNobodyListens(t *testing.T) {
	l, f, listener := start(t, all)
	target := listener.Addr().(*net.TCPAddr).AddrPort()
	listener.Close()
	if err := on(l, func() error { return l.Dial(0, target, netip.Addr{}, nil) }); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, f.closed, "Closed"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a refused connection is %v", err)
	}
	if err := on(l, func() error { return l.Dial(0, target, netip.MustParseAddr("192.0.2.1"), nil) }); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("an address of others as source is %v", err)
	}
}

func TestDetachedSocketsStayOpen(t *testing.T) {
	l, f, listener := start(t, all)
	conn := connect(t, l, f, listener, 0)
	fd := on(l, func() int { return l.Detach(0) })
	second := connect(t, l, f, listener, 0)
	second.Write([]byte("second"))
	conn.Write([]byte("first"))
	if got := wait(t, f.received, "Received"); string(got) != "second" {
		t.Errorf("%q was received", got)
	}
	CloseDetached(fd)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the detached connection is open after its end")
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		texts []string
		count int
		picks map[int]string
	}{
		{nil, 0, map[int]string{0: "invalid IP", 7: "invalid IP"}},
		{[]string{"10.1.2.3"}, 1, map[int]string{0: "10.1.2.3", 5: "10.1.2.3"}},
		{[]string{"127.0.0.0/30"}, 2, map[int]string{0: "127.0.0.1", 1: "127.0.0.2", 2: "127.0.0.1"}},
		{[]string{"127.0.0.0/16"}, 65534, map[int]string{0: "127.0.0.1", 254: "127.0.0.255", 255: "127.0.1.0", 65533: "127.0.255.254", 65534: "127.0.0.1"}},
		{[]string{"127.0.0.0/8"}, 65534, map[int]string{65533: "127.0.255.254"}},
		{[]string{"10.0.0.9", "127.0.0.0/30"}, 3, map[int]string{0: "10.0.0.9", 1: "127.0.0.1", 2: "127.0.0.2", 3: "10.0.0.9"}},
		{[]string{"fd00::/126"}, 2, map[int]string{0: "fd00::1", 1: "fd00::2"}},
		{[]string{"lo"}, -1, map[int]string{0: "127.0.0.1"}},
	} {
		s, err := ParseSources(c.texts)
		if err != nil {
			t.Fatal(err)
		}
		if c.count >= 0 && s.Count() != c.count {
			t.Errorf("%v are %d addresses, want %d", c.texts, s.Count(), c.count)
		}
		for i, want := range c.picks {
			if got := s.Pick(i).String(); got != want {
				t.Errorf("number %d of %v is %s, want %s", i, c.texts, got, want)
			}
		}
	}
	if _, err := ParseSources([]string{"nowhere0"}); err == nil {
		t.Error("an interface that does not exist was taken")
	}
}

func TestNowIsTheClockOfTheHost(t *testing.T) {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	from := ts.Nano()
	got := Now()
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	// The two forms of the clock were read one after the other once, which makes a small difference.
	if slack := int64(100 * time.Microsecond); got < from-slack || got > ts.Nano()+slack {
		t.Errorf("Now is %d, the host's clock was %d and then %d", got, from, ts.Nano())
	}
}

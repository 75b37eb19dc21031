package engine

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/internal/certtest"
	"rookery/internal/records/recordstest"
)

// dialSecure has c connect with TLS and gives the server's end of the socket.
func dialSecure(t *testing.T, l *Loop, listener *net.TCPListener, c int, config *tls.Config) *net.TCPConn {
	t.Helper()
	target := listener.Addr().(*net.TCPAddr).AddrPort()
	if err := on(l, func() error { return l.Dial(c, target, netip.Addr{}, config) }); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// serverConfig has a certificate for localhost, and what a client believes.
func serverConfig(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	issuer := certtest.NewIssuer(t)
	return &tls.Config{Certificates: []tls.Certificate{issuer.Load(issuer.Issue("server", time.Hour, "localhost"))}},
		&tls.Config{RootCAs: issuer.Pool, ServerName: "localhost"}
}

func TestSecureBytesGoBothWays(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			l, f, listener := start(t, func(in []byte) int { return len(in) / 10 * 10 }) // what is left comes again
			server, client := serverConfig(t)
			client.MaxVersion = version
			raw := dialSecure(t, l, listener, 1, client)
			conn := tls.Server(raw, server)
			// Right behind the handshake, perhaps in one segment with its end.
			if _, err := conn.Write([]byte("0123456789abc")); err != nil {
				t.Fatal(err)
			}
			if c := wait(t, f.opened, "Opened"); c != 1 || !on(l, func() bool { return l.Open(1) }) {
				t.Fatalf("%d opened", c)
			}
			if got := wait(t, f.received, "Received"); string(got) != "0123456789" {
				t.Errorf("%q was received", got)
			}
			state := on(l, func() tls.ConnectionState { state, _ := l.Agreed(1); return state })
			if state.Version != version || state.DidResume {
				t.Errorf("agreed on %+v", state)
			}

			// More than a record, a read and a socket take.
			long := bytes.Repeat([]byte("0123456789"), 30_000)
			go conn.Write(append([]byte("defghij"), long...))
			var got []byte
			for len(got) < len(long)+10 {
				got = append(got, wait(t, f.received, "Received")...)
			}
			if !bytes.Equal(got, append([]byte("abcdefghij"), long...)) {
				t.Error("what was received is not what was sent")
			}
			if err := on(l, func() error { return l.Write(1, long) }); err != nil {
				t.Fatal(err)
			}
			back := make([]byte, len(long))
			if _, err := io.ReadFull(conn, back); err != nil || !bytes.Equal(back, long) {
				t.Errorf("what arrived is not what was written, %v", err)
			}

			// Both ends say that they end.
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, f.closed, "Closed"); err != nil {
				t.Errorf("an orderly end is %v", err)
			}
			if n, err := conn.Read(back); n != 0 || err != io.EOF {
				t.Errorf("the server read %d bytes, %v; want close_notify", n, err)
			}
		})
	}
}

// TestSecurePeerThatTakesNothing: refused is what finds no room, and nothing of it is sealed: the records stay whole.
func TestSecurePeerThatTakesNothing(t *testing.T) {
	l, f, listener := start(t, all)
	server, client := serverConfig(t)
	conn := tls.Server(dialSecure(t, l, listener, 0, client), server)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	wait(t, f.opened, "Opened")
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	var sent int
	var err error
	for err == nil && sent < 1000*len(piece) {
		if err = on(l, func() error { return l.Write(0, piece) }); err == nil {
			sent += len(piece)
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d bytes that nobody read: %v", sent, err)
	}
	if waiting := on(l, func() int { return l.Unsent(0) }); waiting == 0 || waiting > MaxUnsent {
		t.Errorf("%d bytes wait, want some and %d at most", waiting, MaxUnsent)
	}
	got := make([]byte, len(piece))
	for read := 0; read < sent; read += len(piece) {
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, piece) {
			t.Fatalf("the bytes after %d of %d differ, %v", read, sent, err)
		}
	}
}

// TestAnswersThatNobodyTakes: an update of keys wants one, which waits with the rest and is bounded with it.
func TestAnswersThatNobodyTakes(t *testing.T) {
	l, f, listener := start(t, all)
	server, client := serverConfig(t)
	var keys strings.Builder
	server.KeyLogWriter, server.SessionTicketsDisabled = &keys, true // a ticket would be the first record
	raw := dialSecure(t, l, listener, 0, client)
	if err := tls.Server(raw, server).Handshake(); err != nil {
		t.Fatal(err)
	}
	wait(t, f.opened, "Opened")
	piece := make([]byte, 64<<10)
	for on(l, func() error { return l.Write(0, piece) }) == nil {
	}
	on(l, func() bool {
		out := l.sockets[0].out
		*out = append(*out, make([]byte, MaxUnsent-len(*out))...) // writes of any length would have come this far
		return true
	})
	const handshakeRecord, keyUpdate, wantsOne = 22, 24, 1 // RFC 8446 4.6.3
	_, secret := recordstest.Secret(t, keys.String(), "SERVER_TRAFFIC_SECRET_0")
	if _, err := raw.Write(recordstest.Seal(t, secret, 0, handshakeRecord, []byte{keyUpdate, 0, 0, 1, wantsOne})); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, f.closed, "Closed"); !errors.Is(err, ErrFull) {
		t.Errorf("it ended with %v", err)
	}
}

func TestBrokenRecordsEndAConnection(t *testing.T) {
	l, f, listener := start(t, all)
	server, client := serverConfig(t)
	raw := dialSecure(t, l, listener, 0, client)
	if err := tls.Server(raw, server).Handshake(); err != nil {
		t.Fatal(err)
	}
	wait(t, f.opened, "Opened")
	if _, err := raw.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, f.closed, "Closed"); err == nil {
		t.Error("a server that goes on without TLS ended in order")
	}
}

// TestFailedHandshakes are told by cause.
func TestFailedHandshakes(t *testing.T) {
	server, client := serverConfig(t)
	_, stranger := serverConfig(t)
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for _, c := range []struct {
		name   string
		config *tls.Config
		serve  func(raw *net.TCPConn)
		cause  func(error) bool
		heard  bool
	}{
		{"an issuer that is not known", stranger, func(raw *net.TCPConn) { tls.Server(raw, server).Handshake() },
			func(err error) bool { _, is := errors.AsType[x509.UnknownAuthorityError](err); return is }, true},
		{"another version", &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}, func(raw *net.TCPConn) {
			tls.Server(raw, &tls.Config{Certificates: server.Certificates, MinVersion: tls.VersionTLS13}).Handshake()
		}, func(err error) bool {
			alert, is := errors.AsType[*net.OpError](err)
			return is && alert.Op == "remote error"
		}, true},
		{"no TLS", client, func(raw *net.TCPConn) { raw.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
			func(err error) bool { _, is := errors.AsType[tls.RecordHeaderError](err); return is }, true},
		{"an end in the middle", client, func(raw *net.TCPConn) {
			io.ReadFull(raw, make([]byte, 100))
			raw.Write([]byte{22, 3, 3, 0, 100, 2, 0, 0})
			raw.CloseWrite()
		}, is(io.ErrUnexpectedEOF), true},
		{"an end at once", client, func(raw *net.TCPConn) { raw.CloseWrite() }, is(io.EOF), false},
		{"a reset", client, func(raw *net.TCPConn) {
			io.ReadFull(raw, make([]byte, 100)) // else it may come before the connect is known to be done
			raw.SetLinger(0)
			raw.Close()
		},
			func(err error) bool { return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, f, listener := start(t, all)
			raw := dialSecure(t, l, listener, 2, c.config)
			served := make(chan struct{})
			go func() { defer close(served); c.serve(raw) }()
			err := wait(t, f.closed, "Closed")
			raw.Close()
			<-served
			failed, is := errors.AsType[*HandshakeError](err)
			if !is || !c.cause(err) || failed.Heard != c.heard {
				t.Errorf("it ended with %#v (%v), heard: %v", err, err, is && failed.Heard)
			}
			if len(f.opened) > 0 || on(l, func() bool { return l.Open(2) || l.Shaking(2) }) {
				t.Error("it is open")
			}
		})
	}
}

// TestAHandshakeThatIsClosed ends, and so does one whose loop ends: TestMain finds goroutines that are left. The next connection in its
// place has nothing of it.
func TestAHandshakeThatIsClosed(t *testing.T) {
	l, f, listener := start(t, all)
	server, client := serverConfig(t)
	silent := dialSecure(t, l, listener, 0, client)
	if _, err := io.ReadFull(silent, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	on(l, func() bool {
		if err := l.Write(0, []byte("x")); !errors.Is(err, ErrNotOpen) || !l.Shaking(0) {
			t.Errorf("a write in a handshake: %v", err)
		}
		l.Close(0, Reset)
		return true
	})
	if err := tls.Server(dialSecure(t, l, listener, 0, client), server).Handshake(); err != nil {
		t.Fatal(err)
	}
	wait(t, f.opened, "Opened")
	dialSecure(t, l, listener, 3, client) // goes on when the loop ends
	if len(f.closed) > 0 {
		t.Errorf("Closed was called with %v", <-f.closed)
	}
}

// held is the server's end of a connection whose client can't go on with its handshake once the server's last flight is there, until release.
type held struct {
	*net.TCPConn
	t       *testing.T
	l       *Loop
	c       int
	flights int
	holds   bool
}

// hold makes a handshake of TLS 1.2, in which the server has the last word, up to there.
func hold(t *testing.T, l *Loop, listener *net.TCPListener, c int) (h *held, conn *tls.Conn) {
	t.Helper()
	server, client := serverConfig(t)
	client.MaxVersion = tls.VersionTLS12
	h = &held{TCPConn: dialSecure(t, l, listener, c, client), t: t, l: l, c: c}
	t.Cleanup(h.release) // a loop waits for its handshakes
	conn = tls.Server(h, server)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return h, conn
}

func (h *held) Write(b []byte) (int, error) {
	if h.flights++; h.flights == 2 {
		for range cap(h.l.turns.places) { // no handshake has a processor any more
			h.l.turns.places <- struct{}{}
		}
		h.holds = true
	}
	n, err := h.TCPConn.Write(b)
	if h.flights == 2 {
		h.until(func() bool {
			shaking := h.l.secured[h.c].handshake
			shaking.mu.Lock()
			defer shaking.mu.Unlock()
			return len(shaking.in) > 0
		})
	}
	return n, err
}

// until waits for what the loop will find.
func (h *held) until(is func() bool) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); !on(h.l, is); {
		if time.Now().After(end) {
			h.t.Fatal("it did not come to that")
		}
	}
}

// release has the handshake go on.
func (h *held) release() {
	if h.holds {
		h.holds = false
		for range cap(h.l.turns.places) {
			h.l.turns.give()
		}
	}
}

// told is a meter that tells a test.
type told chan bool

func (m told) Wake(time.Time)  { m <- true }
func (m told) Sleep(time.Time) { m <- false }

// TestHandshakesThatWait are told to the meter: two when there is no place, once as long as any waits.
func TestHandshakesThatWait(t *testing.T) {
	meter := make(told, 1000) // two that take turns may tell it many times
	l, f, listener := startMetered(t, all, meter)
	server, client := serverConfig(t)
	shake := func(c int) {
		raw := dialSecure(t, l, listener, c, client)
		if err := tls.Server(raw, server).Handshake(); err != nil {
			t.Fatal(err)
		}
		wait(t, f.opened, "Opened")
	}
	shake(0)
	if len(meter) > 0 {
		t.Error("a handshake that was alone has waited")
	}
	for range cap(l.turns.places) {
		l.turns.take()
	}
	var running sync.WaitGroup
	for c := 1; c <= 2; c++ {
		raw := dialSecure(t, l, listener, c, client)
		running.Go(func() {
			if err := tls.Server(raw, server).Handshake(); err != nil {
				t.Error(err)
			}
		})
	}
	if !wait(t, meter, "word that one waits") {
		t.Error("nobody waits, the meter is told at first")
	}
	for waiting := 0; waiting < 2; runtime.Gosched() {
		l.turns.mu.Lock()
		waiting = l.turns.waiting
		l.turns.mu.Unlock()
	}
	if len(meter) > 0 {
		t.Error("the meter is told of the second that waits")
	}
	for range cap(l.turns.places) {
		l.turns.give()
	}
	running.Wait()
	for range 2 {
		wait(t, f.opened, "Opened")
	}
	waits := true
	for len(meter) > 0 {
		now := <-meter
		if now == waits {
			t.Fatal("the meter is told the same twice in a row")
		}
		waits = now
	}
	if waits {
		t.Error("the meter is not told that nobody waits any more")
	}
}

// tells reports whether the kernel has something to tell of c, time and again.
func tells(l *Loop, c int) bool {
	events := make([]unix.EpollEvent, 10)
	n, err := unix.EpollWait(l.poll, events, 0)
	for _, event := range events[:max(n, 0)] {
		if event.Fd == int32(c) {
			return true
		}
	}
	return err != nil
}

// TestMoreThanAFlight: what is too much was not kept, so such a connection can't be opened as if nothing was missing.
func TestMoreThanAFlight(t *testing.T) {
	l, f, listener := start(t, all)
	h, conn := hold(t, l, listener, 2)
	written := make(chan struct{})
	go func() { defer close(written); conn.Write(make([]byte, 3*longestFlight)) }()
	h.until(func() bool { return l.sockets[2].deaf })
	h.release()
	var failed *HandshakeError
	if err := wait(t, f.closed, "Closed"); !errors.As(err, &failed) || !strings.Contains(err.Error(), "over 65536 bytes") {
		t.Errorf("it ended with %v", err)
	}
	if len(f.opened) > 0 {
		t.Error("it was opened")
	}
	h.Close()
	<-written
}

// TestAServerThatLeavesInAHandshake: its end is told once, though the kernel would tell it in every turn, and what it sent before it is received
// though the client's first write fails.
func TestAServerThatLeavesInAHandshake(t *testing.T) {
	l, f, listener := start(t, all)
	f.open = func(c int) {
		if err := l.Write(c, []byte("hello")); !errors.Is(err, ErrBroken) {
			t.Errorf("the first write: %v", err)
		}
	}
	h, conn := hold(t, l, listener, 1)
	before := l.BytesIn()
	if _, err := conn.Write([]byte("too many of you")); err != nil {
		t.Fatal(err)
	}
	h.until(func() bool { return l.BytesIn() > before })
	h.SetLinger(0)
	h.Close()
	h.until(func() bool { return l.sockets[1].deaf })
	if on(l, func() bool { return tells(l, 1) }) {
		t.Error("the loop can't sleep while the handshake goes on")
	}
	h.release()
	wait(t, f.opened, "Opened")
	if got := wait(t, f.received, "Received"); string(got) != "too many of you" {
		t.Errorf("%q was received", got)
	}
	if err := wait(t, f.closed, "Closed"); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("it ended with %v", err)
	}
}

package engine

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rookery/internal/records"
)

// longestFlight bounds what a server sends before its handshake is over and TLS has not taken: no flight of one is longer.
const longestFlight = 64 << 10

// HandshakeError is a handshake of TLS that came to nothing.
type HandshakeError struct {
	// Heard: the server had sent something before.
	Heard bool
	Err   error
}

func (e *HandshakeError) Error() string { return fmt.Sprintf("handshake of TLS: %v", e.Err) }

func (e *HandshakeError) Unwrap() error { return e.Err }

// handshake is that of one connection. crypto/tls makes one only with a connection that it can wait for, so a goroutine makes it, for no longer than
// it takes, and the loop gives it what the socket has: the socket stays the loop's.
type handshake struct {
	loop       *Loop
	c          int
	generation int32

	// Owned by the loop.
	heard bool  // the server has sent something
	cut   error // of that something was left out

	mu    sync.Mutex // held for memory work only, guards all below
	more  sync.Cond  // in or ended has changed
	in    []byte     // what the socket gave; the loop's when the handshake is over
	ended error      // nothing more comes
}

// turns are the places of handshakes that compute. One processor is left to the loop, which has others to serve meanwhile.
type turns struct {
	places chan struct{} // a token for each handshake that computes
	queue  Meter         // awake while some wait for a place

	mu      sync.Mutex // held for memory work only
	waiting int        // guarded by mu
}

func newTurns(queue Meter) *turns {
	return &turns{places: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), queue: queue}
}

// take waits for a place.
func (t *turns) take() {
	select {
	case t.places <- struct{}{}:
		return
	default:
	}
	t.queued(1)
	t.places <- struct{}{}
	t.queued(-1)
}

func (t *turns) give() { <-t.places }

// queued counts those who wait. The meter may be told of one change at a time, so it is told under the lock.
func (t *turns) queued(change int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.waiting
	t.waiting += change
	switch {
	case before == 0:
		t.queue.Wake(time.Now())
	case t.waiting == 0:
		t.queue.Sleep(time.Now())
	}
}

// shake begins the handshake of c, whose socket is connected.
func (l *Loop) shake(c int) {
	h := &handshake{loop: l, c: c, generation: l.sockets[c].generation}
	h.more.L = &h.mu
	t := l.secured[c]
	t.handshake = h
	l.shaking.Go(func() {
		l.turns.take()
		stream, err := records.HandshakeClient(h, t.config)
		l.turns.give()
		l.Post(func() { l.shaken(h, stream, err) })
	})
}

// shaken is called on the loop when a handshake has ended.
func (l *Loop) shaken(h *handshake, stream *records.Stream, err error) {
	s := &l.sockets[h.c]
	if s.fd < 0 || s.generation != h.generation {
		return
	}
	if err == nil {
		err = h.cut
	}
	if err != nil {
		l.lost(h.c, &HandshakeError{h.heard, err})
		return
	}
	t := l.secured[h.c]
	t.handshake, t.stream, t.config = nil, stream, nil
	s.connecting = false
	l.hear(h.c) // it has still to be told of an end
	l.handler.Opened(h.c)
	// What came right behind the handshake. If a write in Opened has failed this is what was received before, and endBroken reads on behind it.
	if s.fd >= 0 && s.generation == h.generation && len(h.in) > 0 {
		l.take(h.c, h.in)
	}
}

// feed gives a handshake what its socket has.
func (l *Loop) feed(c int) {
	h := l.secured[c].handshake
	n, err := unix.Read(int(l.sockets[c].fd), l.buffer)
	l.bytesIn.Add(int64(max(n, 0)))
	switch {
	case isAgain(err):
	case err != nil:
		l.deafen(c, fmt.Errorf("read: %w", err))
	case n == 0:
		l.deafen(c, io.EOF)
	case !h.give(l.buffer[:n]):
		l.deafen(c, h.cut)
	}
}

// deafen has a handshake go on with what its server has sent: there is no more. The kernel would tell of that end in each turn, also
// if it is asked for nothing, so the socket is not watched at all meanwhile.
func (l *Loop) deafen(c int, why error) {
	l.secured[c].handshake.end(why)
	if s := &l.sockets[c]; !s.deaf {
		unix.EpollCtl(l.poll, unix.EPOLL_CTL_DEL, int(s.fd), nil) // can't fail for a socket that is watched
		s.deaf = true
	}
}

// hear has the socket of c watched again, if it is not. There was room for it.
func (l *Loop) hear(c int) {
	s := &l.sockets[c]
	if !s.deaf {
		return
	}
	s.deaf = false
	event := unix.EpollEvent{Fd: int32(c), Pad: s.generation}
	if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, int(s.fd), &event); err != nil {
		l.breaks(c, fmt.Errorf("watch a socket: %w", err))
		return
	}
	l.watch(c)
}

func (h *handshake) give(b []byte) bool {
	h.heard = true
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in)+len(b) > longestFlight {
		h.cut = fmt.Errorf("the server sent over %d bytes before its handshake was over", longestFlight)
		return false
	}
	h.in = append(h.in, b...)
	h.more.Signal()
	return true
}

func (h *handshake) end(why error) {
	h.mu.Lock()
	h.ended = cmp.Or(h.ended, why)
	h.mu.Unlock()
	h.more.Signal()
}

// Read is the handshake's. It gives its turn back while it waits for the server.
func (h *handshake) Read(b []byte) (int, error) {
	h.loop.turns.give()
	n, err := h.wait(b)
	h.loop.turns.take()
	return n, err
}

func (h *handshake) wait(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.in) == 0 {
		if h.ended != nil {
			return 0, h.ended
		}
		h.more.Wait()
	}
	n := copy(b, h.in)
	h.in = h.in[n:]
	return n, nil
}

// Write is the handshake's. The loop sends it, unless the connection is closed by then, of which Read tells.
func (h *handshake) Write(b []byte) (int, error) {
	out := append([]byte(nil), b...)
	h.loop.Post(func() {
		if s := &h.loop.sockets[h.c]; s.fd >= 0 && s.generation == h.generation && !s.broken {
			h.loop.send(h.c, out)
		}
	})
	return len(b), nil
}

// The rest of net.Conn: the loop has the socket, and the caller of Dial its time limit.

func (h *handshake) Close() error                     { return nil }
func (h *handshake) LocalAddr() net.Addr              { return nil }
func (h *handshake) RemoteAddr() net.Addr             { return nil }
func (h *handshake) SetDeadline(time.Time) error      { return nil }
func (h *handshake) SetReadDeadline(time.Time) error  { return nil }
func (h *handshake) SetWriteDeadline(time.Time) error { return nil }

// secured is the TLS of a connection. It is the loop's.
type secured struct {
	config    *tls.Config     // until the handshake is over
	handshake *handshake      // while it goes on
	stream    *records.Stream // then
}

package engine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// socket is a connection of the loop.
type socket struct {
	fd         int32 // -1: none
	generation int32 // tells the events of a socket from those of the one before it
	connecting bool  // until Opened
	deaf       bool  // all that its server sent is with its handshake, which goes on, and nothing is watched
	paused     bool  // nothing is read
	broken     bool  // a write failed: what is there is read, then it is closed
	writing    bool  // out waits for the socket
	in, out    *[]byte
}

// How a connection is closed.
type How uint8

const (
	Orderly How = iota // FIN
	Reset              // RST
)

// What Write refuses.
var (
	ErrNotOpen = errors.New("connection is not open")
	// ErrFull: the peer takes nothing, and MaxUnsent waits.
	ErrFull = errors.New("connection takes nothing")
	// ErrBroken: the socket failed. Closed says how.
	ErrBroken = errors.New("connection is broken")
)

// Dial begins to connect c, which must not be open, with TLS if it has a configuration. Opened or Closed follows, unless Dial fails at once.
func (l *Loop) Dial(c int, target netip.AddrPort, source netip.Addr, config *tls.Config) error {
	s := &l.sockets[c]
	family := unix.AF_INET
	if target.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	if err := l.connect(fd, target, source); err != nil {
		unix.Close(fd)
		return err
	}
	s.fd, s.connecting = int32(fd), true
	s.generation++
	event := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(c), Pad: s.generation}
	if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		unix.Close(fd)
		s.fd, s.connecting = -1, false
		return fmt.Errorf("watch a socket: %w", err)
	}
	l.secure(c, config)
	return nil
}

func (l *Loop) connect(fd int, target netip.AddrPort, source netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	if source.IsValid() {
		// Without it a bound address takes its port before the target is known, and then one port serves one connection
		// of the whole host instead of one for each target.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
			return fmt.Errorf("bind to %v: %w", source, err)
		}
	}
	if err := unix.Connect(fd, sockaddr(target)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// Open reports whether c is connected, its handshake of TLS done.
func (l *Loop) Open(c int) bool { return l.sockets[c].fd >= 0 && !l.sockets[c].connecting }

// Unsent is how many bytes of c wait for its socket.
func (l *Loop) Unsent(c int) int {
	if out := l.sockets[c].out; out != nil {
		return len(*out)
	}
	return 0
}

// Write hands b to the kernel, as far as it takes it, and keeps a copy of the rest. Where it fails nothing of b was taken.
//
// ErrBroken is a connection that the peer or the network has ended. It is still there: what it received and nobody has read
// yet comes to Received, then Closed is called.
func (l *Loop) Write(c int, b []byte) error {
	s := &l.sockets[c]
	if s.fd < 0 || s.connecting {
		return ErrNotOpen
	}
	if s.broken {
		return ErrBroken
	}
	if s.out != nil && len(*s.out)+sealedBytes(len(b)) > MaxUnsent {
		return ErrFull
	}
	if stream := l.stream(c); stream != nil {
		var err error
		if b, err = l.seal(stream, b); err != nil {
			l.breaks(c, fmt.Errorf("records of TLS: %w", err))
			return ErrBroken
		}
	}
	return l.send(c, b)
}

// send is Write for bytes as they stand on the wire.
func (l *Loop) send(c int, b []byte) error {
	s := &l.sockets[c]
	if s.out != nil {
		*s.out = append(*s.out, b...)
		return nil
	}
	n, err := writeNow(s.fd, b)
	if err != nil && !isAgain(err) {
		l.breaks(c, fmt.Errorf("write: %w", err))
		return ErrBroken
	}
	if n = max(n, 0); n < len(b) {
		rest := slices.Clone(b[n:])
		s.out, s.writing = &rest, true
		l.watch(c)
	}
	l.bytesOut.Add(int64(n))
	return nil
}

func isAgain(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// Pause stops the reading of c: what comes stays in the kernel.
func (l *Loop) Pause(c int) { l.setPaused(c, true) }

// Resume goes on reading.
func (l *Loop) Resume(c int) { l.setPaused(c, false) }

func (l *Loop) setPaused(c int, paused bool) {
	if s := &l.sockets[c]; s.fd >= 0 && s.paused != paused {
		s.paused = paused
		if !s.connecting {
			l.watch(c)
		}
	}
}

// Close ends a connection, if it is there. Closed is not called.
func (l *Loop) Close(c int, how How) {
	s := &l.sockets[c]
	if s.fd < 0 {
		return
	}
	switch stream := l.stream(c); {
	case how == Reset:
		unix.SetsockoptLinger(int(s.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case stream != nil && s.out == nil && !s.broken: // behind what waits it would be out of its turn
		l.send(c, stream.End()) // what becomes of it does not matter
	}
	unix.Close(int(s.fd))
	l.forget(c)
}

// forget leaves nothing of a connection whose socket is closed or somebody else's.
func (l *Loop) forget(c int) {
	if t := l.tls(c); t != nil {
		if t.handshake != nil {
			t.handshake.end(net.ErrClosed)
		}
		l.secured[c] = nil
	}
	l.sockets[c] = socket{fd: -1, generation: l.sockets[c].generation}
}

// Detach gives the socket of c away as it is: nobody reads it any more until the loop's process or CloseDetached ends it.
func (l *Loop) Detach(c int) (fd int) {
	s := &l.sockets[c]
	if s.fd < 0 {
		return -1
	}
	fd = int(s.fd)
	unix.EpollCtl(l.poll, unix.EPOLL_CTL_DEL, fd, nil)
	l.forget(c)
	return fd
}

// CloseDetached ends what Detach gave.
func CloseDetached(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// watch tells the kernel what c waits for.
func (l *Loop) watch(c int) {
	s := &l.sockets[c]
	if s.deaf {
		return
	}
	event := unix.EpollEvent{Fd: int32(c), Pad: s.generation}
	if !s.paused {
		event.Events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if s.writing {
		event.Events |= unix.EPOLLOUT
	}
	unix.EpollCtl(l.poll, unix.EPOLL_CTL_MOD, int(s.fd), &event) // can't fail for a socket that is watched
}

// handle takes one event.
func (l *Loop) handle(c int, events uint32, generation int32) {
	s := &l.sockets[c]
	if s.fd < 0 || s.generation != generation {
		return
	}
	if l.Shaking(c) {
		if events&unix.EPOLLOUT != 0 {
			l.flush(c)
		}
		if !s.deaf && events&^unix.EPOLLOUT != 0 { // flush may have found an end
			l.feed(c)
		}
		return
	}
	if s.connecting {
		if code, err := unix.GetsockoptInt(int(s.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			if err == nil {
				err = unix.Errno(code)
			}
			l.lost(c, fmt.Errorf("connect: %w", err))
			return
		}
		if l.tls(c) != nil {
			l.shake(c)
			l.watch(c)
			return
		}
		s.connecting = false
		l.watch(c)
		l.handler.Opened(c)
		return
	}
	if events&unix.EPOLLOUT != 0 {
		l.flush(c)
	}
	if s.broken {
		return // its end is near
	}
	if events&unix.EPOLLIN != 0 && !s.paused {
		l.read(c)
		return
	}
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		err := error(unix.ECONNRESET)
		if code, _ := unix.GetsockoptInt(int(s.fd), unix.SOL_SOCKET, unix.SO_ERROR); code != 0 {
			err = unix.Errno(code)
		}
		l.breaks(c, err)
	}
}

// flush writes what waits.
func (l *Loop) flush(c int) {
	s := &l.sockets[c]
	if s.out == nil || s.broken {
		return
	}
	n, err := writeNow(s.fd, *s.out)
	if err != nil && !isAgain(err) {
		l.breaks(c, fmt.Errorf("write: %w", err))
		return
	}
	n = max(n, 0)
	l.bytesOut.Add(int64(n))
	if *s.out = (*s.out)[n:]; len(*s.out) == 0 {
		s.out, s.writing = nil, false
		l.watch(c)
	}
}

// read reads once: the kernel tells again of what is left, and the others get their turn. It reports whether there may be more.
func (l *Loop) read(c int) (more bool) {
	s := &l.sockets[c]
	kept := 0
	if s.in != nil {
		if kept = len(*s.in); kept+readBytes/2 > len(l.buffer) {
			l.buffer = make([]byte, 2*(kept+readBytes))
		}
		copy(l.buffer, *s.in)
	}
	n, err := readNow(s.fd, l.buffer[kept:])
	switch {
	case isAgain(err):
		return errors.Is(err, unix.EINTR)
	case s.broken && (err != nil || n == 0):
		return false // why it broke is known
	case err != nil:
		l.lost(c, fmt.Errorf("read: %w", err))
		return false
	case n == 0:
		l.lost(c, nil)
		return false
	}
	l.bytesIn.Add(int64(n))
	return l.take(c, l.buffer[:kept+n])
}

// take gives the handler what came, and keeps what is left. It reports whether the connection is still there.
func (l *Loop) take(c int, in []byte) bool {
	s := &l.sockets[c]
	generation := s.generation
	var rest []byte
	var ended error
	if stream := l.stream(c); stream != nil {
		rest, ended = l.open(c, stream, in)
	} else {
		rest = in[l.handler.Received(c, in):]
	}
	if s.fd < 0 || s.generation != generation {
		return false // closed within
	}
	switch {
	case errors.Is(ended, io.EOF):
		l.lost(c, nil)
		return false
	case ended != nil:
		l.lost(c, ended)
		return false
	case len(rest) == 0:
		s.in = nil
	case s.in != nil && cap(*s.in) >= len(rest):
		*s.in = append((*s.in)[:0], rest...)
	default:
		left := slices.Clone(rest)
		s.in = &left
	}
	return true
}

// broken is a connection whose end is near.
type broken struct {
	c          int
	generation int32
	err        error
}

// breaks notes that c has failed. It ends in endBroken and not here: a write may fail within Received, whose bytes are in the buffer that
// would be read into.
func (l *Loop) breaks(c int, err error) {
	if l.Shaking(c) {
		if l.sockets[c].deaf {
			return
		}
		if l.feed(c); !l.sockets[c].deaf { // what was received may say why
			l.deafen(c, err)
		}
		return
	}
	s := &l.sockets[c]
	s.broken = true
	l.broken = append(l.broken, broken{c, s.generation, err})
}

// endBroken reads what the broken connections had received, the paused ones' too, and closes them: the kernel keeps
// that past an RST, and it was sent to a member that was there.
func (l *Loop) endBroken() {
	for len(l.broken) > 0 { // Received may break others
		ending := l.broken
		l.broken = nil
		for _, b := range ending {
			s := &l.sockets[b.c]
			is := func() bool { return s.fd >= 0 && s.generation == b.generation }
			for is() && l.read(b.c) {
			}
			if is() {
				l.lost(b.c, b.err)
			}
		}
	}
}

// lost closes c and tells the handler.
func (l *Loop) lost(c int, err error) {
	l.Close(c, Orderly)
	l.handler.Closed(c, err)
}

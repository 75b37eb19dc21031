package loop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// lifted is the socket of a connection that no gnet has: it moves from one engine to another. Until the other one's rooms have their members nothing is
// read from it, so that what the peer sends waits in the kernel. Then its loop reads it, in the turns that its watcher rings for: to give it to gnet takes
// some thirty calls of the kernel and four goroutines' turns, at a time at which all clients wait. What is written leaves as ever; what the socket does not
// take is kept here, where it can be taken out again, which gnet has no way for. Owned by its loop.
type lifted struct {
	gnet.Conn // nil: only what is below is called

	fd       int
	came     bool   // it has come to this engine, to be read there; others only leave
	heard    bool   // it is read
	in       []byte // what was read of it, and nobody has worked off; in the loop's buffer, and for that time only
	outbound []byte
	socket   netip.Addr // the peer's, invalid for a Unix socket
	from     any        // an *origin, a *weight, or nil
}

// aloft says whether no gnet has the connection.
func (c *conn) aloft() bool {
	_, is := c.sock.(*lifted)
	return is
}

// unheard says whether nothing is read of the connection: it is on its way, or kept for its last word.
func (c *conn) unheard() bool {
	s, is := c.sock.(*lifted)
	return is && (!s.heard || c.loop.frozen)
}

// spoken says whether something lies unread in the socket of a connection that came by a takeover. gnet's are all read before the bell is reached.
func (c *conn) spoken() bool {
	s, is := c.sock.(*lifted)
	if !is {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	_, _ = unix.Poll(fds, 0)
	return fds[0].Revents&unix.POLLIN != 0
}

func (s *lifted) Fd() int               { return s.fd }
func (s *lifted) OutboundBuffered() int { return len(s.outbound) }
func (s *lifted) InboundBuffered() int  { return len(s.in) }

// Peek shows the first n bytes, all for less than 1, Discard drops them.
func (s *lifted) Peek(n int) ([]byte, error) { return s.in[:s.most(n)], nil }

// Discard is documented with Peek.
func (s *lifted) Discard(n int) (int, error) {
	n = s.most(n)
	s.in = s.in[n:]
	return n, nil
}

func (s *lifted) most(n int) int {
	if n <= 0 {
		return len(s.in)
	}
	return min(n, len(s.in))
}

// SafeContext is what gnet has as such.
func (s *lifted) SafeContext() any { return s.from }

// SetSafeContext is gnet's, too.
func (s *lifted) SetSafeContext(from any) { s.from = from }

// RemoteAddr is the peer's address without its port, nil where it is of no TCP. socketAddr does not ask for it.
func (s *lifted) RemoteAddr() net.Addr {
	if !s.socket.IsValid() {
		return nil
	}
	return &net.TCPAddr{IP: s.socket.AsSlice()}
}

// SetContext is gnet's, which has nothing of it.
func (s *lifted) SetContext(any) {}

func (s *lifted) Write(b []byte) (int, error) {
	s.outbound = append(s.outbound, b...)
	return len(b), nil
}

// Flush writes what the socket takes. What a broken one does not take is dropped.
func (s *lifted) Flush() error {
	for len(s.outbound) > 0 {
		n, err := unix.Write(s.fd, s.outbound)
		switch err {
		case nil:
			s.outbound = s.outbound[n:]
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			s.outbound = nil
			return err
		}
	}
	s.outbound = nil
	return nil
}

// readBytes is how much is read of a connection at once, as much as gnet does.
const readBytes = 64 << 10

// listen begins to read a connection that has come. A second call does nothing.
func (l *Loop) listen(c *conn) {
	s, is := c.sock.(*lifted)
	if !is || !s.came || s.heard {
		return
	}
	s.heard = true
	l.forgive(c)
	l.await(c)
	if c.sock != nil && len(l.back[c.handle.Slot]) > 0 {
		l.goOn(c, nil)
	}
}

// readable reads what there is of a connection; with ended up to its end.
func (l *Loop) readable(c *conn, ended bool) {
	if c == nil || !c.aloft() || c.unheard() {
		return // what has come waits in the kernel, for who takes over next
	}
	for s := c.sock.(*lifted); c.sock == s; {
		n, err := unix.Read(s.fd, l.read)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return
		case err != nil:
			l.hangUp(c, os.NewSyscallError("read", err))
			return
		case n == 0:
			l.hangUp(c, io.EOF)
			return
		}
		s.in = l.read[:n]
		l.goOn(c, nil)
		switch {
		case c.sock != s:
		case n == len(l.read):
			l.keepRest(c, s)
			l.await(c) // which tells of the rest: others have their turn
			return
		default:
			if l.keepRest(c, s); !ended {
				return // more is told of
			}
		}
	}
}

// keepRest keeps what was not worked off: half a frame.
func (l *Loop) keepRest(c *conn, s *lifted) {
	if len(s.in) > 0 {
		l.putBack(c, s.in)
	}
	s.in = nil
}

// hangUp closes a connection that gnet does not have, for an error of its socket or for none. What is behind that is gnet's way, too: what has not left
// may still, and the connection may go on with another descriptor, for its last word.
func (l *Loop) hangUp(c *conn, err error) {
	s := c.sock.(*lifted)
	if s.came {
		l.carried--
	}
	l.closed(c, err)
	_ = s.Flush()
	l.watcher.disarm(s.fd)
	unix.Close(s.fd)
}

// dropCarried ends those connections that gnet does not end with its own, when it has ended.
func (l *Loop) dropCarried() {
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && c.aloft() {
			l.abort(c)
		}
	}
}

// lift takes a connection out of gnet, which closes a descriptor of it and not the connection. From here on nothing is read from it.
func (l *Loop) lift(c *conn) error {
	g := c.sock
	in, err := g.Peek(-1)
	if err != nil {
		return fmt.Errorf("take what was read of %s: %w", c.name(), err)
	}
	fd, err := unix.FcntlInt(uintptr(g.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate the descriptor of %s: %w", c.name(), err)
	}
	out, err := takeOutbound(c, fd)
	if c.sock == nil || err != nil {
		unix.Close(fd)
		return err
	}
	held := &lifted{fd: fd, outbound: out, socket: socketAddr(g)}
	held.from = g.SafeContext()
	if len(in) > 0 {
		l.putBack(c, in)
	}
	if c.backed {
		l.watcher.disarm(g.Fd())
	}
	g.SetContext(nil) // so that its end is none of ours
	_ = l.events.Close(g)
	c.sock = held
	if c.backed {
		l.await(c)
	}
	return nil
}

// takeOutbound takes what gnet has still to write. gnet has no way to give it, so it is let write it: for a moment its descriptor is a
// file in memory. fd is another descriptor of the socket. The event loop is here, so it can't ask epoll meanwhile, which knows
// the socket by the descriptor's number.
func takeOutbound(c *conn, fd int) ([]byte, error) {
	g := c.sock
	if g.OutboundBuffered() == 0 {
		return nil, nil
	}
	memory, err := unix.MemfdCreate("outbound", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(memory), "outbound")
	defer file.Close()
	if err := unix.Dup3(memory, g.Fd(), unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("have outbound bytes written to memory: %w", err)
	}
	for before := 0; g.OutboundBuffered() != before; {
		before = g.OutboundBuffered()
		_ = g.Flush() // its error is that epoll does not know the file
	}
	if c.sock == nil {
		return nil, nil // gnet has closed it for an error of the file, and the number with it, which may be somebody else's by now
	}
	left := g.OutboundBuffered()
	if err := unix.Dup3(fd, g.Fd(), unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("give a connection its descriptor back: %w", err)
	}
	out, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<62))
	if err == nil && left > 0 {
		err = fmt.Errorf("%d bytes were not written to memory", left)
	}
	return out, err
}

// putBack puts bytes of the peer where the next turn for the connection finds them, behind those that are there.
func (l *Loop) putBack(c *conn, in []byte) {
	l.back[c.handle.Slot] = append(l.back[c.handle.Slot], in...)
}

// unread is what there is of a connection's bytes: those that were put back, and behind them gnet's. Valid until consume.
func (l *Loop) unread(c *conn) []byte {
	in, err := c.sock.Peek(-1)
	if err != nil {
		in = nil
	}
	back := l.back[c.handle.Slot]
	if len(back) == 0 {
		return in
	}
	back = append(back, in...)
	l.back[c.handle.Slot] = back
	_, _ = c.sock.Discard(-1)
	return back
}

// consume drops the first n of what is unread.
func (l *Loop) consume(c *conn, n int) {
	switch back := l.back[c.handle.Slot]; {
	case len(back) == 0:
		_, _ = c.sock.Discard(n)
	case n == len(back):
		delete(l.back, c.handle.Slot)
	default:
		l.back[c.handle.Slot] = bytes.Clone(back[n:])
	}
}

// unreadBytes is how many of them there are.
func (l *Loop) unreadBytes(c *conn) int { return len(l.back[c.handle.Slot]) + c.sock.InboundBuffered() }

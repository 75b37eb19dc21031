package loop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/kerneltls"
	"rookery/internal/records"
	"rookery/proto"
)

// scratchBytes is what a loop keeps of its buffers for records that are opened and sealed. One that grew over it is let go.
const scratchBytes = 256 << 10

// records is the TLS of a connection that is secure. It is with the connection's origin: connections without TLS, which are most,
// have no room for it.
func (c *conn) records() *records.Stream { return c.sock.SafeContext().(*origin).records }

// received is what a connection has sent and nobody has worked off. Valid until discard.
func (l *Loop) received(c *conn) []byte {
	if c.secure {
		return c.records().Plain
	}
	if c.stream && c.half != 0 && l.lacks(c) {
		return nil
	}
	return l.unread(c)
}

// lacks reports whether a frame of raw TCP whose front came before is still not whole. gnet would put together all that there is of it:
// for each byte of a peer that sends one at a time, anew.
func (l *Loop) lacks(c *conn) bool {
	switch waits := c.sock.InboundBuffered(); {
	case c.phase != opened && c.phase != connected || c.paused() || len(l.back[c.handle.Slot]) > 0 || waits == 0:
		return false
	default:
		front, err := c.sock.Peek(min(waits, binary.MaxVarintLen32))
		if err != nil {
			return false
		}
		length, size, err := proto.Length(front)
		return err == nil && length <= l.cfg.MessageBytes && (size == 0 || waits-size < length)
	}
}

// discard takes n bytes off the front of what was received.
func (l *Loop) discard(c *conn, n int) {
	if c.secure {
		s := c.records()
		s.Plain = s.Plain[n:]
		return
	}
	l.consume(c, n)
}

// pending is how many bytes received holds.
func (l *Loop) pending(c *conn) int {
	if c.secure {
		return len(c.records().Plain)
	}
	return l.unreadBytes(c)
}

// open opens the whole records that the socket gave; half a one stays in gnet's buffer. The error is what ends the connection once
// what came before it is worked off: io.EOF when the peer has said its last.
func (l *Loop) open(c *conn) error {
	if !c.secure || c.sock == nil || c.sock.InboundBuffered() == 0 {
		return nil
	}
	in, err := c.sock.Peek(-1)
	n := records.Whole(in)
	if err != nil || n == 0 {
		return nil
	}
	s := c.records()
	if len(s.Plain) == 0 {
		l.plain, err = s.Open(l.plain[:0], in[:n])
		s.Plain, l.borrowed = l.plain, true
	} else {
		// What waits for its rest has memory of its own, which grows by doubling: put together anew each time, a long frame in
		// short records would cost its length squared.
		s.Plain, err = s.Open(s.Plain, in[:n])
	}
	_, _ = c.sock.Discard(n)
	if owed := s.Owed(); len(owed) > 0 {
		l.transmit(c, owed)
	}
	return err
}

// keepPlain gives what is left of a connection's plaintext memory of its own at the end of its turn.
func (l *Loop) keepPlain(c *conn) {
	if !c.secure {
		return
	}
	switch s := c.records(); {
	case len(s.Plain) == 0:
		s.Plain = nil
	case l.borrowed:
		s.Plain = bytes.Clone(s.Plain)
	}
	l.borrowed = false
	l.plain = scratch(l.plain)
}

// seal puts b into records, valid until the next call; nil if the connection ended.
func (l *Loop) seal(c *conn, b []byte) []byte {
	if !c.secure {
		return b
	}
	l.sealed = scratch(l.sealed)
	sealed, err := c.records().Seal(l.sealed[:0], b)
	if err != nil {
		l.abort(c)
		return nil
	}
	l.sealed = sealed
	return sealed
}

func scratch(b []byte) []byte {
	if cap(b) > scratchBytes {
		return nil
	}
	return b
}

// judge writes down a connection whose records can't be opened. The orderly end of a peer, or an alert of its own, is nothing against it.
func (l *Loop) judge(c *conn, ended error) {
	if ended == nil {
		return // nearly always; fromPeer is on the heap
	}
	var fromPeer *net.OpError
	if c.phase == closing || errors.Is(ended, io.EOF) || errors.As(ended, &fromPeer) && fromPeer.Op == "remote error" {
		return
	}
	l.deny(c, deniedTLS, ended)
	c.closed = proto.CloseProtocol.Code
}

// endRecords says, on a connection that is being closed, that nothing more follows: RFC 8446 6.1, "each party MUST send a close_notify
// alert before closing its write side of the connection". Behind what gnet still holds it would be out of its turn: records are numbered.
func (l *Loop) endRecords(c *conn) {
	switch {
	case c.sock.OutboundBuffered() > 0:
	case c.secure:
		l.put(c.sock.Fd(), c.records().End())
	case c.kernel:
		_ = kerneltls.CloseNotify.Send(c.sock.Fd()) // the peer may have left
	}
}

// shutWrite lets the peer see the end of our bytes while we still read its own: closing with unread input would have the kernel
// send RST, and the peer lose what we said last.
func (l *Loop) shutWrite(c *conn) {
	if c.kernel && !l.endKernelRecords(c) {
		return // drained comes back
	}
	if c.secure {
		if end := c.records().End(); len(end) > 0 {
			l.transmit(c, end)
		}
		if c.sock == nil || c.backed {
			return // drained comes back
		}
	}
	_ = unix.Shutdown(c.sock.Fd(), unix.SHUT_WR)
}

// AdmitHandshake takes a connection with TLS from the rate of its address before its handshake is made, which is what costs; the loop that it
// comes to does not take it again. A proxy's is taken when it shows whose it is. Who is refused is written down. Safe for concurrent use.
func (e *Engine) AdmitHandshake(from netip.Addr) bool {
	if e.Trusts(from) || e.admitOpen(from) {
		return true
	}
	e.deny(e.counters[0], from, deniedAddressRate, "", nil)
	return false
}

// Trusts reports whether an address is a proxy's that is believed. Safe for concurrent use.
func (e *Engine) Trusts(from netip.Addr) bool { return e.rules.Load().trusts(from) }

// DenyHandshake counts a peer whose handshake of TLS is none, or was begun and not finished, and writes the line about it. No loop has it, so it is
// counted with the first. Safe for concurrent use.
func (e *Engine) DenyHandshake(from netip.Addr, slow bool, err error) {
	why := deniedTLS
	if slow {
		why = deniedSlow
	}
	e.deny(e.counters[0], from, why, "", err)
}

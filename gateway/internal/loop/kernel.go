package loop

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/kerneltls"
	"rookery/proto"
)

// Connections whose records of TLS the kernel opens and seals are plain ones to all that is before and behind. Only their ends are others: a record
// that is no data is a failed read to gnet, which then closes the connection.

// endKernelRecords says that nothing more follows, and reports whether it has left: what has not when our half of the connection ends is
// lost, since the kernel keeps a record apart as long as the socket is full.
func (l *Loop) endKernelRecords(c *conn) bool {
	if !kerneltls.Roomy(c.sock.Fd()) {
		l.backUp(c)
		return false
	}
	_ = kerneltls.CloseNotify.Send(c.sock.Fd()) // who has left does not hear it
	return true
}

// lastRecord is what is told to a peer at whose record a read has failed.
type lastRecord struct {
	fault error // io.EOF: the peer has said its last
	alert kerneltls.Alert
	renew bool // the peer goes on with other keys
}

// stays looks at what has ended a connection for gnet, and reports whether it goes on for a last word to its peer. gnet closes its
// descriptor, and what was not read of it would make that a reset, with which a peer may lose what it was told: so the connection is
// kept with another descriptor until the peer has had time to read.
func (l *Loop) stays(c *conn, err error) bool {
	last, found := l.lastRecord(c, err)
	if !found || errors.Is(last.fault, io.EOF) {
		return false
	}
	if c.phase == closing {
		// It may have come with what has ended the connection. One that was told to come back, for its keys perhaps, is read on when it has
		// gone over to another process in its last second, and what it says with new keys is nothing against it.
		if last.fault != nil && c.closed != proto.CloseGoingAway.Code {
			l.deny(c, deniedTLS, last.fault)
		}
		return false
	}
	l.judge(c, last.fault)
	if c.sock.OutboundBuffered() > 0 {
		return false // it would come out of its turn
	}
	if err := l.retain(c); err != nil {
		l.engine.wanting.Log(l.cfg.Log, slog.LevelError, "a connection ends without a last word", "conn", c.name(), "err", err)
		return false
	}
	_ = pendingError(c.sock.Fd()) // until that is taken nothing is sent
	if last.renew {
		l.close(c, proto.CloseGoingAway, "the keys of TLS can't be renewed here: connect again")
		l.flush()
		if c.sock != nil && !c.backed {
			l.shutWrite(c)
		}
		return true
	}
	_ = last.alert.Send(c.sock.Fd())
	_ = unix.Shutdown(c.sock.Fd(), unix.SHUT_WR)
	l.linger(c)
	return true
}

// retain takes the socket of a connection that gnet is closing. Nothing more is read of it.
func (l *Loop) retain(c *conn) error {
	fd, err := unix.FcntlInt(uintptr(c.sock.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate the descriptor of %s: %w", c.name(), err)
	}
	if c.backed {
		l.watcher.disarm(c.sock.Fd())
	}
	kept := &lifted{fd: fd, socket: socketAddr(c.sock)}
	kept.from = c.sock.SafeContext()
	c.sock.SetContext(nil) // so that its end is none of ours
	c.sock = kept
	return nil
}

// lastRecord says what the error with which gnet closes a connection means; found is false if it is of no record. A bad record behind
// good ones shows at the next call, which may be a write.
func (l *Loop) lastRecord(c *conn, err error) (last lastRecord, found bool) {
	var call *os.SyscallError
	switch {
	case errors.Is(err, io.EOF):
		// gnet says so, too, when epoll tells it of an error and of nothing to read.
		err = pendingError(c.sock.Fd())
	case !errors.As(err, &call) || call.Syscall != "read" && errors.Is(err, unix.EIO):
		return lastRecord{}, false
	}
	switch {
	case errors.Is(err, unix.EIO):
		return l.controlRecord(c), true
	case errors.Is(err, unix.EBADMSG):
		return lastRecord{errors.New("bad record MAC"), kerneltls.BadRecordMAC, false}, true
	case errors.Is(err, unix.EMSGSIZE):
		return lastRecord{errors.New("a record is too long"), kerneltls.RecordOverflow, false}, true
	case errors.Is(err, unix.EINVAL):
		return lastRecord{errors.New("a record's header is none"), kerneltls.DecodeError, false}, true
	}
	return lastRecord{}, false
}

// pendingError is what has befallen a socket and nobody was told yet, nil if there is nothing.
func pendingError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || n == 0 {
		return nil
	}
	return unix.Errno(n)
}

// controlRecord reads a record that is no data.
func (l *Loop) controlRecord(c *conn) lastRecord {
	const keyUpdate, keyUpdateBytes = 24, 5 // RFC 8446 4.6.3
	t, content, err := kerneltls.Control(c.sock.Fd(), make([]byte, keyUpdateBytes+1))
	switch {
	case err != nil:
		return lastRecord{err, kerneltls.UnexpectedMessage, false}
	case t == kerneltls.TypeAlert && len(content) == 2:
		return lastRecord{io.EOF, kerneltls.CloseNotify, false} // in order or not, it is the peer's end
	case t == kerneltls.TypeHandshake && len(content) == keyUpdateBytes && content[0] == keyUpdate:
		return lastRecord{nil, kerneltls.CloseNotify, true}
	}
	return lastRecord{fmt.Errorf("a record of the type %d in the middle of a connection", t), kerneltls.UnexpectedMessage, false}
}

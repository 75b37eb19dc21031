// Package accept keeps a listener accepting for as long as it is open.
//
// net/http goes on behind an accept that failed for want of descriptors, and ends its server for good where the kernel has no memory, a peer's network is
// down or a security module refuses: what accept(2) says of the next connection, and what has mostly passed when that comes. Go itself tries again
// when the peer has left.
package accept

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"rookery/gateway/internal/rate"
)

// pause is how long nothing is accepted behind a fault, which would come again at once.
const pause = 10 * time.Millisecond

// Listener gives no error but net.ErrClosed. Its methods are safe for concurrent use.
type Listener struct {
	net.Listener // set at construction, as log is
	log          *slog.Logger
	line         rate.Line
}

// On makes one of a listener. Faults are logged, one a second.
func On(l net.Listener, log *slog.Logger) *Listener { return &Listener{Listener: l, log: log} }

// Accept is net.Listener's.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		l.line.Log(l.log, slog.LevelError, "a connection can't be accepted", "address", l.Addr().String(), "err", err)
		time.Sleep(pause)
	}
}

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
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/rate"
)

// pause is how long nothing is accepted behind a fault, which would come again at once.
const pause = 10 * time.Millisecond

// Listener gives no error but net.ErrClosed. Its methods are safe for concurrent use.
type Listener struct {
	net.Listener // set at construction, as log and faults are
	log          *slog.Logger
	faults       *Faults
	line         rate.Line
}

// On makes one of a listener. Faults are counted, and logged, one a second.
func On(l net.Listener, log *slog.Logger, faults *Faults) *Listener {
	return &Listener{Listener: l, log: log, faults: faults}
}

// Accept is net.Listener's.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		l.faults.Count(err)
		l.line.Log(l.log, slog.LevelError, "a connection can't be accepted", "address", l.Addr().String(), "err", err)
		time.Sleep(pause)
	}
}

// Faults counts accepts that failed, by why. The zero value is ready, its methods are safe for concurrent use.
type Faults struct {
	counts [len(reasonNames)]atomic.Int64
}

// Why accept(2) fails: who has to see to it is another each time.
const (
	ofProcess = iota // it has as many open files as it may
	ofMachine        // all processes together have
	ofMemory         // the kernel has none for another socket
	ofOthers         // a peer's network, a security module
)

var reasonNames = [...]string{"process_files", "machine_files", "memory", "other"}

// ReasonNames gives the reasons in the order of Counts.
func ReasonNames() []string { return reasonNames[:] }

// Count counts one.
func (f *Faults) Count(err error) {
	reason := ofOthers
	switch {
	case errors.Is(err, unix.EMFILE):
		reason = ofProcess
	case errors.Is(err, unix.ENFILE):
		reason = ofMachine
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		reason = ofMemory
	}
	f.counts[reason].Add(1)
}

// Counts gives how many there were, by reason.
func (f *Faults) Counts() (counts [len(reasonNames)]int64) {
	for i := range f.counts {
		counts[i] = f.counts[i].Load()
	}
	return counts
}

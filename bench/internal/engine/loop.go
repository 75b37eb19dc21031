// Package engine runs the sockets of hundreds of thousands of clients on one thread: an epoll loop that connects, reads, writes and
// closes, and asks its handler what is due. A connection costs 32 bytes here while nothing is half read or
// unsent, and with TLS what crypto/tls keeps of it. All but Post is called on the loop.
//
//	loop.go       the loop, and what is posted to it
//	socket.go     connecting, reading, writing, closing
//	handshake.go  handshakes of TLS: a goroutine each, while they last, of which as many compute as there are processors but one
//	secure.go     records of TLS, on the loop
//	source.go     the addresses that connections come from
//
// How many handshakes there are at a time is how many connections the caller dials at a time. Each may keep 64 KiB of the server's.
//
// gnet's client is not used: it keeps a connection's state in several objects on the heap and has no dial that
// does not wait, and a load tester needs both.
package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Handler is what the loop calls. Connections are named by numbers from 0 to the capacity less 1, chosen by the caller.
type Handler interface {
	// Opened: the socket is connected.
	Opened(c int)
	// Received: in is what is there, with what the last call left. It gives the number of bytes that are done with;
	// the rest comes again with more. in is valid until Received returns. The connection may be closed within.
	Received(c int, in []byte) (n int)
	// Closed: the connection is gone without Close having been called; err is nil if the peer ended it in order.
	Closed(c int, err error)
	// Due does what is due and gives the time at which it wants to be called again, in nanoseconds as Now gives them.
	Due(now int64) (next int64)
}

// Meter is told when the loop runs and when it waits, another one when handshakes of TLS wait for a processor and when none does.
type Meter interface {
	Wake(now time.Time)
	Sleep(now time.Time)
}

const (
	readBytes = 128 << 10
	// MaxUnsent is what may wait to be taken by a socket.
	MaxUnsent = 1 << 20
	eventsMax = 512
)

// Loop is an epoll loop.
type Loop struct {
	// Set at construction.
	handler Handler
	meter   Meter
	queue   Meter // of handshakes
	poll    int
	bell    int // an eventfd

	// Owned by the loop.
	sockets []socket
	buffer  []byte
	events  []unix.EpollEvent
	broken  []broken // since the last turn of Run

	// Owned by the loop, and nil before the first connection with TLS.
	secured []*secured
	turns   *turns
	plain   []byte // scratch
	sealed  []byte

	shaking sync.WaitGroup // handshakes, which end with their connections

	bytesIn  atomic.Int64
	bytesOut atomic.Int64

	mu     sync.Mutex // held for memory work, and for a ring of the bell, which never waits
	posted []func()   // guarded by mu
	ended  bool       // guarded by mu
}

// New makes a loop for a number of connections. Meter is told when it runs, queue when handshakes wait.
func New(capacity int, handler Handler, meter, queue Meter) (*Loop, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll instance: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(poll)
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	l := &Loop{
		handler: handler, meter: meter, queue: queue, poll: poll, bell: bell, sockets: make([]socket, capacity), buffer: make([]byte, readBytes),
		events: make([]unix.EpollEvent, eventsMax),
	}
	for i := range l.sockets {
		l.sockets[i].fd = -1
	}
	if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		unix.Close(poll)
		unix.Close(bell)
		return nil, fmt.Errorf("watch an eventfd: %w", err)
	}
	return l, nil
}

// started is a moment on the monotonic clock in both of its forms: that of the kernel is the same for all processes of a
// host, and Go does not show it. Of many looks at one between two at the other the shortest counts: a process that has to
// wait for a processor between them would be wrong by that for all its life.
var started = func() (s struct {
	at    time.Time
	nanos int64
}) {
	shortest := int64(math.MaxInt64)
	for range 100 {
		var before, after unix.Timespec
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &before) // can't fail for this clock
		at := time.Now()
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
		if took := after.Nano() - before.Nano(); took < shortest {
			shortest, s.at, s.nanos = took, at, before.Nano()+took/2
		}
	}
	return s
}()

// Now is the host's monotonic clock in nanoseconds, the same in all processes of the host.
func Now() int64 { return started.nanos + int64(time.Since(started.at)) }

func nanos(t time.Time) int64 { return started.nanos + int64(t.Sub(started.at)) }

// Post has f called on the loop, if it has not ended. It may be called by anyone.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return // the number of the bell may be somebody else's by now
	}
	l.posted = append(l.posted, f)
	one := [8]byte{1}
	unix.Write(l.bell, one[:]) // fails only when the bell is ringing already
}

// BytesIn is what was read so far. It may be called by anyone, as may BytesOut.
func (l *Loop) BytesIn() int64 { return l.bytesIn.Load() }

// BytesOut is what was written so far.
func (l *Loop) BytesOut() int64 { return l.bytesOut.Load() }

// Run runs until ctx ends, then closes every connection. It is called once.
func (l *Loop) Run(ctx context.Context) error {
	defer l.close()
	stop := context.AfterFunc(ctx, func() { l.Post(func() {}) })
	defer stop()
	l.meter.Wake(time.Now())
	defer func() { l.meter.Sleep(time.Now()) }()
	for ctx.Err() == nil {
		l.takePosted() // in each turn: the bell comes behind all sockets that are ready, of which there may be tens of thousands
		next := l.handler.Due(Now())
		if len(l.broken) > 0 {
			l.endBroken()
			next = 0 // what followed may have made something due
		}
		now := time.Now()
		l.meter.Sleep(now)
		n, err := l.wait(time.Duration(next - nanos(now)))
		l.meter.Wake(time.Now())
		if err != nil {
			return err
		}
		for _, event := range l.events[:n] {
			if event.Fd < 0 {
				var count [8]byte
				unix.Read(l.bell, count[:]) // what was posted is taken in the next turn
				continue
			}
			l.handle(int(event.Fd), event.Events, event.Pad)
		}
	}
	return nil
}

// wait gives the number of events. It needs epoll_pwait2 of Linux 5.11: a timeout in whole milliseconds makes a
// schedule late by half of one.
func (l *Loop) wait(timeout time.Duration) (int, error) {
	ts := unix.NsecToTimespec(int64(max(timeout, 0)))
	n, err := epollWait(l.poll, l.events, &ts)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if errors.Is(err, unix.ENOSYS) {
		return 0, fmt.Errorf("epoll_pwait2: %w: the load tester needs Linux 5.11 or later", err)
	}
	if err != nil {
		return 0, fmt.Errorf("epoll_pwait2: %w", err)
	}
	return n, nil
}

func (l *Loop) takePosted() {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

func (l *Loop) close() {
	for i := range l.sockets {
		l.Close(i, Orderly)
	}
	l.shaking.Wait() // they ring the bell
	l.mu.Lock()
	l.ended = true
	unix.Close(l.bell)
	l.mu.Unlock()
	unix.Close(l.poll)
}

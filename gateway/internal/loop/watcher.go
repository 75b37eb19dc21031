package loop

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
)

// watcher is an epoll set of ours beside gnet's. In it are connections that gnet does not have, since they came by a takeover; and full sockets of gnet's:
// it writes out what it has buffered when epoll says so, but calls nobody, and looking at every full connection on each tick
// would hold a catch-up down to a page a tick.
//
// Go's runtime waits for the set's own descriptor like for any other, and the loop is rung. What is ready it asks itself, in its turn: the runtime looks only
// every ten milliseconds while all processors have work.
type watcher struct {
	// Set at construction.
	fd   int
	file *os.File
	conn syscall.RawConn

	told atomic.Bool // something may be ready that the loop has not asked for

	// Owned by the loop.
	ready   []unix.EpollEvent // what the kernel was asked for last
	waiting []unix.EpollEvent // of it, what is not seen to yet
	mark    int               // an eventfd that always has something, to be put behind who waits in line
	line    line
}

// watchedAtOnce is how many sockets the kernel is asked for. A turn of the loop sees to them as far as no more than mostRead requests are read: each may have 64 KiB of
// those, and gnet accepts one connection in each turn.
const watchedAtOnce = 256

func newWatcher(index uint16) (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make the epoll set of loop %d: %w", index, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile would not poll it
		unix.Close(fd)
		return nil, fmt.Errorf("make the epoll set of loop %d non-blocking: %w", index, err)
	}
	w := &watcher{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), ready: make([]unix.EpollEvent, watchedAtOnce)}
	if w.mark, err = unix.Eventfd(1, unix.EFD_CLOEXEC); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("make the mark in the epoll set of loop %d: %w", index, err)
	}
	if w.conn, err = w.file.SyscallConn(); err == nil {
		err = unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, w.mark, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("wait for the epoll set of loop %d: %w", index, err)
	}
	return w, nil
}

// watchLoop rings when something has become ready: started by adopt, ended by close.
func (w *watcher) watchLoop(ring func()) {
	// One call that never has enough, so that nothing is missed in between. Its error is that the set is closed.
	_ = w.conn.Read(func(uintptr) bool {
		w.told.Store(true)
		ring()
		return false
	})
}

func (w *watcher) start(ring func(), running *sync.WaitGroup) {
	running.Go(func() { w.watchLoop(ring) })
}

func (w *watcher) close() {
	w.file.Close()
	unix.Close(w.mark)
}

// arm has the loop told when a socket of gnet's takes bytes again, once; of one that gnet does not have, as often as its peer sends something, too. Called
// on the loop. A socket that is closed leaves the set by itself, unless it has other descriptors.
func (w *watcher) arm(c *conn) error {
	event := unix.EpollEvent{
		Events: unix.EPOLLOUT | unix.EPOLLONESHOT,
		Fd:     int32(c.handle.Slot), Pad: int32(c.handle.Generation), // 64 bits that are ours
	}
	if s, is := c.sock.(*lifted); is && s.heard {
		event.Events = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
		if c.backed {
			event.Events |= unix.EPOLLOUT
		}
	}
	err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, c.sock.Fd(), &event)
	if err == unix.EEXIST {
		err = unix.EpollCtl(w.fd, unix.EPOLL_CTL_MOD, c.sock.Fd(), &event)
	}
	return err
}

// disarm forgets a socket that goes on under another descriptor. It may not be there.
func (w *watcher) disarm(fd int) { _ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// next asks the kernel for what is ready, unless something of the last time waits, and says whether there may be more. It sees how long all that has waited if it is to
// count: where it is more than a turn sees to, the mark goes behind the others in line, as the bell is in gnet's. It is of no connection: generations begin at 1.
func (w *watcher) next(counts bool) (more bool) {
	more = true
	crowded := len(w.waiting) > 0
	if !crowded {
		n, _ := unix.EpollWait(w.fd, w.ready, 0) // an error is -1
		w.waiting = w.ready[:max(0, n)]
		more = n == len(w.ready)
		crowded = more && !slices.ContainsFunc(w.waiting, func(e unix.EpollEvent) bool { return e.Pad == 0 })
	}
	now := time.Now()
	if !counts || !crowded {
		w.line.reached(now)
		return more
	}
	if !w.line.passedOver() {
		_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_MOD, w.mark, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT})
	}
	w.line.passed(now, true)
	return more
}

// look sees to the sockets of the watcher that are ready.
func (l *Loop) look() {
	w := l.watcher
	if !w.told.Swap(false) && l.carried == 0 {
		return
	}
	more := w.next(l.carried > 0 && !l.landing)
	for most := l.requests + mostRead; len(w.waiting) > 0 && l.requests < most; {
		e := w.waiting[0]
		w.waiting = w.waiting[1:]
		l.stir(handoff.Handle{Loop: l.index, Slot: uint32(e.Fd), Generation: uint32(e.Pad)}, e.Events)
	}
	if more || len(w.waiting) > 0 {
		w.told.Store(true)
		l.ring()
		return
	}
	if l.landing && l.landed >= len(l.slots) {
		l.landing = false
		l.engine.caughtUp()
	}
}

// stir sees to one.
func (l *Loop) stir(h handoff.Handle, events uint32) {
	defer l.caught(h)
	if events&^(unix.EPOLLIN|unix.EPOLLRDHUP) != 0 {
		l.writable(l.conn(h))
	}
	if events&^unix.EPOLLOUT != 0 {
		l.readable(l.conn(h), events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0)
	}
}

// writable is called when a socket that was full takes bytes again, or is broken. gnet has the same event
// in its own set, but perhaps not yet looked at it.
func (l *Loop) writable(c *conn) {
	if c == nil || !c.backed {
		return
	}
	if err := c.sock.Flush(); err != nil && c.aloft() {
		l.hangUp(c, os.NewSyscallError("write", err)) // as gnet does with its own
		return
	}
	if c.sock != nil {
		l.drained(c)
	}
}

// drained looks whether a connection that was backed up has taken everything.
func (l *Loop) drained(c *conn) {
	waiting := c.sock.OutboundBuffered()
	l.buffered(c, waiting)
	if waiting > 0 {
		l.await(c)
		return
	}
	c.backed = false
	l.hear(c) // taking bytes is a sign of life
	if c.phase == closing {
		if l.shutWrite(c); c.sock != nil && !c.backed && c.due == 0 {
			l.deadline(c, closeTimeout)
		}
		return
	}
	if c.replay != nil {
		l.lag(c)
	}
	if c.missed() {
		l.resumeLater(c)
	}
}

// await has the loop told when the socket takes bytes again.
func (l *Loop) await(c *conn) {
	if err := l.arm(c); err != nil {
		l.engine.wanting.Log(l.cfg.Log, slog.LevelError, "a socket can't be watched, for want of memory or of fs.epoll.max_user_watches; its connection is closed", "conn", c.name(), "err", err)
		l.abort(c)
	}
}

package loop

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
)

// watcher tells a loop that a socket which was full takes bytes again.
//
// gnet writes out what it has buffered when epoll says so, but calls nobody. Looking at every
// full connection on each tick would hold a catch-up down to a page a tick. So a full socket
// is also put, for one event, into an epoll set of ours, whose own descriptor Go's runtime
// waits on like on any other.
type watcher struct {
	// Set at construction.
	inbox *handoff.Mailbox[handoff.Event]
	loop  uint16
	fd    int
	file  *os.File
}

func watch(l *Loop, running *sync.WaitGroup) (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make the epoll set for full sockets of loop %d: %w", l.index, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile would not poll it
		unix.Close(fd)
		return nil, fmt.Errorf("make the epoll set of loop %d non-blocking: %w", l.index, err)
	}
	w := &watcher{inbox: l.inbox, loop: l.index, fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	conn, err := w.file.SyscallConn()
	if err != nil {
		w.close()
		return nil, fmt.Errorf("wait for the epoll set of loop %d: %w", l.index, err)
	}
	running.Go(func() { w.watchLoop(conn) })
	return w, nil
}

// arm asks for one Writable event. Called on the loop. A socket that is closed leaves the
// set by itself.
func (w *watcher) arm(c *conn) error {
	event := unix.EpollEvent{
		Events: unix.EPOLLOUT | unix.EPOLLONESHOT,
		Fd:     int32(c.handle.Slot), Pad: int32(c.handle.Generation), // 64 bits that are ours
	}
	err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, c.sock.Fd(), &event)
	if err == unix.EEXIST {
		err = unix.EpollCtl(w.fd, unix.EPOLL_CTL_MOD, c.sock.Fd(), &event)
	}
	return err
}

// disarm forgets a socket that goes on under another descriptor. It may not be there.
func (w *watcher) disarm(fd int) { _ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// watchLoop is the watcher's goroutine: started by watch, ended by close.
func (w *watcher) watchLoop(conn syscall.RawConn) {
	events := make([]unix.EpollEvent, 256)
	for {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return // closed
		}
		for _, e := range events[:n] {
			// Never refused: a connection has one event at most on its way.
			w.inbox.PutAlways(handoff.Event{Kind: handoff.Writable, To: handoff.Handle{
				Loop: w.loop, Slot: uint32(e.Fd), Generation: uint32(e.Pad),
			}}, 0)
		}
	}
}

func (w *watcher) close() { w.file.Close() }

// writable is called when a socket that was full takes bytes again. gnet has the same event
// in its own set, but perhaps not yet looked at it.
func (l *Loop) writable(c *conn) {
	if c == nil || !c.backed {
		return
	}
	_ = c.sock.Flush() // a failing write closes the connection
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
		l.cfg.Log.Error("a full socket can't be watched; its connection is closed", "conn", c.name(), "err", err)
		l.abort(c)
	}
}

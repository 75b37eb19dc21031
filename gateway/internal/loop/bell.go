package loop

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// bell wakes a loop: a byte into a socket pair whose other end is a connection of that loop.
//
// gnet's task queue would do it without descriptors, but a task that posts itself again,
// which is how a long fan-out yields, runs before epoll is asked again: one busy
// room then delays every socket. A readable descriptor takes its turn among the others.
type bell struct {
	loop *Loop
	file *os.File // the end we write to
	rung atomic.Bool
	// alarm rings later, see Loop.ringIn.
	alarm *time.Timer
}

// hang makes the pair and gives the other end to gnet. Rings before gnet has it wait in
// the socket.
func hang(l *Loop, events gnet.EventLoop) (*bell, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the wake-up socket of loop %d: %w", l.index, err)
	}
	// A file, not a number: who rings after the close must not write into whatever has the
	// number then.
	b := &bell{loop: l, file: os.NewFile(uintptr(pair[0]), "bell")}
	b.alarm = time.AfterFunc(time.Hour, b.ring)
	b.alarm.Stop()
	file := os.NewFile(uintptr(pair[1]), "bell")
	far, err := net.FileConn(file) // a duplicate; gnet makes another and closes this one
	file.Close()
	if err == nil {
		_, err = events.Enroll(gnet.NewContext(context.Background(), b), far)
	}
	if err != nil {
		b.file.Close()
		return nil, fmt.Errorf("give the wake-up socket of loop %d to gnet: %w", l.index, err)
	}
	return b, nil
}

// ring makes the loop take its turn soon. Safe for concurrent use; rings before the turn
// begins count as one.
func (b *bell) ring() {
	if b.rung.Swap(true) {
		return
	}
	// The socket can't be full: one byte at most is in it. It can be closed, at the end.
	_, _ = b.file.Write([]byte{1})
}

// close is for when nobody rings any more.
func (b *bell) close() {
	b.alarm.Stop()
	b.file.Close()
}

// answered is called when the turn begins: a ring from here on causes another.
func (b *bell) answered(g gnet.Conn) {
	_, _ = g.Discard(-1)
	b.rung.Store(false)
}

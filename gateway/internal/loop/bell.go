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
// room then delays every socket. A readable descriptor takes its turn among the others. How long
// that takes is how long they all wait, see line.
type bell struct {
	loop *Loop
	file *os.File // the end we write to
	hung bool     // gnet has the other end; written by the loop, and read by whoever gnet has told that it is through with it
	rung atomic.Bool
	// alarm rings later, see Loop.ringIn.
	alarm *time.Timer
}

// hangAgain is how long it takes until gnet is given a bell again that it could not take.
const hangAgain = 100 * time.Millisecond

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
	far := os.NewFile(uintptr(pair[1]), "bell")
	opened, err := b.give(far, events)
	if err != nil {
		far.Close()
		b.file.Close()
		return nil, fmt.Errorf("give the wake-up socket of loop %d to gnet: %w", l.index, err)
	}
	l.engine.watching.Go(func() { b.hangLoop(far, events, opened) })
	return b, nil
}

// give gives gnet a duplicate of the other end.
func (b *bell) give(far *os.File, events gnet.EventLoop) (<-chan gnet.RegisteredResult, error) {
	socket, err := net.FileConn(far) // gnet makes another and closes this one
	if err != nil {
		return nil, err
	}
	opened, err := events.Enroll(gnet.NewContext(context.Background(), b), socket)
	if err != nil {
		socket.Close()
	}
	return opened, err
}

// hangLoop gives gnet the other end until it has it: a loop without would be deaf to all but its sockets. gnet says nothing of a socket that it could
// not watch, and reports it as taken. Started by hang, ended by that or by gnet's end.
func (b *bell) hangLoop(far *os.File, events gnet.EventLoop, opened <-chan gnet.RegisteredResult) {
	defer far.Close()
	for tried := 0; ; tried++ {
		var result gnet.RegisteredResult
		if opened != nil {
			select {
			case result = <-opened:
			case <-b.loop.engine.halted:
				return
			}
		}
		if b.hung {
			return
		}
		if tried == 0 {
			b.loop.cfg.Log.Error("a loop can't be woken, and hears nothing until it can: out of descriptors, of memory or of fs.epoll.max_user_watches? It is tried again",
				"loop", b.loop.index, "err", result.Err)
		}
		select {
		case <-time.After(hangAgain):
		case <-b.loop.engine.halted:
			return
		}
		opened, _ = b.give(far, events) // nil with an error, and the next turn tries again
	}
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

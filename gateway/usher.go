package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// usherPause is how often it is looked who waits, usherMost how many of a listener are let in then. Each has up to usherDescriptors until
	// it is with its loop: a server that has few places left does not let in anybody so.
	usherPause       = 100 * time.Millisecond
	usherMost        = 64
	usherDescriptors = 4
)

// usher lets in who waits to be accepted while the loops are slow. gnet accepts one connection in each pass over the sockets that are ready; with some thousands that
// publish a pass takes a tenth of a second or two, so that ten clients a second come in, and a thousand that come back give up before it is
// their turn, come again and wait behind themselves. Otherwise gnet is alone, which costs less.
type usher struct {
	// Set at construction.
	slow      func() bool  // the loops are, and there is room
	listeners func() []int // gnet's; they are looked for when they are first asked for: with many connections that takes a while
	enter     func(fd int) // returns when the connection is with a loop; the descriptor is its own

	// Set by start.
	cancel  context.CancelFunc
	through sync.WaitGroup
}

// startUsher begins when gnet listens; close ends it, before gnet does.
func (s *Server) startUsher() *usher {
	var departing departing // they will be closed, and their numbers somebody else's
	if s.inherited != nil {
		departing = s.inherited.departing
	}
	listeners := sync.OnceValue(func() []int {
		listeners, err := listenersOn(s.public.addr)
		if err != nil {
			s.log.Warn("who connects while the server is busy may have to wait", "err", err)
		}
		return slices.DeleteFunc(listeners, func(fd int) bool { return slices.Contains(departing, fd) })
	})
	atOnce := usherMost * s.loops
	slow := func() bool { return s.engine.Slow() && s.engine.Open()+usherDescriptors*atOnce <= s.engine.Capacity() }
	u := &usher{slow: slow, listeners: listeners, enter: func(fd int) {
		defer unix.Close(fd)
		if err := s.enter([]int{fd}); err != nil {
			s.lateLine.Log(s.log, slog.LevelWarn, "a connection was accepted and not taken", "err", err)
		}
	}}
	u.start()
	return u
}

func (u *usher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	u.cancel = cancel
	u.through.Go(func() { u.usherLoop(ctx) })
}

// usherLoop is started by start and ended by close.
func (u *usher) usherLoop(ctx context.Context) {
	again := time.NewTicker(usherPause)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if !u.slow() {
			continue
		}
		var entering sync.WaitGroup
		for _, listener := range u.listeners() {
			for _, fd := range acceptFrom(listener, usherMost) {
				entering.Go(func() { u.enter(fd) }) // each waits for a turn of its loop
			}
		}
		entering.Wait()
	}
}

// close returns when everybody who was let in is with a loop. It may be called again, and on nil.
func (u *usher) close() {
	if u == nil {
		return
	}
	u.cancel()
	u.through.Wait()
}

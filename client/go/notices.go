package client

import (
	"sync"
)

// maxNotices bounds what waits for a slow OnState or OnRoom; beyond, the oldest is forgotten.
const maxNotices = 64

// notices hands what has happened to the application outside the machine's loop, so that
// OnState and OnRoom may call the client and may take their time.
type notices[T any] struct {
	// Set at construction.
	tell func(T) // may be nil

	// Guarded by mu.
	mu      sync.Mutex
	waiting []T
	running bool
}

func newNotices[T any](tell func(T)) *notices[T] { return &notices[T]{tell: tell} }

func (n *notices[T]) add(change T) {
	if n.tell == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == maxNotices {
		n.waiting = n.waiting[1:]
	}
	n.waiting = append(n.waiting, change)
	if !n.running {
		n.running = true
		go n.tellLoop()
	}
}

// tellLoop is started by add when there is something to tell and ends when there is not.
// Nobody waits for it, or a Close from within OnState would wait for itself.
func (n *notices[T]) tellLoop() {
	for {
		n.mu.Lock()
		if len(n.waiting) == 0 {
			n.running = false
			n.mu.Unlock()
			return
		}
		change := n.waiting[0]
		n.waiting = n.waiting[1:]
		n.mu.Unlock()
		n.tell(change)
	}
}

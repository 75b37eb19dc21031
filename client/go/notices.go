package client

import (
	"sync"
)

// maxNotices bounds what waits for a slow OnState; beyond, the oldest is forgotten.
const maxNotices = 64

// notices hands changes of state to the application outside the machine's loop, so that
// OnState may call the client and may take its time.
type notices struct {
	// Set at construction.
	onState func(StateChange) // may be nil

	// Guarded by mu.
	mu      sync.Mutex
	waiting []StateChange
	running bool
}

func newNotices(onState func(StateChange)) *notices { return &notices{onState: onState} }

func (n *notices) add(change StateChange) {
	if n.onState == nil {
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
func (n *notices) tellLoop() {
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
		n.onState(change)
	}
}

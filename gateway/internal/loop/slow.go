package loop

import (
	"sync"
	"time"
)

// slowMode keeps when users have last published in rooms in slow mode, for all loops together and whether they are subscribed or
// not: who leaves and comes back waits all the same. It is locked for a map access, or rarely for a walk over what may be over.
type slowMode struct {
	mu sync.Mutex // guards all below
	// over says when each may publish again. What is over is taken out when the map has doubled.
	over map[speaker]time.Time
	most int
}

type speaker struct{ room, user string }

// leastSlow is the size from which on the map is looked through.
const leastSlow = 1024

func newSlowMode() *slowMode {
	return &slowMode{over: make(map[speaker]time.Time), most: leastSlow}
}

// take lets a user publish, and no more until a time has passed; or says how much of it is left.
func (s *slowMode) take(who speaker, every time.Duration, now time.Time) (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait = s.over[who].Sub(now); wait > 0 {
		// The time may have been longer when the user last published.
		return min(wait, every)
	}
	if len(s.over) >= s.most {
		for other, over := range s.over {
			if !over.After(now) {
				delete(s.over, other)
			}
		}
		s.most = max(leastSlow, 2*len(s.over))
	}
	s.over[who] = now.Add(every)
	return 0
}

// giveBack is for a publish that was not taken.
func (s *slowMode) giveBack(who speaker) {
	s.mu.Lock()
	delete(s.over, who)
	s.mu.Unlock()
}

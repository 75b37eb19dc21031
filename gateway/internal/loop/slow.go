package loop

import (
	"hash/maphash"
	"sync"
	"time"
)

// slowMode keeps when users have last published in rooms in slow mode, for all loops together and whether they are subscribed or
// not: who leaves and comes back waits all the same. It is locked for a map access, or rarely for a walk over what may be over.
type slowMode struct {
	// Set at construction.
	repeats time.Duration // a publish may be repeated with its key for so long
	seed    maphash.Seed

	mu sync.Mutex // guards all below
	// last is the message of each that counts. What is over is taken out when the map has doubled.
	last map[speaker]spoken
	most int
}

type speaker struct{ room, user string }

// spoken is a message that was let through.
type spoken struct {
	at, over time.Time
	key      uint64 // hash of its retry key, 0: it had none
}

// leastSlow is the size from which on the map is looked through.
const leastSlow = 1024

func newSlowMode(repeats time.Duration) *slowMode {
	return &slowMode{repeats: repeats, seed: maphash.MakeSeed(), last: make(map[speaker]spoken), most: leastSlow}
}

// take lets a user publish, and no more until a time has passed, or says how much of it is left. The same message again, known by its
// key, is let through too and counts for nothing: who has not heard what became of it has to be able to ask.
func (s *slowMode) take(who speaker, key string, every time.Duration, now time.Time) (wait time.Duration, counts bool) {
	hash := uint64(0)
	if key != "" {
		hash = maphash.String(s.seed, key) | 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last[who]
	if hash != 0 && hash == last.key && now.Sub(last.at) < s.repeats {
		return 0, false
	}
	if wait = last.over.Sub(now); wait > 0 {
		// The time may have been longer when the user last published.
		return min(wait, every), false
	}
	if len(s.last) >= s.most {
		for other, spoken := range s.last {
			if !spoken.over.After(now) {
				delete(s.last, other)
			}
		}
		s.most = max(leastSlow, 2*len(s.last))
	}
	s.last[who] = spoken{at: now, over: now.Add(every), key: hash}
	return 0, true
}

// giveBack is for a publish that was not taken.
func (s *slowMode) giveBack(who speaker) {
	s.mu.Lock()
	delete(s.last, who)
	s.mu.Unlock()
}

// len is how many messages are kept, those of which the time is over but not yet noticed among them.
func (s *slowMode) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.last)
}

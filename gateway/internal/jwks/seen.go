package jwks

import (
	"hash/maphash"
	"time"
)

// maxSeen bounds the unknown ids that are remembered. Whoever invents more of them in the time between two fetches has
// the others forgotten, and then a stale token is told to come back once more.
const maxSeen = 1024

// seen says since when an id has been asked for in vain. The answer to an id that was asked for before a fetch began, and
// was not in what it brought, is final. Ids are chosen by strangers, so only a hash of each is kept, with a seed of this
// process's own.
type seen struct {
	seed  maphash.Seed
	since map[uint64]time.Time
}

func newSeen() seen { return seen{maphash.MakeSeed(), make(map[uint64]time.Time)} }

// first gives the moment at which an id was first asked for, now for a new one.
func (s *seen) first(id string, now time.Time) time.Time {
	hash := maphash.String(s.seed, id)
	if t, ok := s.since[hash]; ok {
		return t
	}
	if len(s.since) >= maxSeen {
		clear(s.since)
	}
	s.since[hash] = now
	return now
}

// forget drops what was asked for before a moment, so that a key which is published later on is waited for again.
func (s *seen) forget(before time.Time) {
	for hash, t := range s.since {
		if t.Before(before) {
			delete(s.since, hash)
		}
	}
}

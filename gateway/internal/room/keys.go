package room

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// keyHash stands for (room, user, key). 128 bits of two seeded hashes: a publisher who does
// not know the seeds can't make two keys collide, and by chance it takes some 10^16 keys
// held at once before one pair is likely. A collision would answer a new message as an old one.
type keyHash struct{ a, b uint64 }

// outcome is what a publish was answered with.
type outcome struct {
	seq uint64
	at  int64
}

// retryKeys remembers the outcome of publishes that carried a retry key, each for the window
// and at most max of them: the oldest is forgotten first. It is rebuilt from the log's newest
// records at the start, so a retry across a restart finds its outcome too.
type retryKeys struct {
	// Set at construction.
	window int64 // milliseconds
	max    int
	seedA  maphash.Seed
	seedB  maphash.Seed

	// Owned by the shard.
	outcomes map[keyHash]outcome
	order    []keyHash // oldest first, from index first
	first    int

	held    atomic.Int64
	evicted atomic.Int64
}

func newRetryKeys(window time.Duration, max int) *retryKeys {
	return &retryKeys{
		window: window.Milliseconds(), max: max,
		seedA: maphash.MakeSeed(), seedB: maphash.MakeSeed(),
		outcomes: make(map[keyHash]outcome),
	}
}

// hash joins the three with a byte that names can't hold.
func (k *retryKeys) hash(room, user, key string) keyHash {
	sum := func(seed maphash.Seed) uint64 {
		var h maphash.Hash
		h.SetSeed(seed)
		h.WriteString(room)
		h.WriteByte(0)
		h.WriteString(user)
		h.WriteByte(0)
		h.WriteString(key)
		return h.Sum64()
	}
	return keyHash{sum(k.seedA), sum(k.seedB)}
}

func (k *retryKeys) find(h keyHash) (outcome, bool) {
	o, ok := k.outcomes[h]
	return o, ok
}

func (k *retryKeys) remember(room, user, key string, o outcome) {
	k.add(k.hash(room, user, key), o)
}

// add remembers h and forgets what is older than the window before o, or too many.
func (k *retryKeys) add(h keyHash, o outcome) {
	k.outcomes[h] = o
	k.order = append(k.order, h)
	for k.first < len(k.order) {
		oldest := k.order[k.first]
		expired := k.outcomes[oldest].at < o.at-k.window
		if !expired && len(k.order)-k.first <= k.max {
			break
		}
		if !expired {
			k.evicted.Add(1)
		}
		delete(k.outcomes, oldest)
		k.first++
	}
	if k.first > len(k.order)/2 && k.first > 1024 {
		k.order = append(k.order[:0], k.order[k.first:]...)
		k.first = 0
	}
	k.held.Store(int64(len(k.outcomes)))
}

package rate

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ways is how many buckets share a lock and may take each other's place.
	ways = 8
	// sets times ways is how many buckets there are: 65,536 in 1.1 MB.
	sets = 1 << 13
)

// Rate is how fast a bucket fills and how much it holds. The zero value is no limit.
type Rate struct {
	perSecond float64
	burst     float64
	each      float64 // nanoseconds in which one comes, at most maxFill/burst
	fill      int64   // nanoseconds in which the empty bucket becomes full
}

// maxFill bounds what a bucket can reach into the future: a hundred years.
const maxFill = 100 * 365 * 24 * float64(time.Hour)

// PerSecond is a rate whose bucket holds burst, and 1 at least.
func PerSecond(perSecond, burst float64) Rate {
	burst = max(1, burst)
	each := min(1e9/perSecond, maxFill/burst)
	return Rate{perSecond, burst, each, int64(burst * each)}
}

// None reports whether there is no limit.
func (r Rate) None() bool { return r.perSecond <= 0 }

// Average gives how much comes a second.
func (r Rate) Average() float64 { return r.perSecond }

// Burst gives what the bucket holds.
func (r Rate) Burst() float64 { return r.burst }

// claimed is the rate that a token asks for, up to so many times this one. The bucket changes with the rate.
func (r Rate) claimed(perSecond, times float64) Rate {
	if perSecond <= 0 {
		return r
	}
	if r.None() {
		return PerSecond(perSecond, 2*perSecond)
	}
	part := min(perSecond/r.perSecond, times)
	return PerSecond(r.perSecond*part, r.burst*part)
}

// Key names a bucket.
type Key uint64

// Ask is a wish for an amount from a bucket.
type Ask struct {
	Key    Key
	Rate   Rate
	Amount float64 // at most the burst is ever there at once
}

// Table is the buckets, of whatever they are. It is safe for concurrent use, allocates nothing after it was made, and holds a lock for
// some comparisons only.
type Table struct {
	seed    maphash.Seed
	sets    []set
	evicted atomic.Uint64
}

// set is a few buckets. A bucket is the moment at which it will be full again: what is in it follows from that and the time
// (the generic cell rate algorithm, ITU-T I.371).
type set struct {
	mu   sync.Mutex // guards all below
	keys [ways]Key  // 0: free
	full [ways]int64
}

// NewTable makes one in which all buckets are full.
func NewTable() *Table {
	return &Table{seed: maphash.MakeSeed(), sets: make([]set, sets)}
}

// Text is the key of a bucket of what has a name.
func (t *Table) Text(scope Scope, o Operation, name string) Key {
	return mix(maphash.String(t.seed, name), scope, o)
}

// Bytes is the key of a bucket of what has a name in bytes.
func (t *Table) Bytes(scope Scope, o Operation, name []byte) Key {
	return mix(maphash.Bytes(t.seed, name), scope, o)
}

func mix(hash uint64, scope Scope, o Operation) Key {
	return max(1, Key((hash+uint64(scope)<<8+uint64(o))*0x9e3779b97f4a7c15))
}

// Take takes all that is asked for or nothing. When it takes nothing it gives the ask whose bucket has too little for longest,
// and after how long there will be enough in all of them, if nobody else takes from them. now is in nanoseconds, from any beginning.
func (t *Table) Take(now int64, asks []Ask) (short int, wait time.Duration) {
	for i := range asks {
		wait := t.take(now, &asks[i])
		if wait <= 0 {
			continue
		}
		for j := range asks[:i] {
			t.giveBack(&asks[j])
		}
		short = i
		for j := i + 1; j < len(asks); j++ {
			if more := t.peek(now, &asks[j]); more > wait {
				short, wait = j, more
			}
		}
		return short, time.Duration(wait)
	}
	return -1, 0
}

// Wait gives after how long there will be enough in a bucket, 0 if there is.
func (t *Table) Wait(now int64, a Ask) time.Duration { return time.Duration(max(0, t.peek(now, &a))) }

func (t *Table) set(k Key) *set { return &t.sets[uint64(k)>>(64-13)] }

// cost is how long the bucket fills for the amount.
func (a *Ask) cost() int64 { return int64(min(a.Amount, a.Rate.burst) * a.Rate.each) }

// after gives when a bucket that is full again at a moment would be full if the amount were taken now, and how long before
// now there is enough in it.
func (a *Ask) after(now, full int64) (then, wait int64) {
	// Behind now is full. Later than empty is what was taken at a lower rate, before the settings changed.
	full = min(max(full, now), now+a.Rate.fill)
	then = full + a.cost()
	return then, then - a.Rate.fill - now
}

func (t *Table) take(now int64, a *Ask) (wait int64) {
	s := t.set(a.Key)
	s.mu.Lock()
	i := s.find(a.Key)
	if i < 0 {
		i = t.place(s, now)
		s.keys[i], s.full[i] = a.Key, now
	}
	then, wait := a.after(now, s.full[i])
	if wait <= 0 {
		s.full[i] = then
	}
	s.mu.Unlock()
	return wait
}

// place gives where a new bucket goes. The fullest has to go: one that is full loses nothing by it.
func (t *Table) place(s *set, now int64) int {
	i := s.find(0)
	if i >= 0 {
		return i
	}
	i = 0
	for j := range s.full {
		if s.full[j] < s.full[i] {
			i = j
		}
	}
	if s.full[i] > now {
		t.evicted.Add(1)
	}
	return i
}

func (t *Table) peek(now int64, a *Ask) (wait int64) {
	s := t.set(a.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	full := now
	if i := s.find(a.Key); i >= 0 {
		full = s.full[i]
	}
	_, wait = a.after(now, full)
	return wait
}

func (t *Table) giveBack(a *Ask) {
	s := t.set(a.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(a.Key); i >= 0 {
		s.full[i] -= a.cost()
	}
}

func (s *set) find(k Key) int {
	for i := range s.keys {
		if s.keys[i] == k {
			return i
		}
	}
	return -1
}

// Evicted counts buckets that were forgotten before they were full, for want of room.
func (t *Table) Evicted() uint64 { return t.evicted.Load() }

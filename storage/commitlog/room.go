package commitlog

import (
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// skipSeq is the sequence number that the skip pointer of seq leads to. Written as a sum of
// the numbers 1, 3, 7, 15 … (2^k-1), largest first, seq loses its last term: a skew-binary
// number. From any record every older one is at most about 3·log2(seq) pointers away, against
// log2(seq)²/2 for the simpler seq - lowbit(seq).
func skipSeq(seq uint64) uint64 {
	for rest := seq; rest > 0; {
		term := uint64(1)<<(bits.Len64(rest+1)-1) - 1
		if rest == term {
			return seq - term
		}
		rest -= term
	}
	return 0
}

// room is what is kept in memory for a room, whatever its history: 48 bytes, its roots (8
// bytes each, about as many as log2 of its head) and its entry in the index.
type room struct {
	// Written by the committer, read from any goroutine. The position is stored first, so
	// a reader who has seen seq finds at least that record.
	visiblePosition atomic.Int64
	visibleSeq      atomic.Uint64

	// Owned by the room's producer.
	appendedSeq uint64

	// Owned by the committer. The positions of the head, of the record its skip pointer leads
	// to, of that one's, and so on, head last: all that a new record's pointers can need.
	roots []position
	total uint64 // bytes of the room's records
}

// advance makes seq, at position at, the room's newest written record and gives the
// pointers it gets.
func (r *room) advance(seq uint64, at position, size int) (to links) {
	if n := len(r.roots); n > 0 {
		to.previous = r.roots[n-1]
	}
	// A term of 1 stands beside the others; a longer one is two equal terms and seq made one.
	if seq-skipSeq(seq) > 1 {
		r.roots = r.roots[:len(r.roots)-2]
	}
	r.roots = append(r.roots, at)
	if n := len(r.roots); n > 1 {
		to.skip = r.roots[n-2]
	}
	r.total += uint64(size)
	to.total = r.total
	return to
}

func (r *room) publish(seq uint64, at position) {
	r.visiblePosition.Store(int64(at))
	r.visibleSeq.Store(seq)
}

// roomIndex finds rooms by name. Safe from any goroutine.
type roomIndex struct {
	mu sync.RWMutex

	// Guarded by mu.
	rooms map[string]*room
}

func newRoomIndex() *roomIndex { return &roomIndex{rooms: map[string]*room{}} }

// find gives nil for a room never seen.
func (x *roomIndex) find(name string) *room {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.rooms[name]
}

func (x *roomIndex) findOrAdd(name string) *room {
	if r := x.find(name); r != nil {
		return r
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.rooms[name]
	if r == nil {
		r = &room{}
		// A copy, since name may be a part of a whole frame that would be kept with it.
		x.rooms[strings.Clone(name)] = r
	}
	return r
}

func (x *roomIndex) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.rooms)
}

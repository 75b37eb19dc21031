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
// log2(seq)²/2 for the simpler seq - lowbit(seq). seq is at most storage.MaxSeq.
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

// keptRooms is how many rooms are kept ready for writing when none of their records waits: some
// 250 bytes each.
const keptRooms = 16 << 10

// room is what is kept of a room that is written or was lately; an idle one has only its
// entry in the table.
type room struct {
	// Set at construction.
	key        roomKey
	generation uint64 // of the queue: one more after each fault, see appendQueue

	// pending counts the records that were appended and are not reported. It grows under
	// activeRooms.mu only, so what is 0 there stays 0 until the lock is left.
	pending atomic.Int32

	// Owned by the room's producer.
	appendedSeq uint64

	// Owned by the committer.
	chain
}

// chain is what a room's next record needs to know of those before.
type chain struct {
	// roots are the positions of the head, of the record its skip pointer leads to, of that one's, and
	// so on, head last. The lower ones are read from the log when they are needed.
	roots  []position
	lowest uint64 // sequence number of roots[0]
	cut    bool   // what is below roots[0] can't be read or is gone: records get no skip then
	total  uint64 // bytes of the room's records
	loaded bool
}

// advance makes seq, at position at, the room's newest written record and gives the
// pointers it gets. header reads the header of the record seq at a position.
func (c *chain) advance(seq uint64, at position, size int, header func(position, uint64) (recordHeader, error)) (to links) {
	if n := len(c.roots); n > 0 {
		to.previous = c.roots[n-1]
	}
	// A term of 1 stands beside the others; a longer one is two equal terms and seq made one.
	if seq-skipSeq(seq) > 1 {
		c.extend(3, header)
		c.roots = c.roots[:max(0, len(c.roots)-2)]
	}
	if len(c.roots) == 0 {
		c.lowest = seq
	}
	c.roots = append(c.roots, at)
	if n := len(c.roots); n > 1 {
		to.skip = c.roots[n-2]
	}
	c.total += uint64(size)
	to.total = c.total
	return to
}

// extend reads until n roots are known, if there are so many.
func (c *chain) extend(n int, header func(position, uint64) (recordHeader, error)) {
	for len(c.roots) > 0 && len(c.roots) < n && !c.cut && skipSeq(c.lowest) != 0 {
		h, err := header(c.roots[0], c.lowest)
		if err != nil || h.skip == 0 {
			// Damage is told to who reads it; here it only costs speed.
			c.cut = true
			return
		}
		c.roots = append([]position{h.skip}, c.roots...)
		c.lowest = skipSeq(c.lowest)
	}
}

// activeRooms finds the rooms that are written, by name. Safe from any goroutine.
type activeRooms struct {
	// Set at construction.
	table *roomTable
	keep  int

	mu sync.Mutex // held for memory work only; the table is locked under it

	// Guarded by mu.
	rooms map[string]*room
}

func newActiveRooms(table *roomTable) *activeRooms {
	return &activeRooms{table: table, keep: keptRooms, rooms: map[string]*room{}}
}

// enter gives the room with one more pending record, which the caller takes off again if
// it can't append. A room of an older generation is forgotten: what it knows is void.
func (a *activeRooms) enter(name string, generation uint64) *room {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.rooms[name]
	if r == nil || r.generation != generation {
		key := a.table.key(name)
		r = &room{key: key, generation: generation, appendedSeq: a.table.find(key).headSeq}
		// A copy, since name may be a part of a whole frame that would be kept with it.
		a.rooms[strings.Clone(name)] = r
	}
	r.pending.Add(1)
	return r
}

// trim forgets rooms that wait for nothing when there are too many, any of them.
func (a *activeRooms) trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.rooms) <= a.keep {
		return
	}
	for name, r := range a.rooms {
		if r.pending.Load() == 0 {
			delete(a.rooms, name)
		}
		if len(a.rooms) <= a.keep*3/4 {
			return
		}
	}
}

// clear forgets all rooms: after a fault none of them knows where its room stands.
func (a *activeRooms) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.rooms)
}

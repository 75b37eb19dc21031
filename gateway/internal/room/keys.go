package room

import (
	"hash/maphash"
	"math/bits"
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
// records at the start, so a retry across a restart finds its outcome too. The window is measured in time that nobody can set: by the
// wall clock one step of it would forget all keys at once, and each message whose answer was lost would be published twice.
type retryKeys struct {
	// Set at construction.
	window time.Duration
	seedA  maphash.Seed
	seedB  maphash.Seed

	// Owned by the shard.
	tables []keyTable // by bits of the hash; a power of two
	joined []byte

	held    atomic.Int64
	evicted atomic.Int64
}

// tableKeys is about how many keys a table of many holds: one that grows holds up the shard for some microseconds, and places fit into placeBits.
const tableKeys = 4096

func newRetryKeys(window time.Duration, max int) *retryKeys {
	k := &retryKeys{window: window, seedA: maphash.MakeSeed(), seedB: maphash.MakeSeed()}
	tables := 1
	for max/tables > 2*tableKeys {
		tables *= 2
	}
	max /= tables
	if tables > 1 {
		max += max / 16 // keys do not fall evenly: hardly one is forgotten before max are held
	}
	k.tables = make([]keyTable, tables)
	for i := range k.tables {
		k.tables[i].max = max
	}
	return k
}

// hash joins the three with a byte that names can't hold.
func (k *retryKeys) hash(room, user, key string) keyHash {
	b := append(k.joined[:0], room...)
	b = append(b, 0)
	b = append(b, user...)
	b = append(b, 0)
	b = append(b, key...)
	k.joined = b
	return keyHash{maphash.Bytes(k.seedA, b), maphash.Bytes(k.seedB, b)}
}

func (k *retryKeys) table(h keyHash) *keyTable { return &k.tables[h.b&uint64(len(k.tables)-1)] }

func (k *retryKeys) find(h keyHash) (outcome, bool) {
	t := k.table(h)
	i := t.cell(h)
	if i < 0 || t.index[i] == 0 {
		return outcome{}, false
	}
	return t.ring[t.index[i]&placeMask-1].outcome, true
}

func (k *retryKeys) remember(room, user, key string, o outcome, when time.Duration) {
	k.add(k.hash(room, user, key), o, when)
}

// add remembers h, as of when, and forgets in its table what is older than the window before that, or too many.
func (k *retryKeys) add(h keyHash, o outcome, when time.Duration) {
	t := k.table(h)
	before := t.live
	for t.n > 0 {
		expired := t.ring[t.first].when < when-k.window
		if !expired && t.n < t.max {
			break
		}
		if t.forgetOldest() && !expired {
			k.evicted.Add(1)
		}
	}
	t.push(remembered{h, o, when})
	k.held.Add(int64(t.live - before))
}

type remembered struct {
	hash keyHash
	outcome
	when time.Duration // in the life of the shard; less than 0: before it
}

// keyTable is a ring in the order of the publishes, which is that of forgetting, and an index of it by open addressing. It has no pointers and
// takes 48 bytes a key when it is full. A Go map and a queue beside it took twice as much, and a third look into memory for each
// publish.
type keyTable struct {
	max   int
	ring  []remembered
	first int      // the oldest
	n     int      // in the ring
	live  int      // of them, those that no later publish with the same key has replaced
	index []uint32 // a power of two, a third of it empty at least
	shift int      // of a cell: gives where in the index it belongs
}

// A cell of the index is 0 where it is empty. Else its lower bits are 1 + the place in the ring, and the others the first ones of the hash, so that hardly a
// key but the one that is looked for has to be read.
const (
	placeBits = 14
	placeMask = 1<<placeBits - 1
)

func cellOf(h keyHash, place int) uint32 { return uint32(h.a>>32)&^placeMask | uint32(place+1) }

// cell gives where h is in the index, or the empty cell where it would be; -1 if there is no index.
func (t *keyTable) cell(h keyHash) int {
	if t.index == nil {
		return -1
	}
	tag := uint32(h.a>>32) &^ placeMask
	i := int(tag >> t.shift)
	for c := t.index[i]; c != 0 && (c&^placeMask != tag || t.ring[c&placeMask-1].hash != h); c = t.index[i] {
		i = (i + 1) & (len(t.index) - 1)
	}
	return i
}

// push takes a key in behind the others, of which there are fewer than max.
func (t *keyTable) push(r remembered) {
	if t.n == len(t.ring) {
		t.grow()
	}
	place := t.first + t.n
	if place >= len(t.ring) {
		place -= len(t.ring)
	}
	i := t.cell(r.hash)
	if t.index[i] == 0 {
		t.live++
	}
	t.ring[place] = r
	t.index[i] = cellOf(r.hash, place)
	t.n++
}

func (t *keyTable) grow() {
	ring := make([]remembered, min(max(16, 2*len(t.ring)), t.max))
	n := copy(ring, t.ring[t.first:])
	copy(ring[n:], t.ring[:t.first])
	t.ring, t.first, t.live = ring, 0, 0
	size := bits.Len(uint(len(ring) + len(ring)/2))
	t.index, t.shift = make([]uint32, 1<<size), 32-size
	for place := range t.n {
		i := t.cell(ring[place].hash)
		if t.index[i] == 0 {
			t.live++
		}
		t.index[i] = cellOf(ring[place].hash, place)
	}
}

// forgetOldest is false if a later publish has the same key, which is then known still.
func (t *keyTable) forgetOldest() (gone bool) {
	i := t.cell(t.ring[t.first].hash)
	if gone = int(t.index[i]&placeMask) == t.first+1; gone {
		t.clear(i)
		t.live--
	}
	t.n--
	if t.first++; t.first == len(t.ring) {
		t.first = 0
	}
	return gone
}

// clear empties a cell, and has those behind it move up that are not where they belong.
func (t *keyTable) clear(i int) {
	mask := len(t.index) - 1
	for j := (i + 1) & mask; t.index[j] != 0; j = (j + 1) & mask {
		home := int(t.index[j] >> t.shift)
		if (j-home)&mask >= (j-i)&mask {
			t.index[i] = t.index[j]
			i = j
		}
	}
	t.index[i] = 0
}

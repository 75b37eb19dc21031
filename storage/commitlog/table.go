package commitlog

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"unsafe"
)

// roomKey stands for a room's name: half of SHA-256 over the log id, which nobody outside
// knows, and the name. So nobody can choose names that collide, and by chance one pair does
// among some 10^19 rooms.
type roomKey [16]byte

// roomState is what the log knows of a room without reading it. Its zero value is that of a
// room never seen, except for firstSeq, which is 1 then.
type roomState struct {
	headSeq  uint64   // newest visible record
	headAt   position // of it
	firstSeq uint64   // oldest record that is still given; headSeq+1 if none is
	firstAt  position // of it; 0 if there is none
}

// roomEntry is 48 bytes without a pointer: the garbage collector passes a million rooms by.
type roomEntry struct {
	key roomKey
	roomState
}

const (
	roomEntryBytes = int(unsafe.Sizeof(roomEntry{}))
	// entryChunk is how many entries are allocated at once. A single slice would be copied when
	// it grows, and would be up to twice too large.
	entryChunk = 1 << 10
)

// roomTable knows every room that ever had a record, 48 bytes each and 4 to 10 bytes of index;
// names are in the records only. Safe from any goroutine.
type roomTable struct {
	logID uint64 // set by recovery, before the first use

	// mu is held for memory work only; nothing is locked under it.
	mu sync.RWMutex

	// Guarded by mu.
	chunks [][]roomEntry
	count  int
	slots  []uint32 // open addressing by the key's first bytes: entry number + 1, 0 for none
}

func newRoomTable() *roomTable { return &roomTable{slots: make([]uint32, 64)} }

func (t *roomTable) key(room string) roomKey {
	var buffer [8 + 128]byte
	b := binary.LittleEndian.AppendUint64(buffer[:0], t.logID)
	b = append(b, room...)
	sum := sha256.Sum256(b)
	return roomKey(sum[:16])
}

// find gives the state of a room as it is now.
func (t *roomTable) find(key roomKey) roomState {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.entryLocked(key); e != nil {
		return e.roomState
	}
	return roomState{firstSeq: 1}
}

// update calls change with the room's entry, made if missing. change must not block.
func (t *roomTable) update(key roomKey, change func(*roomState)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.ensureLocked(key).roomState)
}

func (t *roomTable) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}

// copyFrom copies entries from number first on into dst and gives how many. Entries never move
// and are never removed, so a walk in steps sees every room that was there when it began.
func (t *roomTable) copyFrom(first int, dst []roomEntry) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	for n < len(dst) && first+n < t.count {
		i := first + n
		n += copy(dst[n:], t.chunks[i/entryChunk][i%entryChunk:])
	}
	return n
}

// slotLocked gives the place of a key in slots, or the free one where it belongs.
func (t *roomTable) slotLocked(key roomKey) int {
	mask := len(t.slots) - 1
	i := int(binary.LittleEndian.Uint64(key[:])) & mask
	for t.slots[i] != 0 && t.atLocked(t.slots[i]-1).key != key {
		i = (i + 1) & mask
	}
	return i
}

func (t *roomTable) atLocked(number uint32) *roomEntry {
	return &t.chunks[number/entryChunk][number%entryChunk]
}

func (t *roomTable) entryLocked(key roomKey) *roomEntry {
	if number := t.slots[t.slotLocked(key)]; number != 0 {
		return t.atLocked(number - 1)
	}
	return nil
}

func (t *roomTable) ensureLocked(key roomKey) *roomEntry {
	slot := t.slotLocked(key)
	if number := t.slots[slot]; number != 0 {
		return t.atLocked(number - 1)
	}
	if t.count/entryChunk == len(t.chunks) {
		t.chunks = append(t.chunks, make([]roomEntry, 0, entryChunk))
	}
	chunk := &t.chunks[t.count/entryChunk]
	*chunk = append(*chunk, roomEntry{key: key, roomState: roomState{firstSeq: 1}})
	t.count++
	t.slots[slot] = uint32(t.count)
	if t.count > len(t.slots)/8*7 {
		t.growLocked()
	}
	return t.atLocked(uint32(t.count - 1))
}

func (t *roomTable) growLocked() {
	t.slots = make([]uint32, 2*len(t.slots))
	for i := range t.count {
		t.slots[t.slotLocked(t.atLocked(uint32(i)).key)] = uint32(i + 1)
	}
}

// publish makes a batch visible.
func (t *roomTable) publish(batch []entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		t.ensureLocked(e.room.key).take(e.kind, e.record.Seq, e.position)
	}
}

// take makes a record the newest of its room.
func (s *roomState) take(kind byte, seq uint64, at position) {
	s.headSeq, s.headAt = seq, at
	if kind == kindStub {
		s.firstSeq, s.firstAt = seq+1, 0
		return
	}
	if s.firstAt == 0 {
		s.firstSeq, s.firstAt = seq, at
	}
}

package commitlog

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"rookery/storage"
)

const (
	// windowBytes is how much one read of the file brings at most, except for one large record.
	windowBytes = 64 << 10
	// guessBytes is what is read for a record whose size is not known yet.
	guessBytes = 2 << 10
)

// errChain says that a pointer led to another record than it should have. The checksums make it
// nearly impossible; the check keeps a bug of ours from serving a wrong message.
var errChain = errors.New("pointer leads to a wrong record")

// reader is the buffers of one read and the way to the bytes. It is pooled; one read uses it at
// a time.
type reader struct {
	// Set for the read in progress.
	log  *Log
	name string // of the room

	header    [recordHeaderBytes]byte
	locations [chunkRecords]location

	// The window: bytes at hand.
	window  []byte
	segment *segment
	start   int64 // of the window in the segment's file
}

// location is where a record stands and how long it is.
type location struct {
	at   position
	size uint32
}

var readers = sync.Pool{New: func() any { return &reader{window: make([]byte, 0, windowBytes)} }}

func (l *Log) newReader(room string) *reader {
	r := readers.Get().(*reader)
	r.log, r.name = l, room
	return r
}

// release ends the life of all records that the reader gave.
func (r *reader) release() {
	if invariants {
		// Whoever kept a view sees garbage at once, not when the buffer is next used.
		for i := range r.window {
			r.window[i] = 0xdb
		}
	}
	r.log, r.name, r.segment = nil, "", nil
	r.window = r.window[:0]
	if cap(r.window) > windowBytes {
		r.window = make([]byte, 0, windowBytes)
	}
	readers.Put(r)
}

// locate gives the segment and the offset in it where a record may stand.
func (r *reader) locate(at position) (*segment, int64, error) {
	g := r.log.segments.find(at)
	if g == nil {
		panic(fmt.Sprintf("BUG: no segment holds position %d", at))
	}
	offset := int64(at - g.base)
	if offset < segmentHeaderBytes || offset+recordHeaderBytes > g.committed.Load() {
		return nil, 0, g.corruption(offset, errChain)
	}
	return g, offset, nil
}

func (r *reader) readAt(g *segment, b []byte, offset int64) error {
	n, err := r.log.files.readAt(g, b, offset)
	if err == nil && n < len(b) {
		return g.corruption(offset, fmt.Errorf("file ends before its last committed byte: %w", io.ErrUnexpectedEOF))
	}
	return err
}

// headerOf reads and checks the header of record seq. The payload is not read: following a
// chain past bodies of a megabyte costs 52 bytes each.
func (r *reader) headerOf(at position, seq uint64) (recordHeader, error) {
	g, offset, err := r.locate(at)
	if err != nil {
		return recordHeader{}, err
	}
	if err := r.readAt(g, r.header[:], offset); err != nil {
		return recordHeader{}, err
	}
	h, err := decodeHeader(r.header[:], r.log.seal, at)
	if err == nil && (h.kind != kindMessage || seq != 0 && h.seq != seq) {
		err = errChain
	}
	if err != nil {
		return h, g.corruption(offset, err)
	}
	return h, nil
}

// head gives the newest visible record of the room, seq 0 if there is none.
func (r *reader) head(room *room) (at position, seq uint64, err error) {
	if at = position(room.visiblePosition.Load()); at == 0 {
		return 0, 0, nil
	}
	h, err := r.headerOf(at, 0)
	return at, h.seq, err
}

// find follows the pointers from record seq at the position at down to record target.
func (r *reader) find(target uint64, at position, seq uint64) (position, error) {
	for seq > target {
		h, err := r.headerOf(at, seq)
		if err != nil {
			return 0, err
		}
		if next := skipSeq(seq); next >= target {
			at, seq = h.skip, next
		} else {
			at, seq = h.previous, seq-1
		}
	}
	return at, nil
}

// record gives record seq of the room, verified. want is how many bytes are worth reading at
// once from there. The result is valid until the next call.
func (r *reader) record(at position, seq uint64, want int64) (recordHeader, storage.Record, error) {
	g, offset, err := r.locate(at)
	if err != nil {
		return recordHeader{}, storage.Record{}, err
	}
	h, record, n, err := decodeRecord(r.inWindow(g, offset), r.log.seal, at)
	for err == nil && n == 0 {
		need := max(int64(recordHeaderBytes), int64(h.size))
		if offset+need > g.committed.Load() {
			return h, record, g.corruption(offset, errTorn)
		}
		if err := r.fill(g, offset, max(need, min(want, windowBytes))); err != nil {
			return h, record, err
		}
		h, record, n, err = decodeRecord(r.inWindow(g, offset), r.log.seal, at)
	}
	if err == nil && (h.kind != kindMessage || record.Seq != seq || record.Room != r.name) {
		err = errChain
	}
	if err != nil {
		return h, record, g.corruption(offset, err)
	}
	record.Room = r.name // the caller's own string lives longer than the view
	return h, record, nil
}

// inWindow gives what is at hand from offset on.
func (r *reader) inWindow(g *segment, offset int64) []byte {
	if r.segment != g || offset < r.start || offset > r.start+int64(len(r.window)) {
		return nil
	}
	return r.window[offset-r.start:]
}

func (r *reader) fill(g *segment, offset, want int64) error {
	want = min(want, g.committed.Load()-offset)
	if int64(cap(r.window)) < want {
		r.window = make([]byte, 0, want)
	}
	r.segment, r.start = nil, offset
	r.window = r.window[:want]
	if err := r.readAt(g, r.window, offset); err != nil {
		return err
	}
	r.segment = g
	return nil
}

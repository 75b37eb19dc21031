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

var errFileEnds = fmt.Errorf("file ends before its last committed byte: %w", io.ErrUnexpectedEOF)

// reader is the buffers of one read and the way to the bytes. It is pooled; one read uses it at
// a time.
type reader struct {
	// Set for the read in progress.
	log      *Log
	name     string // of the room
	state    roomState
	cause    error  // the damage met last
	hidden   uint64 // in a chunk: the last of the numbers that damage hides from its end on, 0 for none
	snapshot *segmentSnapshot

	headers   headerReader
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

func (l *Log) newReader(room string, state roomState) *reader {
	r := readers.Get().(*reader)
	r.log, r.name, r.state = l, room, state
	// Behind the look at the state: the head's segment is in it.
	r.snapshot = l.segments.enter()
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
	r.log.segments.leave(r.snapshot)
	r.log, r.name, r.segment, r.cause, r.snapshot = nil, "", nil, nil, nil
	r.window = r.window[:0]
	if cap(r.window) > windowBytes {
		r.window = make([]byte, 0, windowBytes)
	}
	readers.Put(r)
}

// locate gives the segment and the offset in its file where a record may stand.
func (l *Log) locate(s *segmentSnapshot, at position, urgent bool) (*segment, int64, error) {
	g := s.find(at)
	if g == nil {
		return nil, 0, &storage.CorruptionError{Path: l.config.Dir, Offset: 0, Err: fmt.Errorf("no segment holds position %d: a file is missing; restore it from a backup", at)}
	}
	offset, err := g.offsetOf(l.files, at, urgent)
	return g, offset, err
}

// headerReader reads headers one at a time. It belongs to one goroutine.
type headerReader struct {
	urgent bool // the committer's
	buffer [recordHeaderBytes]byte
}

// read gives the header of record seq, checked. The payload is not read: following a chain past
// bodies of a megabyte costs 60 bytes each.
func (r *headerReader) read(l *Log, s *segmentSnapshot, at position, seq uint64) (recordHeader, error) {
	g, offset, err := l.locate(s, at, r.urgent)
	if err != nil {
		return recordHeader{}, err
	}
	n, err := l.files.read(g, r.buffer[:], offset, r.urgent)
	if err == nil && n < len(r.buffer) {
		err = g.corruption(offset, errFileEnds)
	}
	if err != nil {
		return recordHeader{}, err
	}
	h, err := decodeHeader(r.buffer[:], l.seal, at)
	if err == nil {
		err = h.belongs(seq)
	}
	if err != nil {
		return h, g.corruption(offset, err)
	}
	return h, nil
}

// belongs says whether a pointer to record seq of a room may lead to this one.
func (h *recordHeader) belongs(seq uint64) error {
	if h.kind != kindMessage && h.kind != kindStub || h.seq != seq {
		return errChain
	}
	return nil
}

// header gives the header of a record from the window, if it is at hand.
func (r *reader) header(p place) (recordHeader, error) {
	g, offset, err := r.log.locate(r.snapshot, p.at, false)
	if err != nil {
		return recordHeader{}, err
	}
	b := r.inWindow(g, offset)
	if len(b) < recordHeaderBytes {
		return r.headers.read(r.log, r.snapshot, p.at, p.seq)
	}
	h, err := decodeHeader(b, r.log.seal, p.at)
	if err == nil {
		err = h.belongs(p.seq)
	}
	if err != nil {
		return h, g.corruption(offset, err)
	}
	return h, nil
}

// reachBack reads what lies before a record into the window, with the record itself, if the older ones of the room, so many are wanted, stand close to
// each other there: where one room has most of the traffic, a read for each header would be most of what a page costs. How close they
// are its distance to the one before says. What it does not bring is read header by header, so it has no errors.
func (r *reader) reachBack(p place, h recordHeader, older uint64) {
	if older == 0 || h.previous == 0 {
		return
	}
	g, offset, err := r.log.locate(r.snapshot, p.at, false)
	if err != nil {
		return
	}
	to, before, err := r.log.locate(r.snapshot, h.previous, false)
	distance := offset - before
	if err != nil || to != g || distance <= 0 || distance > gapBytes || len(r.inWindow(g, before)) >= recordHeaderBytes {
		return
	}
	end := offset + int64(h.size)
	begin := max(segmentHeaderBytes, min(before, end-min(windowBytes, int64(h.size)+int64(older)*distance)))
	_ = r.fill(g, begin, end-begin, end-begin) // behind an error there is no window
}

// find gives the newest record of the room that is not above target: its seq is less than target
// if what is between is damaged, 0 if there is none. Of the record itself nothing was read yet.
func (r *reader) find(target uint64, from place) (place, error) {
	for p := from; ; {
		if p.seq < r.state.firstSeq {
			return place{}, nil
		}
		if p.seq <= target {
			return p, nil
		}
		h, err := r.header(p)
		switch {
		case isCorrupt(err):
			r.cause = err
			gone := p.seq
			if p, err = r.below(p); err != nil {
				return place{}, err
			}
			if p.seq < target {
				r.hidden = gone
			}
		case err != nil:
			return place{}, err
		default:
			if next := skipSeq(p.seq); h.skip != 0 && next >= target {
				p = place{h.skip, next}
			} else {
				p = place{h.previous, p.seq - 1}
			}
		}
	}
}

// record gives record seq of the room, verified. want is how many bytes are worth reading at
// once from there. The result is valid until the next call.
func (r *reader) record(at position, seq uint64, want int64) (recordHeader, storage.Record, error) {
	g, offset, err := r.log.locate(r.snapshot, at, false)
	if err != nil {
		return recordHeader{}, storage.Record{}, err
	}
	h, record, n, err := decodeRecord(r.inWindow(g, offset), r.log.seal, at)
	for err == nil && n == 0 {
		need := max(int64(recordHeaderBytes), int64(h.size))
		if offset+need > g.size() {
			return h, record, g.corruption(offset, errTorn)
		}
		if err := r.fill(g, offset, need, min(want, windowBytes)); err != nil {
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

// fill reads from offset on, at least need bytes and at best want.
func (r *reader) fill(g *segment, offset, need, want int64) error {
	want = min(max(need, want), g.size()-offset)
	if int64(cap(r.window)) < want {
		r.window = make([]byte, 0, want)
	}
	r.segment, r.start = nil, offset
	r.window = r.window[:want]
	n, err := r.log.files.readAt(g, r.window, offset)
	if err != nil {
		return err
	}
	if int64(n) < need {
		return g.corruption(offset, errFileEnds)
	}
	r.segment, r.window = g, r.window[:n]
	return nil
}

// isCorrupt tells wrong bytes from a failed read.
func isCorrupt(err error) bool {
	_, ok := errors.AsType[*storage.CorruptionError](err)
	return ok
}

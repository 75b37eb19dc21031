package commitlog

import (
	"errors"
	"time"

	"rookery/storage"
)

const (
	defaultPageRecords = 256
	defaultPageBytes   = 256 << 10

	// chunkRecords is how many records an ascending read locates before it gives the first.
	chunkRecords = 64
	// gapBytes is what lies between two records of a room and is still cheaper to read than
	// to leave out by a second read.
	gapBytes = 4 << 10
)

// budget is what is left of a page.
type budget struct {
	records int
	bytes   int
	given   bool
}

func newBudget(limit storage.PageLimit) budget {
	b := budget{records: limit.Records, bytes: limit.Bytes}
	if b.records <= 0 {
		b.records = defaultPageRecords
	}
	if b.bytes <= 0 {
		b.bytes = defaultPageBytes
	}
	return b
}

// allows takes a record of this size out of the budget, or says that the page is full.
func (b *budget) allows(size uint32) bool {
	if b.records == 0 || b.given && int(size) > b.bytes {
		return false
	}
	b.given = true
	b.records--
	b.bytes -= int(size)
	return true
}

// ReadAfter calls fn for the visible records of a room with a sequence number above after,
// ascending, until the page is full, the head is reached or fn returns false. An unknown room
// has none. It may be called from any goroutine and uses memory for one page at most, whatever
// the page: a window of 64 KiB or one record. The record and all in it except Room are valid only
// until fn returns: they are views into a pooled buffer, so clone what is kept.
func (l *Log) ReadAfter(room string, after uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	found := l.rooms.find(room)
	if l.closed.Load() {
		return storage.ErrClosed
	}
	if found == nil {
		return nil
	}
	r := l.newReader(room)
	defer r.release()
	headAt, head, err := r.head(found)
	if err != nil || after >= head {
		return err
	}
	page := newBudget(limit)
	for next := after + 1; next <= head && page.records > 0; {
		// The pointers go back and the page goes forward: walk a chunk from its end, then read it.
		last := min(head, next+uint64(min(chunkRecords, page.records))-1)
		if err := r.locateChunk(next, last, headAt, head); err != nil {
			return err
		}
		chunk := r.locations[:last-next+1]
		for i, location := range chunk {
			if !page.allows(location.size) {
				return nil
			}
			_, record, err := r.record(location.at, next, runBytes(chunk[i:]))
			if err != nil {
				return err
			}
			if !fn(record) {
				return nil
			}
			next++
		}
	}
	return nil
}

// locateChunk fills r.locations with the records first to last.
func (r *reader) locateChunk(first, last uint64, headAt position, head uint64) error {
	at, err := r.find(last, headAt, head)
	if err != nil {
		return err
	}
	for seq := last; ; seq-- {
		h, err := r.headerOf(at, seq)
		if err != nil {
			return err
		}
		r.locations[seq-first] = location{at: at, size: h.size}
		if seq == first {
			return nil
		}
		at = h.previous
	}
}

// runBytes gives how far one read from the first location on should reach: over all that stand
// close to each other, but not over more than a window.
func runBytes(chunk []location) int64 {
	start := chunk[0].at
	end := start + position(chunk[0].size)
	for _, location := range chunk[1:] {
		next := location.at + position(location.size)
		if location.at-end > gapBytes || next-start > windowBytes {
			break
		}
		end = next
	}
	return int64(end - start)
}

// ReadBefore calls fn for the visible records of a room with a sequence number under before,
// or from the head if before is 0, DESCENDING: newest first. A page is the newest ones of that
// range, so a byte limit can only be kept in this direction; the caller reverses. All
// else is as with ReadAfter.
func (l *Log) ReadBefore(room string, before uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	found := l.rooms.find(room)
	if l.closed.Load() {
		return storage.ErrClosed
	}
	if found == nil || before == 1 {
		return nil
	}
	r := l.newReader(room)
	defer r.release()
	at, seq, err := r.head(found)
	if err != nil || seq == 0 {
		return err
	}
	if before != 0 && before <= seq {
		if at, err = r.find(before-1, at, seq); err != nil {
			return err
		}
		seq = before - 1
	}
	for page := newBudget(limit); seq > 0 && page.records > 0; seq-- {
		h, record, err := r.record(at, seq, guessBytes)
		if err != nil {
			return err
		}
		if !page.allows(h.size) || !fn(record) {
			return nil
		}
		at = h.previous
	}
	return nil
}

// Recent calls fn for committed records of all rooms in log order: those with a time of since or
// later, at most the newest limit of them. It reads whole segments, newest first, twice, and
// is meant for the start of a server. The record, Room included, is valid only until fn returns.
func (l *Log) Recent(since time.Time, limit int, fn func(storage.Record) bool) error {
	if l.closed.Load() {
		return storage.ErrClosed
	}
	segments := l.segments.load()
	ends := make([]int64, len(segments)) // of this call, while the log grows
	scanner := scanner{seal: l.seal, files: l.files}
	oldest := since.UnixMilli()
	matching := 0
	first := len(segments)
	for first > 0 && matching < limit {
		first--
		ends[first] = segments[first].committed.Load()
		err := l.scanSince(&scanner, segments[first], ends[first], oldest, func(storage.Record) bool {
			matching++
			return true
		})
		if err != nil {
			return err
		}
	}
	surplus := matching - limit
	goOn := true
	for i := first; i < len(segments) && goOn; i++ {
		err := l.scanSince(&scanner, segments[i], ends[i], oldest, func(record storage.Record) bool {
			if surplus > 0 {
				surplus--
				return true
			}
			goOn = fn(record)
			return goOn
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errStop ends a scan without being an error.
var errStop = errors.New("stop")

// scanSince gives the records of a segment that are new enough. Times are the server's clock,
// which can go back, so each record and each segment is asked.
func (l *Log) scanSince(s *scanner, g *segment, until, oldest int64, fn func(storage.Record) bool) error {
	if g.newestAt.Load() < oldest {
		return nil
	}
	end, err := s.scan(g, segmentHeaderBytes, until, func(h recordHeader, record storage.Record, _ position) error {
		if h.kind == kindMessage && record.At >= oldest && !fn(record) {
			return errStop
		}
		return nil
	})
	switch {
	case err == nil || err == errStop:
		return nil
	case isDamage(err):
		return g.corruption(end, err)
	}
	return err
}

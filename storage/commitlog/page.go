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
// ascending, until the page is full, the head is reached or fn returns false. It begins at Begin
// if that is higher. An unknown room has none. Records that can't be read are a
// *storage.DamagedError behind what comes before them; reading goes on behind its Last. Any goroutine
// may call it; it uses memory for one page at most, whatever the page: a window of 64 KiB or one
// record. The record and all in it except Room are valid only until fn returns: they are views into a
// pooled buffer, so clone what is kept.
func (l *Log) ReadAfter(room string, after uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	state := l.table.find(l.table.key(room))
	if l.closed.Load() {
		return storage.ErrClosed
	}
	after = max(after, state.firstSeq-1)
	if after >= state.headSeq {
		return nil
	}
	r := l.newReader(room, state)
	defer r.release()
	page := newBudget(limit)
	for next := after + 1; next <= state.headSeq && page.records > 0; {
		// The pointers go back and the page goes forward: walk a chunk from its end, then read it.
		last := min(state.headSeq, next+uint64(min(chunkRecords, page.records))-1)
		if err := r.locateChunk(next, last); err != nil {
			return err
		}
		chunk := r.locations[:last-next+1]
		for i, location := range chunk {
			if location.at == 0 {
				gone := next + missing(chunk[i:]) - 1
				if gone == last {
					gone = max(last, r.hidden) // more than a chunk may be hidden: 2^40 numbers behind one stub
				}
				return r.damaged(next, gone, r.cause)
			}
			if !page.allows(location.size) {
				return nil
			}
			_, record, err := r.record(location.at, next, runBytes(chunk[i:]))
			if isCorrupt(err) {
				return r.damaged(next, next, err)
			}
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

// locateChunk fills r.locations with the records first to last; at 0 are those that can't be
// found.
func (r *reader) locateChunk(first, last uint64) error {
	clear(r.locations[:last-first+1])
	r.hidden = 0
	p, err := r.find(last, place{r.state.headAt, r.state.headSeq})
	for err == nil && p.seq >= first {
		var h recordHeader
		if h, err = r.header(p); isCorrupt(err) {
			r.cause = err
			p, err = r.below(p)
			continue
		}
		if err != nil || h.kind != kindMessage {
			break
		}
		r.locations[p.seq-first] = location{at: p.at, size: h.size}
		r.reachBack(p, h, p.seq-first)
		p = place{h.previous, p.seq - 1}
	}
	return err
}

// missing counts the locations at the start that are not known.
func missing(chunk []location) (n uint64) {
	for n < uint64(len(chunk)) && chunk[n].at == 0 {
		n++
	}
	return n
}

// damaged says which records can't be read, and why as far as it is known.
func (r *reader) damaged(first, last uint64, cause error) error {
	corrupt, ok := errors.AsType[*storage.CorruptionError](cause)
	if !ok {
		corrupt = &storage.CorruptionError{Path: r.log.config.Dir, Err: errors.New("damage hides these records: `rookery log verify` shows where")}
	}
	// Retention may have taken them since this read began: then nothing is damaged, the page
	// ends here and the next one begins where the room does now.
	begin := r.log.table.find(r.log.table.key(r.name)).firstSeq
	if begin > last {
		return nil
	}
	return &storage.DamagedError{Room: r.name, First: max(first, begin), Last: last, Err: corrupt}
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
// or from the head if before is 0, DESCENDING: newest first, down to Begin. A page is the newest
// ones of that range, so a byte limit can only be kept in this direction; the caller
// reverses. After a *storage.DamagedError reading goes on below its First. All else is as with
// ReadAfter.
func (l *Log) ReadBefore(room string, before uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	state := l.table.find(l.table.key(room))
	if l.closed.Load() {
		return storage.ErrClosed
	}
	seq := state.headSeq
	if before != 0 {
		seq = min(seq, before-1)
	}
	if seq < state.firstSeq {
		return nil
	}
	r := l.newReader(room, state)
	defer r.release()
	p, err := r.find(seq, place{state.headAt, state.headSeq})
	if err != nil {
		return err
	}
	for page := newBudget(limit); seq >= state.firstSeq && page.records > 0; seq-- {
		if p.seq < seq {
			return r.damaged(max(p.seq+1, state.firstSeq), seq, r.cause)
		}
		h, record, err := r.record(p.at, seq, guessBytes)
		if isCorrupt(err) {
			return r.damagedBefore(p, err)
		}
		if err != nil {
			return err
		}
		if !page.allows(h.size) || !fn(record) {
			return nil
		}
		p = place{h.previous, seq - 1}
	}
	return nil
}

// damagedBefore says how far down the damage goes that begins at p.
func (r *reader) damagedBefore(p place, cause error) error {
	first := p.seq
	if _, err := r.header(p); err != nil {
		next, err := r.below(p)
		if err != nil {
			return err
		}
		first = max(next.seq+1, r.state.firstSeq)
	}
	return r.damaged(first, p.seq, cause)
}

// Newest gives the time of the newest record, or of a younger one in its segment; zero if the log has none.
func (l *Log) Newest() time.Time { return newestTime(l.segments.load()) }

// Recent calls fn for committed records of all rooms in log order: those with a time of since or
// later, at most the newest limit of them. It reads whole segments, newest first, twice, and
// is meant for the start of a server. The record, Room included, is valid only until fn returns.
func (l *Log) Recent(since time.Time, limit int, fn func(storage.Record) bool) error {
	if l.closed.Load() {
		return storage.ErrClosed
	}
	snapshot := l.segments.enter()
	defer l.segments.leave(snapshot)
	segments := snapshot.segments
	ends := make([]position, len(segments)) // of this call, while the log grows
	scanner := scanner{seal: l.seal, files: l.files}
	oldest := since.UnixMilli()
	matching := 0
	first := len(segments)
	for first > 0 && matching < limit {
		first--
		ends[first] = segments[first].rangeEnd()
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

// scanSince gives the records of a segment that are new enough; damaged ones are passed by. Times
// are the server's clock, which can go back, so each record and each segment is asked.
func (l *Log) scanSince(s *scanner, g *segment, until position, oldest int64, fn func(storage.Record) bool) error {
	if g.newestAt.Load() < oldest {
		return nil
	}
	err := s.scanAll(g, 0, func(h recordHeader, record storage.Record, at position) error {
		if at >= until || h.kind == kindMessage && record.At >= oldest && !fn(record) {
			return errStop
		}
		return nil
	}, func(int64, error) {})
	if err == errStop || isCorrupt(err) {
		return nil
	}
	return err
}

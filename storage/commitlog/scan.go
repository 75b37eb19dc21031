package commitlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"rookery/storage"
)

const (
	scanBufferBytes = 256 << 10
	// leastScanBytes is the first buffer of a scan: a new log is a header, and so are most of those that are opened.
	leastScanBytes = 4 << 10
)

// errTorn says that the bytes end before the record does.
var errTorn = errors.New("record is cut short")

// scanner reads the records of a segment one after the other. It belongs to one goroutine.
type scanner struct {
	seal   seal
	files  *openFiles
	buffer []byte // reused over segments

	// Of the scan in progress.
	segment *segment
	limit   int64  // end of what is read, in the file
	start   int64  // of the buffer's content, in the file
	held    int    // bytes of the content
	raw     []byte // the record given last, until each returns
}

// scan calls each for all records from offset from to limit, in order; the record is valid
// until each returns. end is where the last whole record ends. An error is that of each, of
// the file, or a damage (isDamage) at end.
func (s *scanner) scan(g *segment, from, limit int64, each func(recordHeader, storage.Record, position) error) (end int64, err error) {
	s.begin(g, from, limit)
	return s.records(g.base, from, limit, each)
}

// begin sets what is read. Nothing of an earlier scan is used: the file may have grown.
func (s *scanner) begin(g *segment, from, limit int64) {
	s.reserve(min(limit-from, scanBufferBytes))
	s.segment, s.limit, s.start, s.held = g, limit, from, 0
}

// reserve makes the buffer as large as is asked for or larger, by doubling: a scanner goes from one segment to another. What it
// holds is lost.
func (s *scanner) reserve(bytes int64) {
	size := max(leastScanBytes, len(s.buffer))
	for int64(size) < bytes {
		size *= 2
	}
	if size > len(s.buffer) {
		s.buffer, s.held = make([]byte, size), 0
	}
}

// records is scan for a part of the file where a record stands at position shift plus its offset.
func (s *scanner) records(shift position, from, to int64, each func(recordHeader, storage.Record, position) error) (end int64, err error) {
	for offset := from; offset < to; {
		at := shift + position(offset)
		h, r, n, err := decodeRecord(s.content(offset), s.seal, at)
		switch {
		case errors.Is(err, errNewerKind):
			return offset, fmt.Errorf("read %s at offset %d: %w", s.segment.path, offset, err)
		case err != nil:
			return offset, damage{err}
		case n == 0:
			// Known is the record's size or, where not even the header was at hand, nothing.
			need := max(recordHeaderBytes, int(h.size))
			if err := s.fill(offset, need); err != nil {
				return offset, err
			}
			if s.held < need {
				return offset, damage{errTorn}
			}
			continue
		case offset+int64(n) > to:
			return offset, damage{errTorn}
		}
		s.raw = s.content(offset)[:n]
		if err := each(h, r, at); err != nil {
			return offset, err
		}
		offset += int64(n)
	}
	return to, nil
}

// content gives what is at hand from offset on.
func (s *scanner) content(offset int64) []byte {
	if offset < s.start || offset > s.start+int64(s.held) {
		return nil
	}
	return s.buffer[offset-s.start : s.held]
}

// fill reads from offset on, at least need bytes or up to the limit.
func (s *scanner) fill(offset int64, need int) error {
	s.reserve(int64(need))
	want := min(int64(len(s.buffer)), s.limit-offset)
	n, err := s.files.readAt(s.segment, s.buffer[:want], offset)
	if err != nil {
		return err
	}
	s.start, s.held = offset, n
	return nil
}

// damage marks an error as wrong bytes, not a failed read.
type damage struct{ error }

func (d damage) Unwrap() error { return d.error }

func isDamage(err error) bool {
	var d damage
	return errors.As(err, &d)
}

// provesLoss searches behind damage at offset damaged for a record which was written when
// the damaged place was already known to be synced, and gives its offset: then no crash
// explains the damage. Whole records that follow without that proof are the rest of a torn
// batch, whose blocks the device wrote in its own order.
func (s *scanner) provesLoss(g *segment, damaged, limit int64) (offset int64, found bool, err error) {
	s.segment, s.limit, s.start, s.held = g, limit, damaged, 0
	for offset := damaged + 1; offset+recordHeaderBytes <= limit; {
		if err := s.fill(offset, recordHeaderBytes); err != nil {
			return 0, false, err
		}
		if s.held < recordHeaderBytes {
			return 0, false, nil
		}
		if s.emptyFrom(offset) {
			offset = s.start + int64(s.held) - recordHeaderBytes + 1
			continue
		}
		for ; offset+recordHeaderBytes <= s.start+int64(s.held); offset++ {
			if !plausible(s.content(offset)) {
				continue
			}
			h, err := decodeHeader(s.content(offset), s.seal, g.base+position(offset))
			if err == nil && h.kind&ignorableBit == 0 && offset-int64(h.unsynced) > damaged {
				return offset, true, nil
			}
		}
	}
	return 0, false, nil
}

// scanAll calls each for all whole records of a sealed segment that stand at from or behind, in order, and damaged
// for each place that is skipped. An error is that of each or of the file.
func (s *scanner) scanAll(g *segment, from position, each func(recordHeader, storage.Record, position) error, damaged func(offset int64, cause error)) error {
	if g.lost {
		damaged(0, errors.New("segment is missing"))
		return nil
	}
	if g.packed() {
		return s.scanPacked(g, from, each, damaged)
	}
	limit := g.committed.Load()
	for offset := max(segmentHeaderBytes, int64(from-g.base)); offset >= 0 && offset < limit; {
		end, err := s.scan(g, offset, limit, each)
		if err == nil || !isDamage(err) {
			return err
		}
		damaged(end, err)
		if offset, err = s.resync(g, g.base, end+1, limit); err != nil {
			return err
		}
	}
	return nil
}

// scanNewest is scanAll for the newest segment, and finds its end: the first place from which on nothing is a
// record that was ever committed. torn is what is wrong there, nil if the segment ends there.
func (s *scanner) scanNewest(g *segment, from, size int64, synced position, each func(recordHeader, storage.Record, position) error, damaged func(offset, next int64, cause error)) (end int64, torn, err error) {
	for offset := from; ; {
		end, err := s.scan(g, offset, size, each)
		if err == nil || !isDamage(err) {
			return end, nil, err
		}
		lost, lostErr := s.isLoss(g, end, size, synced)
		if lostErr != nil {
			return end, nil, lostErr
		}
		if !lost {
			return end, err, nil
		}
		next, resyncErr := s.resync(g, g.base, end+1, size)
		if resyncErr != nil {
			return end, nil, resyncErr
		}
		if next < 0 {
			// META knows better than the records where the log ended. Who reads it looks whether the file
			// is shorter than that.
			next = max(end, min(size, int64(synced-g.base)))
			damaged(end, next, err)
			return next, nil, nil
		}
		damaged(end, next, err)
		offset = next
	}
}

// isLoss tells damage from the end of the log, or from what a crash left of a batch that was
// never committed.
func (s *scanner) isLoss(g *segment, end, size int64, synced position) (bool, error) {
	if g.base+position(end) < synced {
		return true, nil
	}
	_, found, err := s.provesLoss(g, end, size)
	return found, err
}

// scanPacked goes from extent to extent.
func (s *scanner) scanPacked(g *segment, from position, each func(recordHeader, storage.Record, position) error, damaged func(offset int64, cause error)) error {
	limit := g.index.Load().blocks
	s.begin(g, segmentHeaderBytes, limit)
	passed := 0
	for offset := int64(segmentHeaderBytes); offset < limit; {
		e, err := s.extent(offset)
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil {
			byIndex, found, readErr := s.files.extentFrom(g, offset, &passed)
			if readErr != nil {
				return readErr
			}
			if found && byIndex.offset == offset {
				err = fmt.Errorf("%w: %w", err, errMadeUp)
			}
			damaged(offset, err)
			if !found {
				return nil
			}
			e = byIndex
		}
		if err := s.scanExtent(g, e, from, each, damaged); err != nil {
			return err
		}
		offset, s.limit = e.end(), limit
	}
	return nil
}

// extent reads the header of an extent.
func (s *scanner) extent(offset int64) (extent, error) {
	if len(s.content(offset)) < extentHeaderBytes {
		if err := s.fill(offset, extentHeaderBytes); err != nil {
			return extent{}, err
		}
	}
	b := s.content(offset)
	if len(b) < extentHeaderBytes {
		return extent{}, damage{errExtent}
	}
	e, err := decodeExtentHeader(b, s.seal, offset)
	if err != nil || !s.segment.holds(e, s.limit) {
		return extent{}, damage{errExtent}
	}
	return e, nil
}

func (s *scanner) scanExtent(g *segment, e extent, from position, each func(recordHeader, storage.Record, position) error, damaged func(offset int64, cause error)) error {
	shift := e.at - position(e.start())
	for offset := e.start() + max(0, int64(from-e.at)); offset >= 0 && offset < e.end(); {
		end, err := s.records(shift, offset, e.end(), each)
		if err == nil || !isDamage(err) {
			return err
		}
		damaged(end, err)
		if offset, err = s.resync(g, shift, end+1, e.end()); err != nil {
			return err
		}
	}
	return nil
}

// resync gives the offset of the first whole record from offset from on, -1 if there is none. A record
// stands at position shift plus its offset.
func (s *scanner) resync(g *segment, shift position, from, limit int64) (int64, error) {
	s.begin(g, from, limit)
	for offset := from; offset+recordHeaderBytes <= limit; {
		if err := s.fill(offset, recordHeaderBytes); err != nil {
			return 0, err
		}
		if s.held < recordHeaderBytes {
			return -1, nil
		}
		if s.emptyFrom(offset) {
			offset = s.start + int64(s.held) - recordHeaderBytes + 1
			continue
		}
		for ; offset+recordHeaderBytes <= s.start+int64(s.held); offset++ {
			if !plausible(s.content(offset)) {
				continue
			}
			at := shift + position(offset)
			h, err := decodeHeader(s.content(offset), s.seal, at)
			if err != nil || offset+int64(h.size) > limit {
				continue
			}
			record := make([]byte, h.size)
			read, err := s.files.readAt(g, record, offset)
			if err != nil {
				return 0, err
			}
			// The file may end before its range does: then this one is cut short.
			if _, _, n, err := decodeRecord(record[:read], s.seal, at); err == nil && n > 0 {
				return offset, nil
			}
		}
	}
	return -1, nil
}

// contentEnd gives where the last whole record of a segment ends.
func (s *scanner) contentEnd(g *segment, limit int64) (end int64, err error) {
	end = segmentHeaderBytes
	for offset := end; offset >= 0 && offset < limit; {
		var err error
		if end, err = s.scan(g, offset, limit, func(recordHeader, storage.Record, position) error { return nil }); err == nil {
			return end, nil
		} else if !isDamage(err) {
			return 0, err
		}
		if offset, err = s.resync(g, g.base, end+1, limit); err != nil {
			return 0, err
		}
	}
	return end, nil
}

// isZero says whether a part of a file holds nothing but zeros.
func (s *scanner) isZero(g *segment, from, to int64) (bool, error) {
	s.reserve(min(to-from, scanBufferBytes))
	for offset := from; offset < to; {
		n, err := s.files.readAt(g, s.buffer[:min(int64(len(s.buffer)), to-offset)], offset)
		if err != nil || n == 0 {
			return err == nil, err
		}
		if !isEmpty(s.buffer[:n]) {
			return false, nil
		}
		offset += int64(n)
	}
	return true, nil
}

// emptyFrom says that what is at hand from offset on is zeros, in which no record begins but in the last
// bytes: what was made ready ahead is passed by with the speed of memory.
func (s *scanner) emptyFrom(offset int64) bool { return isEmpty(s.content(offset)) }

var zeroBlock [4 << 10]byte

func isEmpty(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeroBlock))
		if !bytes.Equal(b[:n], zeroBlock[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// plausible rules out most of what is no header by its size alone: a search looks at every byte.
func plausible(b []byte) bool {
	size := binary.LittleEndian.Uint32(b[4:])
	return size >= recordHeaderBytes && size <= maxRecordBytes
}

package commitlog

import (
	"rookery/storage"
)

// Tail follows an open log in its order, from a position on, for what is derived from it. It belongs to one goroutine.
type Tail struct {
	// Set at construction.
	log *Log

	scanner scanner
	next    position
}

// NewTail follows the log from 0, or from a place that Next of another Tail gave.
func (l *Log) NewTail(from int64) *Tail {
	return &Tail{log: l, next: position(from), scanner: scanner{seal: l.seal, files: l.files}}
}

// Next is the position behind everything that Read has given: the place to go on from.
func (t *Tail) Next() int64 { return int64(t.next) }

// Read calls each for the records that are committed and were not given yet, in the order of the log; the record is
// valid until each returns, false ends the reading behind it. Stubs are passed over. damaged is told of every place that can't be
// read. Next is not beyond the position of what each is given while it runs.
func (t *Tail) Read(each func(at int64, r storage.Record) bool, damaged func(*storage.CorruptionError)) error {
	// Before the list of segments: what is committed by then is in them.
	base, bytes := t.log.Committed()
	end := position(base + bytes)
	if t.next >= end {
		return nil
	}
	// Retention reuses no file of the list until it is left.
	snapshot := t.log.segments.enter()
	defer t.log.segments.leave(snapshot)
	for _, g := range snapshot.segments {
		if g.rangeEnd() <= t.next {
			continue
		}
		err := t.scanner.scanAll(g, t.next, func(h recordHeader, r storage.Record, at position) error {
			if at >= end {
				return errStop
			}
			// A record is behind the tail once it was given, even if each wants no more.
			more := h.kind != kindMessage || each(int64(at), r)
			t.next = at + position(h.size)
			if !more {
				return errStop
			}
			return nil
		}, func(offset int64, cause error) {
			damaged(&storage.CorruptionError{Path: g.path, Offset: offset, Err: cause})
		})
		if err == errStop {
			return nil
		}
		if err != nil {
			return err
		}
		t.next = max(t.next, min(g.rangeEnd(), end))
	}
	return nil
}

package commitlog

import (
	"errors"
	"fmt"

	"rookery/storage"
)

// replay brings the table to what the log holds: the newest checkpoint that is whole and not ahead
// of the log, and the records behind it. Without one every record is read. It gives where the checkpoint begins.
func (r *recovery) replay() (from position, err error) {
	for _, name := range checkpointNames(r.names) {
		c, err := r.log.readCheckpoint(name, true)
		if err != nil && !isCorrupt(err) {
			return 0, err
		}
		if err != nil {
			r.damageFound("checkpoint of the rooms is damaged; opening takes longer", r.path(name), "error", err)
			continue
		}
		if c.from < r.needs {
			// It says that records are there which retention has dropped since; those behind it too.
			break
		}
		fits, err := r.replayFrom(c)
		if err != nil || fits {
			return c.from, err
		}
		r.ahead = append(r.ahead, r.path(name))
	}
	_, err = r.replayFrom(&checkpoint{table: newRoomTable()})
	return 0, err
}

// lost notes that records are missing which no checkpoint knows.
func (r *recovery) lost() {
	r.lossy = true
	r.renew = "records are missing, and no checkpoint knows whether they were the newest of their rooms"
}

// replayFrom is false if the log ends before what the checkpoint has seen.
func (r *recovery) replayFrom(c *checkpoint) (fits bool, err error) {
	c.table.logID = r.meta.logID
	r.log.table = c.table
	r.batchStart = 0
	segments := r.log.segments.load()
	for _, g := range segments {
		facts, ok := c.facts[g.base]
		if !ok {
			continue
		}
		// The facts may be those of the file before it, which was longer; the times of a packed one its own footer says.
		g.dead.Store(min(facts.dead, g.size()))
		if !g.packed() {
			g.oldestAt.Store(facts.oldestAt)
			g.newestAt.Store(facts.newestAt)
		}
	}
	end := position(0)
	for _, g := range segments {
		switch {
		case g == r.newest:
			err = r.replayNewest(g, c.from)
		case g.rangeEnd() <= c.from:
		case g.lost:
			r.lost()
		default:
			err = r.replaySealed(g, c.from)
		}
		if err != nil {
			return false, err
		}
		end = g.rangeEnd()
	}
	if end < c.end {
		return false, nil
	}
	if err := r.meta.wrongEnd(end); err != nil {
		return false, &storage.CorruptionError{Path: r.path(segmentName(end)), Err: fmt.Errorf("%w %s", err, leftAlone)}
	}
	return true, nil
}

// replaySealed takes the records of a segment from a position on, and goes around damage.
func (r *recovery) replaySealed(g *segment, from position) error {
	return r.scanner.scanAll(g, from, func(h recordHeader, record storage.Record, at position) error {
		r.take(g, h, record, at)
		return nil
	}, func(offset int64, cause error) {
		if !errors.Is(cause, errMadeUp) {
			r.lost()
		}
		r.damageFound("segment is damaged", g.path, "offset", offset, "error", cause)
	})
}

// replayNewest takes the records of the newest segment, and cuts off behind the last one.
func (r *recovery) replayNewest(g *segment, from position) error {
	size, err := r.newestLimit()
	if err != nil {
		return err
	}
	end, torn, err := r.scanner.scanNewest(g, max(segmentHeaderBytes, int64(from-g.base)), size, r.meta.synced,
		func(h recordHeader, record storage.Record, at position) error {
			r.take(g, h, record, at)
			return nil
		},
		func(offset, next int64, cause error) {
			r.lost()
			r.damageFound("segment is damaged", g.path, "offset", offset, "bytes", next-offset, "error", cause)
		})
	if err != nil {
		return err
	}
	g.committed.Store(end)
	if torn == nil {
		return nil
	}
	return r.cutTail(g, end, size, torn)
}

// newestLimit gives how much of the newest segment can be records.
func (r *recovery) newestLimit() (int64, error) {
	size, err := r.newest.file.Size()
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", r.newest.path, err)
	}
	if r.meta.state == stateClosed {
		// Nothing was written behind it, and nothing of it can be torn. A META that is older than the segment says an end before it.
		size = min(size, max(segmentHeaderBytes, int64(r.meta.synced-r.newest.base)))
	}
	return size, nil
}

// cutTail removes what a crash left behind the end. Zeros stay: they are room that was made
// before it is needed. Whole records must not: new ones could end just where they begin.
func (r *recovery) cutTail(g *segment, end, size int64, cause error) error {
	empty, err := r.scanner.isZero(g, end, size)
	if err != nil || empty {
		return err
	}
	r.log.config.Logger.Warn("torn end of the log is cut off: it was never committed",
		"path", g.path, "offset", end, "cut_bytes", size-end, "kept_bytes", end, "cause", cause.Error())
	if err := g.file.Truncate(end); err != nil {
		return fmt.Errorf("truncate %s to %d: %w", g.path, end, err)
	}
	return nil
}

// take adds one verified record to the table.
func (r *recovery) take(g *segment, h recordHeader, record storage.Record, at position) {
	if h.kind&ignorableBit != 0 {
		return
	}
	g.oldestAt.Store(min(g.oldestAt.Load(), record.At))
	g.newestAt.Store(max(g.newestAt.Load(), record.At))
	r.batchStart = max(r.batchStart, at-position(h.unsynced))
	key := r.log.table.key(record.Room)
	var problem error
	r.log.table.update(key, func(s *roomState) {
		switch {
		case record.Seq <= s.headSeq:
			// The checkpoint was made while records were written and has this one.
		case h.kind == kindStub:
			// It says itself that all before it is gone, also where something was lost.
			s.take(h.kind, record.Seq, at)
		case record.Seq == s.headSeq+1 && h.previous != s.headAt && s.headSeq != 0:
			problem = fmt.Errorf("record %d of room %q points to %d instead of %d", record.Seq, record.Room, h.previous, s.headAt)
			s.take(h.kind, record.Seq, at)
		case record.Seq == s.headSeq+1:
			s.take(h.kind, record.Seq, at)
		case r.lossy:
			// What is between is told as damaged when it is read, not as gone.
			first := s.firstSeq
			s.take(h.kind, record.Seq, at)
			s.firstSeq = min(first, s.firstSeq)
		default:
			// What is between was dropped by retention; then nothing before is given either.
			s.take(h.kind, record.Seq, at)
			s.firstSeq, s.firstAt = record.Seq, at
		}
	})
	if problem != nil {
		r.damageFound("room does not hang together", g.path, "offset", int64(at-g.base), "error", problem)
	}
}

// errStop ends a scan without being an error.
var errStop = errors.New("stop")

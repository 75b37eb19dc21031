package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"rookery/storage"
)

const (
	// partCost bounds what a part holds, in the cost of its entries: well below storage.MaxBody, and
	// little enough that nobody waits long for it.
	partCost = 256 << 10
	// retryEvery is the pause when the log's queue has no room for a part.
	retryEvery = 50 * time.Millisecond
)

// snapshot is a copy of the state on its way into the log. One step of it is a part, and between the
// steps come the updates that wait: nobody waits for a snapshot, and no second copy of the state
// is made. Holding the updates up until the copy is whole would have been simpler to read and some
// seconds long.
type snapshot struct {
	first uint64 // its name: the number of part 0
	from  string // the first key that is not in it yet
	all   bool   // only the end is missing
	parts int
	count int
	sum   sum
	// since is how many bytes of changes there were before it.
	since int64
}

// step is what came of a step of a snapshot.
type step int

const (
	idle    step = iota // nothing is due
	working             // there is more to do
	waiting             // the log has no room for now
)

// dueBytes is how much has to change before the next snapshot: as much as one costs.
func (w *writer) dueBytes() int64 { return max(w.config.SnapshotBytes, w.state.bytes.Load()) }

// continueSnapshot does a step of the snapshot that is due or under way. After an error it is given
// up, and the next one is due when as much has changed again: on a disk that is nearly full
// snapshots must not be what fills it.
func (w *writer) continueSnapshot() step {
	if w.snapshot == nil {
		if w.changed.Load() < w.dueAt || w.log.Err() != nil {
			return idle
		}
		w.snapshot = &snapshot{sum: newSum(), since: w.changed.Load()}
	}
	err := w.stepSnapshot(w.snapshot)
	switch {
	case errors.Is(err, storage.ErrFull):
		return waiting
	case err != nil:
		level := slog.LevelWarn
		if errors.Is(err, errOtherCopy) {
			level = slog.LevelError
		}
		w.logger.Log(context.Background(), level, "a snapshot of the catalog was given up, nothing is lost by it", "err", err)
		w.snapshot = nil
		w.dueAt = w.changed.Load() + w.dueBytes()
		return idle
	case w.snapshot == nil:
		return idle
	}
	return working
}

func (w *writer) stepSnapshot(s *snapshot) error {
	if s.all {
		return w.endSnapshot(s)
	}
	seq := w.log.Head(Room) + 1
	page, err := w.state.page(s.from, derived, 1<<30, w.config.partCost)
	if err != nil {
		return err
	}
	name := s.first
	if s.parts == 0 {
		name = seq
	}
	part := body{Kind: kindPart, Snapshot: name, Part: s.parts, Entries: page}
	if err := w.appendAlone(seq, part); err != nil {
		return err
	}
	if err := w.checkPart(seq, s.from, part); err != nil {
		return err
	}
	s.first, s.parts, s.count = name, s.parts+1, s.count+len(page)
	s.sum.add(page)
	if len(page) > 0 {
		s.from = after(page)
	}
	rest, err := w.state.page(s.from, derived, 1, 1)
	s.all = len(rest) == 0
	return err
}

// appendAlone returns when the record is committed.
func (w *writer) appendAlone(seq uint64, b body) error {
	if _, err := w.append(seq, b); err != nil {
		return err
	}
	_, err := w.reports.wait(1)
	return err
}

var errOtherCopy = errors.New("BUG: the log gives back something else than the catalog holds; nothing is dropped from it")

// checkPart reads a part back from the log and compares it with the state: what counts is what an
// opening finds, not what was meant.
func (w *writer) checkPart(seq uint64, from string, part body) error {
	b, err := w.readBack(seq)
	if err != nil {
		return err
	}
	if b.Kind != kindPart || b.Snapshot != part.Snapshot || b.Part != part.Part || len(b.Entries) != len(part.Entries) {
		return fmt.Errorf("part in record %d: %w", seq, errOtherCopy)
	}
	i := 0
	err = w.state.scan(from, derived, func(key, value string) bool {
		if i == len(b.Entries) || b.Entries[i] != (entry{Key: key, Value: text(value)}) {
			return false
		}
		i++
		return true
	})
	if err == nil && i < len(b.Entries) {
		err = fmt.Errorf("part in record %d, key %q: %w", seq, b.Entries[i].Key, errOtherCopy)
	}
	return err
}

func (w *writer) readBack(seq uint64) (b body, err error) {
	found := false
	var wrong error
	err = w.log.ReadAfter(Room, seq-1, storage.PageLimit{Records: 1}, func(r storage.Record) bool {
		b, wrong = decode(r.Body)
		found = r.Seq == seq
		return true
	})
	if err = errors.Join(err, wrong); err != nil {
		return b, fmt.Errorf("read back record %d: %w", seq, err)
	}
	if !found {
		return b, fmt.Errorf("record %d: %w", seq, errOtherCopy)
	}
	return b, nil
}

// endSnapshot makes the snapshot count.
func (w *writer) endSnapshot(s *snapshot) error {
	seq := w.log.Head(Room) + 1
	end := body{Kind: kindEnd, Snapshot: s.first, Parts: s.parts, Count: s.count, Checksum: s.sum.String()}
	if err := w.appendAlone(seq, end); err != nil {
		return err
	}
	b, err := w.readBack(seq)
	if err != nil {
		return err
	}
	if b.Kind != kindEnd || b.Snapshot != end.Snapshot || b.Parts != end.Parts || b.Count != end.Count || b.Checksum != end.Checksum {
		return fmt.Errorf("end in record %d: %w", seq, errOtherCopy)
	}
	w.snapshot = nil
	w.snapshots.Add(1)
	w.changed.Add(-s.since)
	w.dueAt = w.dueBytes()
	w.logger.Debug("snapshot of the catalog", "entries", s.count, "parts", s.parts, "record", s.first)
	w.trimIfSynced() // to the snapshot before, which may have been sealed meanwhile
	active, _ := w.log.Committed()
	w.trim = trim{first: s.first, active: active}
	w.trimIfSynced()
	return nil
}

// trim is a snapshot whose past is not needed any more.
type trim struct {
	first  uint64 // 0: nothing to do
	active int64  // base of the segment that was active when the end of the snapshot was committed
}

// trimIfSynced gives up what the newest snapshot stands in for, once that is synced: at once where
// committed means synced, and else when its segment is sealed, since a segment is synced before the next
// is begun.
func (w *writer) trimIfSynced() {
	if w.trim.first == 0 {
		return
	}
	if active, _ := w.log.Committed(); !w.config.Synced && active == w.trim.active {
		return
	}
	if err := w.log.Trim(Room, w.trim.first); err != nil {
		w.logger.Warn("the past of the catalog is kept until its next snapshot", "err", err)
	}
	w.trim = trim{}
}

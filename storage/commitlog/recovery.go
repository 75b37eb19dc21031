package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"rookery/storage"
	"rookery/storage/vfs"
)

// leftAlone is what a person can do about damage.
const leftAlone = "nothing was changed: restore the directory from a backup, or move it away to start empty"

// recovery is the state of one Open. It belongs to that goroutine.
type recovery struct {
	log     *Log
	fs      vfs.FS
	meta    meta
	scanner scanner
	// newest is the last segment, nil while there is none. It is in use, for the committer.
	newest *segment
	// batchStart is the newest position of which the records themselves say that it was
	// synced: where the last batch begins that was being written.
	batchStart position
}

// recover reads the log into l, repairs its end and leaves META open and an active
// segment in use. In this order nothing is visible that a power loss right afterwards could take.
func (l *Log) recover() (err error) {
	r := &recovery{log: l, fs: l.config.FS, scanner: scanner{files: l.files}}
	defer func() {
		if err != nil && r.newest != nil {
			l.files.release(r.newest)
		}
	}()
	bases, err := r.list()
	if err != nil {
		return err
	}
	if err := r.loadMeta(len(bases) > 0); err != nil {
		return err
	}
	l.meta, l.seal, l.files.logID = r.meta, r.scanner.seal, r.meta.logID
	if err := r.findSegments(bases); err != nil {
		return err
	}
	if err := r.useNewest(); err != nil {
		return err
	}
	if err := r.scanAll(); err != nil {
		return err
	}
	return r.finish()
}

// list gives the bases of the segments, ascending, and logs what else lies there.
func (r *recovery) list() ([]position, error) {
	names, err := r.fs.List(r.log.config.Dir)
	if err != nil {
		return nil, fmt.Errorf("list log directory %s: %w", r.log.config.Dir, err)
	}
	var bases []position
	for _, name := range names {
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
			continue
		}
		if name != metaName && name != metaTemporaryName && name != lockName {
			r.log.config.Logger.Warn("file in the log directory is not of the log and is ignored", "path", filepath.Join(r.log.config.Dir, name))
		}
	}
	slices.Sort(bases)
	return bases, nil
}

func (r *recovery) loadMeta(hasSegments bool) error {
	m, err := readMeta(r.fs, r.log.config.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && hasSegments:
		// META is made before the first segment, so no crash explains this.
		return &storage.CorruptionError{Path: filepath.Join(r.log.config.Dir, metaName), Err: fmt.Errorf("file is missing beside segments; %s", leftAlone)}
	case errors.Is(err, fs.ErrNotExist):
		m = meta{logID: randomNumber(), epoch: randomNumber(), state: stateOpen}
		if err := writeMeta(r.fs, r.log.config.Dir, m); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	r.meta = m
	r.scanner.seal = newSeal(m.logID)
	return nil
}

// findSegments checks the headers and takes the sizes, one file open at a time. A newest segment
// whose creation was cut short is removed: it never held a record.
func (r *recovery) findSegments(bases []position) error {
	for i, base := range bases {
		newest := i == len(bases)-1
		size, err := r.checkSegment(base)
		if errors.Is(err, errSegmentHeader) && newest && size <= segmentHeaderBytes && r.meta.synced <= base {
			return r.removeUnborn(base, size)
		}
		if errors.Is(err, errSegmentHeader) {
			return &storage.CorruptionError{Path: r.path(base), Err: fmt.Errorf("%w; %s", err, leftAlone)}
		}
		if err != nil {
			return err
		}
		g := newSegment(r.log.config.Dir, base)
		g.committed.Store(size)
		r.log.segments.add(g)
	}
	return nil
}

func (r *recovery) useNewest() error {
	segments := r.log.segments.load()
	if len(segments) == 0 {
		return nil
	}
	newest := segments[len(segments)-1]
	if _, err := r.log.files.acquire(newest); err != nil {
		return err
	}
	r.newest = newest
	return nil
}

func (r *recovery) path(base position) string {
	return filepath.Join(r.log.config.Dir, segmentName(base))
}

func (r *recovery) checkSegment(base position) (size int64, err error) {
	path := r.path(base)
	file, err := r.fs.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open segment %s: %w", path, err)
	}
	header, err := readSegmentHeader(file)
	if err == nil {
		size, err = file.Size()
	}
	if err == nil {
		_, err = decodeSegmentHeader(header, r.meta.logID, base)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return size, fmt.Errorf("open segment %s: %w", path, err)
	}
	return size, nil
}

func (r *recovery) removeUnborn(base position, size int64) error {
	path := r.path(base)
	r.log.config.Logger.Warn("newest segment was being created at a crash and is removed", "path", path, "bytes", size)
	if err := r.fs.Remove(path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	if err := r.fs.SyncDir(r.log.config.Dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", r.log.config.Dir, err)
	}
	return nil
}

// scanAll verifies every record, builds the room index and repairs the newest segment's end.
func (r *recovery) scanAll() error {
	segments := r.log.segments.load()
	expected := position(0)
	for i, g := range segments {
		if g.base != expected {
			return g.corruption(0, fmt.Errorf("segment %s is missing: the one before ends at position %d; %s", segmentName(expected), expected, leftAlone))
		}
		size := g.committed.Load()
		end, err := r.scanner.scan(g, segmentHeaderBytes, size, func(h recordHeader, record storage.Record, at position) error {
			return r.take(g, h, record, at)
		})
		switch {
		case err == nil:
		case !isDamage(err):
			return err
		case i < len(segments)-1:
			return g.corruption(end, fmt.Errorf("%w in a segment that is not the newest; %s", err, leftAlone))
		default:
			if err := r.cutTornTail(g, end, size, err); err != nil {
				return err
			}
		}
		g.committed.Store(end)
		expected = g.base + position(end)
	}
	if expected < r.meta.synced || r.meta.state == stateClosed && expected != r.meta.synced {
		return &storage.CorruptionError{Path: r.path(expected), Err: fmt.Errorf("log ends at position %d, META says %d: is a segment missing? %s", expected, r.meta.synced, leftAlone)}
	}
	return nil
}

// take adds one verified record to the index. Its pointers must be the ones that the writer
// would have given it: then every later read finds its way.
func (r *recovery) take(g *segment, h recordHeader, record storage.Record, at position) error {
	if h.kind != kindMessage {
		return nil
	}
	room := r.log.rooms.findOrAdd(record.Room)
	if record.Seq != room.appendedSeq+1 {
		return g.corruption(int64(at-g.base), fmt.Errorf("record %d of room %q follows record %d; %s", record.Seq, record.Room, room.appendedSeq, leftAlone))
	}
	to := room.advance(record.Seq, at, int(h.size))
	if to.previous != h.previous || to.skip != h.skip {
		return g.corruption(int64(at-g.base), fmt.Errorf("record %d of room %q points to %d and %d instead of %d and %d; %s", record.Seq, record.Room, h.previous, h.skip, to.previous, to.skip, leftAlone))
	}
	room.appendedSeq = record.Seq
	room.publish(record.Seq, at)
	g.newestAt.Store(max(g.newestAt.Load(), record.At))
	r.batchStart = max(r.batchStart, at-position(h.unsynced))
	return nil
}

// cutTornTail truncates what a crash left of a batch that was never committed, or explains why
// this is not such a tail.
func (r *recovery) cutTornTail(g *segment, end, size int64, cause error) error {
	if g.base+position(end) < r.meta.synced {
		return g.corruption(end, fmt.Errorf("%w before position %d, which META says was synced; %s", cause, r.meta.synced, leftAlone))
	}
	proof, found, err := r.scanner.provesLoss(g, end, size)
	if err != nil {
		return err
	}
	if found {
		return g.corruption(end, fmt.Errorf("%w, and the record at offset %d was written after this place was synced; %s", cause, proof, leftAlone))
	}
	if r.meta.state == stateClosed {
		return g.corruption(end, fmt.Errorf("%w behind the end of a log that was closed cleanly; %s", cause, leftAlone))
	}
	r.log.config.Logger.Warn("torn end of the log is cut off: it was never committed",
		"path", g.path, "offset", end, "cut_bytes", size-end, "kept_bytes", end, "cause", cause.Error())
	if err := g.file.Truncate(end); err != nil {
		return fmt.Errorf("truncate %s to %d: %w", g.path, end, err)
	}
	return nil
}

// finish makes what was found durable, picks the epoch and opens the log for writing.
func (r *recovery) finish() error {
	if r.meta.state != stateClosed {
		if err := r.rewriteTail(); err != nil {
			return err
		}
	}
	if r.meta.state == stateOpenRelaxed {
		old := r.meta.epoch
		for r.meta.epoch == old {
			r.meta.epoch = randomNumber()
		}
		r.log.config.Logger.Warn("log was not closed and not synced at every commit: it gets a new epoch, since messages that were seen may be gone")
	}
	dir := r.log.config.Dir
	if r.newest == nil {
		g, err := r.log.files.create(dir, 0, 0)
		if err != nil {
			return fmt.Errorf("create first segment in %s: %w", dir, err)
		}
		r.log.segments.add(g)
		r.newest = g
	}
	r.meta.synced = r.newest.base + position(r.newest.committed.Load())
	r.meta.state = stateOpen
	if r.log.config.Sync != SyncAlways {
		r.meta.state = stateOpenRelaxed
	}
	if err := writeMeta(r.fs, dir, r.meta); err != nil {
		return err
	}
	r.log.meta = r.meta
	r.log.counters.bytes.Store(int64(r.meta.synced))
	return nil
}

// rewriteTail writes the last batch once more, byte for byte, and syncs. The process may have
// ended after a failed sync: then these pages are read back from memory, are marked clean and
// are not on the disk, and no sync would bring them there. Records become visible now, so they
// must be.
func (r *recovery) rewriteTail() error {
	g := r.newest
	if g == nil {
		return nil
	}
	end := g.committed.Load()
	from := max(int64(r.batchStart-g.base), int64(r.meta.synced-g.base), segmentHeaderBytes)
	buffer := make([]byte, scanBufferBytes)
	for from < end {
		b := buffer[:min(int64(len(buffer)), end-from)]
		_, err := g.file.ReadAt(b, from)
		if err = ignoreEOF(err); err == nil {
			_, err = g.file.WriteAt(b, from)
		}
		if err != nil {
			return fmt.Errorf("rewrite the end of %s at offset %d: %w", g.path, from, err)
		}
		from += int64(len(b))
	}
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", g.path, err)
	}
	return nil
}

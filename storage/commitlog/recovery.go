package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"rookery/storage"
	"rookery/storage/vfs"
)

// leftAlone is what a person can do about damage.
const leftAlone = "nothing was changed: restore the directory from a backup, or move it away to start empty"

// recovery is the state of one Open. It belongs to that goroutine. Its steps:
//
//  1. META: which log this is and how it was left.
//  2. segments: their headers, and that none is missing.
//  3. replay: the rooms of the newest good checkpoint, and the records behind it (replay.go).
//  4. finish: what was found is made durable, and the log is marked as open.
//
// Damage is reported and gone around: the rest of the log is served. Where it may have taken the
// newest record of a room that no checkpoint knows, the epoch changes, since the same number would be
// given out again. Refused is an end of the log that is missing: there a person must decide.
type recovery struct {
	log     *Log
	fs      vfs.FS
	meta    meta
	scanner scanner
	names   []string // of the directory
	// newest is the last segment if it is one to write to, else nil. It is in use, for the
	// committer.
	newest *segment
	// batchStart is the newest position of which the records themselves say that it was
	// synced: where the last batch begins that was being written.
	batchStart position
	// lossy says that records behind the checkpoint are missing that nobody dropped.
	lossy bool
	// needs is where the oldest checkpoint begins that knows of all that retention has dropped.
	needs position
	// ahead are the checkpoints that say more than the log holds.
	ahead []string
	// readOnly is a View's: nothing is changed.
	readOnly bool
	// found is told of all damage besides the log; nil if nobody asks.
	found func(path, message string)
	// renew says that the epoch can't be trusted to be that of what was found.
	renew string
}

// recover reads the log into l, repairs its end and leaves META open and an active
// segment in use. In this order nothing is visible that a power loss right afterwards could take. checkpoint is where the one begins
// that was gone on from, 0 if all was read.
func (l *Log) recover() (checkpoint position, err error) {
	r := &recovery{log: l, fs: l.config.FS, scanner: scanner{files: l.files}}
	defer func() {
		if err != nil && r.newest != nil {
			l.files.release(r.newest)
		}
	}()
	if err := r.load(); err != nil {
		return 0, err
	}
	if checkpoint, err = r.replay(); err != nil {
		return 0, err
	}
	return checkpoint, r.finish()
}

// load is steps 1 and 2. Also after an error newest may be in use.
func (r *recovery) load() error {
	bases, err := r.list()
	if err != nil {
		return err
	}
	if err := r.loadMeta(bases); err != nil {
		return err
	}
	l := r.log
	l.meta, l.files.logID, l.table.logID = r.meta, r.meta.logID, r.meta.logID
	l.seal = newSeal(r.meta.logID)
	l.files.seal = l.seal
	r.scanner.seal = l.seal
	return r.loadSegments(bases)
}

func (r *recovery) path(name string) string { return filepath.Join(r.log.config.Dir, name) }

func (r *recovery) damageFound(message, path string, args ...any) {
	r.log.counters.damage.Add(1)
	if r.found != nil {
		r.found(path, message)
	}
	r.log.config.Logger.Error(message+"; the rest is served: `rookery log verify` shows what is missing, a backup may have it",
		append([]any{"path", path}, args...)...)
}

// list gives the bases of the segments, ascending; it removes what unfinished work left and logs
// what else lies there.
func (r *recovery) list() ([]position, error) {
	var err error
	if r.names, err = r.fs.List(r.log.config.Dir); err != nil {
		return nil, fmt.Errorf("list log directory %s: %w", r.log.config.Dir, err)
	}
	var bases []position
	for _, name := range r.names {
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
			continue
		}
		switch {
		case r.readOnly:
		case name == RestoringName:
			return nil, fmt.Errorf("%s stands in %s: a restore did not end; remove the directory and restore again", name, r.log.config.Dir)
		case strings.HasPrefix(name, sparePrefix):
			if err := r.fs.Remove(r.path(name)); err != nil {
				return nil, fmt.Errorf("remove the spare segment: %w", err)
			}
		case strings.HasSuffix(name, temporarySuffix) && name != metaTemporaryName:
			if err := r.fs.Remove(r.path(name)); err != nil {
				return nil, fmt.Errorf("remove what was left unfinished: %w", err)
			}
		case !isOurs(name):
			r.log.config.Logger.Warn("file in the log directory is not of the log and is ignored", "path", r.path(name))
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// isOurs says whether a file of the directory belongs to the server. The index of changes, certificates by ACME, push, signing in, last seen and webhooks have
// directories in it, and a process that takes over comes to a socket in it.
func isOurs(name string) bool {
	switch name {
	case metaName, metaTemporaryName, lockName, reserveName, doubtName, "changes", "acme", "push", "oidc", "seen", "webhooks", "takeover.sock":
		return true
	}
	for _, prefix := range []string{checkpointPrefix, "catalog-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// loadMeta reads META, makes it in an empty directory, or makes up for it when it is damaged.
func (r *recovery) loadMeta(bases []position) error {
	m, err := readMeta(r.fs, r.log.config.Dir)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && len(bases) == 0 && r.readOnly:
		return fmt.Errorf("there is no log in %s: %w", r.log.config.Dir, errNoLog)
	case missing && len(bases) == 0:
		m = meta{logID: randomNumber(), epoch: randomNumber(), state: stateOpen}
		if err := writeMeta(r.fs, r.log.config.Dir, m); err != nil {
			return err
		}
	case missing || isCorrupt(err):
		// META is made before the first segment and replaced in one step, so no crash explains
		// this. What it says besides the log's id only helps to tell damage from a crash.
		id, found := r.findLogID(bases)
		if !found {
			return &storage.CorruptionError{Path: r.path(metaName), Err: fmt.Errorf("META is missing or damaged and no segment says which log this is; %s", leftAlone)}
		}
		r.damageFound("META is missing or damaged", r.path(metaName))
		m = meta{logID: id, state: stateOpen}
		r.renew = "META was damaged"
	case err != nil:
		return err
	}
	r.meta = m
	return nil
}

// findLogID asks the segments.
func (r *recovery) findLogID(bases []position) (uint64, bool) {
	for _, base := range bases {
		file, err := r.fs.Open(r.path(segmentName(base)))
		if err != nil {
			continue
		}
		header, err := readSegmentHeader(file)
		err = errors.Join(err, file.Close())
		if id, ok := logIDOf(header); ok && err == nil {
			return id, true
		}
	}
	return 0, false
}

// loadSegments makes the list of segments, with places for what is missing.
func (r *recovery) loadSegments(bases []position) error {
	var last *segment
	for i, base := range bases {
		newest := i == len(bases)-1
		if last != nil && last.packed() && base < last.end {
			// Its range was rewritten together with that of the segment before; a crash
			// came before it was removed.
			if err := r.remove(base, "segment was rewritten as a part of the one before it and is removed"); err != nil {
				return err
			}
			continue
		}
		g, size, err := r.loadSegment(base)
		if errors.Is(err, errSegmentHeader) && newest && size <= segmentHeaderBytes && r.meta.synced <= base {
			// Name and header are synced before the first record: it never held one.
			if err := r.remove(base, "newest segment was being created at a crash and is removed"); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, errSegmentHeader) {
			r.damageFound("header of a segment is damaged", r.path(segmentName(base)), "offset", 0)
		} else if err != nil {
			return err
		}
		if inside := bases[len(bases)-1]; g.packed() && base < inside && inside < g.end && !r.readOnly {
			// The newest segment is never rewritten, so nothing is removed on the word of this header.
			return &storage.CorruptionError{Path: g.path, Err: fmt.Errorf("header says that the segment was rewritten up to position %d, and the newest one begins at %d: is one of them a copy of another time? %s", g.end, inside, leftAlone)}
		}
		if err := r.join(last, g, err == nil); err != nil {
			return err
		}
		r.log.segments.add(g)
		last = g
	}
	if last == nil || last.packed() {
		return nil
	}
	if _, err := r.log.files.acquire(last); err != nil {
		return err
	}
	r.newest = last
	return nil
}

func (r *recovery) loadSegment(base position) (*segment, int64, error) {
	path := r.path(segmentName(base))
	g := newSegment(r.log.config.Dir, segmentHeader{base: base})
	file, err := r.fs.Open(path)
	if err != nil {
		return g, 0, fmt.Errorf("open segment %s: %w", path, err)
	}
	header, err := readSegmentHeader(file)
	var size int64
	if err == nil {
		size, err = file.Size()
	}
	if err == nil {
		g.segmentHeader, err = decodeSegmentHeader(header, r.meta.logID, base)
		g.base = base
	}
	if errors.Is(err, errSegmentHeader) {
		if again, ok := headerAgain(file, size, r.meta.logID, base); ok {
			g.segmentHeader, err = again, nil
			r.damageFound("header of a segment is damaged", path, "offset", 0)
		}
	}
	g.committed.Store(size)
	if err := errors.Join(err, file.Close()); err != nil {
		return g, size, fmt.Errorf("open segment %s: %w", path, err)
	}
	if !g.packed() {
		return g, size, nil
	}
	r.needs = max(r.needs, g.needs)
	err = r.log.files.openPacked(g)
	if errors.Is(err, errIndex) {
		r.damageFound("index of a rewritten segment is damaged", path)
		err = nil
	}
	return g, size, err
}

// join sets where the segment before ends, and puts a placeholder where files are missing.
func (r *recovery) join(last, g *segment, known bool) error {
	switch {
	case last == nil:
		if g.base > 0 {
			r.lose(0, g.base)
		}
		return nil
	case last.packed():
		// Its header says where it ends.
	case !known || g.previous == last.base:
		last.committed.Store(int64(g.base - last.base))
		return nil
	default:
		end, err := r.scanner.contentEnd(last, min(last.committed.Load(), int64(g.base-last.base)))
		if err != nil {
			return err
		}
		last.committed.Store(end)
	}
	if last.rangeEnd() < g.base {
		r.lose(last.rangeEnd(), g.base)
	}
	return nil
}

// lose puts a placeholder where files are missing.
func (r *recovery) lose(from, to position) {
	lost := newSegment(r.log.config.Dir, segmentHeader{base: from, end: to})
	lost.lost = true // never opened
	r.log.segments.add(lost)
	r.damageFound("segment is missing", lost.path, "from_position", int64(from), "to_position", int64(to))
}

func (r *recovery) remove(base position, why string) error {
	if r.readOnly {
		return nil // it does not count, which is enough
	}
	path := r.path(segmentName(base))
	r.log.config.Logger.Warn(why, "path", path)
	if err := r.fs.Remove(path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	if err := r.fs.SyncDir(r.log.config.Dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", r.log.config.Dir, err)
	}
	return nil
}

// finish makes what was found durable, picks the epoch and opens the log for writing.
func (r *recovery) finish() error {
	if r.meta.state != stateClosed && r.newest != nil {
		if err := r.rewriteTail(); err != nil {
			return err
		}
	}
	for _, path := range r.ahead {
		// They must go: once the log has grown past them again, with other records, they would seem
		// to fit.
		r.log.config.Logger.Warn("checkpoint of the rooms is ahead of the log and is removed", "path", path)
		if err := r.fs.Remove(path); err != nil {
			return fmt.Errorf("remove a checkpoint that is ahead of the log: %w", err)
		}
		if err := r.fs.SyncDir(r.log.config.Dir); err != nil {
			return fmt.Errorf("sync directory %s: %w", r.log.config.Dir, err)
		}
	}
	if r.meta.state == stateOpenRelaxed {
		r.renew = "it was not closed and not synced at every commit, so messages that were seen may be gone"
	}
	if r.renew != "" {
		old := r.meta.epoch
		for r.meta.epoch == old {
			r.meta.epoch = randomNumber()
		}
		r.log.config.Logger.Warn("log gets a new epoch: "+r.renew, "path", r.log.config.Dir)
	}
	if r.newest == nil {
		if err := r.createNewest(); err != nil {
			return err
		}
	}
	r.meta.synced = r.newest.rangeEnd()
	r.meta.state = stateOpen
	if r.log.config.Sync != SyncAlways {
		r.meta.state = stateOpenRelaxed
	}
	if err := r.log.config.saveMeta(r.meta); err != nil {
		return err
	}
	r.log.meta = r.meta
	return nil
}

// createNewest makes the segment to write to: the first one, or one behind a packed or missing one.
func (r *recovery) createNewest() error {
	var base, previous position
	if segments := r.log.segments.load(); len(segments) > 0 {
		last := segments[len(segments)-1]
		base, previous = last.rangeEnd(), last.base
	}
	g, err := r.log.files.create(r.log.config.Dir, base, previous)
	if err != nil {
		return fmt.Errorf("create segment in %s: %w", r.log.config.Dir, err)
	}
	r.log.segments.add(g)
	r.newest = g
	return nil
}

// rewriteTail writes the last batch once more, byte for byte, and syncs. The process may have
// ended after a failed sync: then these pages are read back from memory, are marked clean and
// are not on the disk, and no sync would bring them there. Records become visible now, so they
// must be.
func (r *recovery) rewriteTail() error {
	g := r.newest
	from := max(int64(r.batchStart-g.base), int64(r.meta.synced-g.base), segmentHeaderBytes)
	return rewrite(g, from, g.committed.Load())
}

package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// healEvery is the time between attempts to go on after a fault.
const healEvery = time.Second

// proofBytes must fit before a fault counts as over.
const proofBytes = 1 << 20

// fault stops the appends after the first failed write or sync. The batch, all that waits and all
// that comes is refused. The failed call is not repeated: after a failed sync the kernel has
// marked the pages clean, and a second sync would succeed without them.
func (c *committer) fault(operation, path string, err error) {
	var fault *storage.FaultError
	if errors.As(err, &fault) {
		panic("BUG: a fault inside a fault")
	}
	c.faulted = &storage.FaultError{Op: operation, Path: path, Err: err}
	c.config.Logger.Error("log takes no appends until the disk answers again", "operation", operation, "path", path, "error", err)
	// Before anybody is told: whoever hears of it and appends must be refused.
	c.log.fail(c.faulted)
	c.tryAt = time.Now().Add(c.config.HealEvery) // from here on, for there may be many to tell
	if vfs.NoRoom(err) {
		ring(c.log.retention.bell)
	}
}

// heal tries to go on after a fault, in a new segment behind the committed end. Nothing that was
// not acknowledged is kept, the bytes of the failed batch lie behind the end of the segment
// before and are never read. In the relaxed modes what was visible and perhaps not
// synced is written once more, since a failed sync may have lost it on the disk.
func (c *committer) heal() {
	c.tryAt = time.Now().Add(c.config.HealEvery)
	room := &c.log.files.supply.room
	if !room.TryRLock() {
		return // retention makes room
	}
	defer room.RUnlock()
	end := c.active.committed.Load()
	if from := int64(c.synced - c.active.base); from < end {
		if err := rewrite(c.active, max(from, segmentHeaderBytes), end); err != nil {
			c.config.Logger.Debug("log can't go on yet", "error", err)
			return
		}
	}
	c.written = end
	if c.synced != c.end() {
		// Also if there is no new segment to be had yet: what retention rests on is on the disk now.
		c.allSynced()
		ring(c.log.retention.bell)
	}
	if err := c.healInto(); err != nil {
		c.config.Logger.Debug("log can't go on yet", "error", err)
		return
	}
	c.config.Logger.Info("log takes appends again", "path", c.active.path, "after", c.faulted.Error())
	c.faulted = nil
	c.log.active.clear()
	c.log.faulted.Store(nil)
	c.log.queue.heal()
}

// healInto makes a segment behind the committed end the active one. Making it writes and syncs some
// MiB ahead: a proof that the disk takes more than a header, else it would be found full
// again by the next batch.
func (c *committer) healInto() error {
	if c.written == segmentHeaderBytes {
		// The active segment is empty: its own file is proof enough, written anew. Cut first: the failed batch may have been longer
		// than the proof, and its records would seem to go on where a new one ends just before one of them.
		if err := c.active.file.Truncate(segmentHeaderBytes); err != nil {
			return err
		}
		if _, err := c.active.file.WriteAt(encodeSegmentHeader(c.log.meta.logID, segmentHeader{base: c.active.base, previous: c.active.previous}), 0); err != nil {
			return err
		}
		if err := writeZeros(c.active.file, segmentHeaderBytes, max(c.config.ahead(), proofBytes)); err != nil {
			return err
		}
		c.allSynced()
		return nil
	}
	path := filepath.Join(c.config.Dir, segmentName(c.end()))
	// Left by an attempt before.
	if err := c.config.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	next, err := c.log.files.create(c.config.Dir, c.end(), c.active.base)
	if err != nil {
		return err
	}
	c.begin(next)
	return nil
}

// rewrite writes the bytes of a segment once more, as they are, and syncs. Pages that a failed
// sync left in memory, marked clean, are dirty again and reach the disk.
func rewrite(g *segment, from, end int64) error {
	buffer := make([]byte, min(end-from, scanBufferBytes))
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

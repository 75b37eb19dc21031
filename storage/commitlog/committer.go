package commitlog

import (
	"errors"
	"io"
	"path/filepath"
	"time"

	"rookery/storage"
)

// keptBufferBytes is the largest encoding buffer that is kept for the next batch.
const keptBufferBytes = 4 << 20

// committer is the one writer of the log. A batch goes through it in this order:
//
//  1. take: all that waits in the queue, in the order of the appends.
//  2. encode: each record gets its position and its pointers; one buffer.
//  3. roll: a batch that would take the segment over its size starts the next one.
//  4. write: one write at the end of the active segment.
//  5. sync: one sync (SyncAlways). The next batch gathers meanwhile: the slower the disk,
//     the larger the batch, which is what makes a commit cost the same for 1 and for 1,000.
//  6. publish: readers may see it.
//  7. report: each producer is told how many of its records are committed.
//
// A record is acknowledged in step 7 and visible in step 6, both behind the sync. Waiting some
// time for more records to come was not built: under load the sync is that wait, and when idle
// it would be latency for nothing.
type committer struct {
	// Set at construction.
	config   Config
	seal     seal
	queue    *appendQueue
	segments *segmentList
	files    *openFiles
	counters *counters
	fail     func(*storage.FaultError)

	// Owned by commitLoop.
	active    *segment  // in use, so its file is open
	written   int64     // end of what was written to the active segment
	synced    position  // everything before it is synced
	dirtyFrom time.Time // when the oldest byte that is not synced was written
	faulted   *storage.FaultError
	buffer    []byte
	reported  []*Producer // of the batch in work
}

func (c *committer) end() position { return c.active.base + position(c.written) }

// commitLoop is started by Open and ended by Close, through the queue.
func (c *committer) commitLoop() {
	var spare []entry
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, closing := c.queue.take(spare)
		if len(batch) > 0 {
			c.commit(batch)
			c.queue.release(batch)
			clear(batch) // lets go of bodies and names
			if spare = batch; cap(spare)*entryBytes > keptBufferBytes {
				spare = nil
			}
			continue
		}
		spare = batch
		if closing {
			c.sync() // fails at most once: then it is sticky and Close tells
			return
		}
		due := c.untilSync()
		if due == 0 {
			c.sync()
			continue
		}
		timer.Reset(due)
		select {
		case <-c.queue.bell:
		case <-timer.C:
		}
	}
}

// untilSync gives the time until the next timed sync is due; far away if none is.
func (c *committer) untilSync() time.Duration {
	if c.config.Sync != SyncInterval || c.faulted != nil || c.synced == c.end() {
		return time.Hour
	}
	return max(0, c.config.SyncEvery-time.Since(c.dirtyFrom))
}

// commit brings a batch to the end of its way, committed or failed.
func (c *committer) commit(batch []entry) {
	for i := range batch {
		p := batch[i].producer
		if p.inBatch == 0 {
			c.reported = append(c.reported, p)
		}
		p.inBatch++
	}
	if c.faulted == nil && c.writeBatch(batch) {
		c.publish(batch)
	}
	var err error
	if c.faulted != nil {
		err = c.faulted
	}
	for _, p := range c.reported {
		n := p.inBatch
		p.inBatch = 0
		p.committed(n, err)
	}
	clear(c.reported)
	c.reported = c.reported[:0]
}

// writeBatch gives true when the batch is committed as the sync mode has it.
func (c *committer) writeBatch(batch []entry) bool {
	size := int64(0)
	for i := range batch {
		size += int64(recordBytes(&batch[i].record))
	}
	if c.written > segmentHeaderBytes && c.written+size > c.config.SegmentBytes {
		if !c.roll() {
			return false
		}
	}
	c.encode(batch)
	n, err := c.active.file.WriteAt(c.buffer, c.written)
	if err == nil && n < len(c.buffer) {
		err = io.ErrShortWrite
	}
	if err != nil {
		// What did reach the file stays: it was never acknowledged, and opening takes it
		// or cuts it off. Cutting it here would be one more call to a failing disk.
		c.fault("write", c.active.path, err)
		return false
	}
	if c.synced == c.end() {
		c.dirtyFrom = time.Now()
	}
	c.written += int64(len(c.buffer))
	if cap(c.buffer) > keptBufferBytes {
		c.buffer = nil
	}
	switch c.config.Sync {
	case SyncAlways:
		return c.sync()
	case SyncInterval:
		// Here too, since under load the loop never gets to wait for its timer.
		if c.untilSync() == 0 {
			return c.sync()
		}
	}
	return true
}

func (c *committer) encode(batch []entry) {
	c.buffer = c.buffer[:0]
	start := c.end()
	for i := range batch {
		e := &batch[i]
		e.position = start + position(len(c.buffer))
		to := e.room.advance(e.record.Seq, e.position, recordBytes(&e.record))
		c.buffer = appendRecord(c.buffer, c.seal, e.position, &e.record, uint32(e.position-c.synced), to)
	}
}

// sync makes all that was written durable. It is not tried again after an error: the kernel
// may have dropped the pages, and a second sync would succeed without them.
func (c *committer) sync() bool {
	if c.faulted != nil {
		return false
	}
	if c.synced == c.end() {
		return true
	}
	start := time.Now()
	if err := c.active.file.Sync(); err != nil {
		c.fault("sync", c.active.path, err)
		return false
	}
	c.counters.syncSeconds.observe(time.Since(start).Seconds())
	c.synced = c.end()
	return true
}

// roll starts the next segment. The one before is synced first, so whatever a crash leaves of
// the new one, the sealed one is whole.
func (c *committer) roll() bool {
	if !c.sync() {
		return false
	}
	next, err := c.files.create(c.config.Dir, c.end(), c.active.base)
	if err != nil {
		c.fault("create segment", filepath.Join(c.config.Dir, segmentName(c.end())), err)
		return false
	}
	c.segments.add(next)
	c.files.release(c.active)
	c.active, c.written = next, segmentHeaderBytes
	c.synced = c.end()
	c.counters.bytes.Add(segmentHeaderBytes)
	return true
}

func (c *committer) publish(batch []entry) {
	newest := c.active.newestAt.Load()
	for i := range batch {
		newest = max(newest, batch[i].record.At)
	}
	c.active.newestAt.Store(newest)
	c.counters.bytes.Add(c.written - c.active.committed.Load())
	// Before the heads: a reader follows a head into the file up to here.
	c.active.committed.Store(c.written)
	for i := range batch {
		e := &batch[i]
		e.room.publish(e.record.Seq, e.position)
	}
	c.counters.records.Add(uint64(len(batch)))
	c.counters.batchRecords.observe(float64(len(batch)))
}

func (c *committer) fault(operation, path string, err error) {
	var fault *storage.FaultError
	if errors.As(err, &fault) {
		panic("BUG: a fault inside a fault")
	}
	c.faulted = &storage.FaultError{Op: operation, Path: path, Err: err}
	c.config.Logger.Error("log takes no more appends", "operation", operation, "path", path, "error", err)
	// Before anybody is told: whoever hears of it and appends must be refused.
	c.fail(c.faulted)
}

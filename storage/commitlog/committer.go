package commitlog

import (
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
// A record is acknowledged in step 7 and visible in step 6, both behind the sync. Nobody waits for more records to come: under load the sync is
// that wait, and when idle it would be latency for nothing. But for a busy log on a fast disk: gather.go. What happens after a failed write or
// sync is in heal.go.
type committer struct {
	// Set at construction.
	log    *Log
	config Config

	// Owned by commitLoop.
	active    *segment  // in use, so its file is open
	written   int64     // end of what was written to the active segment
	synced    position  // everything before it is synced
	dirtyFrom time.Time // when the oldest byte that is not synced was written
	faulted   *storage.FaultError
	tryAt     time.Time // when to try to go on after a fault
	asked     bool      // for the next segment's file
	buffer    []byte
	reported  []*Producer // of the batch in work
	headers   headerReader
}

func (c *committer) end() position { return c.active.base + position(c.written) }

// commitLoop is started by Open and ended by Close, through the queue.
func (c *committer) commitLoop() {
	var spare []entry
	var before time.Time   // when the last commit began
	var wait time.Duration // for more records
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer c.log.turnedAt.Store(0)
	for {
		c.log.turnedAt.Store(c.log.running())
		time.Sleep(wait)
		wait = 0
		batch, closing := c.log.queue.take(spare)
		if len(batch) > 0 {
			begun := time.Now()
			c.commit(batch)
			wait = gather(len(batch), time.Since(begun), begun.Sub(before))
			before = begun
			clear(batch) // lets go of bodies and names
			if spare = batch; cap(spare)*entryBytes > keptBufferBytes {
				spare = nil
			}
			c.log.active.trim()
		}
		if c.log.queue.syncWanted.Swap(false) {
			c.sync()
		}
		if len(batch) > 0 {
			continue
		}
		spare = batch
		if closing {
			c.sync() // fails at most once: then it is sticky and Close tells
			return
		}
		due := c.untilDue()
		if due == 0 {
			if c.faulted != nil {
				c.heal()
			} else {
				c.sync()
			}
			continue
		}
		c.log.turnedAt.Store(0)
		timer.Reset(due)
		select {
		case <-c.log.queue.bell:
		case <-timer.C:
		}
	}
}

// untilDue gives the time until the next timed sync, or the next attempt to go on after a fault;
// far away if neither is due.
func (c *committer) untilDue() time.Duration {
	switch {
	case c.faulted != nil:
		return max(0, time.Until(c.tryAt))
	case c.config.Sync == SyncInterval && c.synced != c.end():
		return max(0, c.config.SyncEvery-time.Since(c.dirtyFrom))
	}
	return time.Hour
}

// commit brings a batch to the end of its way, committed or failed.
func (c *committer) commit(batch []entry) {
	begun := time.Now()
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
	for i := range batch {
		batch[i].room.pending.Add(-1)
	}
	// Before the report: who waited for it because the queue was full, and has nothing else under way, hears of no other.
	c.log.queue.release(batch, time.Since(begun))
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
		if c.untilDue() == 0 {
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
		unsynced := uint32(e.position - c.synced)
		if e.kind == kindStub {
			c.buffer = appendStub(c.buffer, c.log.seal, e.position, &e.record, unsynced, 0)
			e.room.chain = chain{roots: []position{e.position}, lowest: e.record.Seq, cut: true, loaded: true}
			continue
		}
		if !e.room.loaded {
			c.load(e.room)
		}
		to := e.room.advance(e.record.Seq, e.position, recordBytes(&e.record), c.header)
		c.buffer = appendRecord(c.buffer, c.log.seal, e.position, &e.record, unsynced, to)
	}
}

// load gets a room ready that was idle: where its head is, and how many bytes it has.
func (c *committer) load(r *room) {
	r.loaded = true
	state := c.log.table.find(r.key)
	if state.headSeq == 0 {
		return
	}
	r.roots, r.lowest = []position{state.headAt}, state.headSeq
	h, err := c.header(state.headAt, state.headSeq)
	if err != nil {
		// Told to who reads it. The room's bytes are counted from here on, and it keeps more
		// than retention by bytes would; and its records get no skip.
		r.cut = true
		return
	}
	// No more than the log has: a sum that runs over would make records that nobody can read.
	r.total = min(h.total, uint64(state.headAt)+uint64(h.size))
}

// header reads a header for the pointers of new records: 60 bytes of a room that was idle.
func (c *committer) header(at position, seq uint64) (recordHeader, error) {
	s := c.log.segments.enter()
	defer c.log.segments.leave(s)
	return c.headers.read(c.log, s, at, seq)
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
	c.log.counters.syncSeconds.observe(time.Since(start).Seconds())
	c.allSynced()
	return true
}

// allSynced notes, and tells who waits for it, that everything that was written is synced.
func (c *committer) allSynced() {
	c.synced = c.end()
	c.log.synced.Store(int64(c.synced))
	ring(c.log.queue.synced)
}

// roll starts the next segment. The one before is synced first, so whatever a crash leaves of
// the new one, the sealed one is whole.
func (c *committer) roll() bool {
	if !c.sync() {
		return false
	}
	next, err := c.log.files.create(c.config.Dir, c.end(), c.active.base)
	if err != nil {
		c.fault("create segment", filepath.Join(c.config.Dir, segmentName(c.end())), err)
		return false
	}
	c.begin(next)
	return true
}

// begin makes an empty segment the active one; the one before ends at the committed end.
func (c *committer) begin(next *segment) {
	c.log.segments.add(next)
	c.log.files.release(c.active)
	c.active, c.written, c.asked = next, segmentHeaderBytes, false
	c.allSynced()
	c.log.rolled()
}

func (c *committer) publish(batch []entry) {
	newest, oldest := c.active.newestAt.Load(), c.active.oldestAt.Load()
	for i := range batch {
		newest = max(newest, batch[i].record.At)
		oldest = min(oldest, batch[i].record.At)
	}
	c.active.newestAt.Store(newest)
	c.active.oldestAt.Store(oldest)
	// Before the heads: a reader follows a head into the file up to here.
	c.active.committed.Store(c.written)
	c.log.table.publish(batch)
	c.log.published.Store(int64(c.end()))
	c.log.counters.records.Add(uint64(len(batch)))
	c.log.counters.batchRecords.observe(float64(len(batch)))
	if c.written > c.config.SegmentBytes/4 && !c.asked && !c.config.growing {
		c.asked = true
		c.log.files.supply.want()
	}
}

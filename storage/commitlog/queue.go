package commitlog

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"rookery/storage"
)

// entry is a record on its way to the committer.
type entry struct {
	record   storage.Record
	kind     byte
	room     *room
	producer *Producer

	// Owned by the committer.
	position position
}

// entryBytes is what an entry takes besides its strings and body.
const entryBytes = int(unsafe.Sizeof(entry{}))

// queueCost counts memory: the record as the producer holds it and as the committer encodes it
// would be twice; the encoding is one buffer of about the same size, so it is counted once.
func (e *entry) queueCost() int { return entryBytes + recordBytes(&e.record) }

// appendQueue gathers records while the committer writes and syncs the batch before. Full
// policy: push back (storage.ErrFull); what was accepted is never dropped.
type appendQueue struct {
	// Set at construction.
	most int
	bell chan struct{} // holds one ring: something waits or the log closes

	mu sync.Mutex // held for memory work only, no other lock inside

	// Guarded by mu.
	limit   int // bytes that may wait and be in work, most or less, see pace
	waiting []entry
	closing bool
	fault   *storage.FaultError // nil while the log takes appends

	// syncWanted asks the committer to sync what was written, in any mode; synced holds one ring of each
	// sync and each fault.
	syncWanted atomic.Bool
	synced     chan struct{}

	// Written under mu, read from any goroutine. generation counts the faults that are over: a
	// room that was entered before one does not know that its last records failed.
	generation atomic.Uint64

	// Written under mu, read from any goroutine.
	bytes atomic.Int64 // of what waits and of the batch in work
}

func newAppendQueue(limit int) *appendQueue {
	return &appendQueue{most: limit, limit: limit, bell: make(chan struct{}, 1), synced: make(chan struct{}, 1)}
}

func (q *appendQueue) push(e entry) error {
	cost := int64(e.queueCost())
	q.mu.Lock()
	switch {
	case q.closing:
		q.mu.Unlock()
		return storage.ErrClosed
	case q.fault != nil:
		fault := q.fault
		q.mu.Unlock()
		return fault
	case e.room.generation != q.generation.Load():
		q.mu.Unlock()
		return fmt.Errorf("append to room %q: the log has had a fault: %w", e.record.Room, storage.ErrSequence)
	case q.bytes.Load()+cost > int64(q.limit):
		q.mu.Unlock()
		return storage.ErrFull
	}
	q.waiting = append(q.waiting, e)
	q.bytes.Add(cost)
	first := len(q.waiting) == 1
	q.mu.Unlock()
	if first {
		q.ring()
	}
	return nil
}

func (q *appendQueue) ring() { ring(q.bell) }

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default: // a ring waits already
	}
}

// take gives all that waits and puts spare in its place.
func (q *appendQueue) take(spare []entry) (batch []entry, closing bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, q.waiting = q.waiting, spare[:0]
	return batch, q.closing
}

// release gives back the room of a batch that is done, which took so long.
func (q *appendQueue) release(batch []entry, took time.Duration) {
	cost := int64(0)
	for i := range batch {
		cost += int64(batch[i].queueCost())
	}
	q.mu.Lock()
	q.bytes.Add(-cost)
	q.pace(int(cost), took)
	q.mu.Unlock()
}

const (
	// mayTake is how long a batch may take before less may wait.
	mayTake = 250 * time.Millisecond
	// leastPaced is how large a batch has to be for its time to tell how fast the disk is: of a smaller one it is how long one sync takes, which
	// may be a second once in a while and no reason to refuse anything.
	leastPaced = 1 << 20
)

// pace bounds the queue in time where the disk is slow: 16 MiB are four seconds of one that takes 4 MiB/s, and a record waits for two batches, the one
// in work and its own. Each may hold what the disk takes in mayTake.
func (q *appendQueue) pace(cost int, took time.Duration) {
	switch {
	case took <= mayTake:
		q.limit = q.most
	case cost >= leastPaced:
		q.limit = min(q.most, max(minQueueBytes, int(2*float64(cost)*mayTake.Seconds()/took.Seconds())))
	}
}

// fail makes the queue refuse until heal; what waits is still there to be taken.
func (q *appendQueue) fail(fault *storage.FaultError) {
	q.mu.Lock()
	q.fault = fault
	q.mu.Unlock()
}

// heal ends a fault: rooms are entered anew from here on.
func (q *appendQueue) heal() {
	q.mu.Lock()
	q.fault = nil
	q.generation.Add(1)
	q.mu.Unlock()
}

func (q *appendQueue) close() {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.ring()
}

// Producer appends the records of the rooms that belong to it. A room belongs to one producer
// and a producer to one goroutine.
type Producer struct {
	// Set at construction.
	log       *Log
	committed func(n int, err error)

	// Owned by the committer.
	inBatch int
}

// NewProducer makes a producer; there is one per room shard, and it lives as long as the log.
// committed is called from the committer goroutine and must not block: the next n records
// appended through this producer, in order, are committed (err nil) or failed (err non-nil).
// They take no room in the queue any more. After a failure every room goes on from Log.Head. Every record that Append took is reported
// once, at the latest by Close.
func (l *Log) NewProducer(committed func(n int, err error)) *Producer {
	return &Producer{log: l, committed: committed}
}

// Append queues a record. Its Seq must be one above that of the room's record appended before
// it, or above Log.Head. The log keeps r.Body until the record is reported; it must not
// change meanwhile. An error means that nothing was queued and nothing will be reported:
// storage.ErrFull, storage.ErrClosed, storage.ErrSequence, a *storage.FaultError, or a record
// beyond the limits.
func (p *Producer) Append(r storage.Record) error {
	if err := checkRecord(&r); err != nil {
		return err
	}
	return p.append(r, kindMessage)
}

func (p *Producer) append(r storage.Record, kind byte) error {
	// Before the room gets its entry, so that a log that takes nothing does not grow either.
	if err := p.log.Err(); err != nil {
		return err
	}
	room := p.log.active.enter(r.Room, p.log.queue.generation.Load())
	if r.Seq != room.appendedSeq+1 && kind == kindMessage {
		room.pending.Add(-1)
		return fmt.Errorf("append of record %d to room %q, want %d: %w", r.Seq, r.Room, room.appendedSeq+1, storage.ErrSequence)
	}
	if err := p.log.queue.push(entry{record: r, kind: kind, room: room, producer: p}); err != nil {
		room.pending.Add(-1)
		return err
	}
	room.appendedSeq = r.Seq
	return nil
}

func checkRecord(r *storage.Record) error {
	switch {
	case len(r.Room) == 0 || len(r.Room) > storage.MaxName:
		return fmt.Errorf("append: room name has %d bytes, must have 1 to %d", len(r.Room), storage.MaxName)
	case len(r.From) == 0 || len(r.From) > storage.MaxName:
		return fmt.Errorf("append to room %q: user name has %d bytes, must have 1 to %d", r.Room, len(r.From), storage.MaxName)
	case len(r.Key) > storage.MaxKey:
		return fmt.Errorf("append to room %q: key has %d bytes, at most %d fit", r.Room, len(r.Key), storage.MaxKey)
	case len(r.Body) > storage.MaxBody:
		return fmt.Errorf("append to room %q: body has %d bytes, at most %d fit", r.Room, len(r.Body), storage.MaxBody)
	case r.Seq > storage.MaxSeq:
		return fmt.Errorf("append to room %q: it has come to the last number, %d: go on in another room", r.Room, uint64(storage.MaxSeq))
	}
	return nil
}

package catalog

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
)

// writer makes what is asked of the catalog durable and then visible. A batch goes through it in
// this order:
//
//  1. take: all that waits in the mailbox.
//  2. resolve: each update sees those before it, committed or not, and becomes a record.
//  3. append, and wait until the log has reported every record.
//  4. apply those that were committed. They are the first ones: the log commits in order.
//  5. answer.
//
// Then a part of a snapshot, if one is due or under way.
type writer struct {
	// Set at construction.
	log     *commitlog.Log
	logger  *slog.Logger
	mailbox *mailbox
	state   *state
	config  Config

	// Owned by writeLoop.
	producer *commitlog.Producer
	snapshot *snapshot // under way, or nil
	// dueAt is how many bytes of changes make the next snapshot due.
	dueAt int64
	trim  trim

	reports reports

	// Counted by writeLoop, read by anyone.
	changed   atomic.Int64 // bytes of changes since the last snapshot
	updates   atomic.Uint64
	snapshots atomic.Uint64
}

// reports is what the log has said of the records of the batch in work.
type reports struct {
	bell chan struct{} // holds one ring

	mu sync.Mutex

	// Guarded by mu.
	reported, committed int
	err                 error // the first
}

// report is called by the committer. Behind a failed record none is committed.
func (r *reports) report(n int, err error) {
	r.mu.Lock()
	r.reported += n
	if r.err == nil {
		r.err = err
	}
	if r.err == nil {
		r.committed += n
	}
	r.mu.Unlock()
	select {
	case r.bell <- struct{}{}:
	default: // a ring waits already
	}
}

// wait returns when n records were reported, and begins anew.
func (r *reports) wait(n int) (committed int, err error) {
	for {
		r.mu.Lock()
		if r.reported == n {
			committed, err = r.committed, r.err
			r.reported, r.committed, r.err = 0, 0, nil
			r.mu.Unlock()
			return committed, err
		}
		r.mu.Unlock()
		<-r.bell
	}
}

// writeLoop is started by Open and ended by Close, through the mailbox.
func (w *writer) writeLoop() {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		batch, closing := w.mailbox.take()
		if len(batch) > 0 {
			w.commit(batch)
			w.mailbox.release(batch)
		} else if closing {
			w.snapshot = nil // the parts count for nothing, the next one begins anew
			return
		}
		w.trimIfSynced()
		step := w.continueSnapshot()
		if len(batch) > 0 || step == working {
			continue
		}
		if step == waiting {
			retry.Reset(retryEvery)
		}
		select {
		case <-w.mailbox.bell:
		case <-retry.C:
		}
	}
}

// commit makes a batch durable, visible and answered.
func (w *writer) commit(batch []*update) {
	over := overlay{state: w.state, changed: map[string]text{}}
	next := w.log.Head(Room) + 1 // nothing is on its way, so this is where the room stands
	var records []batched
	for _, u := range batch {
		entries, err := over.resolve(u.changes)
		if err == nil && len(entries) > 0 {
			var r batched
			if r, err = w.append(next+uint64(len(records)), body{Kind: kindChange, Entries: entries}); err == nil {
				records = append(records, r)
				over.put(entries)
			}
		}
		// Without a record of its own it rests on those before it.
		u.upTo, u.err = len(records), err
	}
	committed, err := w.reports.wait(len(records))
	for _, r := range records[:committed] {
		w.state.apply(r.entries)
		w.changed.Add(r.size)
	}
	for _, u := range batch {
		if u.err == nil && u.upTo > committed {
			u.err = err
		}
		if u.err == nil {
			w.updates.Add(1)
		}
		u.done <- u.err
	}
}

// batched is a record that the log has taken and not yet reported.
type batched struct {
	entries []entry
	size    int64
}

func (w *writer) append(seq uint64, b body) (batched, error) {
	encoded, err := b.encode()
	if err != nil {
		return batched{}, fmt.Errorf("a change of the catalog %w", err)
	}
	r := storage.Record{Room: Room, Seq: seq, At: time.Now().UnixMilli(), From: author, Body: encoded}
	if err := w.producer.Append(r); err != nil {
		return batched{}, err
	}
	w.config.appended(r)
	return batched{b.Entries, int64(len(encoded))}, nil
}

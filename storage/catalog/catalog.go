package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"rookery/storage"
	"rookery/storage/commitlog"
)

// Config is all that a catalog needs to know. Only Log has no default.
type Config struct {
	// Log is a log that was just opened; it is closed after the catalog.
	Log *commitlog.Log
	// Synced says that what the log reports as committed is synced: commitlog.SyncAlways. Without it the past
	// of a snapshot is kept for longer.
	Synced bool
	// MailboxBytes bounds what waits for the writer. Default 8 MiB, which is also the least: the
	// largest update has to fit.
	MailboxBytes int
	// SnapshotBytes is the least that is changed between two snapshots. Default 1 MiB.
	SnapshotBytes int64
	// Logger gets the few lines that there are. Default slog.Default().
	Logger *slog.Logger

	// partCost is how much is in a part of a snapshot: for tests that want many.
	partCost int
	// appended is told of every record that the log has taken: for tests that replay them all.
	appended func(storage.Record)
}

func (c Config) withDefaults() (Config, error) {
	if c.MailboxBytes == 0 {
		c.MailboxBytes = maxUpdateBytes
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = 1 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.partCost == 0 {
		c.partCost = partCost
	}
	if c.appended == nil {
		c.appended = func(storage.Record) {}
	}
	switch {
	case c.Log == nil:
		return c, errors.New("catalog configuration: no log: set Log to an open one")
	case c.MailboxBytes < maxUpdateBytes:
		return c, fmt.Errorf("catalog configuration: mailbox is %d: set MailboxBytes to %d or more", c.MailboxBytes, maxUpdateBytes)
	case c.SnapshotBytes < 1:
		return c, fmt.Errorf("catalog configuration: bytes between snapshots are %d: set SnapshotBytes to 1 or more", c.SnapshotBytes)
	}
	return c, nil
}

// Catalog is an open catalog. Its methods are safe from any goroutine but an event loop's.
type Catalog struct {
	// Set at construction.
	log     *commitlog.Log
	state   *state
	mailbox *mailbox
	writer  *writer
	ended   chan struct{}

	closeOnce sync.Once
}

// Open reads the catalog out of the log and starts the writer. There is one for a log. If records are missing
// that nothing stands in for, it refuses; errors.As finds the *storage.DamagedError that says where.
func Open(config Config) (*Catalog, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	replay := NewReplay()
	if err := replay.read(config.Log); err != nil {
		replay.Close()
		return nil, err
	}
	w := &writer{
		log:     config.Log,
		logger:  config.Logger,
		mailbox: newMailbox(config.MailboxBytes),
		state:   replay.state,
		config:  config,
		reports: reports{bell: make(chan struct{}, 1)},
		// What an opening found is synced, whatever the mode.
		trim: trim{first: replay.origin, active: -1},
	}
	w.producer = config.Log.NewProducer(w.reports.report)
	w.changed.Store(replay.changed)
	w.dueAt = w.dueBytes()
	replay.drop() // a snapshot without its end
	c := &Catalog{log: config.Log, state: w.state, mailbox: w.mailbox, writer: w, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		w.writeLoop()
	}()
	return c, nil
}

// Check says why Open would refuse a log, and changes nothing. Nobody may write to the room meanwhile.
func Check(log *commitlog.Log) error {
	replay := NewReplay()
	defer replay.Close()
	return replay.read(log)
}

// read adds up the room as the log has it.
func (r *Replay) read(log *commitlog.Log) error {
	var damage error // the first
	limit := storage.PageLimit{Records: 1 << 14, Bytes: 4 << 20}
	head := log.Head(Room)
	for r.next <= head {
		before := r.next
		var wrong error
		err := log.ReadAfter(Room, r.next-1, limit, func(record storage.Record) bool {
			wrong = r.Add(record)
			return wrong == nil
		})
		if wrong != nil {
			return wrong
		}
		if damaged, ok := errors.AsType[*storage.DamagedError](err); ok {
			if damage == nil {
				damage = err
			}
			r.skip(damaged.Last + 1)
		} else if err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		if r.next == before {
			break // nothing is left of the room
		}
	}
	err := r.Whole(head)
	if err != nil && damage != nil {
		err = fmt.Errorf("%w: %w", err, damage)
	}
	return err
}

// Update makes all changes or none, in order, and returns when they are committed and visible. Errors: what is wrong with
// a change; storage.ErrFull, storage.ErrClosed, a *storage.FaultError or another of the log, and then
// nothing is visible and the same update may be tried again; the context's, and then the update may
// still happen.
func (c *Catalog) Update(ctx context.Context, changes ...Change) error {
	u, err := newUpdate(changes)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("update the catalog: %w", context.Cause(ctx))
	}
	if err := c.mailbox.put(u); err != nil {
		return fmt.Errorf("update the catalog: %w", err)
	}
	select {
	case err = <-u.done:
	case <-ctx.Done():
		return fmt.Errorf("update the catalog, it may still happen: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("update the catalog: %w", err)
	}
	return nil
}

// Close finishes the updates that wait, and ends the writer. The log stays open. Further calls do nothing.
func (c *Catalog) Close() {
	c.closeOnce.Do(func() {
		c.mailbox.close()
		<-c.ended
		c.state.close()
	})
}

// Stats are counters since Open and sizes now.
type Stats struct {
	Entries            int64
	Bytes              int64 // of keys and values
	SinceSnapshotBytes int64 // of changes since the newest snapshot began
	Snapshots          uint64
	Updates            uint64 // that succeeded
	Refused            uint64 // because too much waited
}

// Stats may be called after Close too.
func (c *Catalog) Stats() Stats {
	return Stats{
		Entries:            c.state.entries.Load(),
		Bytes:              c.state.bytes.Load(),
		SinceSnapshotBytes: c.writer.changed.Load(),
		Snapshots:          c.writer.snapshots.Load(),
		Updates:            c.writer.updates.Load(),
		Refused:            c.mailbox.refused.Load(),
	}
}

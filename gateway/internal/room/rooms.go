package room

import (
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/storage"
)

// Log is what the rooms need of storage. commitlog.Log provides it.
type Log interface {
	// Epoch names the history that sequence numbers belong to.
	Epoch() uint64
	// Head is the last committed sequence number of a room, 0 if it has none.
	Head(room string) uint64
	// Begin is the oldest sequence number that is still there, Head+1 if none is.
	Begin(room string) uint64
	// Place is where the newest record of a room lies in the log, 0 if there is none; End lies behind all that is committed.
	Place(room string) int64
	End() int64
	// Open makes a producer. committed is called with the number of oldest appended
	// records that were committed (err nil) or failed. It must not block.
	Open(committed func(n int, err error)) Producer
	// ReadAfter and ReadBefore pass committed records, ascending and descending. A record
	// is valid during fn only. Both begin at Begin; a *storage.DamagedError names records that can't be
	// read, and reading goes on behind them.
	ReadAfter(room string, after uint64, limit storage.PageLimit, fn func(storage.Record) bool) error
	ReadBefore(room string, before uint64, limit storage.PageLimit, fn func(storage.Record) bool) error
	// Newest is the time of the newest record, about; zero if there is none.
	Newest() time.Time
	// Recent passes the newest records since a time, at most max, in the log's order.
	Recent(since time.Time, max int, fn func(storage.Record) bool) error
}

// Producer appends records in order, for one goroutine.
type Producer interface {
	// Append queues a record: storage.ErrFull, storage.ErrClosed, storage.ErrSequence or a
	// *storage.FaultError when it does not. The record's body must not change until it is committed.
	Append(r storage.Record) error
}

// Config says how the rooms run. All fields without a default must be set.
type Config struct {
	Log Log
	// Changes is the index of changes; nil refuses changes, and messages are given as they were published.
	Changes Changes
	// Holdings are the rooms that users have; nil: they have none.
	Holdings Holdings
	// Asker is given the publishes that say Ask. It gives each back to Decided, and has given back all before Close.
	Asker Asker
	Loops []*handoff.Mailbox[handoff.Event] // by handoff.Handle.Loop

	Shards       int           // goroutines that order; default 2
	MailboxBytes int           // bound of each shard's mailbox; default 16 MiB
	Readers      int           // goroutines that read the log; default 4
	RetryWindow  time.Duration // how long a retry key is remembered; default 10 minutes
	RetryKeys    int           // most retry keys a shard remembers; default 1,000,000
	Now          func() time.Time
	// EditWindow is how long the author of a message may edit and delete it, if that is bounded; default for ever.
	EditWindow    func(room string) (window time.Duration, bounded bool)
	ReportDamaged func(room string, err error) // a page could not be read; may be nil
}

// Rooms is the set of shards and log readers. Its methods are safe for concurrent use.
type Rooms struct {
	// Set at construction.
	shards   []*shard
	seed     maphash.Seed
	readers  *readers
	checkers *checkers // nil: there is no index of changes
	running  sync.WaitGroup
	checking sync.WaitGroup
}

// Start remembers the retry keys of the log's newest records and starts the shards and
// readers. Close stops them.
func Start(cfg Config) (*Rooms, error) {
	if cfg.Shards == 0 {
		cfg.Shards = 2
	}
	if cfg.MailboxBytes == 0 {
		cfg.MailboxBytes = 16 << 20
	}
	if cfg.Readers == 0 {
		cfg.Readers = 4
	}
	if cfg.RetryWindow == 0 {
		cfg.RetryWindow = 10 * time.Minute
	}
	if cfg.RetryKeys == 0 {
		cfg.RetryKeys = 1_000_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.EditWindow == nil {
		cfg.EditWindow = forever
	}
	rs := &Rooms{seed: maphash.MakeSeed()}
	if cfg.Changes != nil {
		rs.checkers = newCheckers(cfg, rs.order)
	}
	for range cfg.Shards {
		s := newShard(cfg)
		s.checkers = rs.checkers
		rs.shards = append(rs.shards, s)
	}
	if err := rs.recallKeys(cfg); err != nil {
		return nil, err
	}
	for _, s := range rs.shards {
		rs.running.Go(s.runLoop)
	}
	if rs.checkers != nil {
		rs.checkers.start(&rs.checking)
	}
	rs.readers = startReaders(cfg, &rs.running)
	return rs, nil
}

// recallKeys remembers the retry keys of the window before the newest record. Before now it would be of a clock that may have jumped while the
// server was not there, or been right again: none would be known, or those of too short a time.
func (rs *Rooms) recallKeys(cfg Config) error {
	newest := cfg.Now()
	if at := cfg.Log.Newest(); !at.IsZero() && at.Before(newest) {
		newest = at
	}
	return cfg.Log.Recent(newest.Add(-cfg.RetryWindow), cfg.RetryKeys*cfg.Shards, func(r storage.Record) bool {
		if r.Key != "" {
			when := min(0, time.UnixMilli(r.At).Sub(newest))
			rs.shard(r.Room).keys.remember(r.Room, r.From, r.Key, outcome{r.Seq, r.At}, when)
		}
		return true
	})
}

// Send hands a command to the shard of its room and reports false when that shard's
// mailbox is full. Gone is always taken: each follows a Join that was.
func (rs *Rooms) Send(c handoff.Command) bool {
	if c.Kind == handoff.Alter && !c.Ask {
		return rs.checkers.put(c)
	}
	s := rs.shard(c.Room)
	size := c.Size()
	if c.Kind == handoff.Gone {
		s.mailbox.PutAlways(letter{command: c, size: size}, size)
		return true
	}
	return s.mailbox.Put(letter{command: c, size: size}, size)
}

// order hands a publish that was checked, or asked about, to the shard of its room.
func (rs *Rooms) order(c handoff.Command) {
	size := c.Size()
	rs.shard(c.Room).mailbox.PutAlways(letter{command: c, size: size}, size)
}

// Read queues a read of the log and reports false when too many wait.
func (rs *Rooms) Read(r handoff.Read) bool { return rs.readers.put(r) }

// Begin is the oldest message of a room that is still there. A loop may ask: it is a look at a table in memory.
func (rs *Rooms) Begin(room string) uint64 { return rs.readers.cfg.Log.Begin(room) }

// Close refuses further commands, waits until everything that was taken is committed or
// has failed and its events are in the loops' mailboxes, and ends the goroutines. Reads
// that wait are answered first. The caller sends nothing any more.
func (rs *Rooms) Close() {
	if rs.checkers != nil {
		rs.checkers.stop()
		rs.checking.Wait()
	}
	for _, s := range rs.shards {
		s.mailbox.PutAlways(letter{stop: true}, 0)
	}
	rs.readers.stop()
	rs.running.Wait()
}

// Stats are counters since the start, summed over the shards, for metrics.
func (rs *Rooms) Stats() Stats {
	var sum Stats
	for _, s := range rs.shards {
		sum.Published += s.published.Load()
		sum.Ephemeral += s.ephemeral.Load()
		sum.Duplicates += s.duplicates.Load()
		sum.RefusedLog += s.refusedLog.Load()
		sum.RefusedLoad += s.refusedLoad.Load()
		sum.KeysEvicted += s.keys.evicted.Load()
		sum.Keys += s.keys.held.Load()
		sum.Rooms += s.held.Load()
		sum.Shards = append(sum.Shards, ShardStats{s.published.Load(), s.mailbox.Held()})
	}
	if rs.checkers != nil {
		sum.RefusedChanges = rs.checkers.refused.Load()
	}
	sum.Latency = rs.latency()
	sum.Pages = rs.readers.pages.Load()
	sum.DamagedPages = rs.readers.damaged.Load()
	return sum
}

// Stats of all shards and readers.
type Stats struct {
	Published   int64 // publishes committed
	Ephemeral   int64 // ephemeral messages passed on
	Duplicates  int64 // publishes answered from a retry key
	RefusedLog  int64 // publishes refused or failed because of the log
	RefusedLoad int64 // publishes refused because a queue was full
	// RefusedChanges were refused by a rule: not the author, too late, too many.
	RefusedChanges int64
	KeysEvicted    int64 // retry keys forgotten before their time, for room
	Keys           int64 // retry keys held now
	Rooms          int64 // rooms held in memory now
	Shards         []ShardStats
	Latency        Latency
	Pages          int64 // pages read
	DamagedPages   int64 // pages that could not be read
}

// ShardStats of one shard: how even the work is among them.
type ShardStats struct {
	Published    int64 // publishes committed
	MailboxBytes int64 // commands waiting
}

func (rs *Rooms) shard(room string) *shard {
	return rs.shards[maphash.String(rs.seed, room)%uint64(len(rs.shards))]
}

// EpochName is the form of an epoch that clients see.
func EpochName(epoch uint64) string { return strconv.FormatUint(epoch, 16) }

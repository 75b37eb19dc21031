package interchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"rookery/storage"
	"rookery/storage/commitlog"
)

// ImportConfig says how an import is done.
type ImportConfig struct {
	// Contents must be set.
	Contents Contents
	// Existing is the log that is imported into, read in its order: an import that goes on compares
	// what is there with it. Without it every record is looked up by itself, which is slower.
	Existing Source
	// Renumber closes the gaps that damage left: the records behind one follow those before it.
	Renumber bool
	// Progress is told now and then how many bytes of the input are read; may be nil.
	Progress func(read int64, s ImportSummary)
}

// ImportSummary is what one run did.
type ImportSummary struct {
	Lines    uint64 // read
	Appended uint64 // records
	Present  uint64 // records that were there already, and are equal
	Rooms    uint64 // in the input
	Closed   uint64 // numbers that renumbering left out
	Damaged  uint64 // places of the exported log, of which the input says that they can't be read
}

var errUserExport = errors.New("the file holds what one user said, with holes in every room: it is for that user, not for an import")

// importer is the state of one import. It belongs to one goroutine, but for what mu guards.
type importer struct {
	// Set at construction.
	config   ImportConfig
	log      *commitlog.Log
	reader   *reader
	producer *commitlog.Producer
	existing *existing

	rooms   map[string]*importRoom
	summary ImportSummary

	mu      sync.Mutex // held for memory work only
	changed *sync.Cond // of what mu guards

	// Guarded by mu.
	reported uint64
	failed   error
}

// importRoom is what is kept of a room: some 150 bytes with its name.
type importRoom struct {
	next  uint64 // in the file
	shift uint64 // numbers that renumbering left out
	head  uint64 // in the log, with what waits for its commit
}

// Import appends the records of an export to a log that nobody else appends to. What the log has
// already is compared and passed over, so an import that ended early is done again and goes on. It
// returns when all that it appended is committed. What can't be taken ends it with a *LineError or
// ErrCutShort; what stands before that is in the log.
func Import(ctx context.Context, log *commitlog.Log, in io.Reader, config ImportConfig) (ImportSummary, error) {
	i := &importer{
		config: config, log: log,
		reader: newReader(in, config.Contents),
		rooms:  map[string]*importRoom{},
	}
	i.changed = sync.NewCond(&i.mu)
	i.producer = log.NewProducer(i.committed)
	i.existing = newExisting(log, config.Existing)
	defer i.existing.close()
	err := i.run(ctx)
	if failed := i.wait(i.summary.Appended); failed != nil {
		// The cause of all that came behind it.
		err = failed
	}
	i.summary.Lines, i.summary.Rooms = i.reader.lines, uint64(len(i.rooms))
	return i.summary, err
}

func (i *importer) run(ctx context.Context) error {
	for n := 1; ; n++ {
		// The log keeps a body until it is committed, so each line has one of its own.
		var l line
		if err := i.reader.next(&l); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := i.line(&l); err != nil {
			if _, ok := errors.AsType[*storage.FaultError](err); ok {
				return err // the disk's, not the line's
			}
			return &LineError{Line: i.reader.lines, Err: err}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if n%progressEvery == 0 && i.config.Progress != nil {
			i.config.Progress(i.reader.bytes, i.summary)
		}
	}
}

func (i *importer) line(l *line) error {
	switch l.kind {
	case kindHeader:
		if l.User != "" {
			return errUserExport
		}
	case kindMessage, kindSystem:
		return i.record(&l.Record)
	case kindBegin:
		return i.begin(l.Record.Room, l.First)
	case kindDamaged:
		i.summary.Damaged++
	case kindGap:
		if !i.config.Renumber {
			return fmt.Errorf("records %d to %d of room %q are missing, the log that was exported is damaged: take them from a backup, or import with --renumber, which numbers what follows without them", l.First, l.Last, l.Record.Room)
		}
	}
	return nil
}

// room gives the state of a room, made from the log when the file comes to it.
func (i *importer) room(name string) (r *importRoom, isNew bool) {
	if r := i.rooms[name]; r != nil {
		return r, false
	}
	r = &importRoom{next: 1, head: i.log.Head(name)}
	i.rooms[name] = r
	return r, true
}

// begin makes a room begin at a number: what is before it is not in the file.
func (i *importer) begin(name string, first uint64) error {
	r, isNew := i.room(name)
	switch {
	case first < r.next:
		return fmt.Errorf("room %q begins at %d behind its record %d", name, first, r.next-1)
	case isNew && r.head > 0 && r.head < first-1:
		return fmt.Errorf("room %q has records up to %d in the log and begins at %d in the file: import the export with those between first, or into another directory", name, r.head, first)
	}
	r.next = first
	if first -= r.shift; first < 2 || r.head >= first-1 {
		return nil
	}
	if err := i.whenRoom(func() error { return i.log.StartRoom(name, first) }); err != nil {
		return err
	}
	r.head = first - 1
	return nil
}

// lastTime is the end of the year 9999: behind it there is no date in RFC 3339. Before 1970 the protocol has no time, and the clients
// in JavaScript end a connection on which a number comes that they can't have.
const lastTime = 253_402_300_799_999

// record appends a record, or compares it with the one that is there.
func (i *importer) record(record *storage.Record) error {
	r, _ := i.room(record.Room)
	switch {
	case record.Seq < r.next:
		return fmt.Errorf("record %d of room %q stands behind record %d", record.Seq, record.Room, r.next-1)
	case record.Seq > r.next && !i.config.Renumber:
		return fmt.Errorf("record %d of room %q follows record %d: those between are missing in the file; export again, or import with --renumber, which numbers what follows without them", record.Seq, record.Room, r.next-1)
	}
	r.shift += record.Seq - r.next
	i.summary.Closed += record.Seq - r.next
	r.next = record.Seq + 1
	record.Seq -= r.shift
	if record.Seq <= r.head {
		if err := i.existing.compare(record); err != nil {
			return err
		}
		i.summary.Present++
		return nil
	}
	if record.At < 0 || record.At > lastTime {
		return fmt.Errorf("time of record %d of room %q is %d: it must be Unix milliseconds from 1970 to 9999, 0 to %d", record.Seq, record.Room, record.At, lastTime)
	}
	if err := i.whenRoom(func() error { return i.producer.Append(*record) }); err != nil {
		return err
	}
	r.head = record.Seq
	i.summary.Appended++
	return nil
}

// whenRoom does what queues a record, and waits while the queue is full.
func (i *importer) whenRoom(queue func() error) error {
	for {
		i.mu.Lock()
		reported, failed := i.reported, i.failed
		i.mu.Unlock()
		if failed != nil {
			return failed
		}
		err := queue()
		if !errors.Is(err, storage.ErrFull) {
			return err
		}
		// Something waits for its commit, else there were room; read before the append, so a report
		// in between is not missed.
		if err := i.wait(reported + 1); err != nil {
			return err
		}
	}
}

// committed is called by the log.
func (i *importer) committed(n int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reported += uint64(n)
	if i.failed == nil {
		i.failed = err
	}
	i.changed.Broadcast()
}

// wait returns when n records in all are reported, with what failed.
func (i *importer) wait(n uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.reported < n {
		i.changed.Wait()
	}
	return i.failed
}

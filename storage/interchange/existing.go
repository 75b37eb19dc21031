package interchange

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"rookery/storage"
	"rookery/storage/commitlog"
)

// existing finds the records that a log has already, for an import that goes on. Such an import
// left them in the order in which it comes to them again, so they are read in one pass beside the
// file. A record that is not ahead there is looked up by itself. It belongs to one goroutine.
type existing struct {
	log  *commitlog.Log
	next func() (commitlog.Entry, bool)
	stop func()

	entry commitlog.Entry // the one that comes next, valid until the next one is asked for
	ahead bool            // there is one
}

// newExisting reads source, which may be nil, from its start.
func newExisting(log *commitlog.Log, source Source) *existing {
	x := &existing{log: log}
	if source == nil {
		return x
	}
	x.next, x.stop = iter.Pull(func(yield func(commitlog.Entry) bool) {
		// What can't be read in order is looked up, and then said to be so.
		_, _ = source.Scan(0, yield, func(*storage.CorruptionError) {})
	})
	return x
}

func (x *existing) close() {
	if x.stop != nil {
		x.stop()
	}
}

// compare says how a record differs from the one with its number in the log.
func (x *existing) compare(want *storage.Record) error {
	if x.next != nil && !x.ahead {
		x.advance()
	}
	// Between the records of the import may stand those that were there before it.
	for x.ahead && !x.at(want) {
		x.advance()
	}
	if x.ahead {
		err := difference(&x.entry.Record, want)
		x.ahead = false
		return err
	}
	return x.lookUp(want)
}

func (x *existing) at(want *storage.Record) bool {
	r := &x.entry.Record
	return !x.entry.Stub && r.Seq == want.Seq && r.Room == want.Room
}

func (x *existing) advance() {
	if x.entry, x.ahead = x.next(); !x.ahead {
		x.stop()
		x.next = nil
	}
}

func (x *existing) lookUp(want *storage.Record) error {
	if begin := x.log.Begin(want.Room); want.Seq < begin {
		return fmt.Errorf("room %q begins at %d in the log, so its record %d can't be compared with what was there: import into another directory", want.Room, begin, want.Seq)
	}
	found := false
	var different error
	err := x.log.ReadAfter(want.Room, want.Seq-1, storage.PageLimit{Records: 1}, func(r storage.Record) bool {
		found = true
		different = difference(&r, want)
		return false
	})
	if err == nil && !found {
		err = fmt.Errorf("record %d of room %q is not found in the log", want.Seq, want.Room)
	}
	return errors.Join(err, different)
}

// difference says in which field the log's record is not the file's.
func difference(in, want *storage.Record) error {
	what := ""
	switch {
	case in.At != want.At:
		what = "time"
	case in.From != want.From:
		what = "user"
	case in.Key != want.Key:
		what = "key"
	case !bytes.Equal(in.Body, want.Body):
		what = "content"
	default:
		return nil
	}
	return fmt.Errorf("record %d of room %q is in the log already with another %s: this is another history of the room; import into another directory", want.Seq, want.Room, what)
}

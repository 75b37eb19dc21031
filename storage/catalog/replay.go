package catalog

import (
	"fmt"

	"rookery/storage"
)

// Replay adds up the records of the room, in their order, and says what they give. Records may be
// missing, as in a log that retention or damage has been at. It belongs to one goroutine.
type Replay struct {
	state   *state
	changed int64  // bytes of changes since the snapshot that the state comes from
	origin  uint64 // that snapshot, 0 for none
	next    uint64 // number of the record that comes next
	// gaps are the records that were missing and may have been changes of the state.
	gaps []gap

	// The snapshot that is being read, if all of it was there so far.
	copy *copied
	// How many parts of the snapshot seen last there were, whether or not they are of use.
	seen      uint64
	seenParts int
}

// gap is a run of records that are not there.
type gap struct{ first, last uint64 }

// copied is a snapshot being put together.
type copied struct {
	name    uint64
	first   uint64 // number of its part 0 here
	state   *state
	changed int64
	parts   int
	count   int
	sum     sum
}

// NewReplay begins with nothing. Whoever makes one closes it.
func NewReplay() *Replay { return &Replay{state: newState(), next: 1} }

// Close lets go of the memory.
func (r *Replay) Close() {
	r.drop()
	r.state.close()
}

// Add takes the next record of the room. What lies between it and the one before is missing.
func (r *Replay) Add(record storage.Record) error {
	if record.Room != Room || record.Seq < r.next {
		return fmt.Errorf("record %d of room %q can't follow record %d of the catalog", record.Seq, record.Room, r.next-1)
	}
	r.skip(record.Seq)
	b, err := decode(record.Body)
	if err != nil {
		return fmt.Errorf("record %d of the catalog %w", record.Seq, err)
	}
	r.next++
	switch b.Kind {
	case kindChange:
		r.change(b.Entries, int64(len(record.Body)))
	case kindPart:
		r.part(record.Seq, b)
	case kindEnd:
		r.end(record.Seq, b)
	}
	return nil
}

// skip says that the record that is there next is seq.
func (r *Replay) skip(seq uint64) {
	if seq <= r.next {
		return
	}
	if n := len(r.gaps); n > 0 && r.gaps[n-1].last == r.next-1 {
		r.gaps[n-1].last = seq - 1
	} else {
		r.gaps = append(r.gaps, gap{r.next, seq - 1})
	}
	r.drop()
	r.next = seq
}

func (r *Replay) change(entries []entry, size int64) {
	r.state.apply(entries)
	r.changed += size
	if r.copy != nil {
		r.copy.state.apply(entries)
		r.copy.changed += size
	}
}

func (r *Replay) part(seq uint64, b body) {
	if b.Snapshot != r.seen {
		r.seen, r.seenParts = b.Snapshot, 0
	}
	r.seenParts++
	if b.Part == 0 {
		r.drop()
		r.copy = &copied{name: b.Snapshot, first: seq, state: newState(), sum: newSum()}
	}
	c := r.copy
	if c == nil || c.name != b.Snapshot {
		return
	}
	if c.parts != b.Part {
		r.drop()
		return
	}
	c.parts++
	c.count += len(b.Entries)
	c.sum.add(b.Entries)
	c.state.apply(b.Entries)
}

func (r *Replay) end(seq uint64, b body) {
	if c := r.copy; c != nil && c.name == b.Snapshot && c.parts == b.Parts && c.count == b.Count && c.sum.String() == b.Checksum {
		r.state.close()
		r.state, r.changed, r.origin = c.state, c.changed, c.first
		r.copy, r.gaps = nil, nil
		return
	}
	r.drop()
	r.excuse(b, seq)
}

// excuse takes back the gaps inside a snapshot that can't be used, if they were its parts and nothing
// else: as many as are missing from it. Then the state does without the snapshot.
func (r *Replay) excuse(b body, end uint64) {
	missing, left := 0, []gap(nil)
	for _, g := range r.gaps {
		first := max(g.first, b.Snapshot)
		if first > g.last || g.last >= end {
			left = append(left, g)
			continue
		}
		missing += int(g.last - first + 1)
		if g.first < first {
			left = append(left, gap{g.first, first - 1})
		}
	}
	seen := 0
	if r.seen == b.Snapshot {
		seen = r.seenParts
	}
	if seen+missing == b.Parts {
		r.gaps = left
	}
}

func (r *Replay) drop() {
	if r.copy != nil {
		r.copy.state.close()
		r.copy = nil
	}
}

// Whole says what is missing of the state, nil if nothing is. head is the newest record of the room.
func (r *Replay) Whole(head uint64) error {
	r.skip(head + 1)
	if len(r.gaps) == 0 {
		return nil
	}
	g := r.gaps[0]
	return fmt.Errorf("the catalog can't be put together: its records %d to %d are not there and no whole snapshot behind them stands in; restore the directory from a backup", g.first, g.last)
}

// Walk calls fn for all entries, in the order of the keys.
func (r *Replay) Walk(fn func(key, value string) bool) error { return r.state.scan("", derived, fn) }

package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"

	"rookery/storage"
)

// Finding is one thing that is wrong with a log.
type Finding struct {
	Path   string
	Offset int64 // in the file
	// Room and First to Last are records that are missing because of it, as far as later ones tell; a room of
	// which nothing is left but its number has no name.
	Room        string
	First, Last uint64 // 0: not known
	Err         error
}

func (f Finding) String() string {
	switch {
	case f.First == 0:
		return fmt.Sprintf("%s at offset %d: %v", f.Path, f.Offset, f.Err)
	case f.First == f.Last:
		return fmt.Sprintf("%s at offset %d: record %d of room %q: %v", f.Path, f.Offset, f.First, f.Room, f.Err)
	}
	return fmt.Sprintf("%s at offset %d: records %d to %d of room %q: %v", f.Path, f.Offset, f.First, f.Last, f.Room, f.Err)
}

// Summary is what a log consists of.
type Summary struct {
	Segments, Packed, Missing int
	Bytes                     int64 // content of the segments
	Checkpoints               int
	Records, Stubs            uint64
	Rooms                     int
	// OldestAt and NewestAt are the smallest and largest time of a record, in Unix milliseconds; 0 without one.
	OldestAt, NewestAt int64
	LogID, Epoch       uint64
	State              string
	// Synced is what META says, End where the last whole record ends.
	Synced, End int64
	Findings    int
}

func (s logState) String() string {
	switch s {
	case stateClosed:
		return "closed"
	case stateOpen:
		return "open"
	case stateOpenRelaxed:
		return "open, not synced at every commit"
	}
	return fmt.Sprintf("logState(%d)", uint8(s))
}

// verification is one Verify. Its steps:
//
//  1. META, the segments' headers, the checkpoints: what a look finds, and each checkpoint's checksum.
//  2. indexes: those of the rewritten segments, which the records are read without.
//  3. records: every byte of every segment, and that each room hangs together.
//  4. heads: that no room ends before the newest checkpoint says.
type verification struct {
	view    *View
	report  func(Finding)
	summary Summary
	// heads are the newest records of the rooms so far.
	heads *roomTable
	// damaged are the bases of segments with damage in their records.
	damaged map[position]bool
	told    map[string]bool
	// promised is what the newest checkpoint says, nil without one.
	promised *checkpoint
}

// Verify reads every byte of the log and reports what is wrong: damaged and missing places, and records that
// are missing without one. What retention dropped is not missing. It may run beside a server.
func (v *View) Verify(report func(Finding)) (Summary, error) {
	if err := v.look(); err != nil {
		return Summary{}, fmt.Errorf("verify the log: %w", err)
	}
	c := &verification{view: v, report: report, heads: newRoomTable(), damaged: map[position]bool{}, told: map[string]bool{}}
	c.heads.logID = v.LogID()
	for _, damage := range v.damage {
		c.find(Finding{Path: damage.Path, Offset: damage.Offset, Err: damage.Err})
	}
	// Before the records: a checkpoint that is made meanwhile would know more than was read.
	if err := c.checkpoints(); err != nil {
		return c.summary, fmt.Errorf("verify the log: %w", err)
	}
	// Before them too: who meets a damaged index makes another one.
	for _, g := range v.log.segments.load() {
		if g.packed() && !g.lost {
			c.index(g)
		}
	}
	if err := c.records(); err != nil {
		return c.summary, fmt.Errorf("verify the log: %w", err)
	}
	if err := c.headsPromised(); err != nil {
		return c.summary, fmt.Errorf("verify the log: %w", err)
	}
	return c.finish(), nil
}

// find reports a place once, though the list of segments and the records may both say it.
func (c *verification) find(f Finding) {
	key := fmt.Sprint(f.Path, f.Offset, f.Room, f.First)
	if c.told[key] {
		return
	}
	c.told[key] = true
	c.summary.Findings++
	c.report(f)
}

func (c *verification) checkpoints() error {
	v := c.view
	names, err := v.fs.List(v.dir)
	if err != nil {
		return fmt.Errorf("list log directory %s: %w", v.dir, err)
	}
	for _, name := range checkpointNames(names) {
		found, err := v.log.readCheckpoint(name, c.promised == nil)
		var corrupt *storage.CorruptionError
		switch {
		case errors.Is(err, fs.ErrNotExist): // an old one is removed when a new one is there
			continue
		case errors.As(err, &corrupt):
			c.find(Finding{Path: corrupt.Path, Offset: corrupt.Offset, Err: fmt.Errorf("checkpoint of the rooms is damaged: %w", corrupt.Err)})
		case err != nil:
			c.find(Finding{Path: filepath.Join(v.dir, name), Err: err})
		case c.promised == nil:
			c.promised = found
		}
		c.summary.Checkpoints++
	}
	return nil
}

// records goes around a segment that can't be read to its end.
func (c *verification) records() error {
	v := c.view
	c.summary.OldestAt, c.summary.NewestAt = math.MaxInt64, math.MinInt64
	for from := int64(0); ; {
		next, err := v.walk(position(from), func(h recordHeader, e Entry) bool {
			c.record(h, e)
			return true
		}, func(damage *storage.CorruptionError) {
			if base, ok := parseSegmentName(filepath.Base(damage.Path)); ok {
				c.damaged[base] = true
			}
			c.find(Finding{Path: damage.Path, Offset: damage.Offset, Err: damage.Err})
		})
		if err == nil {
			return nil
		}
		g := v.find(position(next))
		if g == nil || int64(g.rangeEnd()) <= next {
			return err
		}
		c.damaged[g.base] = true
		c.find(Finding{Path: g.path, Offset: next - int64(g.base), Err: err})
		from = int64(g.rangeEnd())
	}
}

// record checks that a record follows the one before it in its room.
func (c *verification) record(h recordHeader, e Entry) {
	r := &e.Record
	c.summary.Records++
	if e.Stub {
		c.summary.Stubs++
	}
	c.summary.OldestAt = min(c.summary.OldestAt, r.At)
	c.summary.NewestAt = max(c.summary.NewestAt, r.At)
	var head uint64
	var headAt position
	c.heads.update(c.heads.key(r.Room), func(s *roomState) {
		head, headAt = s.headSeq, s.headAt
		if r.Seq > head {
			s.headSeq, s.headAt = r.Seq, position(e.Position)
		}
	})
	g := c.view.find(position(e.Position))
	at := Finding{Path: g.path, Offset: e.Position - int64(g.base), Room: string([]byte(r.Room)), First: r.Seq, Last: r.Seq}
	if g.packed() {
		at.Offset = 0
	}
	switch {
	case r.Seq <= head:
		at.Err = fmt.Errorf("it stands behind record %d", head)
		c.find(at)
	case e.Stub: // says that what is before it is gone
	case r.Seq > head+1:
		c.gap(h, at.Room, head+1, r.Seq-1)
	case h.previous != headAt:
		at.Err = fmt.Errorf("it points to position %d, the record before it is at %d", h.previous, headAt)
		c.find(at)
	}
}

// gap reports records that are missing, unless retention explains it: it drops the oldest of a room first, so
// all are gone if the last of them has no place any more.
func (c *verification) gap(h recordHeader, room string, first, last uint64) {
	g := c.view.find(h.previous)
	f := Finding{Path: g.path, Room: room, First: first, Last: last, Err: errors.New("missing")}
	switch {
	case g.lost:
	case !g.packed():
		f.Offset = int64(h.previous - g.base)
	default:
		e, err := c.view.log.files.findExtent(g, h.previous, false)
		switch {
		case errors.Is(err, errDropped) && !c.unindexed(g), changed(err): // it is rewritten just now
			return
		case errors.Is(err, errDropped):
			f.Err = errors.New("missing: the damage or retention took them")
		case err != nil:
			f.Err = fmt.Errorf("missing: %w", err)
		default:
			f.Offset = e.start() + int64(h.previous-e.at)
		}
	}
	c.find(f)
}

// unindexed says that not all places of a packed segment are known.
func (c *verification) unindexed(g *segment) bool {
	return c.damaged[g.base] && g.index.Load().first == nil
}

// index reads what stands behind the records of a packed segment. Damage in it hides nothing, as long as the
// records are whole.
func (c *verification) index(g *segment) {
	x := g.index.Load()
	offset, err := x.blocks, error(nil)
	var damage []Finding
	block := make([]byte, indexBlockBytes)
	for range x.first {
		var n int
		if n, err = c.view.log.files.readAt(g, block, offset); err != nil {
			break
		}
		if !isIndexBlock(block[:n], c.view.log.seal) {
			damage = append(damage, Finding{Path: g.path, Offset: offset, Err: errIndex})
		}
		offset += indexBlockBytes
	}
	again := make([]byte, segmentHeaderBytes)
	if err == nil {
		offset = g.size() - segmentHeaderBytes
		_, err = c.view.log.files.readAt(g, again, offset)
	}
	switch {
	case changed(err): // the file that takes its place has an index of its own
	case err != nil:
		damage = append(damage, Finding{Path: g.path, Offset: offset, Err: err})
	case string(again) != string(encodeSegmentHeader(c.view.log.meta.logID, g.segmentHeader)):
		damage = append(damage, Finding{Path: g.path, Offset: offset, Err: errors.New("second header of a rewritten segment is damaged")})
	}
	if len(damage) > 0 && c.view.unchanged(g) { // else the file was given to another segment meanwhile
		for _, f := range damage {
			c.find(f)
		}
	}
}

// headsPromised reports the newest records of rooms that a checkpoint knows and the log has no more: no later
// record tells of them.
func (c *verification) headsPromised() error {
	if c.promised == nil {
		return nil
	}
	v := c.view
	missing := map[roomKey]roomState{}
	for _, chunk := range c.promised.table.chunks {
		for _, e := range chunk {
			if e.headSeq > c.heads.find(e.key).headSeq {
				missing[e.key] = e.roomState
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	report := func(room string, key roomKey) {
		f := Finding{Path: v.dir, Room: room, First: c.heads.find(key).headSeq + 1, Last: missing[key].headSeq, Err: errors.New("missing, the newest of the room")}
		if g := v.find(missing[key].headAt); g != nil {
			f.Path = g.path
			if !g.packed() {
				f.Offset = int64(missing[key].headAt - g.base)
			}
		}
		c.find(f)
		delete(missing, key)
	}
	// The names are in the records.
	_, err := v.Scan(0, func(e Entry) bool {
		key := c.heads.key(e.Record.Room)
		if _, ok := missing[key]; ok {
			report(string([]byte(e.Record.Room)), key)
		}
		return len(missing) > 0
	}, func(*storage.CorruptionError) {})
	for key := range missing {
		report("", key)
	}
	return err
}

func (c *verification) finish() Summary {
	v, s := c.view, &c.summary
	for _, g := range v.log.segments.load() {
		s.Segments++
		switch {
		case g.lost:
			s.Missing++
		case g.packed():
			s.Packed++
		}
		if !g.lost {
			s.Bytes += g.size()
		}
	}
	if s.Records == 0 {
		s.OldestAt, s.NewestAt = 0, 0
	}
	s.Rooms = c.heads.len()
	s.LogID, s.Epoch, s.State = v.log.meta.logID, v.log.meta.epoch, v.log.meta.state.String()
	s.Synced, s.End = int64(v.log.meta.synced), int64(v.end())
	return c.summary
}

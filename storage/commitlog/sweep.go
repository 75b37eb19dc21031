package commitlog

import (
	"errors"
	"time"

	"rookery/storage"
)

// sweep asks the policy for every room where something may have become too old or too much.
func (r *retention) sweep(now time.Time) error {
	r.mu.Lock()
	policy, all := r.policy, r.changed
	r.changed = false
	r.mu.Unlock()
	if policy == nil {
		return nil
	}
	if all {
		r.shortest = 0
	}
	began := position(r.log.published.Load())
	err := r.sweepRooms(policy, all, now)
	if err != nil {
		// Not all were asked.
		r.mu.Lock()
		r.changed = true
		r.mu.Unlock()
		return err
	}
	r.swept = began
	return nil
}

func (r *retention) sweepRooms(policy func(string) storage.Retention, all bool, now time.Time) error {
	chunk := make([]roomEntry, checkpointChunk)
	var errs []error
	for done := 0; ; {
		n := r.log.table.copyFrom(done, chunk)
		if n == 0 {
			return errors.Join(errs...)
		}
		for i := range chunk[:n] {
			e := &chunk[i]
			if e.firstSeq > e.headSeq || !all && !r.due(&e.roomState, now) {
				continue
			}
			err := r.sweepRoom(policy, e, now)
			if errors.Is(err, errStopped) {
				return err
			}
			// A room that can't be read holds up nobody else.
			if err != nil && len(errs) < 10 {
				errs = append(errs, err)
			}
		}
		done += n
	}
}

// due says whether a room may have more than it should: it was written since the last sweep, or its first
// record lies where there are some that are older than the shortest age.
func (r *retention) due(s *roomState, now time.Time) bool {
	if s.headAt >= r.swept {
		return true
	}
	if r.shortest == 0 {
		return false
	}
	snapshot := r.log.segments.enter()
	defer r.log.segments.leave(snapshot)
	g := snapshot.find(s.firstAt)
	return g == nil || g.oldestAt.Load() < now.Add(-r.shortest).UnixMilli()
}

func (r *retention) sweepRoom(policy func(string) storage.Retention, e *roomEntry, now time.Time) error {
	reader := r.log.newReader("", e.roomState)
	defer reader.release()
	head := place{e.headAt, e.headSeq}
	name, h, err := reader.nameOf(head)
	if isCorrupt(err) {
		return nil // told to who reads the room; it keeps what it has until somebody writes to it
	}
	if err != nil {
		return err
	}
	reader.name = name
	keep := policy(name)
	if keep.Age > 0 && (r.shortest == 0 || keep.Age < r.shortest) {
		r.shortest = keep.Age
	}
	first, err := reader.begin(keep, h, now, r.pace)
	if err == nil && first > e.firstSeq {
		err = r.drop(reader, e.key, first, r.pace)
	}
	if isCorrupt(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.pace.rest()
}

// nameOf reads the room's name in a record, which is whole then.
func (r *reader) nameOf(p place) (string, recordHeader, error) {
	g, offset, err := r.log.locate(r.snapshot, p.at, false)
	if err != nil {
		return "", recordHeader{}, err
	}
	h, err := r.header(p)
	if err != nil {
		return "", h, err
	}
	if err := r.fill(g, offset, int64(h.size), int64(h.size)); err != nil {
		return "", h, err
	}
	h, record, n, err := decodeRecord(r.inWindow(g, offset), r.log.seal, p.at)
	if err == nil && n == 0 {
		err = errTorn
	}
	if err != nil {
		return "", h, g.corruption(offset, err)
	}
	return string(append([]byte(nil), record.Room...)), h, nil
}

// begin gives the number of the oldest record that is to be kept, head+1 if none is. The newest record goes
// with its age only, not for its size.
func (r *reader) begin(keep storage.Retention, head recordHeader, now time.Time, pace *pace) (uint64, error) {
	first := r.state.firstSeq
	if keep.Records > 0 && head.seq > keep.Records {
		first = max(first, head.seq-keep.Records+1)
	}
	if keep.Age == 0 && keep.Bytes == 0 {
		return first, nil
	}
	oldest := now.Add(-keep.Age).UnixMilli()
	kept := func(h recordHeader) bool {
		if h.seq < first || keep.Age > 0 && h.at < oldest {
			return false
		}
		// A total that is larger than the newest one was counted before damage: nothing is known.
		return keep.Bytes == 0 || h.total > head.total || head.total-h.total+uint64(h.size) <= keep.Bytes
	}
	begin, err := head.seq+1, error(nil)
	if keep.Age == 0 || head.at >= oldest {
		begin, err = r.oldest(head, kept)
	}
	if err != nil || keep.Age == 0 {
		return begin, err
	}
	return r.elder(begin, first, func(h recordHeader) bool { return kept(h) && h.at <= now.UnixMilli() }, pace)
}

// elder gives the first record from first on that is kept although it stands before begin, and begin if there is none. A clock that was
// behind for a while, as that of a machine that starts without a battery, leaves messages that look older than all before
// them, and those must not go with them. It reads the headers of what goes, which is read to be counted anyway.
func (r *reader) elder(begin, first uint64, kept func(recordHeader) bool, pace *pace) (uint64, error) {
	if begin <= first {
		return begin, nil
	}
	if first == r.state.firstSeq && r.state.firstAt != 0 {
		// Where a clock went wrong in a room of which nothing is due, this is all that is read.
		if h, err := r.header(place{r.state.firstAt, first}); err == nil && kept(h) {
			return first, nil
		}
	}
	p, err := r.find(begin-1, place{r.state.headAt, r.state.headSeq})
	for err == nil && p.seq >= first && p.seq > 0 {
		h, err := r.header(p)
		if isCorrupt(err) || err == nil && h.kind != kindMessage {
			break // nothing says that what is before should stay
		}
		if err != nil {
			return 0, err
		}
		if kept(h) {
			begin = h.seq
		}
		p = place{h.previous, p.seq - 1}
		if err := pace.rest(); err != nil {
			return 0, err
		}
	}
	return begin, err
}

// oldest walks down from the head as long as kept, as far as the pointers lead at a time. It relies on
// kept being false for all that is older than a record that is not kept.
func (r *reader) oldest(h recordHeader, kept func(recordHeader) bool) (uint64, error) {
	for h.seq > r.state.firstSeq {
		if next := skipSeq(h.seq); h.skip != 0 && next >= r.state.firstSeq {
			far, err := r.header(place{h.skip, next})
			if err == nil && kept(far) {
				h = far
				continue
			}
		}
		near, err := r.header(place{h.previous, h.seq - 1})
		if isCorrupt(err) {
			p, err := r.below(place{h.previous, h.seq - 1})
			if err != nil {
				return 0, err
			}
			if p.seq == 0 || p.seq < r.state.firstSeq {
				return r.state.firstSeq, nil // nothing that is known says that it should go
			}
			if near, err = r.header(p); err != nil {
				return 0, err
			}
		} else if err != nil {
			return 0, err
		}
		if near.kind != kindMessage || !kept(near) {
			return h.seq, nil
		}
		h = near
	}
	return h.seq, nil
}

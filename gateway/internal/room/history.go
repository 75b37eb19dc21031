package room

import (
	"errors"
	"slices"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/changes"
)

const (
	// maxPageGaps bounds the gaps that a page names; a page of damage alone ends there.
	maxPageGaps = 16
	// maxPassed and maxPassedBytes bound the changes that a page passes over.
	maxPassed      = 2000
	maxPassedBytes = 1 << 20
	// maxListed bounds how much of a list is looked at for one page.
	maxListed = 3 * maxPassed
)

// history gives a page that was asked for. Changes are in the messages that they are about, and not in the page: a page of
// 50 messages has 50, also where many reactions lie between them.
func (r *readers) history(read handoff.Read) handoff.Event {
	e := handoff.Event{Kind: handoff.Answer, To: read.To, ID: read.ID, Room: read.Room}
	begin := r.cfg.Log.Begin(read.Room)
	h := historyPage{
		page:   proto.NewHistory(read.Codec, read.ID, read.Room, r.epoch, begin),
		wanted: read.Limit, position: read.Position, budget: proto.MaxPageBytes, begin: begin,
		passes: maxPassed, passedBytes: maxPassedBytes, descending: read.Kind == handoff.HistoryBefore,
	}
	more := false
	err := r.viewing(read, func(f *fold) (err error) {
		h.fold = f
		if read.List == handoff.Everything {
			more, err = r.historyAll(read, &h)
		} else {
			more, err = r.historyList(read, &h)
		}
		return err
	})
	if err != nil {
		e.Code, e.Text = r.report(read, err)
		return e
	}
	e.Frames = h.page.Append(make([]byte, handoff.Headroom), h.descending, more)
	return e
}

// historyPage is a page in the making.
type historyPage struct {
	page       *proto.HistoryBuilder
	fold       *fold
	descending bool
	begin      uint64
	wanted     int    // messages that still fit
	budget     int    // bytes that still fit
	position   uint64 // read on behind it, or under it
	moved      bool   // something was found

	// Changes that may still be passed over, and the last one of them if it is the last record that was read.
	passes, passedBytes int
	passed              *v1.Message
}

// add puts a record into the page.
func (h *historyPage) add(rec storage.Record) error {
	m, err := h.fold.message(rec)
	if err != nil {
		return err
	}
	if m == nil {
		h.page.Add(header(rec), rec.Body)
		h.budget -= len(rec.Body)
	} else {
		h.budget -= h.page.AddMessage(m)
	}
	h.wanted--
	return nil
}

// full reports whether the page takes no more.
func (h *historyPage) full() bool {
	return h.wanted <= 0 || h.budget <= 0 || h.passes <= 0 || h.passedBytes <= 0
}

// historyAll is a page of all messages; more says whether something is behind or under it.
func (r *readers) historyAll(read handoff.Read, h *historyPage) (more bool, err error) {
	for again := true; again; {
		if again, err = r.historyStep(read, h); err != nil {
			return false, err
		}
	}
	more = h.position > h.begin // descending: something is under the page
	if !h.descending {
		more = h.position < r.cfg.Log.Head(read.Room)
	}
	more = more && h.moved
	if more && h.passed != nil {
		h.page.AddMessage(h.passed) // a place to go on from
	}
	return more, nil
}

// historyStep reads up to the end of the page, or to the next damage, behind which it goes on.
func (r *readers) historyStep(read handoff.Read, h *historyPage) (again bool, err error) {
	from := h.position
	var wrong error
	add := func(rec storage.Record) bool {
		h.position, h.moved, h.passed = rec.Seq, true, nil
		if speaksOf(rec.Body) != nil {
			h.passes--
			h.passedBytes -= len(rec.Body)
			h.passed = waste(rec)
			return !h.full()
		}
		wrong = h.add(rec)
		return wrong == nil && !h.full()
	}
	limit := storage.PageLimit{Records: h.wanted, Bytes: h.budget}
	if h.descending {
		err = r.cfg.Log.ReadBefore(read.Room, h.position, limit, add)
	} else {
		err = r.cfg.Log.ReadAfter(read.Room, h.position, limit, add)
	}
	if wrong != nil {
		return false, wrong
	}
	damaged, ok := errors.AsType[*storage.DamagedError](err)
	if err == nil {
		// The log's own limit counts changes too.
		return h.position != from && h.fold.view != nil && !h.full() && (!h.descending || h.position > h.begin), nil
	} else if !ok {
		return false, err
	}
	r.report(read, err)
	gaps := h.page.AddGap(damaged.First, damaged.Last)
	h.moved, h.passed = true, nil
	if h.descending {
		h.position = damaged.First
	} else {
		h.position = damaged.Last
	}
	return !h.full() && gaps < maxPageGaps && h.position > 1, nil
}

// historyList is a page of the messages that the index lists: a thread, what is pinned, what mentions a user. A list of mentions has some that edits
// took away; a page of nothing else would have no place to go on from, so it is read until there is one, or as much as one page may cost: there
// the list ends.
func (r *readers) historyList(read handoff.Read, h *historyPage) (more bool, err error) {
	if h.fold.view == nil {
		return false, nil
	}
	wanted := h.wanted
	for looked := 0; looked < maxListed; {
		seqs, end := r.listed(read, h)
		looked += len(seqs)
		for _, seq := range seqs {
			if h.full() {
				return true, nil
			}
			if err := r.historyOne(read, h, seq); err != nil {
				return false, err
			}
		}
		if end == 0 {
			return false, nil
		}
		if h.wanted < wanted {
			return true, nil
		}
		read.Position = end
	}
	return false, nil
}

// listed gives the numbers of a list, in the order in which the page is read, and where to go on, 0 at the end of the list.
func (r *readers) listed(read handoff.Read, h *historyPage) (seqs []uint64, end uint64) {
	v := h.fold.view
	// Some of them may mention the user no longer. What retention has taken may be listed until the index is swept.
	part := changes.Range{Position: read.Position, Descending: h.descending, Most: read.Limit + maxPassed}
	if !h.descending {
		part.Position = max(part.Position, h.begin-1)
	}
	switch read.List {
	case handoff.Pinned:
		seqs = v.Pins(part)
	case handoff.Mentions:
		seqs = v.Mentions(read.User, part)
	default:
		seqs = v.Thread(read.Root, part)
	}
	if len(seqs) == part.Most && seqs[len(seqs)-1] >= h.begin {
		end = seqs[len(seqs)-1]
	}
	switch {
	case read.List != handoff.Thread:
	case h.descending && (read.Position == 0 || read.Position > read.Root) && end == 0:
		seqs = append(seqs, read.Root)
	case !h.descending && read.Position < read.Root:
		seqs = slices.Insert(seqs, 0, read.Root)
	}
	return slices.DeleteFunc(seqs, func(seq uint64) bool { return seq < h.begin }), end
}

// historyOne adds one message of a list, if it is there and belongs to the list still.
func (r *readers) historyOne(read handoff.Read, h *historyPage, seq uint64) error {
	var wrong error
	err := r.cfg.Log.ReadAfter(read.Room, seq-1, storage.PageLimit{Records: 1}, func(rec storage.Record) bool {
		if rec.Seq != seq || speaksOf(rec.Body) != nil {
			return false
		}
		if read.List == handoff.Mentions {
			m, err := h.fold.message(rec)
			if wrong = err; err != nil {
				return false
			}
			if m == nil {
				m, wrong = decode(rec)
			}
			if !slices.Contains(m.Mentions, read.User) {
				return false
			}
		}
		wrong = h.add(rec)
		return false
	})
	if wrong != nil {
		return wrong
	}
	if _, damaged := errors.AsType[*storage.DamagedError](err); damaged {
		r.report(read, err)
		h.page.AddGap(seq, seq)
		return nil
	}
	return err
}

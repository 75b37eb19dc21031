package room

import (
	"errors"
	"sync"
	"sync/atomic"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	"rookery/storage"
)

const (
	// replayBytes and replayMessages bound a page of catch-up. A page is what a connection
	// may have waiting in one piece, so it is small; the next is asked for when it has left.
	replayBytes    = 64 << 10
	replayMessages = 1000
	// readQueue bounds the reads that wait: 4,096 of about 100 bytes.
	readQueue = 4096
)

// readers read pages of the log for connections, off the loops and the shards, which
// never wait for a disk.
type readers struct {
	cfg   Config
	epoch string
	queue chan handoff.Read
	ended chan struct{} // closed by stop; the queue never is, since loops may still put

	pages   atomic.Int64
	damaged atomic.Int64
}

func startReaders(cfg Config, running *sync.WaitGroup) *readers {
	r := &readers{
		cfg: cfg, epoch: EpochName(cfg.Log.Epoch()),
		queue: make(chan handoff.Read, readQueue),
		ended: make(chan struct{}),
	}
	for range cfg.Readers {
		running.Go(r.readLoop)
	}
	return r
}

func (r *readers) put(read handoff.Read) bool {
	select {
	case r.queue <- read:
		return true
	default:
		return false
	}
}

func (r *readers) stop() { close(r.ended) }

// readLoop is one reader's goroutine: started by startReaders, ended by stop when the queue
// is empty.
func (r *readers) readLoop() {
	for {
		select {
		case read := <-r.queue:
			r.read(read)
			continue
		default:
		}
		select {
		case read := <-r.queue:
			r.read(read)
		case <-r.ended:
			return
		}
	}
}

func (r *readers) read(read handoff.Read) {
	var e handoff.Event
	if read.Kind == handoff.Replay {
		e = r.replay(read)
	} else {
		e = r.history(read)
	}
	r.pages.Add(1)
	e.Size = handoff.ReplySize + len(e.Frames)
	r.cfg.Loops[read.To.Loop].PutAlways(e, e.Size)
}

// replay gives what the log has after a position: messages, and a gap in place of those that
// are gone. So the position always moves on, unless nothing can be read at all.
func (r *readers) replay(read handoff.Read) handoff.Event {
	e := handoff.Event{Kind: handoff.Page, To: read.To, Room: read.Room, Seq: read.Position}
	e.Frames = make([]byte, handoff.Headroom, 1<<10)
	// reach puts a gap before seq if it does not follow what was given.
	reach := func(seq uint64, reason string) {
		if seq > e.Seq+1 {
			e.Frames = proto.AppendGap(e.Frames, codec(read), read.Room, e.Seq+1, seq-1, reason)
			e.Seq = seq - 1
		}
	}
	limit := storage.PageLimit{Records: replayMessages, Bytes: replayBytes}
	err := r.cfg.Log.ReadAfter(read.Room, read.Position, limit, func(rec storage.Record) bool {
		reach(rec.Seq, proto.GapExpired)
		e.Frames = proto.AppendMessage(e.Frames, codec(read), header(rec), rec.Body)
		e.Seq = rec.Seq
		return true
	})
	if damaged, ok := errors.AsType[*storage.DamagedError](err); ok {
		r.report(read, err)
		reach(damaged.First, proto.GapExpired)
		reach(damaged.Last+1, proto.GapDamaged)
		return e
	}
	if err != nil {
		e.Code, e.Text = r.report(read, err)
	} else if e.Seq == read.Position {
		// Retention has taken all up to the head, perhaps just now.
		reach(r.cfg.Log.Begin(read.Room), proto.GapExpired)
	}
	return e
}

func (r *readers) history(read handoff.Read) handoff.Event {
	begin := r.cfg.Log.Begin(read.Room)
	page := proto.NewHistory(codec(read), read.ID, read.Room, r.epoch, begin)
	h := historyPage{page: page, wanted: read.Limit, position: read.Position, budget: proto.MaxPageBytes}
	descending := read.Kind == handoff.HistoryBefore
	var err error
	for again := true; again && err == nil; {
		again, err = r.historyStep(read, &h, descending)
	}
	e := handoff.Event{Kind: handoff.Answer, To: read.To, ID: read.ID, Room: read.Room}
	if err != nil {
		e.Code, e.Text = r.report(read, err)
		return e
	}
	more := h.position > begin // descending: something is under the page
	if !descending {
		more = h.position < r.cfg.Log.Head(read.Room)
	}
	e.Frames = page.Append(make([]byte, handoff.Headroom), descending, more && h.moved)
	return e
}

// historyPage is a page in the making.
type historyPage struct {
	page     *proto.HistoryBuilder
	wanted   int    // messages that still fit
	budget   int    // bytes that still fit
	position uint64 // read on behind it, or under it
	moved    bool   // something was found
}

// maxPageGaps bounds the gaps that a page names; a page of damage alone ends there.
const maxPageGaps = 16

// historyStep reads up to the end of the page, or to the next damage, behind which it goes on.
func (r *readers) historyStep(read handoff.Read, h *historyPage, descending bool) (again bool, err error) {
	add := func(rec storage.Record) bool {
		h.page.Add(header(rec), rec.Body)
		h.wanted--
		h.budget -= len(rec.Body)
		h.position, h.moved = rec.Seq, true
		return h.wanted > 0
	}
	limit := storage.PageLimit{Records: h.wanted, Bytes: h.budget}
	if descending {
		err = r.cfg.Log.ReadBefore(read.Room, h.position, limit, add)
	} else {
		err = r.cfg.Log.ReadAfter(read.Room, h.position, limit, add)
	}
	damaged, ok := errors.AsType[*storage.DamagedError](err)
	if !ok {
		return false, err
	}
	r.report(read, err)
	gaps := h.page.AddGap(damaged.First, damaged.Last)
	h.moved = true
	if descending {
		h.position = damaged.First
	} else {
		h.position = damaged.Last
	}
	return h.wanted > 0 && h.budget > 0 && gaps < maxPageGaps && h.position > 1, nil
}

// report tells the operator what can't be read; the client hears that it is so.
func (r *readers) report(read handoff.Read, err error) (proto.ErrorCode, string) {
	r.damaged.Add(1)
	if r.cfg.ReportDamaged != nil {
		r.cfg.ReportDamaged(read.Room, err)
	}
	return proto.ErrHistoryDamaged, "A part of this room's history can't be read; the operator has been told."
}

func header(rec storage.Record) proto.Header {
	return proto.Header{Room: rec.Room, Seq: rec.Seq, At: rec.At, From: rec.From}
}

func codec(read handoff.Read) proto.Codec {
	if read.JSON {
		return proto.JSON
	}
	return proto.Binary
}

package room

import (
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
	e.Size = replySize + len(e.Frames)
	r.cfg.Loops[read.To.Loop].PutAlways(e, e.Size)
}

func (r *readers) replay(read handoff.Read) handoff.Event {
	e := handoff.Event{Kind: handoff.Page, To: read.To, Room: read.Room, Seq: read.Position}
	e.Frames = make([]byte, handoff.Headroom, 1<<10)
	limit := storage.PageLimit{Records: replayMessages, Bytes: replayBytes}
	err := r.cfg.Log.ReadAfter(read.Room, read.Position, limit, func(rec storage.Record) bool {
		e.Frames = proto.AppendMessage(e.Frames, codec(read), header(rec), rec.Body)
		e.Seq = rec.Seq
		return true
	})
	if err != nil {
		e.Code, e.Text = r.report(read, err)
	}
	return e
}

func (r *readers) history(read handoff.Read) handoff.Event {
	page := proto.NewHistory(codec(read), read.ID, read.Room, r.epoch)
	// One more than asked tells whether there is more.
	limit := storage.PageLimit{Records: read.Limit + 1, Bytes: proto.MaxPageBytes}
	var count int
	var last uint64
	more := false
	add := func(rec storage.Record) bool {
		if count == read.Limit {
			more = true
			return false
		}
		page.Add(header(rec), rec.Body)
		count++
		last = rec.Seq
		return true
	}
	descending := read.Kind == handoff.HistoryBefore
	var err error
	if descending {
		err = r.cfg.Log.ReadBefore(read.Room, read.Position, limit, add)
		more = more || count > 0 && last > 1 // the page ended at its bytes
	} else {
		err = r.cfg.Log.ReadAfter(read.Room, read.Position, limit, add)
		more = more || count > 0 && last < r.cfg.Log.Head(read.Room)
	}
	e := handoff.Event{Kind: handoff.Answer, To: read.To, ID: read.ID, Room: read.Room}
	if err != nil {
		e.Code, e.Text = r.report(read, err)
		return e
	}
	e.Frames = page.Append(make([]byte, handoff.Headroom), descending, more)
	return e
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

package room

import (
	"errors"
	"sync"
	"sync/atomic"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/changes"
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
	switch read.Kind {
	case handoff.Replay:
		e = r.replay(read)
	case handoff.Sync:
		e = r.sync(read)
	default:
		e = r.history(read)
	}
	r.pages.Add(1)
	e.Size = handoff.ReplySize + len(e.Frames)
	r.cfg.Loops[read.To.Loop].PutAlways(e, e.Size)
}

// viewing calls fn with a fold that has in it all that was committed before.
func (r *readers) viewing(read handoff.Read, fn func(*fold) error) error {
	if err := r.settle(); err != nil {
		return err
	}
	return r.view(read, fn)
}

// settle waits until the index has in it all that is committed now.
func (r *readers) settle() error {
	if r.cfg.Changes == nil {
		return nil
	}
	return r.cfg.Changes.Wait()
}

// view calls fn with a fold of all that settle has waited for.
func (r *readers) view(read handoff.Read, fn func(*fold) error) error {
	f := &fold{log: r.cfg.Log, read: read, lost: func(err error) { r.report(read, err) }}
	if r.cfg.Changes == nil {
		return fn(f)
	}
	return r.cfg.Changes.View(read.Room, func(v *changes.View) error {
		f.view = v
		return fn(f)
	})
}

// replay gives what the log has after a position: messages, and a gap in place of those that
// are gone. So the position always moves on, unless nothing can be read at all.
func (r *readers) replay(read handoff.Read) handoff.Event {
	e := handoff.Event{Kind: handoff.Page, To: read.To, Room: read.Room, Seq: read.Position}
	err := r.viewing(read, func(f *fold) error { return r.replayPage(read, f, &e) })
	if err != nil {
		e.Frames, e.Seq = nil, read.Position
		e.Code, e.Text = r.report(read, err)
	}
	return e
}

func (r *readers) replayPage(read handoff.Read, f *fold, e *handoff.Event) error {
	e.Frames = make([]byte, handoff.Headroom, 1<<10)
	// reach puts a gap before seq if it does not follow what was given.
	reach := func(seq uint64, reason string) {
		if seq > e.Seq+1 {
			e.Frames = proto.AppendGap(e.Frames, read.Codec, read.Room, e.Seq+1, seq-1, reason)
			e.Seq = seq - 1
		}
	}
	limit := storage.PageLimit{Records: replayMessages, Bytes: replayBytes}
	var wrong error
	err := r.cfg.Log.ReadAfter(read.Room, read.Position, limit, func(rec storage.Record) bool {
		var folded *v1.Message
		if folded, wrong = f.message(rec); wrong != nil {
			return false
		}
		reach(rec.Seq, proto.GapExpired)
		if folded != nil {
			e.Frames = proto.AppendServerFrame(e.Frames, read.Codec, &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: folded}})
		} else {
			e.Frames = proto.AppendMessage(e.Frames, read.Codec, header(rec), rec.Body)
		}
		e.Seq = rec.Seq
		return len(e.Frames) < 2*replayBytes // an edit may be longer than what it replaces
	})
	if wrong != nil {
		return wrong
	}
	if damaged, ok := errors.AsType[*storage.DamagedError](err); ok {
		r.report(read, err)
		reach(damaged.First, proto.GapExpired)
		reach(damaged.Last+1, proto.GapDamaged)
		return nil
	}
	if err == nil && e.Seq == read.Position {
		// Retention has taken all up to the head, perhaps just now.
		reach(r.cfg.Log.Begin(read.Room), proto.GapExpired)
	}
	if err != nil && e.Seq != read.Position {
		r.report(read, err) // what was read is a page
		return nil
	}
	return err
}

// report tells the operator what can't be read; the client hears that it is so.
func (r *readers) report(read handoff.Read, err error) (proto.ErrorCode, string) {
	if errors.Is(err, changes.ErrBehind) || errors.Is(err, changes.ErrDamaged) {
		return proto.ErrOverloaded, "The index of changes is behind; ask again later."
	}
	r.damaged.Add(1)
	if r.cfg.ReportDamaged != nil {
		r.cfg.ReportDamaged(read.Room, err)
	}
	return proto.ErrHistoryDamaged, "A part of this room's history can't be read; the operator has been told."
}

func header(rec storage.Record) proto.Header {
	return proto.Header{Room: rec.Room, Seq: rec.Seq, At: rec.At, From: rec.From}
}

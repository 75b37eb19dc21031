package notice

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/rate"
	"rookery/gateway/internal/webhook"
)

// Source has the records that notices are in.
type Source interface {
	// Head is the number of the newest committed record, Begin of the oldest that is there.
	Head() uint64
	Begin() uint64
	// Read calls each for some records behind a number, in order, and gives the number of the last that needs not be read again, also with an error.
	Read(after uint64, each func(Record)) (last uint64, err error)
}

// Record is a record with notices.
type Record struct {
	Number  uint64
	At      int64 // Unix milliseconds
	Notices []Notice
}

// Notice is what has happened to a member of a room.
type Notice struct {
	Room string
	Body json.RawMessage // what the application is told
}

// Hook is how the application is reached. webhook.Hook is one.
type Hook interface {
	Post(ctx context.Context, id, kind string, data any) (*webhook.Answer, error)
}

// Config says how the keeper runs. All fields without a default must be set.
type Config struct {
	Source  Source
	Hook    Hook
	History string // names the log and its epoch
	Dir     string // of the file; made if it is not there
	Logger  *slog.Logger

	Every       time.Duration // between two turns; default 250 ms
	Timeout     time.Duration // of an attempt; default 10 s
	Waiting     int           // most notices that wait; default 20,000
	DeadLetters int           // most that are kept; default 10,000
}

// ErrClosed says that the keeper was closed.
var ErrClosed = errors.New("the notices are closed")

// Keeper keeps the notices. Its methods are safe for concurrent use, but not for an event loop: they wait.
type Keeper struct {
	// Set at construction.
	cfg     Config
	calls   chan func()
	jobs    chan job
	landed  chan landing
	stop    chan struct{}
	ended   chan struct{}
	context context.Context // of what is being sent
	cancel  context.CancelFunc
	sending sync.WaitGroup

	// Owned by keepLoop, and by Start before it runs.
	store    *store
	position uint64 // the record that was taken last
	lines    map[string]*line
	due      []*line // those that nobody is sending for, by the time of their next attempt
	waiting  int
	flying   int
	failures int   // in a row
	rest     int64 // after failures no attempt before, Unix milliseconds
	dead     int
	failing  bool      // reading or writing, which has been logged
	dying    rate.Line // an application that refuses all has thousands of dead letters

	counters counters
}

// counters are written by keepLoop and read by anyone.
type counters struct {
	sent, failed, died, lost, missed atomic.Int64
	waiting, dead                    atomic.Int64
}

// Start opens the file and goes on from where it says, or begins at the end of the records. Close ends it.
func Start(cfg Config) (*Keeper, error) {
	orElse := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	orElse(&cfg.Waiting, 20_000)
	orElse(&cfg.DeadLetters, 10_000)
	if cfg.Every == 0 {
		cfg.Every = 250 * time.Millisecond
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	k := &Keeper{
		cfg:    cfg,
		calls:  make(chan func()),
		jobs:   make(chan job, width),
		landed: make(chan landing),
		stop:   make(chan struct{}),
		ended:  make(chan struct{}),
		lines:  make(map[string]*line),
	}
	if err := k.open(); err != nil {
		return nil, err
	}
	k.context, k.cancel = context.WithCancel(context.Background())
	for range width {
		k.sending.Go(k.sendLoop)
	}
	go k.keepLoop()
	return k, nil
}

// keepLoop is started by Start and ended by Close.
func (k *Keeper) keepLoop() {
	defer close(k.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.stop:
			return
		case call := <-k.calls:
			call()
		case l := <-k.landed:
			k.land(l)
		case <-timer.C:
			more := k.turn()
			wait := k.cfg.Every
			if more {
				wait = 0
			}
			timer.Reset(wait)
		}
		k.dispatch()
		k.show()
	}
}

// turn takes what is new and makes durable what has changed, and reports whether there is more to take.
func (k *Keeper) turn() (more bool) {
	err := errors.Join(k.read(), k.flush())
	if err != nil && !k.failing {
		k.cfg.Logger.Error("notices of members stand still; it is tried again", "err", err)
	}
	k.failing = err != nil
	return err == nil && k.position < k.cfg.Source.Head() && k.waiting < k.cfg.Waiting
}

// read takes some records.
func (k *Keeper) read() error {
	// What was sent and could not be written, since the file fails, is bounded like what waits.
	if max(k.waiting, len(k.store.touched)) >= k.cfg.Waiting || k.position >= k.cfg.Source.Head() {
		return nil
	}
	if begin := k.cfg.Source.Begin(); begin > k.position+1 {
		k.cfg.Logger.Error("notices of members are lost: what they are in was replaced by a snapshot before it was read",
			"records", begin-k.position-1)
		k.counters.missed.Add(int64(begin - k.position - 1))
		k.position = begin - 1
	}
	last, err := k.cfg.Source.Read(k.position, func(r Record) {
		for i, n := range r.Notices {
			k.add(r, i, n)
		}
	})
	k.store.moved = k.store.moved || last > k.position
	k.position = max(k.position, last)
	return err
}

// show copies what others may read.
func (k *Keeper) show() {
	k.counters.waiting.Store(int64(k.waiting))
	k.counters.dead.Store(int64(k.dead))
}

// call has keepLoop run something.
func (k *Keeper) call(ctx context.Context, fn func() error) (err error) {
	done := make(chan struct{})
	select {
	case k.calls <- func() { err = fn(); close(done) }:
	case <-k.ended:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-done
	return err
}

// Close ends what is being sent, which is sent again after the next start, and closes the file. There is one call.
func (k *Keeper) Close() error {
	close(k.stop)
	<-k.ended
	k.cancel()
	k.sending.Wait()
	return errors.Join(k.flush(), k.store.file.Close())
}

// Stats are counters since Start and sizes now.
type Stats struct {
	Sent    int64 // notices that were taken
	Failed  int64 // attempts that will be made again
	Died    int64 // notices that became dead letters
	Lost    int64 // dead letters that went for want of room
	Missed  int64 // records that a snapshot had replaced before they were read
	Waiting int64
	Dead    int64
}

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	c := &k.counters
	return Stats{c.sent.Load(), c.failed.Load(), c.died.Load(), c.lost.Load(), c.missed.Load(), c.waiting.Load(), c.dead.Load()}
}

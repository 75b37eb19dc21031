package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rookery/storage/commitlog"
)

// Log is what shipping needs of a log, which is a *commitlog.Log.
type Log interface {
	Segments() []commitlog.SegmentInfo
	Committed() (base, bytes int64)
	ReadSegment(info commitlog.SegmentInfo, b []byte, offset int64) (int, error)
}

// Config is all that shipping needs to know. Log, its id and epoch, and Target have no default.
type Config struct {
	Log    Log
	LogID  uint64
	Epoch  uint64
	Target Target
	// Every is how far behind the log the target is at most. Default 5 s.
	Every time.Duration
	// ChunkBytes is the size of a full chunk, which is also the memory that shipping takes. Default 8 MiB.
	ChunkBytes int64
	// Logger gets a line when shipping begins, fails, is refused, or goes on. Default slog.Default().
	Logger *slog.Logger
}

const (
	defaultEvery      = 5 * time.Second
	defaultChunkBytes = 8 << 20

	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Shipper ships one log to one target. Start begins, Stop ends; Stats is safe from any goroutine.
type Shipper struct {
	// Set at construction.
	config   Config
	ctx      context.Context // of all calls; ends when Stop has waited long enough
	cancel   context.CancelFunc
	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}

	// Owned by shipLoop.
	copy      *targetCopy // nil: not known, it must be looked at
	resumed   bool        // it was known once
	buffer    []byte
	condition condition
	since     time.Time // of the condition
	retry     time.Duration
	took      time.Duration // the last look that put a manifest, up to that

	// Written by shipLoop, read from any goroutine.
	shippedEnd atomic.Int64
	coveredAt  atomic.Int64 // Unix nanoseconds: all that was committed then is at the target
	bytes      atomic.Uint64
	errors     atomic.Uint64
	refused    atomic.Bool
}

// condition is what the last look came to.
type condition uint8

const (
	starting condition = iota
	shipping
	failing
	refusing
)

// Stats is a look at the counters.
type Stats struct {
	// Behind is since when the target lacks something, 0 while it has all.
	Behind  time.Duration
	Bytes   uint64 // put, since the start
	Errors  uint64 // looks that failed, and removals
	Refused bool   // the target holds something that this log may not touch
}

// RefusedError says that the target holds a state that this log does not have. It is left alone.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string {
	return e.Reason + "; nothing there is touched: give the log an empty prefix or directory to ship to"
}

// New gives a shipper; nothing is asked of the target yet.
func New(config Config) *Shipper {
	if config.Every == 0 {
		config.Every = defaultEvery
	}
	if config.ChunkBytes == 0 {
		config.ChunkBytes = defaultChunkBytes
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	s := &Shipper{config: config, stopping: make(chan struct{}), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.coveredAt.Store(time.Now().UnixNano())
	return s
}

// Start begins to ship, once.
func (s *Shipper) Start() {
	go func() {
		defer close(s.done)
		s.shipLoop()
	}()
}

// Stop ships what was committed up to now, for as long as ctx lasts, and ends; an error says that the target
// lacks something. If the file system of the target hangs Stop leaves the goroutine behind: the process is
// about to end, and the target has whole states only.
func (s *Shipper) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stopping) })
	defer s.cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.cancel()
		select {
		case <-s.done:
		case <-time.After(100 * time.Millisecond):
		}
	}
	if behind := s.Stats().Behind; behind > 0 {
		return fmt.Errorf("the shipped copy lacks what was committed in the last %v", behind.Round(time.Millisecond))
	}
	return nil
}

// Stats is safe from any goroutine.
func (s *Shipper) Stats() Stats {
	stats := Stats{Bytes: s.bytes.Load(), Errors: s.errors.Load(), Refused: s.refused.Load()}
	if base, bytes := s.config.Log.Committed(); base+bytes != s.shippedEnd.Load() {
		stats.Behind = max(1, time.Since(time.Unix(0, s.coveredAt.Load())))
	}
	return stats
}

// shipLoop is started by Start and ended by Stop, behind one more look.
func (s *Shipper) shipLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if c, ok := s.config.Target.(io.Closer); ok {
		defer c.Close() // of idle connections: it has no error
	}
	for {
		last := false
		select {
		case <-s.stopping:
			last = true
		case <-timer.C:
		}
		begun := time.Now()
		err := s.look(s.ctx, begun)
		if last {
			return
		}
		timer.Reset(s.settle(err, begun))
	}
}

// look brings the target up to the log as it is now.
func (s *Shipper) look(ctx context.Context, begun time.Time) error {
	for lists := 1; ; lists++ {
		var err error
		if s.copy == nil {
			err = s.resume(ctx)
		}
		if err == nil {
			err = s.advance(ctx, begun)
		}
		if errors.Is(err, commitlog.ErrReplaced) && lists < maxLists && ctx.Err() == nil {
			continue // retention was at work: what is at the target counts
		}
		if err != nil {
			// A put that failed may have happened. What is at the target is known by looking there.
			s.copy = nil
		}
		if cap(s.buffer) > keptBufferBytes {
			s.buffer = nil
		}
		return err
	}
}

// maxLists bounds how often the files are listed anew in one look.
const maxLists = 100

// keptBufferBytes is the largest buffer that is kept between looks.
const keptBufferBytes = 256 << 10

// settle counts and logs what a look came to, and gives the time to the next.
func (s *Shipper) settle(err error, begun time.Time) time.Duration {
	refusal, refused := errors.AsType[*RefusedError](err)
	s.refused.Store(refused)
	next := shipping
	switch {
	case refused:
		next = refusing
	case err != nil:
		next = failing
	}
	if err != nil {
		s.errors.Add(1)
	}
	before := s.since
	if next != s.condition {
		s.since = begun
	}
	was := s.condition
	s.condition = next
	switch {
	case next == was:
	case refused:
		s.config.Logger.Error("the log is not shipped", "error", refusal)
	case next == failing:
		s.config.Logger.Warn("the log can't be shipped, it is tried again", "error", err)
	case was == starting:
		s.config.Logger.Info("the log is shipped", "to_position", s.shippedEnd.Load(), "every", s.config.Every)
	default:
		s.config.Logger.Info("the log is shipped again", "to_position", s.shippedEnd.Load(), "after", time.Since(before).Round(time.Second))
	}
	switch next {
	case shipping:
		s.retry = 0
		return s.pause(begun)
	case refusing:
		return lastRetry
	}
	s.retry = min(max(2*s.retry, min(firstRetry, s.config.Every)), lastRetry)
	return s.retry
}

// pause gives the time to the next look: what is committed right behind this one must be at the target
// Config.Every later, and the next look is given twice the time that the last one took which found something.
func (s *Shipper) pause(begun time.Time) time.Duration {
	every := s.config.Every
	return max(0, max(every/2, every-every/10-2*s.took)-time.Since(begun))
}

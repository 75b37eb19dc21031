package commitlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// retention moves the beginning of rooms, in the background or when it is told to, and gives back the bytes
// of what is not given any more. The order is what makes it safe:
//
//  1. a room's first number moves in the table: readers begin there from then on.
//  2. a checkpoint with the new beginnings is written, synced and read back.
//  3. only then files are rewritten without the rest (pack.go), each of them naming that checkpoint.
//
// So after a crash at any moment a room begins where it did before or where it does now, and no reader looks
// for what was dropped.
type retention struct {
	// Set at construction.
	log  *Log
	pace *pace
	stop chan struct{}
	done chan struct{}
	bell chan struct{} // a new policy

	// Counted by retainLoop and Trim, read by anyone.
	droppedRecords atomic.Uint64
	freedBytes     atomic.Int64
	rewrites       atomic.Uint64
	failures       atomic.Uint64

	mu sync.Mutex // held for memory work only; the table is locked under it

	// Guarded by mu.
	policy  func(room string) storage.Retention
	changed bool // the policy, since the last sweep
	// unproven are the first numbers of rooms that moved since the last checkpoint began, as they
	// were: what is behind them must not be dropped yet. nil while no file is rewritten: before
	// the next one is, there is a checkpoint that knows them.
	unproven map[roomKey]uint64

	// Owned by retainLoop.
	clock    *ageClock
	swept    position      // records behind it were not there at the last sweep
	shortest time.Duration // of the ages that the policy has named
	toldOf   time.Duration // what the clock is ahead of what it believes, as the log lines have it
	doubtful []*segment    // in use, since their names may stand for other files
	reserve  reserve
}

func newRetention(l *Log) *retention {
	stop := make(chan struct{})
	doubt, err := readDoubt(l.config.FS, l.config.Dir)
	if err != nil {
		l.config.Logger.Warn("whether the clock was doubted is not known", "error", err)
	}
	return &retention{
		log:    l,
		clock:  newAgeClock(l.config.clock, newestTime(l.segments.load()), doubt),
		toldOf: doubt,
		pace:   &pace{stop: stop, off: l.config.unpaced},
		stop:   stop, done: make(chan struct{}), bell: make(chan struct{}, 1),
		reserve: newReserve(l),
	}
}

// Retain sets how much of each room is kept. The log asks policy for every room at once, in the
// background, and from then on every Config.RetainEvery for those rooms where something may have
// become too old or too much; whoever changes what policy answers calls Retain again. policy is
// called from one goroutine at a time. nil keeps everything, which is how a log begins.
func (l *Log) Retain(policy func(room string) storage.Retention) {
	r := l.retention
	r.mu.Lock()
	r.policy, r.changed = policy, true
	r.mu.Unlock()
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// start begins the background work; close ends it, also in the middle of a file.
func (r *retention) start() {
	go func() {
		defer close(r.done)
		r.retainLoop()
	}()
}

func (r *retention) close() {
	close(r.stop)
	<-r.done
	for _, g := range r.doubtful {
		r.log.files.unpin(g)
	}
}

// inDoubt keeps the first of a run in use, and the run from being tried again.
func (r *retention) inDoubt(run []*segment) {
	r.doubtful = append(r.doubtful, run[0])
	for _, g := range run {
		g.leftAlone.Store(true)
	}
}

func (r *retention) retainLoop() {
	timer := time.NewTimer(r.log.config.RetainEvery)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-r.bell:
		case <-timer.C:
		}
		started := time.Now()
		if err := r.step(); err != nil && !errors.Is(err, errStopped) {
			r.failures.Add(1)
			r.log.config.Logger.Warn("retention did not finish; it will be tried again", "path", r.log.config.Dir, "error", err)
		}
		r.reserve.keep(r.stop)
		// A look at all rooms that takes long is not taken all the time.
		timer.Reset(max(r.log.config.RetainEvery, 10*time.Since(started)))
	}
}

// step is one sweep over the rooms and the rewriting of all files that are worth it.
func (r *retention) step() error {
	now := r.clock.now()
	if err := r.sweep(now); err != nil {
		return err
	}
	r.tellOfDoubt(now)
	runs := r.choose(now)
	if len(runs) == 0 {
		return nil
	}
	defer r.forgetUnproven()
	err := r.rewriteAll(runs)
	if vfs.NoRoom(err) && r.reserve.there && vfs.NoRoom(r.log.Err()) {
		return r.rewriteInReserve(now)
	}
	return err
}

func (r *retention) rewriteAll(runs [][]*segment) error {
	needs, err := r.prove()
	if err != nil {
		return err
	}
	var errs []error
	for _, run := range runs {
		if _, err := r.rewrite(run, needs, r.pace); errors.Is(err, errStopped) {
			return err
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// rewrite gives the bytes that the rewriting of a run gave back. A damaged segment is no error.
func (r *retention) rewrite(run []*segment, needs position, pace *pace) (freed int64, err error) {
	freed, err = newPacking(r.log, run, needs, pace).do()
	r.freedBytes.Add(freed)
	switch {
	case errors.Is(err, errStopped):
		return freed, errStopped
	case errors.Is(err, errLeftAlone):
		// The others of the run are tried without it, next time.
		r.log.config.Logger.Error("damaged segment is not rewritten: it keeps its bytes", "error", err)
		return freed, nil
	case err == nil:
		r.rewrites.Add(1)
	}
	return freed, err
}

// tellOfDoubt says once why messages do not go that are too old by the wall clock, and notes it for the next start. At a start that is nothing special.
func (r *retention) tellOfDoubt(now time.Time) {
	if r.shortest == 0 || r.clock.ahead == r.toldOf {
		return
	}
	r.toldOf = r.clock.ahead
	if err := writeDoubt(r.log.config.FS, r.log.config.Dir, r.toldOf); err != nil {
		r.log.config.Logger.Warn("a doubt of the clock can't be noted for the next start", "path", r.log.config.Dir, "error", err)
	}
	if r.toldOf == 0 {
		return
	}
	level := slog.LevelInfo
	if r.clock.jumps > 0 {
		level = slog.LevelWarn
	}
	r.log.config.Logger.Log(context.Background(), level, "the clock is ahead of the time that retention believes; it is followed when it has gone on steadily for an hour",
		"path", r.log.config.Dir, "ahead", r.toldOf.Round(time.Second), "believed", now.UTC())
}

// prove writes a checkpoint that knows where the rooms begin now, and gives where it begins.
func (r *retention) prove() (position, error) {
	r.mu.Lock()
	r.unproven = map[roomKey]uint64{}
	r.mu.Unlock()
	// In the relaxed modes the records for whose sake older ones go may not be on the disk yet.
	if err := r.log.syncPublished(r.stop); err != nil {
		return 0, fmt.Errorf("sync what retention rests on: %w", err)
	}
	if err := r.log.checkpoints.write(); err != nil {
		return 0, fmt.Errorf("write the checkpoint that retention needs: %w", err)
	}
	return r.log.checkpoints.newest(), nil
}

// forgetUnproven is behind all rewriting that rests on prove.
func (r *retention) forgetUnproven() {
	r.mu.Lock()
	r.unproven = nil
	r.mu.Unlock()
}

// proven gives where a room begins as far as a checkpoint knows, and its head.
func (r *retention) proven(key roomKey) (first, head uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.log.table.find(key)
	if before, moved := r.unproven[key]; moved {
		return before, state.headSeq
	}
	return state.firstSeq, state.headSeq
}

// advance moves where a room begins, never back. at is 0 where nothing is left.
func (r *retention) advance(key roomKey, first uint64, at position) (moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.table.update(key, func(s *roomState) {
		// A record that came meanwhile is left, and the next sweep decides.
		if first <= s.firstSeq || at == 0 && s.headSeq >= first {
			return
		}
		if _, moved := r.unproven[key]; !moved && r.unproven != nil {
			r.unproven[key] = s.firstSeq
		}
		s.firstSeq, s.firstAt = first, at
		moved = true
	})
	return moved
}

// Trim says that the records of a room under first are not needed any more: Begin is at least first
// from now on, unless the room has grown meanwhile and all was to go. Their bytes are given
// back some time later. With ErrClosed the room may begin there or where it did.
func (l *Log) Trim(room string, first uint64) error {
	key := l.table.key(room)
	state := l.table.find(key)
	if l.closed.Load() {
		return storage.ErrClosed
	}
	if first <= state.firstSeq || state.headSeq == 0 {
		return nil
	}
	reader := l.newReader(room, state)
	defer reader.release()
	if err := l.retention.drop(reader, key, min(first, state.headSeq+1), &pace{stop: l.retention.stop, off: true}); errors.Is(err, errStopped) {
		return storage.ErrClosed
	} else if err != nil {
		return fmt.Errorf("trim room %q: %w", room, err)
	}
	return nil
}

// drop makes a room begin at first, and counts the bytes of what is under it as dead where they lie.
func (r *retention) drop(reader *reader, key roomKey, first uint64, pace *pace) error {
	state := reader.state
	head := place{state.headAt, state.headSeq}
	begin, dead := place{}, head
	if first <= state.headSeq {
		p, err := reader.find(first, head)
		if err != nil {
			return err
		}
		if p.seq < first {
			// Damaged: the room begins behind it when something whole is the first.
			return nil
		}
		h, err := reader.header(p)
		if err != nil {
			return err
		}
		begin, dead = p, place{h.previous, p.seq - 1}
	}
	if !r.advance(key, first, begin.at) {
		return nil
	}
	return r.bury(reader, dead, state.firstSeq, pace)
}

// bury counts the records from p down to first as dead. Damage ends it: the count is a help for the
// choice of files, no more.
func (r *retention) bury(reader *reader, p place, first uint64, pace *pace) error {
	for p.seq >= first && p.seq > 0 {
		h, err := reader.header(p)
		if isCorrupt(err) || err == nil && h.kind != kindMessage {
			return nil
		}
		if err != nil {
			return err
		}
		if g := reader.snapshot.find(p.at); g != nil {
			g.dead.Add(int64(h.size))
		}
		r.droppedRecords.Add(1)
		p = place{h.previous, p.seq - 1}
		if err := pace.rest(); err != nil {
			return err
		}
	}
	return nil
}

// choose gives the runs of segments whose rewriting is worth it: half of the bytes or more are dead,
// together with small neighbours, up to the size of a segment.
func (r *retention) choose(now time.Time) [][]*segment {
	segments := r.log.segments.load()
	limit := r.log.config.SegmentBytes
	young := r.young(now)
	may := func(g *segment) bool { return r.may(g, young) }
	sealed := segments[:len(segments)-1]
	small := func(g *segment) bool { return g.packed() && g.live() <= limit/8 }
	var runs [][]*segment
	for from := 0; from < len(sealed); {
		// A small one begins a run only if there is something to gain behind it.
		first := sealed[from]
		worth := first.mostlyDead() || small(first) && from+1 < len(sealed) && may(sealed[from+1]) && sealed[from+1].mostlyDead()
		to, live := from+1, first.live()
		if !may(first) || !worth {
			from = to
			continue
		}
		for to < len(sealed) && may(sealed[to]) && (sealed[to].mostlyDead() || small(sealed[to])) && live+sealed[to].live() <= limit {
			live += sealed[to].live()
			to++
		}
		runs = append(runs, sealed[from:to])
		from = to
	}
	return runs
}

// young is the time from which on records keep their file as it is.
func (r *retention) young(now time.Time) int64 { return now.Add(-r.log.config.KeepFor).UnixMilli() }

func (r *retention) may(g *segment, young int64) bool {
	return !g.lost && !g.leftAlone.Load() && (r.log.config.KeepFor == 0 || g.newestAt.Load() < young)
}

func (g *segment) live() int64 { return max(0, g.size()-segmentHeaderBytes-g.dead.Load()) }

func (g *segment) mostlyDead() bool {
	dead := g.dead.Load()
	return dead > 0 && dead >= (g.size()-segmentHeaderBytes)/2
}

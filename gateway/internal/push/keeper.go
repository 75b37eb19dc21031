package push

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
)

// Log is the log, as push reads it.
type Log interface {
	// End is the place behind all that is committed.
	End() int64
	// Read calls each for the messages of rooms with members from a place on, until it returns false or for a part of the log, and gives
	// the place to go on from, also with an error.
	Read(from int64, each func(Message) bool) (next int64, err error)
	// Alive gives those messages of a room that are not deleted, in a slice of their own.
	Alive(room string, seqs []uint64) ([]uint64, error)
	// Find gives a message as it is now, false if it is not there any more.
	Find(room string, seq uint64) (Found, bool, error)
}

// Found is a message as it is now.
type Found struct {
	From string
	At   int64  // Unix milliseconds
	Text string // "" if it says nothing that is a text
}

// Message is a message in the log.
type Message struct {
	Place    int64 // of its record
	Room     string
	Seq      uint64
	At       int64 // Unix milliseconds
	From     string
	Mentions []string
}

// Directory says who is in rooms.
type Directory interface {
	// Count gives how many members a room has.
	Count(room string) (int, error)
	// Each calls fn for each member of a room.
	Each(room string, fn func(user string, m Member)) error
	// Member gives one, false if the user is no member.
	Member(room, user string) (Member, bool, error)
}

// Member is a user in a room.
type Member struct {
	Level     handoff.Notify
	From      uint64 // what is up to here was said before the membership
	Delivered uint64 // what is up to here has been received
}

// Config says how push runs. All fields without a default must be set.
type Config struct {
	Log       Log
	History   string // names the log and its epoch
	Directory Directory
	Senders   []Destination
	Dir       string // of the file; made if it is not there
	Logger    *slog.Logger

	After       time.Duration // from a message to when it is due
	Window      time.Duration // between two summaries of a user
	RoomMembers int           // in rooms of more members only who is mentioned is told
	Text        bool          // summaries have the newest message's text

	PendingBytes int // default 32 MiB
	WaitingBytes int // default 64 MiB
	DeadLetters  int // default 10,000
}

// Destination is a sender and what is called upon it.
type Destination struct {
	Kind   string // names it in the file and in metrics
	Sender Sender
	// OneHost: all that is sent goes to one host, so that after failures in a row none but a single attempt is made now and then.
	OneHost bool
}

// Keeper keeps push. Its methods are safe for concurrent use, but not for an event loop: they wait.
type Keeper struct {
	// Set at construction.
	cfg     Config
	every   time.Duration // between two turns
	calls   chan func()
	landed  chan landing
	stop    chan struct{}
	ended   chan struct{}
	cancel  context.CancelFunc // of what is being sent
	sending sync.WaitGroup

	// Owned by keepLoop, and by Start before it runs.
	store        *store
	next         int64 // the log is read up to here
	pending      []pendingMessage
	pendingBytes int
	users        map[string]*user
	lanes        []*lane
	waitingBytes int
	dead         int
	failing      bool // a turn does, which has been logged

	counters counters
}

// pendingMessage is one that is not due yet.
type pendingMessage struct {
	Message
	due int64 // Unix milliseconds
}

func (m *pendingMessage) size() int {
	n := 160 + len(m.Room) + len(m.From)
	for _, user := range m.Mentions {
		n += 16 + len(user)
	}
	return n
}

// counters are written by keepLoop and read by anyone.
type counters struct {
	sent, failed, died, lost, dropped, cancelled, gone atomic.Int64
	users, queued, dead, waitingBytes, behind          atomic.Int64
}

const (
	// oldest is how old a message may be to be told, and a summary to be tried again.
	oldest = 24 * time.Hour
	// What a turn reads of the log at most, in parts.
	partsOfTurn  = 8
	longestTurn  = 5 * time.Second
	shortestTurn = 50 * time.Millisecond
)

// ErrClosed says that the keeper was closed.
var ErrClosed = errors.New("push is closed")

// Start opens the file and goes on from where it says, or begins at the end of the log. Close ends it.
func Start(cfg Config) (*Keeper, error) {
	orElse := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	orElse(&cfg.PendingBytes, 32<<20)
	orElse(&cfg.WaitingBytes, 64<<20)
	orElse(&cfg.DeadLetters, 10_000)
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{
		cfg:    cfg,
		every:  min(max(cfg.After/6, shortestTurn), longestTurn),
		calls:  make(chan func()),
		landed: make(chan landing),
		stop:   make(chan struct{}),
		ended:  make(chan struct{}),
		cancel: cancel,
		users:  make(map[string]*user),
	}
	for _, d := range cfg.Senders {
		k.lanes = append(k.lanes, newLane(d))
	}
	if err := k.open(); err != nil {
		cancel()
		return nil, err
	}
	for _, l := range k.lanes {
		for range laneWidth {
			k.sending.Go(func() { k.sendLoop(ctx, l) })
		}
	}
	go k.keepLoop()
	return k, nil
}

// keepLoop is started by Start and ended by Close.
func (k *Keeper) keepLoop() {
	defer close(k.ended)
	timer := time.NewTimer(k.every)
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
			begun := time.Now()
			behind := k.turn()
			rest := k.every
			if behind {
				rest = 0
			}
			// A quarter of the time at most: the members of many busy rooms are no reason to take a core from the event loops.
			timer.Reset(max(rest, 3*time.Since(begun)))
		}
		k.dispatch()
		k.show()
	}
}

// turn does what time asks for, and reports whether there is more of the log.
func (k *Keeper) turn() (behind bool) {
	err := k.read()
	if err == nil {
		err = k.decide()
	}
	if err == nil {
		err = k.summarize()
	}
	err = errors.Join(err, k.flush()) // what has come of attempts is made durable in any case
	k.trouble(&k.failing, err)
	return err == nil && k.next < k.cfg.Log.End() && k.pendingBytes < k.cfg.PendingBytes
}

// trouble logs the first error of a row, and its end; failing is whether there is one. What failed is tried again in the next turn.
func (k *Keeper) trouble(failing *bool, err error) {
	switch {
	case errors.Is(err, errStopping):
		return
	case err != nil && !*failing:
		k.cfg.Logger.Error("push stands still; it is tried again", "err", err)
	case err == nil && *failing:
		k.cfg.Logger.Info("push goes on")
	}
	*failing = err != nil
}

// read takes what is new in the log.
func (k *Keeper) read() error {
	for range partsOfTurn {
		if k.pendingBytes >= k.cfg.PendingBytes || k.next >= k.cfg.Log.End() || k.stopping() {
			return nil
		}
		now := time.Now().UnixMilli()
		next, err := k.cfg.Log.Read(k.next, func(m Message) bool {
			k.await(m, now)
			return k.pendingBytes < k.cfg.PendingBytes
		})
		k.next = next
		k.store.moved = true
		if err != nil {
			return err
		}
	}
	return nil
}

// await puts a message behind those that wait to be due. The clock that gave its time may be ahead of this one, as after an import.
func (k *Keeper) await(m Message, now int64) {
	if now-m.At > oldest.Milliseconds() {
		return
	}
	p := pendingMessage{m, min(m.At, now) + k.cfg.After.Milliseconds()}
	k.pending = append(k.pending, p)
	k.pendingBytes += p.size()
}

func (k *Keeper) stopping() bool {
	select {
	case <-k.stop:
		return true
	default:
		return false
	}
}

// show copies what others may read.
func (k *Keeper) show() {
	queued := 0
	for _, l := range k.lanes {
		queued += len(l.items)
	}
	k.counters.users.Store(int64(len(k.users)))
	k.counters.queued.Store(int64(queued))
	k.counters.dead.Store(int64(k.dead))
	k.counters.waitingBytes.Store(int64(k.waitingBytes))
	k.counters.behind.Store(max(0, k.cfg.Log.End()-k.next))
}

// call has keepLoop run something.
func (k *Keeper) call(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case k.calls <- func() { fn(); close(done) }:
	case <-k.ended:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-done
	return nil
}

// Close ends what is being sent, which is tried again after the next start, and closes the file. There is one call.
func (k *Keeper) Close() error {
	close(k.stop)
	<-k.ended
	k.cancel()
	k.sending.Wait()
	return k.store.close(k.flush)
}

// Stats are counters since Start and sizes now.
type Stats struct {
	Sent      int64 // summaries that were taken
	Failed    int64 // attempts that will be made again
	Died      int64 // summaries that became dead letters
	Lost      int64 // dead letters that went for want of room
	Dropped   int64 // messages for a user that were not gathered for want of room
	Cancelled int64 // summaries of which nothing was left before they were sent
	Gone      int64 // summaries for a device that is no more
	Users     int64 // for whom something is gathered, or whose window is not over
	Queued    int64 // summaries that wait or are being sent
	Dead      int64 // dead letters
	Bytes     int64 // of what is gathered and queued
	Behind    int64 // bytes of the log that were not read yet
}

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	c := &k.counters
	return Stats{
		c.sent.Load(), c.failed.Load(), c.died.Load(), c.lost.Load(), c.dropped.Load(), c.cancelled.Load(), c.gone.Load(),
		c.users.Load(), c.queued.Load(), c.dead.Load(), c.waitingBytes.Load(), c.behind.Load(),
	}
}

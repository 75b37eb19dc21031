package receipts

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// Store has the standings. Its methods may wait for a disk; the keeper is the only one that changes them.
type Store interface {
	// Standing is how far a user has come in a room; zero if nothing is known.
	Standing(room, user string) (Standing, error)
	// Standings calls fn for each user of a room that has one.
	Standings(room string, fn func(user string, s Standing) bool) error
	// Advance stores all changes or none, and returns when they are as durable as an acknowledged message.
	Advance(changes []Change) error
}

// Standing is how far a user has come in a room, in sequence numbers. What was read has been delivered too.
type Standing struct{ Delivered, Read uint64 }

// beyond is the further of two standings in each respect.
func (s Standing) beyond(t Standing) Standing {
	read := max(s.Read, t.Read)
	return Standing{Delivered: max(s.Delivered, t.Delivered, read), Read: read}
}

// Change is a user's new standing in a room.
type Change struct {
	Room, User string
	To         Standing
}

// Config says how the keeper runs. All fields without a default must be set.
type Config struct {
	Store Store
	Head  func(room string) uint64          // newest sequence number of a room, 0 if it has none
	Loops []*handoff.Mailbox[handoff.Event] // by handoff.Handle.Loop
	Log   *slog.Logger

	Interval     time.Duration // marks gather for so long; default 1 s
	Named        int           // in a room with more users than these the members are told counts; default 100
	MailboxBytes int           // default 8 MiB
}

const (
	// maxWaiting bounds the users of rooms that wait for the store: some 300 MB.
	maxWaiting = 1_000_000
	// maxAnswers bounds the answers that one user of a room waits for.
	maxAnswers = 64
	// storedAtOnce is how many changes are made together: a record of some 50 KiB.
	storedAtOnce = 500
)

// Keeper keeps the receipts. Its methods are safe for concurrent use.
type Keeper struct {
	// Set at construction.
	cfg     Config
	mailbox *handoff.Mailbox[letter]
	wake    <-chan struct{}
	ended   chan struct{}

	// Owned by keepLoop.
	waiting  map[place]*wish
	due      *time.Timer // runs while something waits
	censuses map[string]*census
	out      *handoff.Outgoing
	failing  bool // the store fails, which has been logged

	refused atomic.Int64 // counted by anyone

	// Counted by keepLoop, read by anyone.
	marks, stored, untold atomic.Int64
}

type letter struct {
	mark handoff.Mark
	size int
	stop bool
}

// place is a user in a room.
type place struct{ room, user string }

// wish is where a user is to stand.
type wish struct {
	to      Standing
	answers []answer
}

// answer is a request that waits for its answer.
type answer struct {
	to    handoff.Handle
	id    uint64
	codec proto.Codec
}

// Start starts the keeper. Close ends it.
func Start(cfg Config) *Keeper {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Named == 0 {
		cfg.Named = 100
	}
	if cfg.MailboxBytes == 0 {
		cfg.MailboxBytes = 8 << 20
	}
	k := &Keeper{
		cfg:      cfg,
		mailbox:  handoff.NewMailbox[letter](cfg.MailboxBytes),
		ended:    make(chan struct{}),
		waiting:  make(map[place]*wish),
		due:      time.NewTimer(time.Hour),
		censuses: make(map[string]*census),
		out:      handoff.NewOutgoing(cfg.Loops),
	}
	k.due.Stop()
	k.wake = k.mailbox.Wakes()
	go k.keepLoop()
	return k
}

// Mark hands a mark to the keeper and reports false when too much waits.
func (k *Keeper) Mark(m handoff.Mark) bool {
	size := m.Size()
	taken := k.mailbox.Put(letter{mark: m, size: size}, size)
	if !taken {
		k.refused.Add(1)
	}
	return taken
}

// Close stores what waits, answers it, and ends the keeper. The caller sends nothing any more.
func (k *Keeper) Close() {
	k.mailbox.PutAlways(letter{stop: true}, 0)
	<-k.ended
}

// Stats are counters since the start.
type Stats struct {
	Marks   int64 // taken
	Stored  int64 // that moved somebody forward
	Refused int64 // because too much waited or the store failed
	Untold  int64 // receipts that a loop with too much waiting was not given
}

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	return Stats{k.marks.Load(), k.stored.Load(), k.refused.Load(), k.untold.Load()}
}

// keepLoop is the keeper's goroutine, ended by Close.
func (k *Keeper) keepLoop() {
	defer close(k.ended)
	var letters []letter
	for stopping := false; !stopping; {
		select {
		case <-k.due.C:
			k.store()
		case <-k.wake:
			letters = k.mailbox.Take(letters)
			for i := range letters {
				l := &letters[i]
				switch {
				case l.stop:
					stopping = true
				case l.mark.Ask:
					k.ask(&l.mark)
				default:
					k.mark(&l.mark)
				}
				k.mailbox.Release(l.size)
				k.look()
			}
			clear(letters)
		}
		if stopping {
			k.store()
		}
		k.out.Send()
	}
	k.due.Stop()
}

// look stores when that is due, in the middle of much that waits: whoever asks a lot holds up the answers to questions only.
func (k *Keeper) look() {
	select {
	case <-k.due.C:
		k.store()
	default:
	}
}

// mark notes where a user is to stand.
func (k *Keeper) mark(m *handoff.Mark) {
	from := answer{m.From, m.ID, m.Codec}
	if max(m.Delivered, m.Read) > k.cfg.Head(m.Room) {
		k.refuse(from, proto.ErrBadRequest, "A mark is at most the sequence number of the room's newest message.")
		return
	}
	at := place{m.Room, m.User}
	w := k.waiting[at]
	if w == nil {
		if len(k.waiting) >= maxWaiting {
			k.refused.Add(1)
			k.refuse(from, proto.ErrOverloaded, "Too many marks wait to be stored; send again later.")
			return
		}
		if len(k.waiting) == 0 {
			k.due.Reset(k.cfg.Interval)
		}
		w = &wish{}
		k.waiting[at] = w
	}
	if m.ID != 0 && len(w.answers) == maxAnswers {
		k.refused.Add(1)
		k.refuse(from, proto.ErrOverloaded, "Wait for the answers to your earlier marks of this room.")
		return
	}
	k.marks.Add(1)
	w.to = w.to.beyond(Standing{m.Delivered, m.Read})
	if m.ID != 0 {
		w.answers = append(w.answers, from)
	}
}

// move is a wish that moves its user.
type move struct {
	place
	*wish
	was Standing
}

// store moves everybody forward who waits for it, answers, and tells the members.
func (k *Keeper) store() {
	batch := k.waiting
	k.waiting = make(map[place]*wish)
	var moves []move
	for at, w := range batch {
		was, err := k.cfg.Store.Standing(at.room, at.user)
		if err != nil {
			k.fail(move{at, w, was}, err)
			continue
		}
		if w.to = w.to.beyond(was); w.to == was {
			k.marked(at, w)
			continue
		}
		moves = append(moves, move{at, w, was})
	}
	large := map[string]bool{}
	for some := range slices.Chunk(moves, storedAtOnce) {
		k.advance(some, large)
	}
	for room := range large {
		k.tellCounts(room)
	}
	if len(k.waiting) > 0 {
		k.due.Reset(k.cfg.Interval) // what could not be stored is tried again
	}
}

// advance stores some moves together, and tells of them, but for the large rooms, which it names.
func (k *Keeper) advance(moves []move, large map[string]bool) {
	// Of the time before. One whose census can't be taken waits, and holds up nobody else.
	censuses := map[string]*census{}
	moves = slices.DeleteFunc(moves, func(m move) bool {
		if censuses[m.room] == nil {
			c, err := k.census(m.room)
			if err != nil {
				k.fail(m, err)
				return true
			}
			censuses[m.room] = c
		}
		return false
	})
	changes := make([]Change, len(moves))
	for i, m := range moves {
		changes[i] = Change{m.room, m.user, m.to}
	}
	if err := k.cfg.Store.Advance(changes); err != nil {
		for _, m := range moves {
			k.fail(m, err)
		}
		return
	}
	k.failing = false
	k.stored.Add(int64(len(moves)))
	for _, m := range moves {
		k.marked(m.place, m.wish)
		c := censuses[m.room]
		c.move(m.was, m.to)
		if c.users > k.cfg.Named {
			large[m.room] = true
			k.tellOwn(m.place, m.to)
		} else {
			k.tell(m.place, m.to)
		}
	}
	for room, c := range censuses {
		k.keep(room, c)
	}
}

// fail refuses who waits for an answer. The mark itself is kept and tried again: nobody sends it a second time.
func (k *Keeper) fail(m move, err error) {
	if !k.failing {
		k.failing = true
		k.cfg.Log.Error("receipts can't be stored; they are kept and tried again", "room", m.room, "err", err)
	}
	for _, a := range m.answers {
		k.refused.Add(1)
		k.refuse(a, proto.ErrLogUnavailable, "The log can't be written; the mark waits to be stored.")
	}
	k.waiting[m.place] = &wish{to: m.to}
}

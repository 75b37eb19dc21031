package room

import (
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
)

// letter is an item of a shard's mailbox: a command, or a completion of the log, or stop.
type letter struct {
	command handoff.Command
	size    int

	committed int // this many of the oldest flights are done
	err       error

	stop bool
}

// shard orders the messages of its rooms.
type shard struct {
	// Set at construction.
	cfg      Config
	started  time.Time // retry keys count from it; with the time that nobody can set
	epoch    string
	producer Producer
	checkers *checkers
	mailbox  *handoff.Mailbox[letter]
	wake     <-chan struct{}

	// Owned by runLoop (and by Start before it runs).
	rooms    map[string]*room
	keys     *retryKeys
	flights  flightQueue
	asking   map[keyHash][]sender // publishes with a key that the Asker has, and who has repeated them
	stopping bool
	out      *handoff.Outgoing // all events of the shard go this way, so they keep their order

	// Counted by runLoop, read by anyone.
	published   atomic.Int64
	ephemeral   atomic.Int64
	duplicates  atomic.Int64
	refusedLog  atomic.Int64
	refusedLoad atomic.Int64
	held        atomic.Int64
	latency     latency
}

// room is what a shard holds of a room that has members or a publish in flight.
type room struct {
	name string
	// next is the sequence number given out last, head the last one committed.
	next, head uint64
	lastAt     int64
	// loops says which of them have members, or joins under way; listening counts these.
	loops     []bool
	listening int
}

func newShard(cfg Config) *shard {
	s := &shard{
		cfg:     cfg,
		started: cfg.Now(),
		epoch:   EpochName(cfg.Log.Epoch()),
		mailbox: handoff.NewMailbox[letter](cfg.MailboxBytes),
		out:     handoff.NewOutgoing(cfg.Loops),
		rooms:   make(map[string]*room),
		asking:  make(map[keyHash][]sender),
		keys:    newRetryKeys(cfg.RetryWindow, cfg.RetryKeys),
	}
	s.wake = s.mailbox.Wakes()
	s.producer = cfg.Log.Open(func(n int, err error) {
		s.mailbox.PutAlways(letter{committed: n, err: err}, 0)
	})
	return s
}

// runLoop is the shard's goroutine: started by Start, ended by a stop letter, and then not
// before every flight has landed.
func (s *shard) runLoop() {
	var letters []letter
	for range s.wake {
		letters = s.mailbox.Take(letters)
		for i := range letters {
			s.open(&letters[i])
			s.mailbox.Release(letters[i].size)
		}
		clear(letters)
		s.out.Send()
		if s.stopping && s.flights.empty() {
			return
		}
	}
}

func (s *shard) open(l *letter) {
	c := &l.command
	switch {
	case l.stop:
		s.stopping = true
	case l.committed > 0:
		s.commit(l.committed, l.err)
	case c.Kind == handoff.Join:
		s.join(c)
	case c.Kind == handoff.Gone:
		s.gone(c)
	case c.Ask:
		s.ask(c)
	default:
		s.order(c)
		if c.Asked {
			s.answerRepetitions(c)
		}
	}
}

// order is for a publish that nobody has to look at any more.
func (s *shard) order(c *handoff.Command) {
	switch {
	case c.Kind == handoff.Publish && c.Ephemeral:
		s.pass(c)
	case c.Kind == handoff.Publish:
		s.publish(c)
	case c.Kind == handoff.Alter:
		if !s.publish(c) {
			s.checkers.settled(place{c.Room, c.Change.Target})
		}
	}
}

// room returns the named room, loading its head from the log if it was forgotten.
func (s *shard) room(name string) *room {
	r := s.rooms[name]
	if r == nil {
		head := s.cfg.Log.Head(name)
		r = &room{name: name, next: head, head: head, loops: make([]bool, len(s.cfg.Loops))}
		s.rooms[name] = r
		s.held.Add(1)
	}
	return r
}

// forgetIdle drops a room that nobody needs in memory.
func (s *shard) forgetIdle(r *room) {
	if r.listening == 0 && r.next == r.head && s.rooms[r.name] == r {
		delete(s.rooms, r.name)
		s.held.Add(-1)
	}
}

// tell has an event for a connection. Events are taken whether the loop's mailbox is full or not: what the log has
// committed is never withheld. The bound is that publish refuses while one is.
func (s *shard) tell(e handoff.Event, size int) {
	e.Size = size
	s.out.Post(int(e.To.Loop), e)
}

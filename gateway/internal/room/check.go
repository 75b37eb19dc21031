package room

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	"rookery/storage/changes"
)

// Changes is what the rooms need of the index of changes. changes.Index provides it.
type Changes interface {
	// Wait returns when everything that was committed before the call is in the index.
	Wait() error
	// View calls fn with a moment of the index for a room.
	View(room string, fn func(*changes.View) error) error
}

// checkers look at changes before they are ordered: whether the target is there, who may do it, and until when. That is a
// read of the log and of the index, for which neither loop nor shard waits.
//
// Changes to one message are made one after the other: the next is looked at when the one before has been committed or
// refused, and so sees what that did. So what was acknowledged counts, and they keep the order in which they came.
// It costs a message that many react to at once a commit for each; changes to different messages share them.
// Another way was tried, to look at once and have the shard send back what came too late: those that were sent back were
// overtaken.
type checkers struct {
	// Set at construction.
	cfg  Config
	send func(handoff.Command) // to the shard of its room, whether that is full or not
	seed maphash.Seed
	all  []*checker

	closing atomic.Bool
	refused atomic.Int64 // by a rule
}

// checker looks at the changes of some rooms.
type checker struct {
	mailbox *handoff.Mailbox[checkLetter]
	wake    chan struct{}

	// Owned by checkLoop: the messages that a change is under way for, with those that wait for it. A waiting one
	// holds its bytes of the mailbox.
	lines map[place][]handoff.Command
}

// checkLetter is a command, or says that the one under way for a message is settled.
type checkLetter struct {
	command handoff.Command
	settled place
}

// place is a message.
type place struct {
	room string
	seq  uint64
}

// checkerBytes bounds what waits for one checker.
const checkerBytes = 4 << 20

func newCheckers(cfg Config, send func(handoff.Command)) *checkers {
	cs := &checkers{cfg: cfg, send: send, seed: maphash.MakeSeed()}
	for range cfg.Shards {
		c := &checker{
			mailbox: handoff.NewMailbox[checkLetter](checkerBytes), wake: make(chan struct{}, 1),
			lines: make(map[place][]handoff.Command),
		}
		c.mailbox.Listen(c.ring)
		cs.all = append(cs.all, c)
	}
	return cs
}

func (c *checker) ring() {
	select {
	case c.wake <- struct{}{}:
	default: // a wake-up waits already
	}
}

func (cs *checkers) start(running *sync.WaitGroup) {
	for _, c := range cs.all {
		running.Go(func() { cs.checkLoop(c) })
	}
}

// stop has the checkers end when nothing is under way. Nothing may be put any more.
func (cs *checkers) stop() {
	cs.closing.Store(true)
	for _, c := range cs.all {
		c.ring()
	}
}

func (cs *checkers) of(room string) *checker {
	return cs.all[maphash.String(cs.seed, room)%uint64(len(cs.all))]
}

func (cs *checkers) put(c handoff.Command) bool {
	return cs.of(c.Room).mailbox.Put(checkLetter{command: c}, c.Size())
}

// putAlways is for what an application was asked about, where it held its bytes.
func (cs *checkers) putAlways(c handoff.Command) {
	cs.of(c.Room).mailbox.PutAlways(checkLetter{command: c}, c.Size())
}

// settled is said by the shard: the change that is under way for a message was committed, or refused.
func (cs *checkers) settled(at place) {
	cs.of(at.room).mailbox.PutAlways(checkLetter{settled: at}, 0)
}

// checkLoop is one checker's goroutine: started by start, ended by stop when nothing is under way.
func (cs *checkers) checkLoop(c *checker) {
	var letters []checkLetter
	for range c.wake {
		letters = c.mailbox.Take(letters)
		for i := range letters {
			if l := &letters[i]; l.command.Change == nil {
				cs.next(c, l.settled)
			} else {
				cs.begin(c, l.command)
			}
		}
		clear(letters)
		if cs.closing.Load() && len(c.lines) == 0 && c.mailbox.Held() == 0 {
			return
		}
	}
}

// begin looks at a change, or puts it behind the one that is under way.
func (cs *checkers) begin(c *checker, command handoff.Command) {
	at := place{command.Room, command.Change.Target}
	if line, busy := c.lines[at]; busy {
		c.lines[at] = append(line, command)
		return
	}
	c.mailbox.Release(command.Size())
	c.lines[at] = nil
	cs.check(&command)
}

// next goes on with what waits for a message.
func (cs *checkers) next(c *checker, at place) {
	line := c.lines[at]
	if len(line) == 0 {
		delete(c.lines, at)
		return
	}
	c.lines[at] = line[1:]
	c.mailbox.Release(line[0].Size())
	cs.check(&line[0])
}

// check looks at a change and hands it to its shard, which will say that it is settled.
func (cs *checkers) check(c *handoff.Command) {
	err := cs.cfg.Changes.Wait()
	if err == nil {
		err = cs.cfg.Changes.View(c.Room, func(v *changes.View) error { return cs.allowed(c, v) })
	}
	if r, ok := errors.AsType[refusal](err); ok {
		cs.refused.Add(1)
		c.Refusal = &handoff.Refusal{Code: r.code, Text: r.text}
	} else if err != nil {
		c.Refusal = &handoff.Refusal{Code: proto.ErrOverloaded, Text: "The index of changes is behind; send again later."}
	}
	cs.send(*c)
}

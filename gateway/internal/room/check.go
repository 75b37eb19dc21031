package room

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
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
// read of the log and of the index, for which neither loop nor shard waits. The changes of a room all take the same
// one, so that they keep their order.
type checkers struct {
	// Set at construction.
	cfg  Config
	send func(handoff.Command) // to the shard of its room, whether that is full or not
	seed maphash.Seed
	all  []*checker

	closing atomic.Bool
	refused atomic.Int64 // by a rule
}

type checker struct {
	mailbox *handoff.Mailbox[handoff.Command]
	wake    chan struct{}
}

// checkerBytes bounds what waits for one checker.
const checkerBytes = 4 << 20

func newCheckers(cfg Config, send func(handoff.Command)) *checkers {
	cs := &checkers{cfg: cfg, send: send, seed: maphash.MakeSeed()}
	for range cfg.Shards {
		c := &checker{mailbox: handoff.NewMailbox[handoff.Command](checkerBytes), wake: make(chan struct{}, 1)}
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

// stop has the checkers end when nothing waits for them. Commands that come later are refused.
func (cs *checkers) stop() {
	cs.closing.Store(true)
	for _, c := range cs.all {
		c.ring()
	}
}

func (cs *checkers) of(room string) *checker {
	return cs.all[maphash.String(cs.seed, room)%uint64(len(cs.all))]
}

func (cs *checkers) put(c handoff.Command) bool { return cs.of(c.Room).mailbox.Put(c, c.Size()) }

// again takes a change back from the shard: it was taken once and is so counted already.
func (cs *checkers) again(c handoff.Command) {
	if cs.closing.Load() {
		cs.refuse(&c, proto.ErrDraining, "The server is shutting down; send again elsewhere or later.")
		return
	}
	cs.of(c.Room).mailbox.PutAlways(c, c.Size())
}

// checkLoop is one checker's goroutine: started by start, ended by stop when nothing waits.
func (cs *checkers) checkLoop(c *checker) {
	var commands []handoff.Command
	for range c.wake {
		commands = c.mailbox.Take(commands)
		for i := range commands {
			command := &commands[i]
			size := command.Size()
			cs.check(command)
			c.mailbox.Release(size)
		}
		clear(commands)
		if cs.closing.Load() && c.mailbox.Held() == 0 {
			return
		}
	}
}

// refusal is why a change is not made.
type refusal struct {
	code proto.ErrorCode
	text string
}

func (r refusal) Error() string { return r.text }

func refuse(code proto.ErrorCode, text string) error { return refusal{code, text} }

func (cs *checkers) check(c *handoff.Command) {
	// Its own copy: after a second check the first one's word does not count.
	change := *c.Change
	c.Change = &change
	change.Code, change.Text = proto.ErrorCode{}, ""
	change.Checked = cs.cfg.Log.Head(c.Room)
	err := cs.cfg.Changes.Wait()
	if err == nil {
		err = cs.cfg.Changes.View(c.Room, func(v *changes.View) error { return cs.allowed(c, v) })
	}
	if r, ok := errors.AsType[refusal](err); ok {
		cs.refused.Add(1)
		change.Code, change.Text = r.code, r.text
		err = nil
	}
	if err != nil {
		cs.refuse(c, proto.ErrOverloaded, "The index of changes is behind; send again later.")
		return
	}
	cs.send(*c)
}

func (cs *checkers) refuse(c *handoff.Command, code proto.ErrorCode, text string) {
	e := handoff.Event{Kind: handoff.Refused, To: c.From, ID: c.ID, Code: code, Text: text, Size: handoff.ReplySize}
	cs.cfg.Loops[c.From.Loop].PutAlways(e, e.Size)
}

// allowed says why a change is refused, nil if it is not.
func (cs *checkers) allowed(c *handoff.Command, v *changes.View) error {
	target := c.Change.Target
	author, at, err := cs.target(c.Room, target)
	if err != nil {
		return err
	}
	state, _ := v.State(target)
	if err := v.Err(); err != nil {
		return err
	}
	if _, deletes := c.Change.Op.(*v1.Change_Delete); state.Deleted != 0 && deletes {
		return refuse(proto.ErrUnchanged, "The message is deleted already.")
	}
	if state.Deleted != 0 {
		return refuse(proto.ErrMessageDeleted, "The message was deleted.")
	}
	if err := cs.may(c, author, at); err != nil {
		return err
	}
	return cs.fits(c, v, state)
}

// target finds who wrote a message and when. The index may be asked by now, so the log is read inside its moment.
func (cs *checkers) target(room string, seq uint64) (author string, at int64, err error) {
	found, isChange := false, false
	err = cs.cfg.Log.ReadAfter(room, seq-1, storage.PageLimit{Records: 1}, func(r storage.Record) bool {
		if found = r.Seq == seq; found {
			author, at, isChange = string([]byte(r.From)), r.At, speaksOf(r.Body) != nil
		}
		return false
	})
	switch _, damaged := errors.AsType[*storage.DamagedError](err); {
	case damaged:
		return "", 0, refuse(proto.ErrHistoryDamaged, "The message can't be read; the operator can repair it.")
	case err != nil:
		return "", 0, err
	case !found:
		return "", 0, refuse(proto.ErrMessageNotFound, fmt.Sprintf("The room has no message %d, or not any more.", seq))
	case isChange:
		return "", 0, refuse(proto.ErrMessageNotFound, fmt.Sprintf("%d is a change itself; change the message that it is about.", seq))
	}
	return author, at, nil
}

// may is the one place that says who may do what, and for how long: an edit is its author's, within the room's time; a
// deletion that too, or a moderator's at any time; a pin everybody's or a moderator's, as the room has it; a reaction
// everybody's who may publish.
func (cs *checkers) may(c *handoff.Command, author string, at int64) error {
	own := c.User == author
	late := false
	if window, bounded := cs.cfg.EditWindow(c.Room); bounded {
		late = cs.cfg.Now().UnixMilli()-at > window.Milliseconds()
	}
	switch c.Change.Op.(type) {
	case *v1.Change_Edit:
		if !own {
			return refuse(proto.ErrChangeForbidden, "Only who wrote a message may edit it.")
		}
	case *v1.Change_Delete:
		if c.Change.Moderates {
			return nil
		}
		if !own {
			return refuse(proto.ErrChangeForbidden, "Only who wrote a message, and moderators, may delete it.")
		}
	case *v1.Change_Pin:
		if !c.Change.Pins && !c.Change.Moderates {
			return refuse(proto.ErrChangeForbidden, "Only moderators pin messages in this room.")
		}
		return nil
	default:
		return nil
	}
	if late {
		return refuse(proto.ErrChangeTooLate, "The message is too old to be changed in this room.")
	}
	return nil
}

// fits refuses what would change nothing, and what would be too much.
func (cs *checkers) fits(c *handoff.Command, v *changes.View, s changes.State) error {
	switch op := c.Change.Op.(type) {
	case *v1.Change_Edit:
		if s.Edits >= proto.MaxEdits {
			return refuse(proto.ErrTooManyChanges, "The message was edited as often as it may be.")
		}
	case *v1.Change_React:
		there := v.Reacted(c.Change.Target, op.React.GetReaction(), c.User)
		if there != op.React.GetRemove() {
			return refuse(proto.ErrUnchanged, "The reaction is there already, or not there to be taken back.")
		}
		if there {
			return nil
		}
		own, known := 0, false
		for _, r := range s.Reactions {
			known = known || r.Reaction == op.React.GetReaction()
			if v.Reacted(c.Change.Target, r.Reaction, c.User) {
				own++
			}
		}
		if own >= proto.MaxUserReactions || !known && len(s.Reactions) >= proto.MaxReactions {
			return refuse(proto.ErrTooManyChanges, "The message has as many reactions, of all or of you, as it may have.")
		}
	case *v1.Change_Pin:
		if (s.Pinned != 0) != op.Pin.GetRemove() {
			return refuse(proto.ErrUnchanged, "The message is pinned already, or not pinned.")
		}
		if !op.Pin.GetRemove() && len(v.Pins(changes.Range{Most: proto.MaxPins})) >= proto.MaxPins {
			return refuse(proto.ErrTooManyChanges, "The room has as many pinned messages as it may have; take one off first.")
		}
	}
	return nil
}

// forever is the time to edit of a Config without one.
func forever(string) (time.Duration, bool) { return 0, false }

// Package calls asks the rooms for somebody who is no connection, and waits: the API of the server does so on a goroutine
// for each request.
//
// To the rooms a Calls is one loop more: it has a mailbox among those that they answer to, and a handle with the number of that
// mailbox. So nothing in a shard, a checker or a reader knows that there is something beside connections. It joins
// no room, and is given nothing but answers.
//
// # Invariants
//
//   - Each call has a number that is never used again, which the answer bears. One that nobody waits for any more is dropped.
//   - Who waits holds no lock, and nobody waits to give an answer.
//   - A call that ended without an answer may have been carried out, or may be yet; its error says so.
package calls

import (
	"context"
	"errors"
	"sync"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// Errors of a call that was not answered. A *Refusal is an answer.
var (
	// ErrUnanswered: nothing is known of what came of it. The error of the context is wrapped beside it.
	ErrUnanswered = errors.New("no answer in time")
	// ErrClosed: the server ends. Nothing is known of what came of a call that was under way.
	ErrClosed = errors.New("the server is shutting down")
)

// Refusal is why something was not done.
type Refusal struct {
	Code proto.ErrorCode
	Text string
}

func (r *Refusal) Error() string { return r.Text + " (" + r.Code.Name + ")" }

// Rooms is what is called. room.Rooms provides it.
type Rooms interface {
	Send(handoff.Command) bool
	Read(handoff.Read) bool
}

// Presence is the keeper of presence. presence.Keeper provides it.
type Presence interface {
	Ask(handoff.Presence) bool
}

// Calls is the one for whom the rooms' answers are that no connection has asked for. Its methods are safe for concurrent use.
type Calls struct {
	// Set at construction.
	rooms    Rooms
	presence Presence
	mailbox  *handoff.Mailbox[handoff.Event]
	loop     uint16
	wake     <-chan struct{}
	closing  chan struct{}
	ended    chan struct{}

	mu      sync.Mutex // guards all below, held for a map access
	last    uint64
	waiting map[uint64]chan handoff.Event
	closed  bool
}

// Start takes the answers from a mailbox, which is the one with that number among those that the rooms and the keeper of presence
// were given. Close ends it.
func Start(rooms Rooms, presence Presence, mailbox *handoff.Mailbox[handoff.Event], loop int) *Calls {
	c := &Calls{
		rooms: rooms, presence: presence, mailbox: mailbox, loop: uint16(loop), wake: mailbox.Wakes(),
		closing: make(chan struct{}), ended: make(chan struct{}), waiting: make(map[uint64]chan handoff.Event),
	}
	go c.answerLoop()
	return c
}

// Pending is a call that was made.
type Pending struct {
	calls  *Calls
	id     uint64
	answer chan handoff.Event
}

// Send has a command carried out that is answered: a Publish or an Alter. Its From and ID are set here.
func (c *Calls) Send(command handoff.Command) (*Pending, error) {
	return c.begin(func(from handoff.Handle, id uint64) bool {
		command.From, command.ID = from, id
		return c.rooms.Send(command)
	})
}

// Read has a page of history read, in the binary codec. Its To and ID are set here.
func (c *Calls) Read(read handoff.Read) (*Pending, error) {
	return c.begin(func(to handoff.Handle, id uint64) bool {
		read.To, read.ID, read.Codec = to, id, proto.Binary
		return c.rooms.Read(read)
	})
}

// Presence asks who is in a room, in the binary codec.
func (c *Calls) Presence(room string) (*Pending, error) {
	return c.begin(func(from handoff.Handle, id uint64) bool {
		return c.presence.Ask(handoff.Presence{Kind: handoff.AskPresence, From: from, ID: id, Codec: proto.Binary, Room: room})
	})
}

func (c *Calls) begin(send func(from handoff.Handle, id uint64) bool) (*Pending, error) {
	// With room for the answer, so that giving it never waits.
	p := &Pending{calls: c, answer: make(chan handoff.Event, 1)}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, &Refusal{proto.ErrDraining, "The server is shutting down; ask again elsewhere or later."}
	}
	c.last++
	p.id = c.last
	c.waiting[p.id] = p.answer
	c.mu.Unlock()
	if !send(handoff.Handle{Loop: c.loop}, p.id) {
		c.forget(p.id)
		return nil, &Refusal{proto.ErrOverloaded, "The server has too much waiting; send again later."}
	}
	return p, nil
}

// Wait gives the answer, once. The error is a *Refusal, ErrClosed, or ErrUnanswered when the context is done first.
func (p *Pending) Wait(ctx context.Context) (handoff.Event, error) {
	defer p.calls.forget(p.id)
	select {
	case e := <-p.answer:
		return checked(e)
	case <-ctx.Done():
		return handoff.Event{}, errors.Join(ErrUnanswered, context.Cause(ctx))
	case <-p.calls.ended:
	}
	select {
	case e := <-p.answer: // it came before the end
		return checked(e)
	default:
		return handoff.Event{}, ErrClosed
	}
}

// checked makes an error of an answer that is one.
func checked(e handoff.Event) (handoff.Event, error) {
	if e.Code.Code != 0 {
		return handoff.Event{}, &Refusal{e.Code, e.Text}
	}
	return e, nil
}

func (c *Calls) forget(id uint64) {
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
}

// answerLoop gives answers to who waits for them: started by Start, ended by Close.
func (c *Calls) answerLoop() {
	defer close(c.ended)
	var events []handoff.Event
	for {
		closing := false
		select {
		case <-c.wake:
		case <-c.closing:
			closing = true
		}
		events = c.mailbox.Take(events)
		for i := range events {
			c.give(events[i])
			c.mailbox.Release(events[i].Size)
		}
		clear(events)
		if closing {
			return
		}
	}
}

func (c *Calls) give(e handoff.Event) {
	c.mu.Lock()
	answer := c.waiting[e.ID]
	delete(c.waiting, e.ID)
	c.mu.Unlock()
	if answer != nil {
		answer <- e
	}
}

// Close gives the answers that are there, and ends the calls that have none. The rooms have been closed before; later calls are
// refused.
func (c *Calls) Close() {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if !again {
		close(c.closing)
	}
	<-c.ended
}

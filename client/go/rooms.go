package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// room is what the machine keeps of a room from Join to Leave. Owned by the loop.
type room struct {
	// Set at construction.
	name         string
	subscription *Subscription

	// What outlives a connection.
	state    roomState
	position *Position  // of the last message put into the subscription; nil: not known
	refusals int        // of the join, in a row
	first    chan error // tells Join; nil once it is told
	marks    marks
	presence presence

	keepsReceipts bool // as the last joined said

	// What does not.
	attempt  int    // counts the joins sent, so that the reply to an old one is known
	suspect  bool   // joined again because of a hole, and no message since
	retry    *alarm // while the next join waits
	onServer bool   // a join was sent after which no leave was
}

type roomState uint8

const (
	joining  roomState = iota // a join is wanted: to be sent, or in flight
	joined                    // messages are delivered
	setAside                  // the subscription is full: left, until it is empty
	finished                  // left or refused
)

func newRoom(m *machine, name string, options JoinOptions) *room {
	r := &room{name: name}
	if options.After != nil {
		position := *options.After
		r.position = &position
	}
	r.subscription = newSubscription(name, options,
		func() { m.post(func() { m.resume(r) }) },
		func() { m.post(func() { m.leave(r) }) })
	r.subscription.mark = func(to Standing) { m.post(func() { m.mark(r, to) }) }
	r.subscription.ask = func(ctx context.Context) (Receipts, error) { return m.askReceipts(ctx, r) }
	r.subscription.watch = func(wanted bool) { m.post(func() { m.watchPresence(r, wanted) }) }
	r.subscription.typing = func(goesOn bool) { m.post(func() { m.typing(r, goesOn) }) }
	return r
}

// join is the application's wish.
func (m *machine) join(r *room, first chan error) {
	if m.rooms[r.name] != nil {
		r.state = finished
		first <- ErrJoined
		return
	}
	r.first = first
	m.rooms[r.name] = r
	m.sendJoin(r)
}

// joinAll is for a new connection.
func (m *machine) joinAll() {
	for _, name := range slices.Sorted(maps.Keys(m.rooms)) {
		m.sendJoin(m.rooms[name])
	}
}

func (m *machine) sendJoin(r *room) {
	if r.state != joining || !m.ready() || m.connection.leaving[r.name] {
		return
	}
	r.retry.stop()
	r.onServer = true
	r.attempt++
	attempt := r.attempt
	request := &v1.Join{Room: r.name}
	if r.position != nil {
		request.Epoch, request.After = r.position.Epoch, &r.position.Seq
	}
	m.request(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: request}}, func(reply *v1.ServerFrame) {
		if r.attempt != attempt || r.state != joining {
			return
		}
		switch op := reply.Op.(type) {
		case *v1.ServerFrame_Joined:
			m.admitted(r, op.Joined)
		case *v1.ServerFrame_Error:
			m.refused(r, newRequestError(op.Error))
		default:
			m.faulty("the reply to join is none")
		}
	})
}

func (m *machine) admitted(r *room, reply *v1.Joined) {
	r.state = joined
	r.refusals = 0
	r.keepsReceipts = reply.Receipts
	r.subscription.admitted(reply)
	head := Position{Epoch: reply.Epoch, Seq: reply.Head}
	switch {
	case r.position == nil:
		r.position = &head
		r.subscription.startAt(head)
	case reply.GetRecovered():
		r.position.Epoch = reply.Epoch
		r.subscription.renameEpoch(reply.Epoch)
	default:
		old := *r.position
		r.position = &head
		r.marks.reset()
		r.subscription.updates.forget(false)
		r.subscription.interrupt(head, &ResetError{Room: r.name, Old: old, New: head})
	}
	r.answer(nil)
	m.sendMark(r)
	m.askPresence(r)
}

func (m *machine) refused(r *room, err *RequestError) {
	switch {
	case err.Retry:
		delay := m.backoff(r.refusals, err.RetryAfter)
		r.refusals++
		r.onServer = false
		r.retry = m.after(delay, func() { m.sendJoin(r) })
	case err.Name == proto.ErrAlreadyJoined.Name:
		m.hole(r, errors.New(err.Message))
	default:
		delete(m.rooms, r.name)
		r.finish(err)
	}
}

// message is what the server delivers.
func (m *machine) message(message *v1.Message) {
	r := m.rooms[message.Room]
	if message.Ephemeral {
		if r != nil && r.state == joined {
			if r.subscription.Ephemeral() {
				r.wrote(message.From)
			}
			r.subscription.pass(newMessage(message)) // the position knows nothing of it
		}
		return
	}
	if r == nil || r.state != joined || message.Seq <= r.position.Seq {
		return // seen, or on its way when the room was left
	}
	if message.Seq != r.position.Seq+1 {
		m.hole(r, fmt.Errorf("room %q: message %d came after %d", r.name, message.Seq, r.position.Seq))
		return
	}
	r.suspect = false
	if !r.subscription.push(newMessage(message), r.position.Epoch) {
		m.setAside(r)
		return
	}
	r.position.Seq = message.Seq
	if message.Change == nil {
		r.wrote(message.From)
	}
}

// gap is what the server says in place of messages that it does not have any more.
func (m *machine) gap(gap *v1.Gap) {
	r := m.rooms[gap.Room]
	if r == nil || r.state != joined || gap.Last <= r.position.Seq {
		return
	}
	if gap.First > r.position.Seq+1 {
		m.hole(r, fmt.Errorf("room %q: a gap from %d came after message %d", r.name, gap.First, r.position.Seq))
		return
	}
	r.suspect = false
	missing := &GapError{Room: r.name, First: r.position.Seq + 1, Last: gap.Last, Reason: gap.Reason}
	r.position.Seq = gap.Last
	r.subscription.interrupt(*r.position, missing)
}

// hole joins again from the position: nothing is ever delivered over a hole. A second one
// at once means that the two sides don't understand each other.
func (m *machine) hole(r *room, cause error) {
	if r.suspect {
		m.faulty(cause.Error())
		return
	}
	r.suspect = true
	m.sendLeave(r)
	r.state = joining
	m.sendJoin(r)
}

// setAside is for a room whose messages the application does not take as fast as they come.
func (m *machine) setAside(r *room) {
	r.state = setAside
	m.sendLeave(r)
	if r.subscription.wakeWhenEmpty() {
		m.resume(r)
	}
}

// resume is said by the subscription when it is empty.
func (m *machine) resume(r *room) {
	if r.state == setAside {
		r.state = joining
		m.sendJoin(r)
	}
}

// leave is the application's wish.
func (m *machine) leave(r *room) {
	if r.state == finished {
		return
	}
	m.sendLeave(r)
	delete(m.rooms, r.name)
	r.finish(nil)
}

func (m *machine) sendLeave(r *room) {
	if r.onServer && m.state == Connected {
		r.onServer = false
		m.connection.leaving[r.name] = true
		m.requestLeave(r.name, 0)
	}
}

// requestLeave leaves a room on this connection. A server may take its time to do so, and
// take a join meanwhile for a second one, so the next join of that room waits for the reply.
func (m *machine) requestLeave(name string, refusals int) {
	c := m.connection
	m.request(&v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: name}}}, func(reply *v1.ServerFrame) {
		if e := reply.GetError(); e.GetRetry() {
			delay := m.backoff(refusals, newRequestError(e).RetryAfter)
			m.after(delay, func() {
				if m.connection == c {
					m.requestLeave(name, refusals+1)
				}
			})
			return
		}
		delete(c.leaving, name)
		if r := m.rooms[name]; r != nil {
			m.sendJoin(r)
		}
	})
}

// disconnected is the end of the connection, not of the room.
func (r *room) disconnected() {
	r.retry.stop()
	r.onServer, r.suspect = false, false
	r.marks.disconnected()
	r.presence.disconnected(r)
	if r.state == joined {
		r.state = joining
	}
}

// finish ends the room; err is nil when the application left.
func (r *room) finish(err error) {
	r.state = finished
	r.retry.stop()
	r.marks.disconnected()
	r.presence.disconnected(r)
	r.answer(err)
	r.subscription.end(err)
}

// answer tells Join, if it still waits.
func (r *room) answer(err error) {
	if r.first != nil {
		r.first <- err
		r.first = nil
	}
}

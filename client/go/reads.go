package client

import (
	"context"
	"slices"

	v1 "rookery/proto/rookery/v1"
)

// maxReads is how many reads may wait.
const maxReads = 100

// reads holds what is asked, pages of history and receipts, until it is answered. A read can be repeated without
// harm, so a lost connection costs it nothing but time. Owned by the loop.
type reads struct {
	machine *machine
	waiting []*read
}

// read is one request.
type read struct {
	// Set at construction.
	request *v1.ClientFrame
	take    func(reply *v1.ServerFrame) bool // before done is closed; false: the reply is of another kind
	done    chan struct{}

	// Written before done is closed.
	err error

	// Owned by the loop.
	inFlight bool
	refusals int
	retry    *alarm // while it waits to be sent again
	blocked  bool   // until retry
}

func newRead(request *v1.ClientFrame, take func(*v1.ServerFrame) bool) *read {
	return &read{request: request, take: take, done: make(chan struct{})}
}

func newReads(m *machine) reads { return reads{machine: m} }

// read asks and waits for the answer, which r.take is given.
func (m *machine) read(ctx context.Context, r *read) error {
	refused := make(chan error, 1)
	err := m.call(ctx, func() { refused <- m.reads.add(r) })
	if err == nil {
		err = <-refused
	}
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		m.post(func() { m.reads.forget(r) })
		return ctx.Err()
	}
}

func (q *reads) add(r *read) error {
	if len(q.waiting) >= maxReads {
		return ErrQueueFull
	}
	q.waiting = append(q.waiting, r)
	q.send(r)
	return nil
}

func (q *reads) sendAll() {
	for _, r := range slices.Clone(q.waiting) {
		q.send(r)
	}
}

func (q *reads) send(r *read) {
	if r.inFlight || r.blocked || !q.machine.ready() {
		return
	}
	r.inFlight = true
	q.machine.request(r.request, func(reply *v1.ServerFrame) {
		if !slices.Contains(q.waiting, r) {
			return // the application has stopped waiting
		}
		r.inFlight = false
		switch {
		case reply.GetError() != nil:
			q.refused(r, newRequestError(reply.GetError()))
		case r.take(reply):
			q.settle(r, nil)
		default:
			q.machine.faulty("the reply to a read is none")
		}
	})
}

func newPage(reply *v1.History) Page {
	page := Page{Epoch: reply.Epoch, More: reply.More, Begin: reply.Begin}
	for _, gap := range reply.Gaps {
		page.Gaps = append(page.Gaps, &GapError{Room: reply.Room, First: gap.First, Last: gap.Last, Reason: gap.Reason})
	}
	for _, message := range reply.Messages {
		page.Messages = append(page.Messages, newMessage(message))
		page.Messages[len(page.Messages)-1].Room = reply.Room
	}
	return page
}

func (q *reads) refused(r *read, err *RequestError) {
	if !err.Retry {
		q.settle(r, err)
		return
	}
	r.blocked = true
	r.retry = q.machine.after(q.machine.backoff(r.refusals, err.RetryAfter), func() {
		r.blocked = false
		q.send(r)
	})
	r.refusals++
}

func (q *reads) settle(r *read, err error) {
	q.forget(r)
	r.err = err
	close(r.done)
}

// forget is for one that nobody waits for any more.
func (q *reads) forget(r *read) {
	r.retry.stop()
	q.waiting = slices.DeleteFunc(q.waiting, func(other *read) bool { return other == r })
}

func (q *reads) disconnected() {
	for _, r := range q.waiting {
		r.inFlight = false
	}
}

func (q *reads) rejectAll(err error) {
	for _, r := range slices.Clone(q.waiting) {
		q.settle(r, err)
	}
}

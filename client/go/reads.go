package client

import (
	"slices"

	v1 "rookery/proto/rookery/v1"
)

// maxReads is how many history requests may wait.
const maxReads = 100

// reads holds the history requests until they are answered. A read can be repeated without
// harm, so a lost connection costs it nothing but time. Owned by the loop.
type reads struct {
	machine *machine
	waiting []*read
}

// read is one request. What is below done is written before done is closed.
type read struct {
	request *v1.HistoryRequest
	done    chan struct{}
	page    Page
	err     error

	// Owned by the loop.
	inFlight bool
	refusals int
	retry    *alarm // while it waits to be sent again
	blocked  bool   // until retry
}

func newRead(room string, query HistoryQuery) *read {
	request := &v1.HistoryRequest{Room: room, Limit: uint32(query.Limit), After: query.After}
	if query.Before != 0 {
		request.Before = &query.Before
	}
	return &read{request: request, done: make(chan struct{})}
}

func newReads(m *machine) reads { return reads{machine: m} }

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
	q.machine.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: r.request}}, func(reply *v1.ServerFrame) {
		if !slices.Contains(q.waiting, r) {
			return // the application has stopped waiting
		}
		r.inFlight = false
		switch op := reply.Op.(type) {
		case *v1.ServerFrame_History:
			r.page = newPage(op.History)
			q.settle(r, nil)
		case *v1.ServerFrame_Error:
			q.refused(r, newRequestError(op.Error))
		default:
			q.machine.faulty("the reply to history is none")
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

// forget is for a request that nobody waits for any more.
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

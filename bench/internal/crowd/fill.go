package crowd

import (
	"errors"
	"fmt"
	"math"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
)

// fillWindow is how many messages may wait for their acknowledgement while rooms are filled, and fillBytes how many bytes of
// bodies, so that they and what is around them find room in the connection.
const (
	fillWindow = 256
	fillBytes  = engine.MaxUnsent / 4
)

// fill puts the backlog into this worker's part of the rooms, one connection for all of them, before the users come.
// It waits for answers: it is no load.
type fill struct {
	session dialect.Session
	began   bool
	over    bool
	err     error
	moved   int64 // when something was heard, or it began
	room    int   // in work
	sent    int   // in it
	acked   int
}

func (f *fill) done() bool { return f.over || !f.began || f.err != nil }

// Fill begins it.
func (c *Crowd) Fill() {
	f := &c.fill
	f.began, f.moved, f.room = true, c.now(), c.part.Worker
	if f.room >= c.part.Plan.Rooms.Count {
		f.over = true
		return
	}
	// Numbers of users are below this in every run that fits into a machine.
	f.session.User = uint32(math.MaxInt32 - c.part.Worker)
	f.err = c.loop.Dial(len(c.users), c.part.Targets[0], c.sources.Pick(0), c.configs[0])
}

// FillError is why it ended early, nil if it did not.
func (c *Crowd) FillError() error {
	if c.fill.err != nil {
		_, words := explain("", c.fill.err)
		return fmt.Errorf("fill the rooms with %d messages each: %s", c.part.Plan.Rooms.Backlog, words)
	}
	return nil
}

func (c *Crowd) fillOpened() { c.fillWrite(c.dialects[0].AppendOpen(nil, &c.fill.session)) }

func (c *Crowd) fillWrite(b []byte) {
	if err := c.loop.Write(len(c.users), b); err != nil && c.fill.err == nil {
		c.fill.err = err
	}
}

// dueFill ends it when the server says nothing for as long as a connect may take.
func (c *Crowd) dueFill(now int64) int64 {
	f := &c.fill
	if f.done() {
		return math.MaxInt64
	}
	end := f.moved + int64(c.part.Plan.Clients.Timeout)
	if now < end {
		return end
	}
	f.err = fmt.Errorf("the server has said nothing for %v", c.part.Plan.Clients.Timeout)
	c.loop.Close(len(c.users), engine.Reset)
	return math.MaxInt64
}

func (c *Crowd) fillReceived(in []byte) (n int) {
	c.fill.moved = c.now()
	for n < len(in) && !c.fill.done() {
		size, err := c.dialects[0].Read(&c.fill.session, in[n:], &c.event)
		n += size
		if err != nil {
			c.fill.err = err
			return n
		}
		if len(c.event.Out) > 0 {
			c.fillWrite(c.event.Out)
		}
		if size == 0 {
			return n
		}
		c.fillTake(&c.event)
	}
	return n
}

func (c *Crowd) fillTake(e *dialect.Event) {
	f := &c.fill
	switch e.Kind {
	case dialect.Ready:
		c.fillJoin()
	case dialect.Joined:
		f.sent, f.acked = 0, 0
		c.fillSend()
	case dialect.Acknowledged:
		f.acked++
		c.seen(f.room, e.Seq)
		c.fillSend()
	case dialect.Refused:
		f.err = errors.New("the server refused: " + e.Reason)
	}
}

func (c *Crowd) fillJoin() {
	f := &c.fill
	c.fillWrite(c.dialects[0].AppendJoin(nil, &f.session, dialect.Join{ID: 1, Room: f.room, After: -1}))
}

// fillSend keeps the window full, and goes on to the next room when this one has its messages.
func (c *Crowd) fillSend() {
	f, backlog := &c.fill, c.part.Plan.Rooms.Backlog
	window := min(fillWindow, max(1, fillBytes/c.part.Plan.Publish.Size))
	c.out = c.out[:0]
	for f.sent < backlog && f.sent-f.acked < window {
		f.sent++
		c.body = c.finder.Append(c.body[:0], ledger.Stamp{
			User: f.session.User, Room: uint32(f.room), Seq: uint32(f.sent), Due: c.now(),
		}, c.part.Plan.Publish.Size)
		c.out = c.dialects[0].AppendPublish(c.out, &f.session, dialect.Publish{ID: uint32(f.sent + 1), Room: f.room, Key: uint32(f.sent), Body: c.body})
	}
	if f.acked == backlog {
		c.out = c.dialects[0].AppendLeave(c.out, &f.session, uint32(backlog)+2, f.room)
		if f.room += c.part.Workers; f.room >= c.part.Plan.Rooms.Count {
			f.over = true
			c.out = c.dialects[0].AppendClose(c.out, &f.session)
			c.fillWrite(c.out)
			c.loop.Close(len(c.users), engine.Orderly)
			return
		}
		c.out = c.dialects[0].AppendJoin(c.out, &f.session, dialect.Join{ID: 1, Room: f.room, After: -1})
	}
	if len(c.out) > 0 {
		c.fillWrite(c.out)
	}
}

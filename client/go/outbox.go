package client

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// keyLife is how long after it was first sent a publish may be sent again by itself: the
// server keeps keys for ten minutes, and a minute is left for the way.
const keyLife = 9 * time.Minute

// Pending is a publish on its way.
type Pending struct {
	// Set at construction.
	publication Publication
	frame       *v1.Publish
	done        chan struct{}

	// Written before done is closed.
	result Published
	err    error

	// Owned by the loop.
	order     uint64 // of the calls, in all rooms
	inFlight  bool
	blocked   bool      // until retry
	settled   bool      // done is closed
	retry     *alarm    // after a refusal
	refusals  int       // in a row
	firstSent time.Time // zero: the server can't have stored it
	open      bool      // sent before, with no answer that rules out that it is stored
}

// Key is the retry key, chosen by the client when the application gave none.
func (p *Pending) Key() string { return p.frame.Key }

// Wait returns when the message is durable or has failed, or when ctx ends, which does not
// take it back.
func (p *Pending) Wait(ctx context.Context) (Published, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done: // both: what is known is worth more
		default:
			return Published{}, p.failure(ctx.Err())
		}
	}
	return p.result, p.err
}

func (p *Pending) failure(err error) error {
	return &PublishError{Room: p.publication.Room, Key: p.frame.Key, Err: err}
}

// Keys must be unique for a user and a room over all of the user's programs: random bits
// of this process, then a counter.
var (
	keyPrefix  = fmt.Sprintf("%016x-", rand.Uint64())
	keyCounter atomic.Uint64
)

func newPending(p Publication) *Pending {
	if p.Key == "" {
		p.Key = keyPrefix + fmt.Sprint(keyCounter.Add(1))
	}
	return &Pending{publication: p, frame: p.frame(), done: make(chan struct{})}
}

func (p *Publication) frame() *v1.Publish {
	frame := &v1.Publish{
		Room: p.Room, Key: p.Key, ReplyTo: p.ReplyTo, Thread: p.Thread, Mentions: p.Mentions, Kind: p.Kind,
		Change: p.Change.frame(),
	}
	switch {
	case p.Change != nil && p.Change.Op != Edit:
	case p.Data != nil:
		frame.Content = &v1.Publish_Data{Data: p.Data}
	default:
		frame.Content = &v1.Publish_Text{Text: p.Text}
	}
	return frame
}

// size is what the bound of the outbox counts.
func (p *Pending) size() int { return len(p.publication.Text) + len(p.publication.Data) }

// outbox holds the publishes until they are answered, in a lane for each room: rooms don't
// wait for each other. Owned by the loop.
type outbox struct {
	machine *machine
	lanes   map[string][]*Pending
	count   int
	bytes   int
	orders  uint64
}

func newOutbox(m *machine) outbox {
	return outbox{machine: m, lanes: make(map[string][]*Pending)}
}

// add takes a publish in, or says why not.
func (o *outbox) add(p *Pending) error {
	config := &o.machine.config
	if o.count >= config.MaxQueued || o.bytes+p.size() > config.MaxQueuedBytes {
		return ErrQueueFull
	}
	if o.machine.tooLarge(p.frame) {
		return ErrTooLarge
	}
	o.orders++
	p.order = o.orders
	o.count++
	o.bytes += p.size()
	o.lanes[p.frame.Room] = append(o.lanes[p.frame.Room], p)
	o.send(p.frame.Room)
	if r := o.machine.rooms[p.frame.Room]; r != nil && p.frame.Change == nil {
		r.presence.quiet()
	}
	return nil
}

// tooLarge reports whether sending a publish would end the connection for good.
func (m *machine) tooLarge(publish *v1.Publish) bool {
	limit := m.maxMessage
	if limit == 0 {
		return false // not known yet; looked at again when it is sent
	}
	frame := &v1.ClientFrame{Id: proto.MaxInteger, Op: &v1.ClientFrame_Publish{Publish: publish}}
	const prefix = 4 // the longest length in front of a frame
	return frame.SizeVT()+prefix > limit
}

// sendAll is for a new connection: oldest first over all rooms.
func (o *outbox) sendAll() {
	var rooms []string
	for room := range o.lanes {
		rooms = append(rooms, room)
	}
	slices.SortFunc(rooms, func(a, b string) int {
		return cmp.Compare(o.lanes[a][0].order, o.lanes[b][0].order)
	})
	for _, room := range rooms {
		o.send(room)
	}
}

// send sends what may be sent of a room. What was refused holds up what is behind it.
func (o *outbox) send(room string) {
	inFlight := 0
	for i := 0; i < len(o.lanes[room]); {
		if !o.machine.ready() || inFlight >= o.machine.config.PublishWindow {
			return
		}
		p := o.lanes[room][i]
		switch {
		case p.blocked:
			return
		case p.inFlight:
		case o.machine.tooLarge(p.frame):
			o.remove(p, ErrTooLarge)
			continue
		case !p.firstSent.IsZero() && time.Since(p.firstSent) >= keyLife:
			o.remove(p, ErrOutcomeUnknown)
			continue
		default:
			o.sendOne(p)
		}
		inFlight++
		i++
	}
}

func (o *outbox) sendOne(p *Pending) {
	p.inFlight = true
	if p.firstSent.IsZero() {
		p.firstSent = time.Now()
	}
	o.machine.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: p.frame}}, func(reply *v1.ServerFrame) {
		if p.settled {
			return // withdrawn
		}
		p.inFlight = false
		switch op := reply.Op.(type) {
		case *v1.ServerFrame_Published:
			p.result = Published{
				Room: p.frame.Room, Seq: op.Published.Seq, Key: p.frame.Key,
				At: time.UnixMilli(int64(op.Published.At)),
			}
			o.settle(p, nil)
		case *v1.ServerFrame_Error:
			o.refused(p, newRequestError(op.Error))
		default:
			o.machine.faulty("the reply to publish is none")
		}
	})
}

func (o *outbox) refused(p *Pending, err *RequestError) {
	if !err.Retry {
		o.settle(p, err)
		return
	}
	switch err.Name {
	case proto.ErrInternal.Name, proto.ErrLogUnavailable.Name:
		p.open = true
	default:
		if !p.open {
			p.firstSent = time.Time{}
		}
	}
	p.blocked = true
	p.retry = o.machine.after(o.machine.backoff(p.refusals, err.RetryAfter), func() {
		p.blocked = false
		o.send(p.frame.Room)
	})
	p.refusals++
}

// settle ends p and sends the next of its room.
func (o *outbox) settle(p *Pending, err error) {
	o.remove(p, err)
	o.send(p.frame.Room)
}

// remove ends p: err is nil when it is acknowledged.
func (o *outbox) remove(p *Pending, err error) {
	room := p.frame.Room
	lane := slices.DeleteFunc(o.lanes[room], func(other *Pending) bool { return other == p })
	if len(lane) == 0 {
		delete(o.lanes, room)
	} else {
		o.lanes[room] = lane
	}
	o.count--
	o.bytes -= p.size()
	p.retry.stop()
	p.settled = true
	if err != nil {
		p.err = p.failure(err)
	}
	close(p.done)
}

// withdraw is for a publish whose caller has stopped waiting.
func (o *outbox) withdraw(p *Pending, err error) {
	if !p.settled {
		o.settle(p, err)
	}
}

func (o *outbox) disconnected() {
	for _, lane := range o.lanes {
		for _, p := range lane {
			p.open = p.open || p.inFlight
			p.inFlight = false
		}
	}
}

func (o *outbox) rejectAll(err error) {
	for _, lane := range o.lanes {
		for _, p := range slices.Clone(lane) {
			o.remove(p, err)
		}
	}
}

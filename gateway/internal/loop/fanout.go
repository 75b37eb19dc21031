package loop

import (
	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// batch is what waited in a room when its turn came. It goes to every member in one piece,
// so a busy room costs a write per member and turn, not per message; an idle one
// has one message in it and waits for nobody.
type batch struct {
	messages []*proto.Encoded // ascending, without gaps
	next     int              // index in members of the next to be served
	// The messages as they go over the wire, made when the first member needs them.
	stream, binary, json []byte
}

func (b *batch) first() uint64 { return b.messages[0].Seq }
func (b *batch) last() uint64  { return b.messages[len(b.messages)-1].Seq }

// wire returns the messages from index i on for a connection's transport and codec. The
// bytes are shared by the members.
func (b *batch) wire(c *conn) []byte {
	switch {
	case c.stream:
		if b.stream == nil {
			b.stream = appendFrames(nil, b.messages, proto.Binary)
		}
		return b.stream
	case c.codec == proto.JSON:
		if b.json == nil {
			b.json = message(b.messages, proto.JSON)
		}
		return b.json
	}
	if b.binary == nil {
		b.binary = message(b.messages, proto.Binary)
	}
	return b.binary
}

// message makes one WebSocket message of all frames.
func message(messages []*proto.Encoded, codec proto.Codec) []byte {
	size := 0
	for _, m := range messages {
		size += len(m.Frame(codec))
	}
	b := make([]byte, 0, framing.MaxHeaderSize+size)
	return appendFrames(framing.AppendHeader(b, opCode(codec), size), messages, codec)
}

func appendFrames(dst []byte, messages []*proto.Encoded, codec proto.Codec) []byte {
	for _, m := range messages {
		dst = append(dst, m.Frame(codec)...)
	}
	return dst
}

// deliver takes a committed message for a room's members here.
func (l *Loop) deliver(e *handoff.Event) {
	r := l.rooms[e.Room]
	if r == nil || len(r.members) == r.holes {
		// The last member went while this was on its way, or the next is still joining and
		// will be told a later head.
		l.inbox.Release(e.Size)
		return
	}
	if e.Seq != r.seq+1 {
		panic("BUG: the shard of room " + r.name + " skipped or repeated a delivery")
	}
	r.seq = e.Seq
	r.pending = append(r.pending, e.Message)
	l.enqueue(r)
}

func (l *Loop) enqueue(r *localRoom) {
	if !r.queued {
		r.queued = true
		l.busy.push(r)
	}
}

// fanOut serves up to budget members, the busy rooms in turn: a room of 100,000 gets a slice
// and goes to the end of the queue.
func (l *Loop) fanOut(budget int) {
	for budget > 0 && l.busy.len() > 0 {
		r := l.busy.pop()
		r.queued = false
		if r.batch == nil {
			if len(r.pending) == 0 {
				continue // dropped meanwhile
			}
			r.batch = r.takeBatch()
		}
		budget = l.serve(r, budget)
		if r.batch != nil || len(r.pending) > 0 {
			l.enqueue(r)
		}
	}
}

// takeBatch cuts off what leaves in one piece.
func (r *localRoom) takeBatch() *batch {
	n, size := 0, 0
	for n < len(r.pending) && (n == 0 || size+len(r.pending[n].Frame(proto.Binary)) <= batchBytes) {
		size += len(r.pending[n].Frame(proto.Binary))
		n++
	}
	b := &batch{messages: r.pending[:n:n]}
	if r.pending = r.pending[n:]; len(r.pending) == 0 {
		r.pending = nil
	}
	return b
}

// serve gives the batch to members until it or the budget ends.
func (l *Loop) serve(r *localRoom, budget int) int {
	b := r.batch
	for b.next < len(r.members) && budget > 0 {
		slot := r.members[b.next]
		b.next++
		if slot == hole {
			continue
		}
		budget--
		c := l.slots[slot].conn
		if c.replay != nil {
			if entry := c.replay.find(r); entry != nil {
				l.meet(c, entry, b)
				continue
			}
		}
		if c.backed {
			l.fallBehind(c, r, b.first()-1)
			continue
		}
		l.counted.Deliveries.Add(int64(len(b.messages)))
		l.write(c, b.wire(c))
	}
	if b.next == len(r.members) {
		r.batch = nil
		l.release(b.messages)
		l.sweep(r)
	}
	return budget
}

// drop gives back what waits in a room without members.
func (l *Loop) drop(r *localRoom) {
	if r.batch != nil {
		l.release(r.batch.messages)
		r.batch = nil
	}
	l.release(r.pending)
	r.pending = nil
	r.members, r.holes = nil, 0
}

func (l *Loop) release(messages []*proto.Encoded) {
	for _, m := range messages {
		l.inbox.Release(m.Size())
	}
}

// unserved reports whether messages up to seq are still being handed out.
func (r *localRoom) unserved() bool { return r.batch != nil || len(r.pending) > 0 }

// upcoming is the first message that the member at that index has not been shown yet.
func (r *localRoom) upcoming(member int32) uint64 {
	switch {
	case r.batch != nil && int(member) >= r.batch.next:
		return r.batch.first()
	case len(r.pending) > 0:
		return r.pending[0].Seq
	}
	return r.seq + 1
}

package loop

import (
	"time"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// batch is what waited in a room when its turn came. It goes to every member in one piece,
// so a busy room costs a write per member and turn, not per message; an idle one
// has one message in it and waits for nobody. Messages of the log and ephemeral ones are apart,
// since a member can be behind with either.
type batch struct {
	stored    pieces // ascending, without gaps
	ephemeral pieces // in the order in which they came
	number    uint64 // of the first ephemeral one, see ephemerals
	next      int    // index in members of the next to be served
	cut       bool   // more was there than leaves in one piece
}

func (b *batch) first() uint64 { return b.stored.messages[0].Seq }
func (b *batch) last() uint64  { return b.stored.messages[len(b.stored.messages)-1].Seq }

// pieces are messages that go to every member alike.
type pieces struct {
	messages []*proto.Encoded
	// The messages as they go over the wire, made when the first member needs them.
	stream, binary, json, events []byte
}

func (p *pieces) empty() bool { return len(p.messages) == 0 }

// wire returns the messages for a connection's transport and codec. The bytes are shared by
// the members.
func (p *pieces) wire(c *conn) []byte {
	switch {
	case c.stream:
		if p.stream == nil {
			p.stream = appendFrames(nil, p.messages, proto.Binary)
		}
		return p.stream
	case c.events:
		if p.events == nil {
			p.events = framing.AppendEvents(nil, appendFrames(nil, p.messages, proto.JSON))
		}
		return p.events
	case c.codec == proto.JSON:
		if p.json == nil {
			p.json = message(p.messages, proto.JSON)
		}
		return p.json
	}
	if p.binary == nil {
		p.binary = message(p.messages, proto.Binary)
	}
	return p.binary
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
	if r == nil || len(r.members) == int(r.holes) {
		// The last member went while this was on its way, or the next is still joining and
		// will be told a later head.
		l.done(e.Size)
		return
	}
	if e.Seq != r.seq+1 {
		panic("BUG: the shard of room " + r.name + " skipped or repeated a delivery")
	}
	r.seq = e.Seq
	r.stored++
	l.remember(r, e.Message)
	l.pend(r, e.Message)
}

// pend has a message wait for its room's turn.
func (l *Loop) pend(r *localRoom, m *proto.Encoded) {
	r.pending = append(r.pending, m)
	if r.window > 0 {
		l.load.gathering += int64(m.Size())
	}
	l.enqueue(r)
}

func (l *Loop) enqueue(r *localRoom) {
	if r.queued {
		return
	}
	r.queued = true
	pause := time.Duration(r.window) * time.Millisecond
	if r.gathers {
		pause = max(pause, l.load.pause)
	}
	if r.batch == nil && r.window > 0 {
		l.load.windows++
	}
	if pause > 0 && r.batch == nil {
		l.gather(r, pause)
		return
	}
	l.busy.push(r)
}

// turn is how many members are served in one. A loop that paces itself does more at a time: the replies of a room of some hundred then leave with the
// publishers' own copies, and so many writes less are worth more than the millisecond.
func (l *Loop) turn() int {
	if l.load.pause > 0 {
		return pacedTurn * l.slice
	}
	return l.slice
}

// portion is how many members a turn serves behind what was read since the last one: one for each request, so that neither starves the other.
// With a slice only, while thousands of sockets have something to read between two turns, a server that is offered twice of what it carries
// reads all the time, and what it has accepted waits for seconds.
func (l *Loop) portion() int {
	requests := min(l.requests, longestTurn)
	l.requests = 0
	return max(l.turn(), requests)
}

// publishReply is for who published.
type publishReply struct {
	to       handoff.Handle
	id       uint64
	seq      uint64
	at       int64
	size     int           // of the mailbox, until it is written
	previous *publishReply // of the room
}

// published answers a publisher. In a room that has its turn in one piece the reply waits for that, so that it and the publisher's own copy
// leave in one write: with thousands of small rooms before it in the queue it would have left long before, in a write of its own.
func (l *Loop) published(e *handoff.Event) {
	reply := publishReply{to: e.To, id: e.ID, seq: e.Seq, at: e.At, size: e.Size}
	r := l.rooms[e.Room]
	if r == nil || r.window > 0 || len(r.members) == int(r.holes) || len(r.members) > l.turn() {
		l.tellPublisher(e.Room, &reply)
		return
	}
	reply.previous, r.replies = r.replies, &reply
	l.enqueue(r)
}

// tellPublishers writes the replies that wait in a room, the oldest first.
func (l *Loop) tellPublishers(r *localRoom) {
	var oldest *publishReply
	for newest := r.replies; newest != nil; {
		next := newest.previous
		newest.previous, oldest = oldest, newest
		newest = next
	}
	r.replies = nil
	for ; oldest != nil; oldest = oldest.previous {
		l.tellPublisher(r.name, oldest)
	}
}

func (l *Loop) tellPublisher(room string, p *publishReply) {
	if c := l.conn(p.to); c != nil {
		l.reply(c, l.reused.acknowledgement(p.id, room, p.seq, p.at))
	}
	l.done(p.size)
}

// fanOut serves up to budget members, the busy rooms in turn: a room of 100,000 gets a slice
// and goes to the end of the queue.
func (l *Loop) fanOut(budget int) {
	for budget > 0 && l.busy.len() > 0 {
		r := l.busy.pop()
		r.queued = false
		if r.batch == nil {
			if r.window > 0 {
				l.load.windows--
			}
			l.tellPublishers(r)
			if len(r.pending) == 0 {
				continue // dropped meanwhile, or only a repeated publish was answered
			}
			r.batch = r.takeBatch(l.reused.batch())
			together := len(r.batch.stored.messages) + len(r.batch.ephemeral.messages)
			l.load.batches++
			l.load.together += together
			r.gathers = together >= wellGathered
			l.gatherLess(r, r.batch.stored.messages)
			l.gatherLess(r, r.batch.ephemeral.messages)
		}
		cut := r.batch.cut
		budget = l.serve(r, budget)
		switch {
		case r.batch != nil || cut && len(r.pending) > 0:
			r.queued = true
			l.busy.push(r) // what is left has waited already
			if r.batch == nil && r.window > 0 {
				l.load.windows++
			}
		case len(r.pending) > 0 || r.replies != nil:
			l.enqueue(r)
		}
		if l.fullest > gatherBytes {
			// A burst has many batches for a member. Before it is given more it is seen whether its
			// socket takes what it has: what is written and not taken counts against outbound.
			l.flush()
		}
	}
}

// takeBatch cuts off what leaves in one piece, into an empty batch.
func (r *localRoom) takeBatch(b *batch) *batch {
	n, size, stored := 0, 0, int32(0)
	for n < len(r.pending) && (n == 0 || size+len(r.pending[n].Frame(proto.Binary)) <= batchBytes) {
		size += len(r.pending[n].Frame(proto.Binary))
		if !r.pending[n].Ephemeral {
			stored++
		}
		n++
	}
	taken := r.pending[:n:n]
	b.number, b.cut = r.passed()+1, n < len(r.pending)
	switch stored {
	case int32(n):
		b.stored.messages = taken
	case 0:
		b.ephemeral.messages = taken
	default:
		for _, m := range taken {
			if m.Ephemeral {
				b.ephemeral.messages = append(b.ephemeral.messages, m)
			} else {
				b.stored.messages = append(b.stored.messages, m)
			}
		}
	}
	r.stored -= stored
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
		// Ephemeral ones first: a stored one that came after them, "hello" after "is typing",
		// must not overtake them. Earlier batches hold only what came earlier.
		if !b.ephemeral.empty() {
			l.serveEphemeral(c, r, b)
		}
		if !b.stored.empty() {
			l.serveStored(c, r, b)
		}
	}
	if b.next == len(r.members) {
		r.batch = nil
		if l.tally != nil {
			l.tally.add(r.name, (len(r.members)-int(r.holes))*(len(b.stored.messages)+len(b.ephemeral.messages)))
		}
		l.release(b.stored.messages)
		l.release(b.ephemeral.messages)
		l.reused.finished(b)
		l.sweep(r)
		l.started(r)
		l.tidy(r)
	}
	return budget
}

func (l *Loop) serveStored(c *conn, r *localRoom, b *batch) {
	if c.replay != nil {
		if entry := c.replay.find(r); entry != nil {
			l.meet(c, entry, b)
			return
		}
	}
	if c.backed {
		l.fallBehind(c, r, b.first()-1)
		return
	}
	l.giveBatch(c, r, b)
}

// giveBatch gives a member all of a batch's messages of the log.
func (l *Loop) giveBatch(c *conn, r *localRoom, b *batch) {
	l.counted.Deliveries.Add(int64(len(b.stored.messages)))
	if c.events {
		if own := l.liveEvents(c, r.name, b.stored.messages); own != nil {
			l.write(c, own)
			return
		}
	}
	l.write(c, b.stored.wire(c))
}

// drop gives back what waits in a room without members.
func (l *Loop) drop(r *localRoom) {
	if r.batch != nil {
		l.release(r.batch.stored.messages)
		l.release(r.batch.ephemeral.messages)
		r.batch = nil
		if r.window > 0 {
			l.load.windows++ // it is queued without one now, until its turn
		}
	}
	l.tellPublishers(r)
	l.dropEphemerals(r)
	l.gatherLess(r, r.pending)
	l.release(r.pending)
	r.pending, r.stored = nil, 0
	r.members, r.holes = nil, 0
}

func (l *Loop) release(messages []*proto.Encoded) {
	for _, m := range messages {
		l.done(m.Size())
	}
}

// unserved reports whether messages up to seq are still being handed out.
func (r *localRoom) unserved() bool {
	return r.batch != nil && !r.batch.stored.empty() || r.stored > 0
}

// upcoming is the first message that the member at that index has not been shown yet.
func (r *localRoom) upcoming(member int32) uint64 {
	switch {
	case r.batch != nil && !r.batch.stored.empty() && int(member) >= r.batch.next:
		return r.batch.first()
	}
	return r.seq - uint64(r.stored) + 1
}

package loop

import (
	"slices"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// Bounds of what is kept for who is behind. Where one is reached the oldest goes.
const (
	keptMessages = 256      // of a room
	keptBytes    = 64 << 10 // of a room, as they go over the wire; one message may be longer
	keptTotal    = 16 << 20 // of all rooms of a loop, memory
	// maxResuming bounds the connections that are given what was kept for them in one turn.
	maxResuming = 64
)

// ephemerals are what a room has of ephemeral messages on one loop. Each has a number here,
// counted up as they come.
//
// A member whose socket is full is not queued for. All that is remembered of it is the
// number at which it stopped, and as long as there is such a member the room keeps the
// newest message of each sender and key, for all of them together. Who drains is given what
// is kept behind its number, in order, and is live again. So nobody ever sees an older value
// after a newer one, everybody gets the newest in the end, and a crowd of slow consumers costs
// a room no more than one does.
type ephemerals struct {
	number  uint64              // of the last that came
	stopped map[uint32]uint64   // by slot: what comes after this number is owed to the member
	joined  map[uint32]struct{} // slots among these of members that came while something was being handed out
	kept    []keptMessage       // the newest of each sender and key, ascending, while somebody has stopped
	size    int                 // bytes of kept, over the wire
	upTo    uint64              // kept was shown all up to this number
}

type keptMessage struct {
	number  uint64
	message *proto.Encoded
}

// pass takes an ephemeral message for a room's members here.
func (l *Loop) pass(e *handoff.Event) {
	r := l.rooms[e.Room]
	if r == nil || len(r.members) == int(r.holes) {
		l.done(e.Size)
		return
	}
	if r.ephemerals == nil {
		r.ephemerals = &ephemerals{}
	}
	r.ephemerals.number++
	l.pend(r, e.Message)
}

// serveEphemeral gives a batch's ephemeral messages to a member, or notes that it stopped before them.
func (l *Loop) serveEphemeral(c *conn, r *localRoom, b *batch) {
	p := r.ephemerals
	_, stopped := p.stopped[c.handle.Slot]
	if !stopped && !c.backed {
		l.counted.EphemeralDelivered.Add(int64(len(b.ephemeral.messages)))
		l.write(c, b.ephemeral.wire(c))
		return
	}
	if !stopped {
		p.stop(c, b.number-1)
	}
	l.keep(p, b)
}

func (p *ephemerals) stop(c *conn, after uint64) {
	if p.stopped == nil {
		p.stopped = make(map[uint32]uint64)
	}
	p.stopped[c.handle.Slot] = after
}

// startEphemeral is for a new member: what is still being handed out came before it joined. If
// it was a member a moment ago, it has seen some of that already. Until all of that has been handed out it counts as stopped.
func (l *Loop) startEphemeral(c *conn, r *localRoom) {
	if p := r.ephemerals; p != nil && (r.passed() < p.number || r.batch != nil && !r.batch.ephemeral.empty()) {
		p.stop(c, p.number)
		if p.joined == nil {
			p.joined = make(map[uint32]struct{})
		}
		p.joined[c.handle.Slot] = struct{}{}
	}
}

// started has members go on, at the end of a batch, that joined while it and what came before it were being handed out. Not by asking each turn
// whether that is so: a room that gathers may take ten seconds.
func (l *Loop) started(r *localRoom) {
	p := r.ephemerals
	if p == nil {
		return
	}
	for slot := range p.joined {
		after, stopped := p.stopped[slot]
		if stopped && after > r.passed() {
			continue
		}
		delete(p.joined, slot)
		if !stopped {
			continue // it has left, perhaps with its place in the table
		}
		if c := l.slots[slot].conn; !c.backed { // else it goes on when its socket has drained
			l.resumeLater(c)
		}
	}
}

// keep puts a batch's messages in place of older ones with the same sender and key.
func (l *Loop) keep(p *ephemerals, b *batch) {
	for i, m := range b.ephemeral.messages {
		number := b.number + uint64(i)
		if number <= p.upTo {
			continue // another member stopped before this batch too
		}
		older := slices.IndexFunc(p.kept, func(k keptMessage) bool {
			return k.message.From == m.From && k.message.Key == m.Key
		})
		if older >= 0 {
			l.unkeep(p, older)
		}
		p.kept = append(p.kept, keptMessage{number, m})
		p.upTo = number
		l.keepBytes(p, m, 1)
		for len(p.kept) > keptMessages || p.size > keptBytes && len(p.kept) > 1 || l.kept > keptTotal && len(p.kept) > 0 {
			l.counted.EphemeralEvicted.Add(1)
			l.unkeep(p, 0)
		}
	}
}

func (l *Loop) unkeep(p *ephemerals, i int) {
	l.keepBytes(p, p.kept[i].message, -1)
	p.kept = slices.Delete(p.kept, i, i+1)
}

// keepBytes accounts for a message that is kept from now on (sign 1), or no more (-1).
func (l *Loop) keepBytes(p *ephemerals, m *proto.Encoded, sign int) {
	p.size += sign * len(m.Frame(proto.Binary))
	l.kept += sign * m.Size()
	l.counted.EphemeralKept.Add(int64(sign * m.Size()))
}

func (l *Loop) keepNone(p *ephemerals) {
	for _, k := range p.kept {
		l.keepBytes(p, k.message, -1)
	}
	p.kept, p.upTo = nil, 0
}

// passed is the number of the last ephemeral message that a batch has taken.
func (r *localRoom) passed() uint64 {
	if r.ephemerals == nil {
		return 0
	}
	return r.ephemerals.number - uint64(len(r.pending)-int(r.stored))
}

// shown is the number of the last ephemeral message that the member at that index was shown.
func (r *localRoom) shown(member int32) uint64 {
	if b := r.batch; b != nil && !b.ephemeral.empty() && int(member) >= b.next {
		return b.number - 1
	}
	return r.passed()
}

func (r *localRoom) hasStopped(c *conn) bool {
	if r.ephemerals == nil {
		return false
	}
	_, stopped := r.ephemerals.stopped[c.handle.Slot]
	return stopped
}

// missed reports whether the connection has stopped somewhere.
func (c *conn) missed() bool {
	return slices.ContainsFunc(c.subscriptions, func(s subscription) bool { return s.room.hasStopped(c) })
}

// resumeLater has a connection that drained given what was kept for it.
func (l *Loop) resumeLater(c *conn) {
	if !c.resuming {
		c.resuming = true
		l.resuming.push(c)
	}
}

// resumeSome serves connections that drained, in turn.
func (l *Loop) resumeSome() {
	for n := min(l.resuming.len(), maxResuming); n > 0; n-- {
		c := l.resuming.pop()
		c.resuming = false
		if c.sock != nil && !c.backed { // gone, or it comes back when it drains
			if l.resume(c) {
				l.resumeLater(c)
			}
		}
	}
}

// resume gives a connection what was kept for it, room by room, until that is as much as one
// room keeps, and reports whether there is more; then it is looked first whether the socket takes that.
func (l *Loop) resume(c *conn) (more bool) {
	given := 0
	for _, s := range c.subscriptions {
		r := s.room
		if s.member < 0 || !r.hasStopped(c) {
			continue
		}
		if given >= keptBytes {
			return true
		}
		after, shown := r.ephemerals.stopped[c.handle.Slot], r.shown(s.member)
		if shown < after {
			continue // it joined just now: started comes back to it
		}
		messages := r.owed(c, s.member)
		for _, m := range messages {
			given += len(m.Frame(proto.Binary))
		}
		l.counted.EphemeralDelivered.Add(int64(len(messages)))
		l.counted.EphemeralDropped[dropBehind].Add(int64(shown-after) - int64(len(messages)))
		if len(messages) > 0 {
			l.frames(c, appendFrames(make([]byte, handoff.Headroom), messages, c.codec))
		}
		delete(r.ephemerals.stopped, c.handle.Slot)
		l.tidy(r)
	}
	return false
}

// owed is what is kept for a member that has stopped.
func (r *localRoom) owed(c *conn, member int32) (messages []*proto.Encoded) {
	after, shown := r.ephemerals.stopped[c.handle.Slot], r.shown(member)
	for _, k := range r.ephemerals.kept {
		if k.number > after && k.number <= shown {
			messages = append(messages, k.message)
		}
	}
	return messages
}

// resumeAway is for a connection that goes on in another process, which will know nothing of what is kept here. It gets that as one that
// has drained does, though its socket is full, but not so much that it, or others, would be closed for it. More is lost, so many messages.
func (l *Loop) resumeAway(c *conn) (lost int) {
	// Two rooms' at a time at most, see resume; in JSON they may be half as long again.
	once := 3 * max(keptBytes, l.cfg.MessageBytes)
	for more := true; more && c.sock != nil && c.sock.OutboundBuffered()+once <= l.cfg.OutboundBytes && l.engine.buffered()+int64(once) <= l.cfg.OutboundTotal; {
		more = l.resume(c)
		l.flush()
	}
	for _, s := range c.subscriptions {
		if s.room.hasStopped(c) {
			lost += len(s.room.owed(c, s.member))
			l.forgo(c, s.room, s.member)
		}
	}
	return lost
}

// forgo ends what a member that leaves is owed of ephemeral messages.
func (l *Loop) forgo(c *conn, r *localRoom, member int32) {
	if r.hasStopped(c) {
		after, shown := r.ephemerals.stopped[c.handle.Slot], r.shown(member)
		l.counted.EphemeralDropped[dropLeft].Add(int64(max(after, shown) - after))
		delete(r.ephemerals.stopped, c.handle.Slot)
		l.tidy(r)
	}
}

// tidy forgets what nobody waits for.
func (l *Loop) tidy(r *localRoom) {
	p := r.ephemerals
	if p == nil || len(p.stopped) > 0 {
		return
	}
	l.keepNone(p)
	if len(r.pending) == int(r.stored) && (r.batch == nil || r.batch.ephemeral.empty()) {
		r.ephemerals = nil
	}
}

// dropEphemerals is for a room without members.
func (l *Loop) dropEphemerals(r *localRoom) {
	if p := r.ephemerals; p != nil {
		l.keepNone(p)
		r.ephemerals = nil
	}
}

package loop

import (
	"slices"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// maxHeld bounds the bytes of live messages that are kept for a subscription while its page
// is read, beyond the first batch. More are read from the log like the rest.
const maxHeld = 64 << 10

// replay is what a connection with subscriptions that are not live needs. They have a
// position of their own: behind the live edge, or ahead of what this loop has been
// told (the log knew more when it was read).
type replay struct {
	entries []*entry
	turn    int    // entries take turns
	reading *entry // whose page was ordered; nil: none
}

type entry struct {
	room     *localRoom
	position uint64           // last message given
	held     []*proto.Encoded // came while the page was being read, without gaps
	heldSize int
	ended    bool // the subscription is no more; its page is dropped
}

func (p *replay) find(r *localRoom) *entry {
	for _, e := range p.entries {
		if e.room == r {
			return e
		}
	}
	return nil
}

// fallBehind takes a subscription off the live edge: what comes after position is still
// owed to it. No message is queued for it from now on.
func (l *Loop) fallBehind(c *conn, r *localRoom, position uint64) {
	if c.replay == nil {
		c.replay = &replay{}
	}
	c.replay.entries = append(c.replay.entries, &entry{room: r, position: position})
	l.counted.Behind.Add(1)
	l.counted.FellBehind.Add(1)
	l.lag(c)
}

// caughtUp puts a subscription back to the live edge, where it needs no memory, or ends it.
func (l *Loop) caughtUp(c *conn, r *localRoom) {
	if c.replay == nil {
		return
	}
	c.replay.entries = slices.DeleteFunc(c.replay.entries, func(e *entry) bool {
		if e.room == r {
			e.ended = true
			l.counted.Behind.Add(-1)
		}
		return e.room == r
	})
	if len(c.replay.entries) == 0 && c.replay.reading == nil {
		c.replay = nil
	}
}

// lag queues the connection for a page.
func (l *Loop) lag(c *conn) {
	if !c.waiting {
		c.waiting = true
		l.lagging.push(c)
	}
}

// pump orders pages of the log, maxReading of each kind at most: history that was asked for,
// and catch-up for connections that are behind and can take something, one page of one
// room at a time for each.
func (l *Loop) pump() {
	for l.asking.len() > 0 && l.asked < maxReading {
		if l.conn(l.asking.items[l.asking.first].To) != nil {
			if !l.cfg.Rooms.Read(l.asking.items[l.asking.first]) {
				return // the next turn tries again; ticks see to it that there is one
			}
			l.asked++
		}
		l.asking.pop()
	}
	for n := l.lagging.len(); n > 0 && l.reading < maxReading; n-- {
		c := l.lagging.pop()
		c.waiting = false
		if c.sock == nil || c.backed || c.replay == nil || c.replay.reading != nil {
			continue // gone, or what it waits for will queue it again
		}
		e := c.nextBehind()
		if e == nil {
			continue
		}
		taken := l.cfg.Rooms.Read(handoff.Read{
			Kind: handoff.Replay, To: c.handle, Room: e.room.name,
			Position: e.position, Codec: c.codec, User: c.identity.User,
		})
		if !taken {
			l.lag(c) // the next turn tries again; ticks see to it that there is one
			return
		}
		c.replay.reading = e
		l.reading++
	}
}

// nextBehind is the next entry, in turn, that live messages will not reach.
func (c *conn) nextBehind() *entry {
	p := c.replay
	for range p.entries {
		p.turn++
		e := p.entries[p.turn%len(p.entries)]
		member := c.subscriptions[c.findIn(e.room)].member
		if e.position+1 < e.room.upcoming(member) {
			return e
		}
	}
	return nil
}

// page is what the log had after an entry's position.
func (l *Loop) page(ev *handoff.Event) {
	l.reading--
	c := l.conn(ev.To)
	if c == nil || c.replay == nil || c.replay.reading == nil {
		return
	}
	e := c.replay.reading
	c.replay.reading = nil
	if e.ended {
		if len(c.replay.entries) == 0 {
			c.replay = nil
			return
		}
		l.lag(c)
		return
	}
	if ev.Seq == e.position && ev.Code == proto.ErrOverloaded {
		l.lag(c) // the index of changes is behind: the reader has waited for it, and does so again
		return
	}
	if ev.Seq == e.position {
		// Delivered messages are committed, so the log has them, unless it can't be read.
		l.cfg.Log.Error("catch-up ended: the log could not be read", "room", e.room.name, "after", e.position, "conn", c.name())
		l.close(c, proto.CloseInternal, "the room's history can't be read")
		return
	}
	l.counted.Deliveries.Add(int64(ev.Seq - e.position))
	l.frames(c, ev.Frames)
	e.position = ev.Seq
	held := e.held
	e.held, e.heldSize = nil, 0
	for i, m := range held {
		if m.Seq == e.position+1 {
			l.give(c, e, held[i:])
			break
		}
	}
	l.settle(c, e)
	if c.replay != nil {
		l.lag(c)
	}
}

// meet shows a batch of live messages to a subscription that has a position.
func (l *Loop) meet(c *conn, e *entry, b *batch) {
	switch {
	case b.last() <= e.position:
		// Seen all of it in the log.
	case c.replay.reading == e:
		// The page that is being read may end before, in or after this batch.
		next := b.first()
		if len(e.held) > 0 {
			next = e.held[len(e.held)-1].Seq + 1
		}
		if next == b.first() && e.heldSize < maxHeld {
			e.held = append(e.held, b.stored.messages...)
			for _, m := range b.stored.messages {
				e.heldSize += m.Size()
			}
		}
	case c.backed:
		// It is owed this too; when its socket drains it is read on from the log.
	case b.first() <= e.position+1:
		l.give(c, e, b.stored.messages[e.position+1-b.first():])
	default:
		l.lag(c)
		return
	}
	l.settle(c, e)
}

// give sends live messages that begin right after the position.
func (l *Loop) give(c *conn, e *entry, messages []*proto.Encoded) {
	l.counted.Deliveries.Add(int64(len(messages)))
	l.frames(c, appendFrames(make([]byte, handoff.Headroom), messages, c.codec))
	e.position = messages[len(messages)-1].Seq
}

// settle drops an entry that is exactly at the live edge with nothing on its way to it.
func (l *Loop) settle(c *conn, e *entry) {
	r := e.room
	if e.position != r.seq || c.replay.reading == e {
		return
	}
	member := c.subscriptions[c.findIn(r)].member
	if r.upcoming(member) == r.seq+1 {
		l.caughtUp(c, r)
	}
}

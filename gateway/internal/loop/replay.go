package loop

import (
	"log/slog"
	"slices"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

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
	position uint64 // last message given
	ended    bool   // the subscription is no more; its page is dropped
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
	l.addBehind(r)
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
			l.endBehind(r)
			l.counted.Behind.Add(-1)
		}
		return e.room == r
	})
	if len(c.replay.entries) == 0 && c.replay.reading == nil {
		c.replay = nil
	}
}

// lag queues the connection for what it is owed.
func (l *Loop) lag(c *conn) {
	if !c.waiting {
		c.waiting = true
		l.lagging.push(c)
	}
}

// catchUp gives connections that are behind and can take something what their rooms keep, so many at most. Who needs what is in the log alone waits for a
// page of it.
func (l *Loop) catchUp(budget int) {
	for n := min(l.lagging.len(), budget); n > 0; n-- {
		c := l.lagging.pop()
		c.waiting = false
		e := c.nextBehind()
		switch {
		case e == nil: // gone, or what it waits for will queue it again
		case l.giveRecent(c, e):
			l.settle(c, e)
			if c.replay != nil {
				l.lag(c)
			}
		default:
			c.replay.turn-- // pump begins with the same entry, or one of two would always come to this
			c.waiting = true
			l.paging.push(c)
		}
	}
}

// pump orders pages of the log, maxReading of each kind at most: history that was asked for,
// and catch-up, one page of one room at a time for each connection.
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
	for l.paging.len() > 0 && l.reading < maxReading {
		c := l.paging.items[l.paging.first]
		e := c.nextBehind()
		if e == nil {
			l.paging.pop()
			c.waiting = false
			continue
		}
		taken := l.cfg.Rooms.Read(handoff.Read{
			Kind: handoff.Replay, To: c.handle, Room: e.room.name,
			Position: e.position, Codec: c.codec, User: c.identity.User,
		})
		if !taken {
			return // the next turn tries again; ticks see to it that there is one
		}
		l.paging.pop()
		c.waiting = false
		c.replay.reading = e
		l.reading++
	}
}

// nextBehind is the next entry, in turn, that live messages will not reach; nil if there is none, or the connection can be given nothing now.
func (c *conn) nextBehind() *entry {
	p := c.replay
	if c.sock == nil || c.backed || p == nil || p.reading != nil {
		return nil
	}
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
		l.engine.unread.Log(l.cfg.Log, slog.LevelError, "catch-up ended: the log could not be read", "room", e.room.name, "after", e.position, "conn", c.name())
		l.close(c, proto.CloseInternal, "the room's history can't be read")
		return
	}
	l.counted.Deliveries.Add(int64(ev.Seq - e.position))
	l.frames(c, ev.Frames)
	e.position = ev.Seq
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
		// The page that is being read may end before, in or after this batch. What it lacks of it comes behind it.
	case c.backed:
		// It is owed this too, when its socket has drained.
	case b.first() == e.position+1:
		l.giveBatch(c, e.room, b)
		e.position = b.last()
	case b.first() <= e.position:
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

// settle drops an entry that is exactly at the live edge: what fan-out will show the member next follows its position, and no page is on its
// way to it. There may be more to come than the room has sent out: in a busy one there always is.
func (l *Loop) settle(c *conn, e *entry) {
	r := e.room
	if c.replay.reading == e {
		return
	}
	member := c.subscriptions[c.findIn(r)].member
	if r.upcoming(member) == e.position+1 {
		l.caughtUp(c, r)
	}
}

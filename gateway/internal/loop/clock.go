package loop

import (
	"cmp"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// mostOfATick is how many ticks' time may pass in one.
const mostOfATick = 10

// moment is a time in ticks since the engine started, beginning at 1 so that 0 is never one.
// 32 bits of tenths of a second last 13 years, at a third of a time.Time's memory.
type moment uint32

func (e *Engine) moment() moment { return 1 + moment(time.Since(e.started)/tick) }

func (m moment) add(d time.Duration) moment { return m + moment((d+tick-1)/tick) }

// deadline gives the connection until then to leave its phase.
func (l *Loop) deadline(c *conn, d time.Duration) {
	c.due = l.now.add(d)
	l.hurry(c)
}

// hurry has the connection looked at on each tick, until it has no deadline left. All
// others are seen by the patrol every few seconds: at hundreds of thousands idle ones
// neither a timer nor a tick for each is affordable.
func (l *Loop) hurry(c *conn) {
	if !c.hurried {
		c.hurried = true
		l.urgent = append(l.urgent, c.handle)
	}
}

// tick is a tenth of a second.
func (l *Loop) tick() {
	// Of a time in which a loop was held up it counts a second, so that what came meanwhile is read before it is found overdue, and
	// never the rest: who is asked for something behind that has all of his time, too.
	passed := l.engine.moment() - l.stood - l.now
	if passed > mostOfATick {
		l.stood += passed - mostOfATick
		passed = mostOfATick
	}
	l.now += passed
	l.bound()
	if !l.line.passedOver() {
		l.timeOut()
	}
}

// timeOut ends what has had its time, and asks for signs of life. Not in a turn amid reading: what is waited for may lie in a socket that was ready
// before the bell.
func (l *Loop) timeOut() {
	l.looks++
	kept := l.urgent[:0]
	for _, h := range l.urgent {
		c := l.conn(h)
		if c == nil {
			continue
		}
		if l.overdue(c) {
			continue
		}
		if c.due != 0 || c.half != 0 || c.backed {
			kept = append(kept, h)
		} else {
			c.hurried = false
		}
	}
	l.urgent = kept
	l.relieve()
	l.walk(int(l.now - l.timed))
	l.timed = l.now
	l.expireSome()
	l.revokeSome()
	l.tallyLess()
}

// overdue checks the deadlines of a connection and reports that it is gone.
func (l *Loop) overdue(c *conn) bool {
	if c.backed {
		l.buffered(c, c.sock.OutboundBuffered())
		if l.now >= c.took.add(l.cfg.StallTimeout) {
			c.closed = proto.CloseStalled.Code
			l.abort(c)
			return true
		}
	}
	due, half := l.come(c.due), l.come(c.half)
	if c.phase != closing && (c.unheard() || (due || half) && c.spoken()) {
		return false // what is waited for may be there
	}
	if due {
		switch c.phase {
		case opened:
			l.close(c, proto.CloseConnectTimeout, "no connect request came in time")
		case closing:
			l.abort(c)
		default:
			c.closed = proto.CloseConnectTimeout.Code
			l.abort(c)
		}
	}
	if c.sock != nil && half {
		c.half = 0
		l.close(c, proto.CloseFrameTimeout, "half a message came and not the rest")
	}
	return c.sock == nil
}

// come reports whether a moment has come.
func (l *Loop) come(m moment) bool { return m != 0 && l.now >= m }

// relieve closes those that have taken nothing for longest while all outbound together is
// over its bound.
func (l *Loop) relieve() {
	if l.engine.buffered() <= l.cfg.OutboundTotal {
		return
	}
	var full []*conn
	for _, h := range l.urgent {
		if c := l.conn(h); c != nil && c.buffered > 0 {
			full = append(full, c)
		}
	}
	slices.SortFunc(full, func(a, b *conn) int { return cmp.Compare(a.took, b.took) })
	for _, c := range full {
		if l.engine.buffered() <= l.cfg.OutboundTotal {
			return
		}
		c.closed = proto.CloseOutboundFull.Code
		l.abort(c)
	}
}

// walk is the patrol: a part of the table for each tenth of a second that has passed, all of it eight times a heartbeat. Where many have come, or were
// heard last, at the same time, it stays where it has asked for twice as many signs of life as a tick has on the average: else all would be asked
// within an eighth of a heartbeat, in each one anew, and most of the time nobody.
func (l *Loop) walk(passed int) {
	if len(l.slots) == 0 {
		return
	}
	heartbeat := max(1, int(l.cfg.Heartbeat/tick))
	ticks := max(1, heartbeat/8)
	passed = min(passed, ticks)
	asks := 1 + 2*passed*int(l.counted.Connections.Load())/heartbeat
	for range passed * (len(l.slots)/ticks + 1) {
		if l.patrol >= len(l.slots) {
			l.patrol = 0
		}
		c := l.slots[l.patrol].conn
		l.patrol++
		if c != nil && l.inspect(c) {
			if asks--; asks == 0 {
				return
			}
		}
	}
}

// hear notes a sign of life.
func (l *Loop) hear(c *conn) {
	if c.probed {
		c.probed = false
		l.counted.Answers.Add(1)
	}
	c.heard = l.now
}

// inspect asks a silent connection for a sign of life, or shows one, and closes dead ones, and those whose records hold nothing.
func (l *Loop) inspect(c *conn) (asked bool) {
	if c.kernel && l.weigh(c) {
		return false
	}
	if c.phase != connected && c.phase != echoing {
		return false
	}
	if c.unheard() {
		return false // with hundreds of thousands of others it may be so for longer than heartbeats
	}
	if c.backed {
		// A probe would stand behind what it has not taken, and so would its answer: its time
		// is StallTimeout.
		return false
	}
	if c.events && !l.streams[c.handle.Slot].answers {
		if l.now >= c.heard.add(l.cfg.Heartbeat) {
			c.heard = l.now
			l.write(c, comment)
			asked = true
		}
		return asked
	}
	switch {
	case c.probed && l.looks >= c.heard.add(l.cfg.Heartbeat):
		if !c.spoken() {
			l.close(c, proto.CloseHeartbeatTimeout, "nothing was heard for two heartbeats")
		}
	case !c.probed && l.now >= c.heard.add(l.cfg.Heartbeat):
		// The answer has a heartbeat from now on, however long it was until the loop came to ask, and of a loop that is late, as much longer as
		// it looks less often than ten times a second: what makes it late may hold up the answer, too, where nobody sees it.
		c.probed, c.heard = true, l.looks
		l.counted.Probes.Add(1)
		if c.stream || c.events {
			l.reply(c, &v1.ServerFrame{Op: &v1.ServerFrame_Ping{Ping: &v1.Ping{}}})
		} else {
			l.control(c, ws.OpPing, nil)
		}
		asked = true
	}
	return asked
}

package loop

import (
	"runtime/debug"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// Faults of ours, of which a panic is the last word.
//
// What one connection alone is concerned by, its bytes, the events of takeFor and its socket, closes that connection: a peer may have found out how to bring it
// about, and would do so again with the next process. What is of a room or of the loop is different. Its members go on with it, half changed, and
// what they get may have a gap: no connection can be closed for that, so the process ends. Clients come back and go on from their positions.

// takeFor takes an event that is for one connection.
func (l *Loop) takeFor(e *handoff.Event) {
	defer l.caught(e.To)
	switch e.Kind {
	case handoff.Page:
		l.page(e)
	case handoff.Refused:
		if c := l.conn(e.To); c != nil {
			l.failWith(c, e)
		}
	case handoff.Granted:
		l.granted(e)
	case handoff.Answer:
		l.asked--
		l.answer(e)
	case handoff.Marked:
		if c := l.conn(e.To); c != nil {
			l.frames(c, e.Frames)
		}
	case handoff.Told:
		l.answer(e)
	case handoff.Responded:
		l.passedOn(e)
	case handoff.Posted:
		l.posted(e)
	case handoff.Taken:
		l.postTaken(e)
	}
}

// caught is deferred while only one connection is concerned.
func (l *Loop) caught(h handoff.Handle) {
	if r := recover(); r != nil {
		c := l.conn(h)
		l.panicked(c, r)
		if c != nil {
			l.abort(c)
		}
	}
}

// panicked notes a fault with a connection, nil if that has gone, which is closed for it.
func (l *Loop) panicked(c *conn, fault any) {
	l.counted.Panics.Add(1)
	name := ""
	if c != nil {
		name, c.closed = c.name(), proto.CloseInternal.Code
	}
	l.cfg.Log.Error("BUG: a connection made the gateway panic and was closed", "conn", name, "panic", fault, "stack", string(debug.Stack()))
}

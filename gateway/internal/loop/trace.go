package loop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/reflect/protoreflect"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// maxTraces is how many users are looked at at once.
const maxTraces = 4

// ErrTraces: as many users are traced as may be.
var ErrTraces = fmt.Errorf("%d users are traced already; one of those traces has to end first", maxTraces)

// ErrTraced: the user is traced already.
var ErrTraced = errors.New("the user is traced already; that trace has to end first")

// Trace has the frames of a user noted until end is called, once. The connections that are there are found within some turns of
// their loops. Safe for concurrent use.
func (e *Engine) Trace(user string) (t *handoff.Trace, end func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	traces := *e.traces.Load()
	switch {
	case slices.ContainsFunc(traces, func(t *handoff.Trace) bool { return t.User == user }):
		return nil, nil, ErrTraced
	case len(traces) == maxTraces:
		return nil, nil, ErrTraces
	}
	t = handoff.NewTrace(user)
	e.retrace(append(slices.Clone(traces), t))
	return t, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.retrace(slices.DeleteFunc(slices.Clone(*e.traces.Load()), func(other *handoff.Trace) bool { return other == t }))
	}, nil
}

// retrace has the loops look at the list again. With mu held, so that they are told of each.
func (e *Engine) retrace(traces []*handoff.Trace) {
	e.traces.Store(&traces)
	for _, l := range *e.loops.Load() {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Retrace}, 0)
	}
}

// retrace takes the list of traces, and begins to look for the connections of their users. The walk goes on where it is: beginning anew
// each time it would never come to the end of the table.
func (l *Loop) retrace() {
	l.traces = *l.engine.traces.Load()
	l.untraced = len(l.slots)
}

// markTraced marks connections of users who are traced, a part of the table each turn. A mark that is left when a trace has ended goes when
// it is looked at.
func (l *Loop) markTraced() {
	l.untraced = min(l.untraced, len(l.slots)) // the table may have become smaller
	for n := min(sweepSlots, l.untraced); n > 0; n-- {
		l.untraced--
		if l.tracing++; l.tracing >= len(l.slots) {
			l.tracing = 0
		}
		if c := l.slots[l.tracing].conn; c != nil && c.identity != nil {
			l.markOne(c)
		}
	}
}

func (l *Loop) markOne(c *conn) { c.traced = l.traceOf(c.identity.User) != nil }

func (l *Loop) traceOf(user string) *handoff.Trace {
	for _, t := range l.traces {
		if t.User == user {
			return t
		}
	}
	return nil
}

// trace gives the trace of a marked connection, if it takes an entry.
func (l *Loop) trace(c *conn) *handoff.Trace {
	if c.identity == nil {
		return nil
	}
	t := l.traceOf(c.identity.User)
	if t == nil {
		c.traced = false // it has ended
		return nil
	}
	if t.Full() {
		return nil
	}
	return t
}

// traceIn notes a request.
func (l *Loop) traceIn(c *conn, f *v1.ClientFrame, size int) {
	if t := l.trace(c); t != nil {
		l.note(t, c, "in", f.Id, f.ProtoReflect(), size)
	}
}

// traceOut notes what is on its way to a connection: a WebSocket message with its header, or frames as they stand in a stream.
func (l *Loop) traceOut(c *conn, b []byte) {
	t := l.trace(c)
	if t == nil {
		return
	}
	switch {
	case c.events:
		b = framing.EventData(b)
	case !c.stream:
		op, payload, ok := framing.Unseal(b)
		if !ok {
			return
		}
		if op != opCode(c.codec) {
			t.Note(handoff.TraceEntry{At: time.Now(), Session: c.name(), Direction: "out", Operation: controlNames[op], Bytes: len(b)})
			return
		}
		b = payload
	}
	for len(b) > 0 {
		var frame []byte
		var err error
		if frame, b, err = proto.Next(c.codec, b); err != nil {
			return
		}
		var f v1.ServerFrame
		if proto.DecodeServerFrame(&f, c.codec, frame) == nil {
			l.note(t, c, "out", f.Id, f.ProtoReflect(), len(frame))
		}
	}
}

var controlNames = map[ws.OpCode]string{ws.OpPing: "websocket ping", ws.OpPong: "websocket pong", ws.OpClose: "websocket close"}

// traceEnd notes that a session has ended.
func (l *Loop) traceEnd(c *conn) {
	t := l.trace(c)
	if t == nil {
		return
	}
	reason := "peer"
	if i := closedIndex(c.closed); i < len(closeIndex) {
		reason = proto.CloseCodes()[i].Name
	}
	t.Note(handoff.TraceEntry{At: time.Now(), Session: c.name(), Direction: "ended", Error: reason})
}

// note is where it is decided what is told of a frame: its operation, and of that a few fields by their names. So nothing that
// somebody says can come into a trace with an operation that is new.
func (l *Loop) note(t *handoff.Trace, c *conn, direction string, id uint64, frame protoreflect.Message, size int) {
	e := handoff.TraceEntry{At: time.Now(), Session: c.name(), Direction: direction, ID: id, Operation: "unknown", Bytes: size}
	if field := frame.WhichOneof(frame.Descriptor().Oneofs().ByName("op")); field != nil {
		e.Operation = string(field.Name())
		what := frame.Get(field).Message()
		fields := what.Descriptor().Fields()
		if f := fields.ByName("room"); f != nil && f.Kind() == protoreflect.StringKind {
			// What a client sends as the name of a room may be anything.
			if name := what.Get(f).String(); proto.ValidName(name) {
				e.Room = strings.Clone(name)
			}
		}
		if f := fields.ByName("seq"); f != nil && f.Kind() == protoreflect.Uint64Kind {
			e.Seq = what.Get(f).Uint()
		}
	}
	if f, ok := frame.Interface().(*v1.ServerFrame); ok {
		e.Error = f.GetError().GetName()
	}
	t.Note(e)
}

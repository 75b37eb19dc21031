package dialect

import (
	"bytes"
	"errors"
	"slices"

	"github.com/gobwas/ws"
)

// generic speaks to any WebSocket server that sends on what it gets, with the texts of a plan.Template.
//
// What comes with the stamp of a body in it is a message; a WebSocket message holds one of them. Its room is not
// looked for (-1): servers write that in too many ways, and the body can say it. What comes without a stamp is
// the answer to a join that waits for one, if it has the text of joined; the rest is nobody's.
//
// Servers rarely answer a leave. Where joins have an answer, so that the caller waits for one to a leave too,
// a ping is sent after it: a server handles what a connection sends in order, so its pong says that the
// leave was seen.
type generic struct {
	names
	web      *webSocket
	template template
	op       ws.OpCode
	answers  bool

	scratch []byte // of the Append methods and of Read
}

// waiting are the joins of one connection that have no answer, in their order.
type waiting struct{ joins []Join }

func newGeneric(c Config, target Target) (Dialect, error) {
	g := &generic{names: newNames(c), op: ws.OpText, answers: c.Server.Template.Joined != ""}
	if c.Server.Template.Binary {
		g.op = ws.OpBinary
	}
	var wrongTarget, wrongTemplate error
	g.web, wrongTarget = target.web("websocket", "/")
	g.template, wrongTemplate = compile(c.Server.Template)
	return g, errors.Join(wrongTarget, wrongTemplate, g.checkPlain())
}

func (g *generic) Traits() Traits {
	return Traits{Answers: g.answers, Reaches: g.template.reaches}
}

func (g *generic) AppendOpen(dst []byte, s *Session) []byte { return g.web.appendHandshake(dst, s) }

func (g *generic) AppendJoin(dst []byte, s *Session, j Join) []byte {
	if g.answers {
		if s.waiting == nil {
			s.waiting = &waiting{}
		}
		s.waiting.joins = append(s.waiting.joins, j)
	}
	return g.appendText(dst, s, g.template.join, values{room: j.Room, user: s.User, id: j.ID})
}

func (g *generic) AppendLeave(dst []byte, s *Session, id uint32, room int) []byte {
	dst = g.appendText(dst, s, g.template.leave, values{room: room, user: s.User, id: id})
	if g.answers {
		g.scratch = appendInteger(g.scratch[:0], uint64(id))
		dst = appendFrame(dst, s, ws.OpPing, g.scratch)
	}
	return dst
}

// AppendMark: it has no receipts.
func (*generic) AppendMark(dst []byte, _ *Session, _ uint32, _ int, _ uint64) []byte { return dst }

// AppendWatch: it has no presence of this kind.
func (*generic) AppendWatch(dst []byte, _ *Session, _ int) []byte { return dst }

func (g *generic) AppendPublish(dst []byte, s *Session, p Publish) []byte {
	return g.appendText(dst, s, g.template.publish, values{room: p.Room, user: s.User, id: p.ID, body: p.Body})
}

func (g *generic) AppendClose(dst []byte, s *Session) []byte {
	if s.stage == stageOpening {
		return dst
	}
	return appendClose(dst, s)
}

// appendText appends a message with a text, and nothing for an empty one.
func (g *generic) appendText(dst []byte, s *Session, t text, v values) []byte {
	if len(t) == 0 {
		return dst
	}
	g.scratch = t.append(g.scratch[:0], &g.names, v)
	return appendFrame(dst, s, g.op, g.scratch)
}

func (g *generic) Read(s *Session, in []byte, e *Event) (n int, err error) {
	e.reset()
	if s.stage == stageOpening {
		if n, err = g.web.readHandshake(s, in); n > 0 {
			s.stage = stageReady
			e.Kind = Ready
			e.Out = g.appendText(e.Out, s, g.template.connect, values{user: s.User})
		}
		return n, err
	}
	message, ok, n, err := readPart(s, in, e, cutMessage)
	switch {
	case err != nil:
		return n, err
	case e.pong != nil:
		if id, rest := cutNumber(e.pong); len(rest) == 0 && id > 0 {
			e.Kind, e.ID = Left, uint32(id)
		}
	case !ok:
	case bytes.Contains(message, []byte(Stamp)):
		e.Kind, e.Body = Message, message
	case s.waiting != nil:
		g.readAnswer(s, message, e)
	}
	return n, nil
}

// readAnswer takes the answer to a join: the oldest whose text fits. Another one that never gets an answer is not in its way.
func (g *generic) readAnswer(s *Session, message []byte, e *Event) {
	for i, j := range s.waiting.joins {
		g.scratch = g.template.joined.append(g.scratch[:0], &g.names, values{room: j.Room, user: s.User, id: j.ID})
		if !bytes.Contains(message, g.scratch) {
			continue
		}
		e.Kind, e.ID, e.Room = Joined, j.ID, j.Room
		if s.waiting.joins = slices.Delete(s.waiting.joins, i, i+1); len(s.waiting.joins) == 0 {
			s.waiting = nil
		}
		return
	}
}

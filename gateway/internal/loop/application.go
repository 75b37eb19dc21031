package loop

import (
	"time"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
)

// asked is a connect that is with the application, and what came behind it in the same message.
type asked struct {
	who  identity.Identity
	rest []byte
}

// asked is the connect that is with the application, nil if there is none.
func (c *conn) asked() *asked {
	if !c.asking {
		return nil
	}
	return c.loop.consulted[c.handle.Slot]
}

// askNoMore is when a connect was answered, or its connection ends.
func (l *Loop) askNoMore(c *conn) {
	if c.asking {
		c.asking = false
		delete(l.consulted, c.handle.Slot)
	}
}

// speaksFor is who the connection is, or will be if the application does not refuse; nil: nobody yet.
func (c *conn) speaksFor() *identity.Identity {
	switch {
	case c == nil:
		return nil
	case c.identity == nil && c.asking:
		return &c.asked().who
	}
	return c.identity
}

// paused reports whether what a client sends waits in the socket's buffer: its connect is with the application.
func (c *conn) paused() bool { return c.asking && c.phase == opened }

// asks puts a connect, or a renewal, before the application. false: nobody is to be asked, and the caller goes on.
func (l *Loop) asks(c *conn, id uint64, who identity.Identity) bool {
	if l.cfg.Application == nil {
		return false
	}
	if c.asking {
		l.fail(c, id, proto.ErrRateLimited, "Wait for the answer to your earlier connect.")
		return true
	}
	refusal := l.cfg.Application.Connect(handoff.Connect{
		From: c.handle, ID: id, User: who.User, Address: addressText(remoteAddr(c.sock)), Stream: c.stream, Events: c.events, Codec: c.codec,
		Expires: who.Expires, Rights: who.Rights, Renewal: c.phase == connected,
	})
	c.asking, l.consulted[c.handle.Slot] = true, &asked{who: who}
	if refusal != nil {
		l.granted(&handoff.Event{To: c.handle, ID: id, Code: refusal.Code, Text: refusal.Text, At: refusal.Wait.Milliseconds()})
		return true
	}
	if c.phase == opened {
		c.due = 0 // whoever is asked answers
	}
	return true
}

// granted goes on with a connect that the application has answered, or was not asked about for want of room.
func (l *Loop) granted(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil || !c.asking || c.phase == closing {
		return
	}
	who, rest, first := c.asked().who, c.asked().rest, c.phase == opened
	if e.Code.Code != 0 {
		l.turnDown(c, e)
		return
	}
	if until := l.cfg.Members.Banned(who.User); until != 0 {
		l.failBanned(c, e.ID, until)
		return
	}
	l.askNoMore(c)
	if e.Grant != nil {
		who.Rights = e.Grant.Rights
	}
	if !first {
		l.renew(c, e.ID, who)
		return
	}
	l.enterSession(c, e.ID, who)
	if l.frozen {
		// It is worked off where the connection goes. A stream's bytes were not taken out of their buffer.
		if len(rest) > 0 {
			l.back[c.handle.Slot] = append(framing.AppendClientMessage(nil, opCode(c.codec), rest), l.back[c.handle.Slot]...)
		}
		return
	}
	// What came meanwhile is worked off.
	l.goOn(c, rest)
}

// turnDown ends a connection that the application does not want, or whose connect it did not answer. A session whose renewal it did not
// answer goes on under its old token.
func (l *Loop) turnDown(c *conn, e *handoff.Event) {
	l.failWith(c, e)
	switch {
	case e.Code == proto.ErrRefused:
		l.close(c, proto.CloseUnauthorized, e.Code.Name)
	case c.phase == connected:
		l.askNoMore(c)
	case e.Code == proto.ErrDraining:
		l.close(c, proto.CloseDraining, "")
	default:
		l.close(c, proto.CloseOverloaded, e.Code.Name)
	}
}

// tellEnded tells the application of the end of a session that it was asked about.
func (l *Loop) tellEnded(c *conn) {
	if l.cfg.Application == nil {
		return
	}
	l.cfg.Application.Ended(handoff.Ended{From: c.handle, User: c.identity.User, Code: c.closed})
}

// maxPaused is how many of the longest messages a client may send behind a connect that is not answered.
const maxPaused = 2

// pause leaves what came behind a connect in the socket's buffer, up to a bound.
func (l *Loop) pause(c *conn) {
	if l.pending(c) > maxPaused*l.cfg.MessageBytes {
		l.failFor(c, 0, proto.ErrRateLimited, "Too much was sent before the connect was answered.", time.Second)
		l.close(c, proto.CloseOverloaded, proto.ErrRateLimited.Name)
	}
}

package loop

import (
	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// phase is how far a connection has come.
type phase uint8

const (
	sniffing    phase = iota // what it speaks is not known yet
	introducing              // before that: a proxy's word of who is behind it is awaited
	requesting               // HTTP: a request is awaited
	answering                // HTTP: a request was passed on, its answer is awaited
	opened                   // frames: connect is awaited
	connected                // authenticated
	echoing                  // the echo of development mode
	closing                  // we have said our last; the peer's end is awaited

	// HTTP again, behind the others, whose numbers two versions of this program say to each other in a takeover.
	receiving  // the body of a POST is awaited
	delivering // a POST was given to the loop of its stream, its answer is awaited
)

// conn is a connection. There can be hundreds of thousands, so what few of them need is
// behind a pointer. Owned by its loop.
type conn struct {
	loop   *Loop
	sock   gnet.Conn // nil when closed
	handle handoff.Handle

	phase    phase
	codec    proto.Codec
	stream   bool // raw TCP, not WebSocket
	waiting  bool // in loop.lagging or loop.paging
	hurried  bool // in loop.urgent
	probed   bool // a sign of life was asked for
	backed   bool // the socket did not take everything
	refused  refusal
	readings uint8 // history requests under way
	resuming bool  // in loop.resuming
	watching bool  // in loop.watchers
	away     bool  // nobody sits at it, it has said

	decoder framing.Decoder
	closed  uint16 // code that we closed it with, 0: the peer left
	typed   bool   // it has said that the user is typing, in some room; here, where there is padding
	asking  bool   // a connect is with the application: asked gives it
	out     int32  // index+1 in loop.dirty

	heard    moment // last bytes from the peer; while it is probed, the asking, by loop.looks
	due      moment // of the phase, 0: none
	half     moment // until when a half message must be whole, 0: none is half
	buffered uint32 // bytes that wait in gnet's outbound buffer, when last looked at
	took     moment // when that last became less
	traced   bool   // its frames are noted for an operator, see trace.go; here, where there is padding
	secure   bool   // it has TLS whose records are ours: records gives it; here, where there is padding
	kernel   bool   // it has TLS whose records are the kernel's, see kernel.go; the same
	events   bool   // its frames leave as Server-Sent Events: loop.streams has the rest; here, where there is padding

	address  *address // nil: it was refused; lodged: but has a place
	user     *user    // nil without a session
	identity *identity.Identity

	subscriptions []subscription
	replay        *replay // nil while all subscriptions are live
}

// subscription is a room that the connection is a member of, or is becoming one.
type subscription struct {
	room   *localRoom
	member int32 // index in room.members, or joining, or entering
	// gone: left before the join was answered, or removed from the room: it waits for that answer only.
	gone, removed bool
	// watching: the connection is told who comes and goes. typing: the user was typing when it said so last.
	watching, typing bool
}

// joining is the member index of a subscription that the shard has not answered yet, entering that of one that the keeper of
// members has not.
const (
	joining  = -1
	entering = -2
)

// name is the connection in logs.
func (c *conn) name() string { return c.handle.String() }

// close ends a connection in order: it says why, sends no more, and waits for the peer to
// close, a second at most. Its subscriptions end now.
func (l *Loop) close(c *conn, code proto.CloseCode, reason string) {
	if c.sock == nil || c.phase == closing {
		return
	}
	if reason == "" {
		reason = code.Name
	}
	l.deny(c, denialByClose(code), nil)
	c.closed = code.Code
	if c.backed {
		// A Close frame behind bytes that the peer does not take would not reach it either.
		l.abort(c)
		return
	}
	switch {
	case !c.framed():
		// No framing was agreed, so there is nothing that could carry the reason.
		l.abort(c)
		return
	case c.stream || c.events: // of events the answer ends, too: flush does that
		l.reply(c, &v1.ServerFrame{Op: &v1.ServerFrame_Close{Close: &v1.Close{Code: uint32(code.Code), Reason: reason}}})
	default:
		l.write(c, framing.AppendClose(nil, code.Code, reason))
	}
	l.linger(c)
}

// framed reports whether the connection has come so far that it carries frames.
func (c *conn) framed() bool {
	switch c.phase {
	case sniffing, introducing, requesting, answering, receiving, delivering:
		return false
	}
	return true
}

// linger is the closing phase: what was written last is on its way.
func (l *Loop) linger(c *conn) {
	l.forget(c)
	c.phase = closing
	c.decoder.Release()
	l.deadline(c, closeTimeout)
}

// lastWord sends what was written, ends our half of the stream and waits for the peer's: with
// unread input a close would lose what is on its way. A peer that takes it slowly is sent all of it, as long as it takes
// something (StallTimeout): the wait for its end begins behind that.
func (l *Loop) lastWord(c *conn) {
	l.flush()
	if c.sock == nil {
		return
	}
	if !c.backed {
		l.shutWrite(c) // else drained does
	}
	if l.linger(c); c.backed {
		c.due = 0 // which drained sets
	}
}

// abort ends a connection at once.
func (l *Loop) abort(c *conn) {
	switch s := c.sock.(type) {
	case nil:
	case *lifted:
		l.hangUp(c, nil)
	default:
		_ = l.events.Close(s) // calls closed
	}
}

// forget ends what the connection had with others: subscriptions, session, user.
func (l *Loop) forget(c *conn) {
	l.unsubscribe(c)
	switch {
	case c.identity != nil:
		l.unwatch(c)
		l.countSession(c, -1)
		if c.traced {
			l.traceEnd(c)
		}
		l.engine.admission.logout(c.user, c.identity.User)
		l.cfg.SessionEnded(c.identity.User)
		l.tellEnded(c)
	case c.asking:
		l.engine.admission.logout(c.user, c.asked().who.User)
	}
	l.askNoMore(c)
	c.identity, c.user = nil, nil
}

// farewell handles what a peer still sends to a connection that we are closing: its Close
// frame or the end of its stream ends the wait, all else is dropped.
func (l *Loop) farewell(c *conn, in []byte) {
	if c.stream || c.events || c.closed == 0 {
		return
	}
	for len(in) > 0 {
		m, n, err := c.decoder.Decode(in, l.cfg.MessageBytes)
		in = in[n:]
		if err != nil || !m.Ready() {
			return
		}
		if m.Op == ws.OpClose {
			l.flush()
			l.abort(c)
			return
		}
	}
}

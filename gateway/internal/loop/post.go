package loop

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// postIdle is how long a connection that has brought a POST is kept for the next: longer than proxies keep theirs, nginx 60 s, so that
// it is they who end it and none writes a request into an end.
const postIdle = 75 * time.Second

// post is a request that brings frames for a stream of events. Its body is one message; the loop that has the stream is given it as a
// whole, and only when that has taken it is the request answered. Until then nothing more is read of the connection, so that POSTs on
// one are taken in their order.
type post struct {
	to       handoff.Handle
	missing  int // of the body
	body     []byte
	last     bool
	crossing string
}

// post begins to read a request, whose head is whole.
func (l *Loop) post(c *conn, head []byte, name string) {
	r, crossing := l.readEventsRequest(c, head, http.MethodPost)
	if r == nil {
		return
	}
	refuse := func(status int, reason string) { l.respond(c, status, crossing, []byte(reason), true) }
	to, ok := l.engine.readStreamName(name)
	switch {
	case len(r.TransferEncoding) > 0 || r.Header.Get("Content-Length") == "":
		refuse(http.StatusLengthRequired, "a POST says how long it is: send Content-Length, and no Transfer-Encoding")
		return
	case r.ContentLength > int64(l.cfg.MessageBytes):
		refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("a POST holds %d bytes at most: send less at once", l.cfg.MessageBytes))
		return
	case !ok:
		refuse(http.StatusNotFound, noStream)
		return
	}
	p := &post{to: to, missing: int(r.ContentLength), last: r.Close, crossing: crossing}
	l.posts[c.handle.Slot] = p
	if p.missing == 0 {
		l.deliverPost(c, p)
		return
	}
	c.phase, c.due = receiving, 0
	c.half = l.now.add(l.cfg.FrameTimeout)
	l.hurry(c)
	if r.ProtoAtLeast(1, 1) && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		l.write(c, []byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

const noStream = "there is no stream of this name: it has ended, open another"

// receive takes what there is of a body. The copy grows with what has come, not with what was announced.
func (l *Loop) receive(c *conn, in []byte) int {
	p := l.posts[c.handle.Slot]
	n := min(len(in), p.missing)
	p.body = append(p.body, in[:n]...)
	if p.missing -= n; p.missing == 0 {
		l.deliverPost(c, p)
	}
	return n
}

// deliverPost gives a whole body to the loop of its stream.
func (l *Loop) deliverPost(c *conn, p *post) {
	c.half = 0
	c.phase = delivering
	l.deadline(c, answerTimeout)
	size := len(p.body) + handoff.ReplySize
	e := handoff.Event{Kind: handoff.Posted, To: p.to, Post: &handoff.Post{From: c.handle, Body: p.body}, Size: size}
	p.body = nil
	if !l.cfg.Inboxes[p.to.Loop].Put(e, size) {
		l.answerPost(c, http.StatusServiceUnavailable)
	}
}

// posted is a POST for a stream of this loop.
func (l *Loop) posted(e *handoff.Event) {
	status := l.takePost(l.conn(e.To), e.Post)
	l.cfg.Inboxes[e.Post.From.Loop].PutAlways(handoff.Event{
		Kind: handoff.Taken, To: e.Post.From, Seq: uint64(status), Size: handoff.ReplySize,
	}, handoff.ReplySize)
}

// takePost has a session work off what a POST brought, as one message of a WebSocket.
func (l *Loop) takePost(c *conn, p *handoff.Post) (status int) {
	if c == nil || !c.events || c.phase == closing {
		return http.StatusNotFound
	}
	switch {
	case !utf8.Valid(p.Body):
		l.close(c, proto.CloseInvalidUTF8, "a POST is not UTF-8")
		return http.StatusNoContent
	case c.paused():
		// What follows a connect that the application is asked about waits, as it would in a socket's buffer.
		waits := c.asked()
		if len(waits.rest)+len(p.Body) > maxPaused*l.cfg.MessageBytes {
			return http.StatusTooManyRequests
		}
		waits.rest = append(append(waits.rest, '\n'), p.Body...)
		return http.StatusNoContent
	case c.phase == opened:
		l.streams[c.handle.Slot].answers = true
	}
	l.goOn(c, p.Body)
	return http.StatusNoContent
}

// postTaken is the answer to a POST that this loop has given to another.
func (l *Loop) postTaken(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil || c.phase != delivering {
		return
	}
	l.answerPost(c, int(e.Seq))
	// What came meanwhile is worked off.
	if c.sock != nil && c.phase == requesting && !l.frozen {
		l.goOn(c, nil)
	}
}

func (l *Loop) answerPost(c *conn, status int) {
	p := l.posts[c.handle.Slot]
	delete(l.posts, c.handle.Slot)
	c.phase = requesting
	last := p.last || l.frozen || l.engine.draining.Load()
	later := p.crossing + "Retry-After: 1\r\n"
	switch status {
	case http.StatusNoContent:
		l.noContent(c, p.crossing, last, postIdle)
	case http.StatusTooManyRequests:
		l.respond(c, status, later, []byte("too much was sent before the connect was answered: send it again later"), last)
	case http.StatusServiceUnavailable:
		l.respond(c, status, later, []byte("the server has too much waiting: send it again later"), last)
	default:
		l.respond(c, status, p.crossing, []byte(noStream), last)
	}
}

// noContent answers with a head alone. RFC 9110 8.6: a 204 has no Content-Length.
func (l *Loop) noContent(c *conn, fields string, last bool, idle time.Duration) {
	connection := "keep-alive"
	if last {
		connection = "close"
	}
	l.write(c, fmt.Appendf(nil, "HTTP/1.1 204 No Content\r\n%sConnection: %s\r\n\r\n", fields, connection))
	if last {
		l.lastWord(c)
		return
	}
	l.deadline(c, idle)
}

// holdBack leaves what comes behind a POST that is not answered yet in the socket's buffer, up to another one.
func (l *Loop) holdBack(c *conn) {
	if l.pending(c) > l.cfg.HeaderBytes+l.cfg.MessageBytes {
		l.deny(c, deniedFlood, nil)
		c.closed = proto.CloseOverloaded.Code
		l.abort(c)
	}
}

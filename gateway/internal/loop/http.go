package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

const (
	socketPath = "/ws"
	echoPath   = "/echo"
)

// request answers one HTTP request: an upgrade, or a file of the page.
func (l *Loop) request(c *conn, in []byte) int {
	head, err := framing.HTTPHead(in, l.cfg.HeaderBytes)
	switch {
	case errors.Is(err, framing.ErrHeaderTooLarge):
		l.respond(c, http.StatusRequestHeaderFieldsTooLarge, "", []byte(err.Error()), true)
		return len(in)
	case err != nil:
		l.deny(c, deniedHandshake, nil)
		l.respond(c, http.StatusBadRequest, "", []byte(err.Error()), true)
		return len(in)
	case head == nil:
		return 0
	}
	l.requests++
	l.forwarded(c, head)
	if c.sock == nil {
		return len(in)
	}
	method, path, ok := framing.RequestTarget(head)
	if refused := l.refusalOf(c, path); refused != refusedNot {
		after := 5
		if refused == refusedRate {
			after = l.openAgain(remoteAddr(c.sock))
		}
		fields := l.crossingOfRefused(head) + fmt.Sprintf("Retry-After: %d\r\n", after)
		l.respond(c, http.StatusServiceUnavailable, fields, []byte(refused.sentence()), true)
		return len(in)
	}
	if !ok {
		l.deny(c, deniedHandshake, nil)
		l.respond(c, http.StatusBadRequest, "", []byte("the request line is not HTTP/1.1"), true)
		return len(in)
	}
	if string(path) == socketPath || string(path) == echoPath && l.cfg.Development {
		l.upgrade(c, head, string(method), string(path) == echoPath)
		return len(head)
	}
	if string(path) == eventsPath {
		l.openEvents(c, head)
		return len(head)
	}
	if name, found := bytes.CutPrefix(path, []byte(eventsPath+"/")); found {
		l.post(c, head, string(name))
		return len(head)
	}
	l.servePage(c, head, string(method), string(path))
	return len(head)
}

// refusalOf says why a request is not looked at. A server that drains looks at none, also on a connection that a proxy has kept from
// before, but at POSTs: what the sessions say that are still there goes on, as the frames of a WebSocket do.
func (l *Loop) refusalOf(c *conn, path []byte) refusal {
	if !l.engine.draining.Load() {
		return c.refused
	}
	if !bytes.HasPrefix(path, []byte(eventsPath+"/")) {
		return refusedDraining
	}
	if c.refused == refusedDraining {
		l.admitLate(c)
	}
	return c.refused
}

// readRequest parses a head, and answers one that is none.
func (l *Loop) readRequest(c *conn, head []byte) *http.Request {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		l.respond(c, http.StatusBadRequest, "", []byte("the request can't be read: "+err.Error()), true)
		return nil
	}
	// RFC 9112 3.2: a request of HTTP/1.1 without a Host field is answered with 400. net/http takes the host of an absolute target for one.
	if req.ProtoAtLeast(1, 1) && (req.Host == "" || !hasField(head, "Host")) {
		l.respond(c, http.StatusBadRequest, "", []byte("there must be one Host field"), true)
		return nil
	}
	// RFC 9112 6.1: the framing is faulty, whatever Content-Length says. net/http would not see the field, and take what is the body
	// to a proxy in front for a next request.
	if !req.ProtoAtLeast(1, 1) && hasField(head, "Transfer-Encoding") {
		l.respond(c, http.StatusBadRequest, "", []byte("HTTP/1.0 has no Transfer-Encoding: send Content-Length"), true)
		return nil
	}
	return req
}

// servePage serves a file of the chat page, or says why not.
func (l *Loop) servePage(c *conn, head []byte, method, path string) {
	req := l.readRequest(c, head)
	if req == nil {
		return
	}
	if l.cfg.Site != nil && l.cfg.Site.Serves(path) {
		l.ask(c, req)
		return
	}
	// A body is not read: the connection ends with the answer.
	last := req.Close || req.ContentLength != 0 || len(req.TransferEncoding) > 0
	if method != http.MethodGet && method != http.MethodHead {
		l.respond(c, http.StatusMethodNotAllowed, "Allow: GET, HEAD\r\n", []byte("only GET and HEAD are answered here"), last)
		return
	}
	file, ok := l.cfg.Page(path)
	if !ok && method == http.MethodHead {
		l.head(c, http.StatusNotFound, "", 0, last)
		return
	}
	if !ok {
		l.respond(c, http.StatusNotFound, "", []byte("there is nothing at this path; WebSocket is at "+socketPath), last)
		return
	}
	caching := "no-cache"
	if file.Kept {
		caching = "public, max-age=31536000, immutable" // RFC 8246
	}
	fields := "Content-Type: " + file.Type + "\r\n" +
		"Content-Security-Policy: " + l.cfg.Policy + "\r\n" +
		"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: " + caching + "\r\nVary: Accept-Encoding\r\n"
	body := file.Body
	if file.Gzip != nil && acceptsGzip(req.Header) {
		body = file.Gzip
		fields += "Content-Encoding: gzip\r\n"
	}
	if file.Tag != "" {
		fields += "ETag: " + file.Tag + "\r\n"
	}
	switch {
	case file.Tag != "" && req.Header.Get("If-None-Match") == file.Tag: // browsers send the one that they have
		l.head(c, http.StatusNotModified, fields, len(body), last)
	case method == http.MethodHead:
		l.head(c, http.StatusOK, fields, len(body), last)
	default:
		l.respond(c, http.StatusOK, fields, body, last)
	}
}

// File is a file of the page. Its bytes are shared.
type File struct {
	Body []byte
	Gzip []byte // the same, compressed; nil: it is not
	Type string // media type
	Tag  string // entity tag; "": it may be another one each time
	Kept bool   // it is the same at its address for ever
}

// acceptsGzip leaves out who would take anything, which is no browser.
func acceptsGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		// RFC 9110 12.4.2: a weight of 0 is a refusal.
		weight, weighed := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
		value, err := strconv.ParseFloat(weight, 64)
		return !weighed || err == nil && value > 0
	}
	return false
}

// ask has the Site answer. The connection ends with the answer, so that whatever comes meanwhile is dropped: to keep it, and
// answers in order, would need a bound and a queue for what happens once in minutes.
func (l *Loop) ask(c *conn, r *http.Request) {
	if !l.cfg.Site.Ask(c.handle, r) {
		l.respond(c, http.StatusServiceUnavailable, "Retry-After: 5\r\n", []byte("too many requests wait for an answer: try again in a moment"), true)
		return
	}
	c.phase = answering
	l.deadline(c, answerTimeout)
}

// passedOn sends what the Site has answered.
func (l *Loop) passedOn(e *handoff.Event) {
	if c := l.conn(e.To); c != nil && c.phase == answering {
		l.write(c, e.Frames)
		l.lastWord(c)
	}
}

// respond writes a response; the last one ends the connection.
func (l *Loop) respond(c *conn, status int, fields string, body []byte, last bool) {
	if status != http.StatusOK {
		fields += "Content-Type: text/plain; charset=utf-8\r\n"
		body = append(bytes.Clone(body), '\n')
	}
	out := appendHead(nil, status, fields, len(body), last)
	l.write(c, append(out, body...))
	l.responded(c, last)
}

func (l *Loop) head(c *conn, status int, fields string, size int, last bool) {
	l.write(c, appendHead(nil, status, fields, size, last))
	l.responded(c, last)
}

func appendHead(dst []byte, status int, fields string, size int, last bool) []byte {
	connection := "keep-alive"
	if last {
		connection = "close"
	}
	return fmt.Appendf(dst, "HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\nConnection: %s\r\n\r\n",
		status, http.StatusText(status), fields, size, connection)
}

func (l *Loop) responded(c *conn, last bool) {
	if last {
		l.lastWord(c)
		return
	}
	l.deadline(c, l.cfg.HandshakeTimeout)
}

// upgrade answers a WebSocket handshake.
func (l *Loop) upgrade(c *conn, head []byte, method string, echo bool) {
	o, refused := readOpening(head, func(name string) bool {
		return name == proto.SubprotocolBinary || name == proto.SubprotocolJSON
	})
	if refused == nil && !l.originAllowed(o.host, o.origin) {
		refused = &refusalOfOpening{http.StatusForbidden, "", "pages of " + o.origin + " may not connect here: see the setting limits.origins"}
	}
	if refused != nil {
		l.deny(c, denialByOpening(method, refused), nil)
		l.respond(c, refused.status, refused.fields, []byte(refused.reason), true)
		return
	}
	l.write(c, o.append(make([]byte, 0, 192)))
	switch o.subprotocol {
	case proto.SubprotocolBinary:
		c.codec = proto.Binary
	case proto.SubprotocolJSON:
		c.codec = proto.JSON
	}
	if echo {
		c.phase = echoing
		c.due = 0
		return
	}
	c.phase = opened
	l.deadline(c, l.cfg.HandshakeTimeout)
}

// originAllowed: browsers name the page that connects, so that a page of somebody else's
// can't use our user's login. Other clients name none.
func (l *Loop) originAllowed(host, origin string) bool {
	listed := l.engine.rules.Load().Origins
	switch {
	case origin == "":
		return true
	case len(listed) > 0:
		return slices.ContainsFunc(listed, func(allowed string) bool {
			return allowed == "*" || strings.EqualFold(allowed, origin)
		})
	case l.cfg.Development:
		return true
	}
	page, err := url.Parse(origin)
	return err == nil && page.Host != "" && strings.EqualFold(page.Host, host)
}

// sentence tells a refused client why.
func (r refusal) sentence() string {
	switch r {
	case refusedDraining:
		return "the server is shutting down: try again later"
	case refusedRate:
		return "too many new connections from this address in a short time: try again later"
	case refusedAddress:
		return "too many connections from this address: try again later"
	}
	return "the server has as many connections as it may hold: try again later"
}

func (r refusal) closeCode() proto.CloseCode {
	if r == refusedDraining {
		return proto.CloseDraining
	}
	return proto.CloseOverloaded
}

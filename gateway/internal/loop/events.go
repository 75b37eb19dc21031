package loop

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	eventsPath = "/events"
	// maxFollowed is how many rooms an address may name: an id says the positions in all of them.
	maxFollowed = 16
	// ofServer is the id of requests that an address makes. No client's is as large, and their replies have none.
	ofServer = proto.MaxInteger + 1
	// leastRetry and mostRetry are when an EventSource comes back that has lost its connection, each at a moment of its own.
	leastRetry, mostRetry = 2 * time.Second, 6 * time.Second
)

// eventStream is what a connection has beside whose frames leave as Server-Sent Events and come by POST, see post.go.
type eventStream struct {
	answers bool // its connect came by POST, so that a sign of life can be asked for
	positions
}

// What the name of a stream is made of: its handle, and a part of that handle's HMAC.
const (
	handleBytes = 10
	proofBytes  = 16
)

// streamName is what POSTs to a stream are addressed to: whoever knows it speaks for the session, so nobody else can make it. That it
// is one each loop sees by itself, before it reads a body; whether the stream is still there, the loop that had it.
func (e *Engine) streamName(h handoff.Handle) string {
	b := binary.BigEndian.AppendUint16(nil, h.Loop)
	b = binary.BigEndian.AppendUint32(b, h.Slot)
	b = binary.BigEndian.AppendUint32(b, h.Generation)
	proof := hmac.New(sha256.New, e.streamKey[:])
	proof.Write(b)
	return base64.RawURLEncoding.EncodeToString(proof.Sum(b)[:handleBytes+proofBytes])
}

// readStreamName is the handle of a name, ok false if it was not made by this process.
func (e *Engine) readStreamName(name string) (h handoff.Handle, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil || len(b) != handleBytes+proofBytes {
		return handoff.Handle{}, false
	}
	h = handoff.Handle{Loop: binary.BigEndian.Uint16(b), Slot: binary.BigEndian.Uint32(b[2:]), Generation: binary.BigEndian.Uint32(b[6:])}
	return h, hmac.Equal([]byte(name), []byte(e.streamName(h)))
}

// openEvents makes a connection one of events. What its address and head say of who comes, and where to, is worked off as if it
// had been sent.
func (l *Loop) openEvents(c *conn, head []byte) {
	r, crossing := l.readEventsRequest(c, head, http.MethodGet)
	if r == nil {
		return
	}
	refuse := func(reason string) { l.respond(c, http.StatusBadRequest, crossing, []byte(reason), true) }
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		refuse("a GET of events has no body; what is sent goes by POST to the name that the first event says")
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse("the query can't be read: " + err.Error())
		return
	}
	rooms := query["room"]
	if most := min(maxFollowed, l.cfg.RoomsPerConnection); len(rooms) > most {
		refuse(fmt.Sprintf("an address may name %d rooms; join more by POST", most))
		return
	}
	for i, room := range rooms {
		if !proto.ValidName(room) || slices.Contains(rooms[:i], room) {
			refuse("room is 1 to 128 bytes of UTF-8 without control characters, and each another")
			return
		}
		rooms[i] = strings.Clone(room) // else it keeps the whole address, which may be long, as long as the stream is there
	}
	places, err := readPositions(l.cfg.Epoch, rooms, r.Header.Get("Last-Event-ID"))
	if err != nil {
		refuse(err.Error())
		return
	}

	l.streams[c.handle.Slot] = &eventStream{positions: places}
	c.events, c.codec, c.phase = true, proto.JSON, opened
	l.deadline(c, l.cfg.HandshakeTimeout)
	l.noticeSilence(c)
	retry := leastRetry + rand.N(mostRetry-leastRetry)
	l.write(c, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"+
		// Proxies that gather an answer, or pack it, before they pass it on, would keep messages back.
		"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n"+
		// Its end is the end of the connection: chunks would say nothing that is of use here.
		"X-Content-Type-Options: nosniff\r\n%sConnection: close\r\n\r\nretry: %d\nevent: session\ndata: %s\n\n",
		crossing, retry.Milliseconds(), l.engine.streamName(c.handle)))
	token, name := bearer(r.Header.Get("Authorization")), query.Get("name")
	if token != "" || name != "" {
		l.carryOut(c, &v1.ClientFrame{Id: ofServer, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Token: token, Name: name}}}, len(head))
	}
}

// readEventsRequest reads a request for events, and answers one that is none, and those by which it is asked first what may be done.
// crossing are the fields that let a page of another origin read the answer.
func (l *Loop) readEventsRequest(c *conn, head []byte, method string) (r *http.Request, crossing string) {
	if r = l.readRequest(c, head); r == nil {
		return nil, ""
	}
	crossing, ok := l.crossing(r)
	if !ok {
		l.respond(c, http.StatusForbidden, "", []byte("pages of "+r.Header.Get("Origin")+" may not connect here: see the setting limits.origins"), true)
		return nil, ""
	}
	switch r.Method {
	case method:
		return r, crossing
	case http.MethodOptions, http.MethodHead: // a client asks whether events get through
		last := r.Close || r.ContentLength != 0 || len(r.TransferEncoding) > 0 || l.engine.draining.Load()
		l.noContent(c, crossing+"Access-Control-Allow-Methods: GET, POST\r\n"+
			"Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\r\nAccess-Control-Max-Age: 7200\r\n", last, l.cfg.HandshakeTimeout)
	default:
		l.respond(c, http.StatusMethodNotAllowed, crossing+"Allow: "+method+", OPTIONS\r\n", []byte("events are read by GET, and frames sent by POST to the name that the first event says"), true)
	}
	return nil, ""
}

// crossing are the fields with which a page may read the answer, ok false if it is one that may not.
func (l *Loop) crossing(r *http.Request) (fields string, ok bool) {
	origin := r.Header.Get("Origin")
	switch {
	case !l.originAllowed(r.Host, origin) || strings.ContainsFunc(origin, unicode.IsControl):
		return "", false
	case origin == "":
		return "", true
	}
	return "Access-Control-Allow-Origin: " + origin + "\r\nAccess-Control-Expose-Headers: Retry-After\r\nVary: Origin\r\n", true
}

// crossingOfRefused is for whoever is refused before the request is read: a page that can't see so takes it for a broken connection, and
// comes back at once.
func (l *Loop) crossingOfRefused(head []byte) (fields string) {
	_, path, ok := framing.RequestTarget(head)
	if !ok || string(path) != eventsPath && !bytes.HasPrefix(path, []byte(eventsPath+"/")) {
		return ""
	}
	if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head))); err == nil {
		fields, _ = l.crossing(r)
	}
	return fields
}

// bearer is the token of an Authorization field, "" if it holds something else: a proxy in front may have asked for a password.
func bearer(field string) string {
	scheme, token, _ := strings.Cut(field, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// noticeSilence has the kernel end a connection whose peer acknowledges nothing: comments are answered by nobody. It is longer than a
// stall, which the loop finds itself. A Unix socket has no such thing and needs none.
func (l *Loop) noticeSilence(c *conn) {
	limit := l.cfg.StallTimeout + l.cfg.Heartbeat
	_ = unix.SetsockoptInt(c.sock.Fd(), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(limit, 24*time.Hour).Milliseconds()))
}

// comment is what an idle stream has every heartbeat, so that proxies do not take it for dead.
var comment = []byte(":\n\n")

// enterNamed joins the rooms that a stream's address names, once its session has begun.
func (l *Loop) enterNamed(c *conn) {
	s := l.streams[c.handle.Slot]
	for i := range s.rooms {
		if c.phase != connected || c.sock == nil {
			return
		}
		join := s.join(i, l.cfg.Epoch)
		l.carryOut(c, &v1.ClientFrame{Id: ofServer, Op: &v1.ClientFrame_Join{Join: join}}, len(join.Room))
	}
}

// eventsOf makes events of frames as they stand in a stream of the JSON codec.
func (l *Loop) eventsOf(c *conn, lines []byte) []byte {
	s := l.streams[c.handle.Slot]
	dst := make([]byte, 0, framing.EventsSize(len(lines), bytes.Count(lines, []byte("\n"))))
	if len(s.rooms) == 0 {
		return framing.AppendEvents(dst, lines)
	}
	for line := range bytes.SplitSeq(lines, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var f v1.ServerFrame
		if err := proto.DecodeServerFrame(&f, proto.JSON, line); err != nil {
			panic("BUG: a frame of ours can't be read: " + err.Error())
		}
		if s.advance(&f) {
			dst = s.appendID(dst)
		}
		dst = framing.AppendEvent(dst, line)
	}
	return dst
}

// liveEvents makes events of live messages of a room. Where the stream's ids say how far it has come they are its own; nil: those that
// all streams share will do.
func (l *Loop) liveEvents(c *conn, room string, messages []*proto.Encoded) (events []byte) {
	s := l.streams[c.handle.Slot]
	i := slices.Index(s.rooms, room)
	if i < 0 {
		return nil
	}
	for _, m := range messages {
		s.at[i] = position{m.Seq, reached}
		events = framing.AppendEvents(s.appendID(events), m.Frame(proto.JSON))
	}
	return events
}

// endEvents ends the answer behind the last event of a stream, once that was written: the end of its connection is its own. Not in close,
// which is called where the turn's other writes must not go out yet, as each of them may end a connection or hurry it.
func (l *Loop) endEvents(c *conn) {
	if c.events && c.phase == closing && c.sock != nil && !c.backed { // else drained does
		l.shutWrite(c)
	}
}

// retryAfter tells an EventSource, which does not read goaway, when to come back once it is closed.
func (l *Loop) retryAfter(c *conn, wait time.Duration) {
	l.write(c, fmt.Appendf(nil, "retry: %d\n\n", wait.Milliseconds()))
}

package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stream is what a peer has beside that speaks by events: a connection for its POSTs.
type stream struct {
	open   func() net.Conn
	name   string // what POSTs are addressed to
	lastID string // of the events that came
	retry  string
	conn   net.Conn // kept from POST to POST; nil before the first
	in     *bufio.Reader
	header http.Header // of the answer with events
}

// openStream asks for events, with more fields of the head, and reads the first.
func openStream(t testing.TB, addr string, w wire, target, fields string) (*peer, error) {
	conn, err := dialWire(t, addr, w)
	if err != nil {
		return nil, err
	}
	p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: w, stream: &stream{}}
	p.stream.open = func() net.Conn {
		conn, err := dialWire(t, addr, w)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, addr, fields)
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return nil, err
	}
	if p.stream.header = res.Header; res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		return nil, fmt.Errorf("events were answered with %s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), body)
	}
	for p.stream.name == "" {
		if err := p.readEvent(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// mustOpenStream is openStream that has to succeed.
func mustOpenStream(t testing.TB, addr, target, fields string) *peer {
	t.Helper()
	p, err := openStream(t, addr, overEvents, target, fields)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readEvent reads up to an empty line: it may be a comment.
func (p *peer) readEvent() error {
	kind, data := "message", []byte(nil)
	for {
		line, err := p.in.ReadBytes('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 {
			break
		}
		field, value, _ := strings.Cut(string(line), ": ")
		switch field {
		case "event":
			kind = value
		case "data":
			data = []byte(value)
		case "id":
			p.stream.lastID = value
		case "retry":
			p.stream.retry = value
		}
	}
	if kind == "session" {
		p.stream.name = string(data)
		return nil
	}
	if data == nil {
		return nil
	}
	return p.decode(data)
}

// post sends a body and waits until it was taken.
func (s *stream) post(body []byte) error {
	status, err := s.exchange(fmt.Sprintf("POST /events/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", s.name, len(body), body))
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("a POST was answered with %d", status)
	}
	return err
}

// exchange sends a request over the connection that is kept, and reads its answer.
func (s *stream) exchange(request string) (status int, err error) {
	if s.conn == nil {
		s.conn = s.open()
		s.in = bufio.NewReader(s.conn)
	}
	s.conn.SetDeadline(time.Now().Add(waitLimit))
	if _, err := io.WriteString(s.conn, request); err != nil {
		return 0, err
	}
	return s.answer()
}

// answer reads the next one.
func (s *stream) answer() (status int, err error) {
	res, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, err
	}
	if res.Close {
		s.conn.Close()
		s.conn = nil
	}
	return res.StatusCode, nil
}

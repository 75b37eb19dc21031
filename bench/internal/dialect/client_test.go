package dialect_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/plan"
)

// patience is how long a test waits for what has to happen. It is no measure.
const patience = 30 * time.Second

// client is one connection that speaks a dialect, as plain as it can be: it reads when it is asked for an event.
type client struct {
	t       *testing.T
	dialect dialect.Dialect
	session dialect.Session
	conn    net.Conn
	in      []byte
	done    int // bytes of in that the dialect is done with
	lastID  uint32
	answers int // how often the dialect wanted something sent
	event   dialect.Event
}

// open connects and says what a connection says first.
func open(t *testing.T, config dialect.Config, url string, user uint32) *client {
	t.Helper()
	target, err := dialect.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dialect.New(config, target)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", target.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t: t, dialect: d, session: dialect.Session{User: user}, conn: conn}
	c.write(d.AppendOpen(nil, &c.session))
	return c
}

// dial opens and waits until rooms can be joined.
func dial(t *testing.T, config dialect.Config, url string, user uint32) *client {
	t.Helper()
	c := open(t, config, url, user)
	c.want(dialect.Ready, 0)
	return c
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next gives the next event. It is valid until the next call.
func (c *client) next() (*dialect.Event, error) {
	c.t.Helper()
	for {
		if err := c.step(); err != nil || c.event.Kind != dialect.None {
			return &c.event, err
		}
	}
}

// step calls Read once, with more input if it did nothing, and sends what it wants sent.
func (c *client) step() error {
	c.t.Helper()
	n, err := c.dialect.Read(&c.session, c.in[c.done:], &c.event)
	c.done += n
	if len(c.event.Out) > 0 {
		c.write(c.event.Out)
		c.answers++
	}
	if err != nil || n > 0 {
		return err
	}
	c.in = append(c.in[:0], c.in[c.done:]...)
	c.done = 0
	var chunk [1000]byte
	n, err = c.conn.Read(chunk[:])
	c.in = append(c.in, chunk[:n]...)
	return err
}

// want gives the next event, which has to be of a kind and, but for 0, of a request.
func (c *client) want(kind dialect.Kind, id uint32) *dialect.Event {
	c.t.Helper()
	e, err := c.next()
	if err != nil {
		c.t.Fatalf("user %d: want event %d of request %d: %v", c.session.User, kind, id, err)
	}
	if e.Kind != kind || id != 0 && e.ID != id {
		c.t.Fatalf("user %d: got %+v, want event %d of request %d", c.session.User, e, kind, id)
	}
	return e
}

func (c *client) id() uint32 {
	c.lastID++
	return c.lastID
}

// join joins a room and waits for the answer, where there is one.
func (c *client) join(room int) {
	c.t.Helper()
	id := c.id()
	c.write(c.dialect.AppendJoin(nil, &c.session, dialect.Join{ID: id, Room: room, After: -1}))
	if c.dialect.Traits().Answers {
		c.want(dialect.Joined, id)
	}
}

func (c *client) leave(room int) {
	c.t.Helper()
	id := c.id()
	c.write(c.dialect.AppendLeave(nil, &c.session, id, room))
	if c.dialect.Traits().Answers {
		c.want(dialect.Left, id)
	}
}

// body is that of the i-th message of a test.
func body(i int) string { return fmt.Sprintf("%s%d.of.this.test;", dialect.Stamp, i) }

func (c *client) publish(room, i int) {
	c.t.Helper()
	id := c.id()
	c.write(c.dialect.AppendPublish(nil, &c.session, dialect.Publish{ID: id, Room: room, Key: uint32(i), Body: []byte(body(i))}))
}

// collect reads until it has the messages first to last of a room, in order, and as many acknowledgements.
func (c *client) collect(room, first, last, acknowledgements int) {
	c.t.Helper()
	acknowledged := uint32(0)
	for first <= last || acknowledgements > 0 {
		e, err := c.next()
		if err != nil {
			c.t.Fatalf("user %d: message %d and %d acknowledgements are missing: %v", c.session.User, first, acknowledgements, err)
		}
		switch e.Kind {
		case dialect.Message:
			if !bytes.Contains(e.Body, []byte(body(first))) {
				c.t.Fatalf("user %d: got %q, want message %d", c.session.User, e.Body, first)
			}
			if e.Room != room {
				c.t.Fatalf("user %d: message %d is of room %d, want %d", c.session.User, first, e.Room, room)
			}
			if numbered := c.dialect.Traits().Numbered; numbered && e.Seq != uint64(first) {
				c.t.Fatalf("user %d: message %d has the number %d", c.session.User, first, e.Seq)
			}
			first++
		case dialect.Acknowledged:
			if e.ID <= acknowledged {
				c.t.Fatalf("user %d: request %d is acknowledged after %d", c.session.User, e.ID, acknowledged)
			}
			acknowledged = e.ID
			acknowledgements--
		default:
			c.t.Fatalf("user %d: unexpected %+v", c.session.User, e)
		}
	}
}

// testRoom has two members of a room, one of which publishes; a third one leaves before.
func testRoom(t *testing.T, server plan.Server, url string, room int) {
	const messages = 100
	t.Helper()
	config := dialect.Config{Server: server, Prefix: "test-" + t.Name()[len("Test"):len("Test")+4] + "-"}
	sender, reader, gone := dial(t, config, url, 1), dial(t, config, url, 2), dial(t, config, url, 3)
	traits := sender.dialect.Traits()
	known := room // the number of the room that messages have
	if server.Dialect == "websocket" {
		known = -1
	}
	for _, c := range []*client{sender, reader, gone} {
		c.join(room)
	}
	gone.leave(room)
	acknowledgements := 0
	for i := 1; i <= messages; i++ {
		sender.publish(room, i)
	}
	if traits.Acknowledges {
		acknowledgements = messages
	}
	reader.collect(known, 1, messages, 0)
	sender.collect(known, 1, messages, acknowledgements)
	// Who has left gets what is new after it has come back, and nothing from before.
	gone.join(room)
	sender.publish(room, messages+1)
	for _, c := range []*client{reader, gone} {
		c.collect(known, messages+1, messages+1, 0)
	}
	end := sender.dialect.AppendClose(nil, &sender.session)
	sender.write(end)
	for err := error(nil); err == nil && len(end) > 0; {
		_, err = sender.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the server does not end a connection that was closed")
		}
	}
}

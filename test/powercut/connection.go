package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// patience is for a reply of the server. Its machine is emulated, on a host that may be busy.
const patience = 2 * time.Minute

// connection is an authenticated one over raw TCP. One goroutine uses it.
type connection struct {
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	nextID uint64
}

// login connects in development mode, where a name is enough.
func login(address, user string) (*connection, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &connection{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), out: []byte("ROOKERY\x01")}
	reply, err := c.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: user}}})
	if err == nil && reply.GetConnected().GetUser() != user {
		err = fmt.Errorf("connect as %s was answered with %v", user, reply)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// send writes requests with the next ids in one piece.
func (c *connection) send(requests ...*v1.ClientFrame) error {
	for _, r := range requests {
		c.nextID++
		r.Id = c.nextID
		c.out = proto.AppendClientFrame(c.out, proto.Binary, r)
	}
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// next reads a frame.
func (c *connection) next() (*v1.ServerFrame, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	size, err := binary.ReadUvarint(c.in)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return nil, err
	}
	f := &v1.ServerFrame{}
	return f, proto.DecodeServerFrame(f, proto.Binary, b)
}

// ask sends a request and returns its reply. What the server says by itself is passed over.
func (c *connection) ask(request *v1.ClientFrame) (*v1.ServerFrame, error) {
	if err := c.send(request); err != nil {
		return nil, err
	}
	for {
		f, err := c.next()
		if err != nil || f.Id == request.Id {
			return f, err
		}
	}
}

// history reads a room after a position, a page at a time, to its end or until page says that it is
// enough.
func (c *connection) history(room string, after uint64, page func(*v1.History) (enough bool)) error {
	for {
		reply, err := c.ask(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{
			Room: room, After: &after, Limit: proto.MaxHistory,
		}}})
		if err != nil {
			return err
		}
		h := reply.GetHistory()
		if h == nil {
			return fmt.Errorf("history of %s after %d was answered with %v", room, after, reply)
		}
		enough := page(h)
		if n := len(h.Messages); n > 0 {
			after = h.Messages[n-1].Seq
		}
		if !h.More || enough {
			return nil
		}
		if len(h.Messages) == 0 {
			return fmt.Errorf("history of %s after %d is empty and says that there is more", room, after)
		}
	}
}

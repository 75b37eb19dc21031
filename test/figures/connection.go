package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"

	"github.com/gobwas/ws"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// connection is an authenticated WebSocket with binary frames. One goroutine may send while
// another one receives.
type connection struct {
	conn net.Conn

	// Owned by the sender.
	nextID uint64
	out    []byte

	// Owned by the receiver.
	in      *bufio.Reader
	payload []byte
	rest    []byte // of payload: frames that were not taken yet
}

// sources are the addresses that connections come from, in turn: one has as many ports as
// the kernel's range of ephemeral ones holds.
const sources = 4

// connect opens connection number i and logs it in. buffer is the size of the read buffer.
func connect(ctx context.Context, address string, i, buffer int) (*connection, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%sources))}}
	upgrade := ws.Dialer{
		Protocols: []string{proto.SubprotocolBinary},
		NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
	}
	conn, early, _, err := upgrade.Dial(ctx, "ws://"+address+"/ws")
	if err != nil {
		return nil, err
	}
	if early != nil {
		// The server speaks first only after connect.
		conn.Close()
		return nil, fmt.Errorf("connection %d: bytes came before connect", i)
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	c := &connection{conn: conn, in: bufio.NewReaderSize(conn, buffer)}
	reply, err := c.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: fmt.Sprintf("user-%d", i)}}})
	if err == nil && reply.GetConnected() == nil {
		err = fmt.Errorf("connect was answered with %v", reply)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *connection) join(room string) error {
	reply, err := c.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}})
	if err == nil && reply.GetJoined() == nil {
		err = fmt.Errorf("join of %s was answered with %v", room, reply)
	}
	return err
}

// ask sends one request and returns the next frame, for a connection on which nothing else
// happens.
func (c *connection) ask(request *v1.ClientFrame) (*v1.ServerFrame, error) {
	if err := c.send(request); err != nil {
		return nil, err
	}
	f := &v1.ServerFrame{}
	return f, c.next(f)
}

// send writes requests with the next ids in one message.
func (c *connection) send(requests ...*v1.ClientFrame) error {
	c.out = c.out[:0]
	for _, r := range requests {
		c.nextID++
		r.Id = c.nextID
		c.out = proto.AppendClientFrame(c.out, proto.Binary, r)
	}
	return c.write(ws.NewBinaryFrame(c.out))
}

func (c *connection) write(f ws.Frame) error {
	b, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return err
	}
	_, err = c.conn.Write(b)
	return err
}

// more reports whether a frame can be taken without waiting.
func (c *connection) more() bool { return len(c.rest) > 0 }

// next reads a frame into f. Pings are answered.
func (c *connection) next(f *v1.ServerFrame) error {
	for len(c.rest) == 0 {
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			return err
		}
		if int64(cap(c.payload)) < h.Length {
			c.payload = make([]byte, h.Length)
		}
		c.payload = c.payload[:h.Length]
		if _, err := io.ReadFull(c.in, c.payload); err != nil {
			return err
		}
		switch h.OpCode {
		case ws.OpPing:
			if err := c.write(ws.NewPongFrame(c.payload)); err != nil {
				return err
			}
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(c.payload)
			return fmt.Errorf("the server closed with %d %s", code, reason)
		case ws.OpBinary:
			c.rest = c.payload
		}
	}
	frame, rest, err := proto.Next(proto.Binary, c.rest)
	if err != nil {
		return err
	}
	c.rest = rest
	f.Reset()
	return proto.DecodeServerFrame(f, proto.Binary, frame)
}

func publishRequest(room, key, text string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: room, Key: key, Content: &v1.Publish_Text{Text: text},
	}}}
}

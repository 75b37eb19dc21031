package benchtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"rookery/proto"
)

const (
	// maxMessage is the largest WebSocket message or TCP frame that is taken.
	maxMessage = proto.MaxFrameBytes
	// goodbye is how long a client that was told the end may take to hang up.
	goodbye = time.Second
)

// conn is one client.
type conn struct {
	// Set at construction.
	server *Server
	socket *gatedSocket
	out    *outbound

	// Set before the writer starts.
	in     *bufio.Reader // owned by the reader
	stream bool          // raw TCP

	// Owned by the reader. The codec is settled before anything is sent in it.
	codec proto.Codec
	user  string // "" until connect

	// Guarded by Server.mu.
	rooms map[string]*member
}

// closing is the reason for which the server ends a connection.
type closing struct {
	code   proto.CloseCode
	reason string
}

func (c *closing) Error() string { return fmt.Sprintf("closed with %d: %s", c.code.Code, c.reason) }

// errHungUp is the end of a connection on the client's wish.
var errHungUp = errors.New("the client hangs up")

// serveLoop reads the connection to its end. It is started by accept, and ends with the client or with Close.
func (c *conn) serveLoop(refuse bool) {
	defer c.server.forget(c)
	defer func() { _ = c.socket.Close() }() // it may be closed already, by Close or a reset
	defer c.server.part(c)
	if c.open(refuse) {
		written := make(chan struct{})
		go c.writeLoop(written)
		err := c.converse()
		c.server.part(c)
		var end *closing
		if errors.As(err, &end) {
			c.out.push(0, end.item(c))
		}
		c.out.finish()
		<-written
	}
	// RFC 6455 section 7.1.1 has the server close first. If it closed with bytes unread, the kernel would
	// send RST, and the last word could be lost to it.
	if c.socket.CloseWrite() == nil && c.socket.SetReadDeadline(time.Now().Add(goodbye)) == nil {
		_, _ = io.Copy(io.Discard, c.in)
	}
}

// converse handles messages until the end, and says why it ended: a *closing if the client is to be told.
func (c *conn) converse() error {
	if c.stream {
		return c.readStream()
	}
	return c.readWebSocket()
}

// readStream takes frames off raw TCP.
func (c *conn) readStream() error {
	var head []byte
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return err
		}
		head = append(head, b)
		length, n, err := proto.Length(head)
		switch {
		case err != nil:
			return &closing{proto.CloseBadFrame, err.Error()}
		case n == 0:
			continue
		case length > maxMessage:
			return &closing{proto.CloseTooBig, fmt.Sprintf("a frame of %d bytes, over %d", length, maxMessage)}
		}
		head = head[:0]
		frame := make([]byte, length)
		if _, err := io.ReadFull(c.in, frame); err != nil {
			return err
		}
		if err := c.request(frame); err != nil {
			return err
		}
	}
}

// readWebSocket takes messages out of frames, and answers those that are not data.
func (c *conn) readWebSocket() error {
	state := ws.StateServerSide
	var kind ws.OpCode
	var message []byte
	for {
		header, err := ws.ReadHeader(c.in)
		if err != nil {
			return err
		}
		if err := ws.CheckHeader(header, state); err != nil {
			return &closing{proto.CloseProtocol, err.Error()}
		}
		if header.Length > int64(maxMessage-len(message)) {
			return &closing{proto.CloseTooBig, fmt.Sprintf("a message of more than %d bytes", maxMessage)}
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return err
		}
		ws.Cipher(payload, header.Mask, 0)
		if header.OpCode.IsControl() {
			if err := c.control(header.OpCode, payload); err != nil {
				return err
			}
			continue
		}
		if header.OpCode != ws.OpContinuation {
			kind = header.OpCode
		}
		message = append(message, payload...)
		if !header.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		state = state.Clear(ws.StateFragmented)
		if kind == ws.OpText && !utf8.Valid(message) {
			return &closing{proto.CloseInvalidUTF8, "a text message is not UTF-8"}
		}
		if err := c.message(kind, message); err != nil {
			return err
		}
		message = nil // what was decoded from it may be views into it
	}
}

func (c *conn) control(kind ws.OpCode, payload []byte) error {
	switch kind {
	case ws.OpPing:
		c.out.push(0, &item{kind: ws.OpPong, alone: true, payload: payload})
	case ws.OpClose:
		// RFC 6455 section 5.5.1: the answer echoes the code, an empty one an empty one.
		c.out.push(0, &item{kind: ws.OpClose, alone: true, payload: payload[:min(len(payload), 2)], last: true})
		return errHungUp
	}
	return nil
}

// message handles one whole WebSocket message.
func (c *conn) message(kind ws.OpCode, message []byte) error {
	if c.server.config.Mode != Rookery {
		c.relay(kind, message)
		return nil
	}
	codec := proto.Binary
	if kind == ws.OpText {
		codec = proto.JSON
	}
	if c.codec == proto.Undecided {
		c.codec = codec
	}
	if codec != c.codec {
		return &closing{proto.CloseUnsupported, "the connection's other codec was agreed"}
	}
	for len(message) > 0 {
		frame, rest, err := proto.Next(codec, message)
		if err != nil {
			return &closing{proto.CloseBadFrame, err.Error()}
		}
		message = rest
		if codec == proto.JSON && len(frame) == 0 {
			continue
		}
		if err := c.request(frame); err != nil {
			return err
		}
	}
	return nil
}

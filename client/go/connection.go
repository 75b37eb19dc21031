package client

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	// goodbye is how long a connection may take to end with manners.
	goodbye = time.Second
	// maxReceive bounds what one message of the server may take of memory. A server
	// sends pages of 256 KiB, or one message of at most 1 MiB.
	maxReceive = 16 << 20
)

// framing cuts a socket into payloads that hold whole frames, and wraps what is sent.
type framing interface {
	// receive reads the next payload, valid until the next call; empty for a sign of
	// life without one. pong is to be sent back when it is not nil. The reader calls it.
	receive() (payload, pong []byte, err error)
	// The others append what is to be written. The writer calls them.
	appendFrames(dst, frames []byte) []byte
	appendPong(dst, payload []byte) []byte
	appendClose(dst []byte, code uint16, reason string) []byte
	// hangUp says that nothing more will be sent, where that is not what the Close frame
	// is for, and reports whether the peer can know now.
	hangUp() bool
}

// errBadFrame is bytes from the server that are none of the protocol.
var errBadFrame = errors.New("the server sent bytes that are no frame")

// connection is one socket and all that does not outlive it.
type connection struct {
	// Set at construction.
	socket  *socket
	bell    chan struct{} // there is something to write
	gone    chan struct{} // closed by the machine when it looks at nothing more
	readEnd chan struct{} // closed when the reader has ended

	// Owned by the machine's loop.
	lastID    uint64
	requests  map[uint64]func(*v1.ServerFrame) // sent and not answered
	leaving   map[string]bool                  // rooms whose leave is not answered
	heard     time.Time                        // the last sign of life
	received  uint64                           // how many signs of life
	heartbeat *alarm
	interval  time.Duration // of the heartbeat
	goingAway bool
	window    time.Duration // after goaway, to come back in
	departure *alarm        // after goaway
	forgotten bool          // gone is closed

	// Guarded by mu.
	mu      sync.Mutex
	frames  [][]byte // to be written; bounded by the outbox, the reads and the rooms
	passing passing  // ephemeral publishes, written behind them
	largest int      // that the server takes in one message
	pong    []byte   // the newest is enough, RFC 6455 section 5.5.3
	close   *CloseError
}

func (m *machine) startConnection(s *socket) *connection {
	c := &connection{
		socket: s,
		bell:   make(chan struct{}, 1), gone: make(chan struct{}), readEnd: make(chan struct{}),
		requests: make(map[uint64]func(*v1.ServerFrame)),
		leaving:  make(map[string]bool),
		heard:    time.Now(),
	}
	m.wait.Go(func() { c.readLoop(m) })
	m.wait.Go(c.writeLoop)
	return c
}

// readLoop is started with the connection and ends with the socket. The machine takes one
// payload at a time, so no more than that waits in memory.
func (c *connection) readLoop(m *machine) {
	defer close(c.readEnd)
	for {
		payload, pong, err := c.socket.framing.receive()
		var frames []*v1.ServerFrame
		if err == nil {
			frames, err = decode(payload)
		}
		if pong != nil {
			c.mu.Lock()
			c.pong = pong
			c.mu.Unlock()
			c.ring()
		}
		m.post(func() {
			if m.connection != c {
				return
			}
			m.received(c, frames)
			if err != nil && m.connection == c {
				m.readFailed(err)
			}
		})
		if err != nil {
			return
		}
	}
}

func (m *machine) readFailed(err error) {
	var closed *CloseError
	switch {
	case errors.As(err, &closed):
		m.ended(closed)
	case errors.Is(err, errBadFrame):
		m.faulty(err.Error())
	default:
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the other side cut it") // io's words are for programmers
		}
		m.lost(&CloseError{Code: codeLost, Err: err}, 0)
	}
}

// codeLost and codeNone are what RFC 6455 section 7.1.5 calls an end without a closing
// handshake, and a Close frame without a code.
const (
	codeLost = 1006
	codeNone = 1005
)

func decode(payload []byte) ([]*v1.ServerFrame, error) {
	var frames []*v1.ServerFrame
	for len(payload) > 0 {
		var (
			bytes []byte
			err   error
		)
		if bytes, payload, err = proto.Next(proto.Binary, payload); err != nil {
			return frames, fmt.Errorf("%w: %w", errBadFrame, err)
		}
		frame := new(v1.ServerFrame)
		if err = proto.DecodeServerFrame(frame, proto.Binary, bytes); err != nil {
			return frames, fmt.Errorf("%w: %w", errBadFrame, err)
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// writeLoop is started with the connection and ends with it. All that waits leaves in one
// write.
func (c *connection) writeLoop() {
	defer c.socket.Close()
	var out []byte
	for {
		select {
		case <-c.bell:
		case <-c.gone:
			c.sayGoodbye()
			return
		}
		out = c.takeWaiting(out[:0])
		if len(out) == 0 {
			continue
		}
		if _, err := c.socket.Write(out); err != nil {
			// The reader may still find a Close frame that says why. It will not read for
			// ever, and it tells the machine, which then closes gone.
			c.socket.SetReadDeadline(time.Now().Add(goodbye))
			<-c.gone
			return
		}
		if cap(out) > 1<<20 {
			out = nil
		}
	}
}

// takeWaiting wraps what waits, as many frames into one message as the server takes.
func (c *connection) takeWaiting(out []byte) []byte {
	c.mu.Lock()
	frames, pong, largest := append(c.frames, c.passing.take()...), c.pong, c.largest
	c.frames, c.pong = nil, nil
	c.mu.Unlock()
	framing := c.socket.framing
	if pong != nil {
		out = framing.appendPong(out, pong)
	}
	var message []byte
	for _, frame := range frames {
		if len(message) > 0 && len(message)+len(frame) > largest {
			out = framing.appendFrames(out, message)
			message = message[:0]
		}
		message = append(message, frame...)
	}
	if len(message) > 0 {
		out = framing.appendFrames(out, message)
	}
	return out
}

// sayGoodbye writes the Close frame and waits until the peer has closed, so that its last
// words don't meet a reset. After drop there is no Close frame to write.
func (c *connection) sayGoodbye() {
	c.mu.Lock()
	closing := c.close
	c.mu.Unlock()
	if closing == nil {
		return
	}
	out := c.takeWaiting(nil)
	out = c.socket.framing.appendClose(out, closing.Code, closing.Reason)
	if _, err := c.socket.Write(out); err != nil || !c.socket.framing.hangUp() {
		return
	}
	<-c.readEnd
}

func (c *connection) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// send queues a frame with its length.
func (c *connection) send(frame []byte) {
	c.mu.Lock()
	c.frames = append(c.frames, frame)
	c.mu.Unlock()
	c.ring()
}

func (c *connection) limit(largest int) {
	c.mu.Lock()
	c.largest = largest
	c.mu.Unlock()
}

// end says goodbye in the background. The machine does not wait for it: a dead network may
// hold a closing handshake for minutes.
func (c *connection) end(code uint16, reason string) {
	if c.forgotten {
		return
	}
	c.mu.Lock()
	c.close = &CloseError{Code: code, Reason: reason}
	c.mu.Unlock()
	c.socket.SetDeadline(time.Now().Add(goodbye))
	c.forget()
}

// drop cuts the socket, unless end came first. A deadline in the past stops the reader and
// the writer, who closes: Close itself may wait, with TLS.
func (c *connection) drop() {
	if !c.forgotten {
		c.socket.SetDeadline(time.Unix(1, 0))
		c.forget()
	}
}

func (c *connection) forget() {
	c.forgotten = true
	close(c.gone)
}

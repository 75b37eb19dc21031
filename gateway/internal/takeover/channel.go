package takeover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is of a message.
type Kind uint8

// The messages in their order, see the package doc.
const (
	Hello Kind = iota + 1
	Welcome
	Refusal
	Prepared
	Shared
	Connections
	Received
	Everything
	Opened
	Go
	Reading
	Serving
	Late
)

const (
	// MaxDescriptors is what a message may bring: the kernel takes 253.
	MaxDescriptors = 128
	// MaxOutbound is what a connection's outbound may be. A batch ends at batchBytes, and one connection more may be in it.
	MaxOutbound = 128 << 20
	// maxPayload bounds a message.
	maxPayload = 2 * MaxOutbound
	headBytes  = 6
)

// Message is one that came. Whoever receives it closes its descriptors.
type Message struct {
	Kind        Kind
	Payload     []byte
	Descriptors []int
}

// Channel is an end of the stream. One goroutine may send while another receives.
type Channel struct {
	socket *net.UnixConn
	sent   int64 // bytes
}

// NewChannel makes one of a connected socket.
func NewChannel(socket *net.UnixConn) *Channel {
	return &Channel{socket: socket}
}

// Sent is how many bytes were, for who sends.
func (c *Channel) Sent() int64 { return c.sent }

// Close ends the stream.
func (c *Channel) Close() error { return c.socket.Close() }

// Deadline bounds what is sent and received from now on; a zero time bounds nothing.
func (c *Channel) Deadline(t time.Time) { _ = c.socket.SetDeadline(t) }

// Peer says who is at the other end.
func (c *Channel) Peer() (*unix.Ucred, error) {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var who *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return who, errors.Join(err, failed)
}

// Send sends a message. The descriptors stay the caller's.
func (c *Channel) Send(k Kind, payload []byte, descriptors ...int) error {
	if len(descriptors) > MaxDescriptors {
		panic("BUG: a message of a takeover has too many descriptors")
	}
	if len(payload) > maxPayload {
		// What is of no single connection, slow mode and presence, has no bound of its own.
		return fmt.Errorf("hand over: a message of the kind %d would be of %d bytes, and %d is the most: restart instead", k, len(payload), maxPayload)
	}
	head := binary.LittleEndian.AppendUint32([]byte{byte(k), byte(len(descriptors))}, uint32(len(payload)))
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	if _, _, err := c.socket.WriteMsgUnix(head[:1], rights, nil); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	if _, err := c.socket.Write(append(head[1:], payload...)); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	c.sent += int64(len(head) + len(payload))
	return nil
}

// SendJSON sends a message whose payload is JSON.
func (c *Channel) SendJSON(k Kind, v any, descriptors ...int) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return c.Send(k, payload, descriptors...)
}

// Receive waits for a message. io.EOF is the end of the stream between two of them.
func (c *Channel) Receive() (_ Message, err error) {
	var m Message
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	head := make([]byte, headBytes)
	rights := make([]byte, unix.CmsgSpace(MaxDescriptors*4))
	n, rightsBytes, _, _, err := c.socket.ReadMsgUnix(head[:1], rights)
	switch {
	case err != nil:
		return Message{}, err
	case n == 0:
		return Message{}, io.EOF
	}
	m.Kind = Kind(head[0])
	if rightsBytes > 0 {
		controls, err := unix.ParseSocketControlMessage(rights[:rightsBytes])
		if err != nil {
			return Message{}, fmt.Errorf("read descriptors: %w", err)
		}
		for i := range controls {
			fds, err := unix.ParseUnixRights(&controls[i])
			if err != nil {
				return Message{}, fmt.Errorf("read descriptors: %w", err)
			}
			m.Descriptors = append(m.Descriptors, fds...)
		}
	}
	if _, err := io.ReadFull(c.socket, head[1:]); err != nil {
		return Message{}, fmt.Errorf("read the head of a message: %w", err)
	}
	size := binary.LittleEndian.Uint32(head[2:])
	if int(head[1]) != len(m.Descriptors) || size > maxPayload {
		return Message{}, fmt.Errorf("a message of %d bytes came with %d descriptors of %d: out of descriptors?", size, len(m.Descriptors), head[1])
	}
	m.Payload = make([]byte, size)
	if _, err := io.ReadFull(c.socket, m.Payload); err != nil {
		return Message{}, fmt.Errorf("read a message: %w", err)
	}
	return m, nil
}

// Await receives a message of a kind. A refusal is an error.
func (c *Channel) Await(k Kind) (Message, error) {
	m, err := c.Receive()
	switch {
	case err != nil:
		return Message{}, err
	case m.Kind == Refusal:
		m.Close()
		return Message{}, errors.New(string(m.Payload))
	case m.Kind != k:
		m.Close()
		return Message{}, fmt.Errorf("a message of the kind %d came, and one of %d was to come", m.Kind, k)
	}
	return m, nil
}

// Close closes the descriptors that came.
func (m *Message) Close() {
	for _, fd := range m.Descriptors {
		unix.Close(fd)
	}
}

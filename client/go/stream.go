package client

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// preface is what a raw TCP connection starts with: the name and the version.
const preface = "ROOKERY\x01"

// stream is raw TCP: frames with their lengths, and nothing around them.
type stream struct {
	// Set at construction.
	conn net.Conn

	// Owned by the reader.
	in      *bufio.Reader
	payload []byte

	// Owned by the writer.
	started bool
}

func newStream(conn net.Conn) *stream { return &stream{conn: conn, in: bufio.NewReader(conn)} }

// receive returns one frame with its length, as a WebSocket message would hold it.
func (s *stream) receive() (payload, pong []byte, err error) {
	length, err := binary.ReadUvarint(s.in)
	if err != nil {
		return nil, nil, err
	}
	if length > maxReceive {
		return nil, nil, fmt.Errorf("%w: a frame of %d bytes", errBadFrame, length)
	}
	s.payload = binary.AppendUvarint(s.payload[:0], length)
	start := len(s.payload)
	s.payload = append(s.payload, make([]byte, length)...)
	if _, err := io.ReadFull(s.in, s.payload[start:]); err != nil {
		return nil, nil, err
	}
	return s.payload, nil, nil
}

func (s *stream) appendFrames(dst, frames []byte) []byte {
	if !s.started {
		s.started = true
		dst = append(dst, preface...)
	}
	return append(dst, frames...)
}

// appendPong has nothing to append: the probe of raw TCP is a frame.
func (s *stream) appendPong(dst, _ []byte) []byte { return dst }

// appendClose has nothing to append: a client ends a raw TCP connection by hanging up.
func (s *stream) appendClose(dst []byte, _ uint16, _ string) []byte { return dst }

// hangUp closes the half that we write to, so that what the server still sends arrives.
func (s *stream) hangUp() bool {
	half, ok := s.conn.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

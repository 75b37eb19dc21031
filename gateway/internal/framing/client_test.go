package framing

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// The client's side of RFC 6455 5.2 and 5.3, written without the package under
// test and without the library it stands on.

const (
	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10

	// The last fragment of a message: FIN and opcode 0.
	finContinuation = fin
)

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// clientFrame is a masked frame; first is FIN, reserved bits and opcode.
func clientFrame(first byte, payload string) []byte {
	switch size := len(payload); {
	case size <= 125:
		return clientFrameLength(first, []byte{byte(size)}, payload)
	case size <= 0xffff:
		return clientFrameLength(first, binary.BigEndian.AppendUint16([]byte{126}, uint16(size)), payload)
	default:
		return clientFrameLength(first, binary.BigEndian.AppendUint64([]byte{127}, uint64(size)), payload)
	}
}

// clientFrameLength lets the length field disagree with the payload.
func clientFrameLength(first byte, length []byte, payload string) []byte {
	out := append([]byte{first, length[0] | 0x80}, length[1:]...)
	out = append(out, testMask[:]...)
	for i := range len(payload) {
		out = append(out, payload[i]^testMask[i%4])
	}
	return out
}

func join(frames ...[]byte) string {
	var out []byte
	for _, frame := range frames {
		out = append(out, frame...)
	}
	return string(out)
}

// event is a message or an error in a form that can be compared and read.
func event(m Message) string {
	names := map[ws.OpCode]string{
		ws.OpText: "text", ws.OpBinary: "binary", ws.OpPing: "ping", ws.OpPong: "pong", ws.OpClose: "close",
	}
	if len(m.Payload) > 40 {
		return fmt.Sprintf("%s %d bytes %.20q", names[m.Op], len(m.Payload), m.Payload)
	}
	return fmt.Sprintf("%s %q", names[m.Op], m.Payload)
}

// run feeds the pieces one after the other, as a connection would, and lists
// what comes out. It fails by an event that starts with "BUG".
func run(pieces []string, max int) (events []string, pending bool) {
	var d Decoder
	defer d.Release()
	for _, piece := range pieces {
		in := []byte(piece)
		for {
			m, n, err := d.Decode(in, max)
			if n < 0 || n > len(in) {
				return append(events, fmt.Sprintf("BUG: n = %d of %d", n, len(in))), false
			}
			in = in[n:]
			if err != nil {
				var fault *ProtocolError
				if !errors.As(err, &fault) {
					return append(events, "BUG: not a ProtocolError: "+err.Error()), false
				}
				return append(events, fmt.Sprintf("fault %d", fault.Code)), false
			}
			if !m.Ready() {
				if len(in) > 0 {
					return append(events, fmt.Sprintf("BUG: no message, %d bytes left", len(in))), false
				}
				break
			}
			events = append(events, event(m))
		}
	}
	return events, d.Pending()
}

func bytewise(stream string) []string {
	pieces := make([]string, len(stream))
	for i := range len(stream) {
		pieces[i] = stream[i : i+1]
	}
	return pieces
}

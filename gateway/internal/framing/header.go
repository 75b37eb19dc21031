package framing

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// parseHeader reads a frame header from the front of in and checks it as far
// as it has come. size == 0 without an error means that more bytes are needed.
// room is what the message may still grow by.
//
// ws.ReadHeaderBuffer would do the reading, but it consumes from an io.Reader:
// it can't look at a half header without losing it, and it takes lengths that
// are not in their shortest form.
func parseHeader(in []byte, fragmented bool, room int64) (h ws.Header, size int, err error) {
	if len(in) < ws.MinHeaderSize {
		return h, 0, nil
	}
	h.Fin = in[0]&0x80 != 0
	h.Rsv = in[0] >> 4 & 0x07
	h.OpCode = ws.OpCode(in[0] & 0x0f)
	h.Masked = in[1]&0x80 != 0
	// 126 and 127 announce a longer field. CheckHeader may see them as lengths:
	// it compares only with 125, the most that a control frame may have.
	h.Length = int64(in[1] & 0x7f)

	state := ws.StateServerSide
	if fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, 0, headerFault(err)
	}

	size = ws.MinHeaderSize
	// RFC 6455 5.2: "in all cases, the minimal number of bytes MUST be used to
	// encode the length".
	switch h.Length {
	case 126:
		size += 2
		if len(in) < size {
			return h, 0, nil
		}
		h.Length = int64(binary.BigEndian.Uint16(in[2:]))
		if h.Length <= 125 {
			return h, 0, faultLengthForm
		}
	case 127:
		size += 8
		if len(in) < size {
			return h, 0, nil
		}
		length := binary.BigEndian.Uint64(in[2:])
		// RFC 6455 5.2: "the most significant bit MUST be 0".
		if length>>63 != 0 {
			return h, 0, faultLengthSign
		}
		h.Length = int64(length)
		if h.Length <= 0xffff {
			return h, 0, faultLengthForm
		}
	}
	// RFC 6455 10.4: an endpoint must protect itself "against exceeding those
	// limits", frame size and message size after reassembly. What is announced
	// counts, so nobody sends a megabyte to hear that it was too much.
	if h.OpCode.IsData() && h.Length > room {
		return h, 0, faultTooBig
	}
	if len(in) < size+len(h.Mask) {
		return h, 0, nil
	}
	copy(h.Mask[:], in[size:])
	return h, size + len(h.Mask), nil
}

// MaxHeaderSize is the longest header that AppendHeader writes.
const MaxHeaderSize = 10

// headerSize is what AppendHeader writes for a payload of that many bytes.
func headerSize(payloadLen int) int {
	switch {
	case payloadLen <= 125:
		return 2
	case payloadLen <= 0xffff:
		return 4
	}
	return MaxHeaderSize
}

// Seal writes the header of a message into the end of the free bytes in front of its payload
// and returns the message, a view into b. headroom is at least MaxHeaderSize.
func Seal(b []byte, headroom int, op ws.OpCode) []byte {
	size := len(b) - headroom
	start := headroom - headerSize(size)
	AppendHeader(b[:start:headroom], op, size)
	return b[start:]
}

// Unseal takes a message of ours, as Seal or AppendHeader began it, apart again. payload is a view into b.
func Unseal(b []byte) (op ws.OpCode, payload []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, false
	}
	size := 2
	switch b[1] {
	case 126:
		size = 4
	case 127:
		size = MaxHeaderSize
	}
	if len(b) < size {
		return 0, nil, false
	}
	return ws.OpCode(b[0] & 0x0f), b[size:], true
}

// AppendHeader appends the header of a whole message in one frame, from server
// to client. RFC 6455 5.1: "A server MUST NOT mask any frames that it sends to
// the client", so the same bytes serve every connection. op must not be a
// reserved one, and a control frame has at most 125 bytes.
func AppendHeader(dst []byte, op ws.OpCode, payloadLen int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch headerSize(payloadLen) {
	case 2:
		return append(dst, byte(payloadLen))
	case 4:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(payloadLen))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(payloadLen))
}

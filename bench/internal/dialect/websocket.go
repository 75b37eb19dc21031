package dialect

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gobwas/ws"
)

const (
	// longestHead bounds the answer to a handshake.
	longestHead = 8 << 10
	// longestMessage bounds what a server may announce.
	longestMessage = 64 << 20
)

// webSocket is the client's side of RFC 6455, without extensions.
type webSocket struct {
	host, path  string
	subprotocol string // empty: none
}

// appendHandshake appends the request of RFC 6455 4.1. The key is made of the user's number: it need
// not be secret, only different.
func (w *webSocket) appendHandshake(dst []byte, s *Session) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, w.path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, w.host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	dst = appendKey(dst, s)
	if w.subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, w.subprotocol...)
	}
	return append(dst, "\r\n\r\n"...)
}

func appendKey(dst []byte, s *Session) []byte {
	var nonce [16]byte
	copy(nonce[:], "rookerybench")
	binary.BigEndian.PutUint32(nonce[12:], s.User)
	return base64.StdEncoding.AppendEncode(dst, nonce[:])
}

// readHandshake gives the length of the answer once it is there as a whole, 0 before.
func (w *webSocket) readHandshake(s *Session, in []byte) (n int, err error) {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		if len(in) > longestHead {
			return 0, fmt.Errorf("the answer to the handshake has more than %d bytes of headers", longestHead)
		}
		return 0, nil
	}
	lines := bytes.Split(in[:end], []byte("\r\n"))
	if status := string(lines[0]); !strings.HasPrefix(status+" ", "HTTP/1.1 101 ") {
		hint := ""
		_, code, _ := strings.Cut(status, " ") // of HTTP/1.0 from net/http
		if body := in[end:]; strings.HasPrefix(code, "400") && (bytes.Contains(body, []byte("TLS")) || bytes.Contains(body, []byte("HTTPS"))) {
			hint = ": that port speaks TLS, use a wss:// target"
		}
		return 0, fmt.Errorf("the handshake was answered with %.80q%s", status, hint)
	}
	var accept, subprotocol string
	for _, line := range lines[1:] {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Accept")):
			accept = string(bytes.TrimSpace(value))
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Protocol")):
			subprotocol = string(bytes.TrimSpace(value))
		}
	}
	// RFC 6455 4.2.2: the accept value is the key and a fixed text, hashed.
	sum := sha1.Sum(append(appendKey(nil, s), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	switch {
	case accept != base64.StdEncoding.EncodeToString(sum[:]):
		return 0, errors.New("the answer to the handshake has no Sec-WebSocket-Accept that fits the key")
	case subprotocol != w.subprotocol:
		return 0, fmt.Errorf("the server took the subprotocol %q, %q was asked for: it is another kind of server", subprotocol, w.subprotocol)
	}
	return end + 4, nil
}

// appendFrame appends one final, masked frame.
func appendFrame(dst []byte, s *Session, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case len(payload) <= 125:
		dst = append(dst, 0x80|byte(len(payload)))
	case len(payload) <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(len(payload)))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(len(payload)))
	}
	// The mask protects proxies from chosen bytes; here it has to cost the server what a browser's costs.
	s.masks++
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], (s.masks+s.User)*0x9e3779b1|1)
	dst = append(dst, mask[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[at:], mask, 0)
	return dst
}

// appendClose appends a Close frame with the code 1000.
func appendClose(dst []byte, s *Session) []byte {
	return appendFrame(dst, s, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
}

// frame is the header of a frame.
type frame struct {
	op     ws.OpCode
	fin    bool
	header int // bytes
	length int
}

// readHeader reads a server's frame header; header is 0 while it is not there as a whole.
func readHeader(in []byte) (f frame, err error) {
	if len(in) < 2 {
		return f, nil
	}
	f.op, f.fin, f.length, f.header = ws.OpCode(in[0]&0x0f), in[0]&0x80 != 0, int(in[1]&0x7f), 2
	switch {
	case in[0]&0x70 != 0:
		return f, errors.New("the server sent a frame with reserved bits, and no extension was agreed on")
	case in[1]&0x80 != 0:
		return f, errors.New("the server sent a masked frame")
	case f.op.IsReserved():
		return f, fmt.Errorf("the server sent a frame with the reserved opcode %d", f.op)
	case f.op.IsControl() && (!f.fin || f.length > 125):
		return f, errors.New("the server sent a control frame that is fragmented or too long")
	}
	switch f.length {
	case 126:
		if len(in) < 4 {
			f.header = 0
			return f, nil
		}
		f.length, f.header = int(binary.BigEndian.Uint16(in[2:])), 4
	case 127:
		if len(in) < 10 {
			f.header = 0
			return f, nil
		}
		long := binary.BigEndian.Uint64(in[2:])
		if long > longestMessage {
			return f, fmt.Errorf("the server sent a message of %d bytes, %d are taken", long, longestMessage)
		}
		f.length, f.header = int(long), 10
	}
	return f, nil
}

// readControl answers a ping and takes a Close for the end; n is 0 while the frame is not there as a whole.
func readControl(s *Session, f frame, in []byte, e *Event) (n int, err error) {
	n = f.header + f.length
	if len(in) < n {
		return 0, nil
	}
	payload := in[f.header:n]
	switch f.op {
	case ws.OpPing:
		e.Out = appendFrame(e.Out, s, ws.OpPong, payload)
	case ws.OpPong:
		e.pong = payload
	case ws.OpClose:
		return n, closed(payload)
	}
	return n, nil
}

// ClosedError is a server's own end of a connection.
type ClosedError struct {
	Code   int // of RFC 6455 7.4 or of the server; 1005: none was given
	Reason string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the server closed the connection with %d %s", e.Code, e.Reason)
}

func closed(payload []byte) error {
	if len(payload) < 2 {
		return &ClosedError{Code: int(ws.StatusNoStatusRcvd)}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	return &ClosedError{Code: int(code), Reason: reason}
}

// cutter takes the first thing out of a stream: the part that matters, and the number of bytes with what is around it,
// 0 while it is not there as a whole. end says that nothing follows in, because the message ends there.
type cutter func(in []byte, end bool) (part []byte, n int, err error)

// cutMessage is for dialects whose messages are one thing each.
func cutMessage(in []byte, end bool) (part []byte, n int, err error) {
	if !end {
		return nil, 0, nil
	}
	return in, len(in), nil
}

// cutLine gives the first line. The last one of a message may have no line feed.
func cutLine(in []byte, end bool) (line []byte, n int, err error) {
	if at := bytes.IndexByte(in, '\n'); at >= 0 {
		return in[:at], at + 1, nil
	}
	return cutMessage(in, end)
}

// readPart gives what cut finds next in the data of the connection's messages. ok is false when there was none:
// then n bytes were something else, or more are needed. A part within one frame is a view into in and is taken as
// soon as it is there, so that a long message with many parts needs no large buffer; one that goes
// over frames is put together, and is valid until the next call.
func readPart(s *Session, in []byte, e *Event, cut cutter) (part []byte, ok bool, n int, err error) {
	if s.inside == 0 {
		return readNextHeader(s, in, e, cut)
	}
	part = in[:min(len(in), int(s.inside))]
	whole := len(part) == int(s.inside)
	end := whole && !s.more
	if s.parts == nil {
		found, n, err := cut(part, end)
		switch {
		case err != nil:
			return nil, false, 0, err
		case n > 0:
			s.inside -= int32(n)
			return found, true, n, nil
		case !whole:
			return nil, false, 0, nil
		}
		begin := slices.Clone(part)
		s.parts, s.inside = &begin, 0
		return nil, false, len(part), nil
	}
	begin := len(*s.parts)
	if begin+len(part) > longestMessage {
		return nil, false, 0, fmt.Errorf("the server sent a message of more than %d bytes", longestMessage)
	}
	*s.parts = append(*s.parts, part...)
	found, n, err := cut(*s.parts, end)
	switch {
	case err != nil:
		return nil, false, 0, err
	case n == 0:
		s.inside -= int32(len(part))
		return nil, false, len(part), nil
	}
	n -= begin
	s.inside -= int32(n)
	s.parts = nil
	return found, true, n, nil
}

// readNextHeader is readPart between two frames.
func readNextHeader(s *Session, in []byte, e *Event, cut cutter) (part []byte, ok bool, n int, err error) {
	f, err := readHeader(in)
	if err != nil || f.header == 0 {
		return nil, false, 0, err
	}
	if f.op.IsControl() {
		n, err := readControl(s, f, in, e)
		return nil, false, n, err
	}
	if (f.op == ws.OpContinuation) != s.more {
		return nil, false, 0, errors.New("the server sent a continuation of nothing, or a new message within one")
	}
	if !s.more {
		s.text = f.op == ws.OpText
	}
	s.more, s.inside = !f.fin, int32(f.length)
	if f.length > 0 || s.more || s.parts == nil {
		return nil, false, f.header, nil
	}
	// An empty last frame: what came before it is the end.
	found, n, err := cut(*s.parts, true)
	if err != nil || n == 0 {
		return nil, false, f.header, err
	}
	s.parts = nil
	return found, true, f.header, nil
}

package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/gobwas/ws"
)

// webSocket is the client's side of RFC 6455 after the upgrade, without extensions.
type webSocket struct {
	// Owned by the reader.
	in      *bufio.Reader
	state   ws.State
	message []byte // of the fragments so far
}

func newWebSocket(in *bufio.Reader) *webSocket {
	return &webSocket{in: in, state: ws.StateClientSide}
}

func (w *webSocket) receive() (payload, pong []byte, err error) {
	header, err := ws.ReadHeader(w.in)
	if err != nil {
		return nil, nil, err
	}
	if err := ws.CheckHeader(header, w.state); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBadFrame, err)
	}
	if header.OpCode == ws.OpText {
		return nil, nil, fmt.Errorf("%w: a text message, but the binary codec was asked for", errBadFrame)
	}
	start := len(w.message)
	if header.Length > int64(maxReceive-start) {
		return nil, nil, fmt.Errorf("%w: a message of more than %d bytes", errBadFrame, maxReceive)
	}
	if header.OpCode.IsControl() {
		return w.control(header)
	}
	w.message = append(w.message, make([]byte, header.Length)...)
	if _, err := io.ReadFull(w.in, w.message[start:]); err != nil {
		return nil, nil, err
	}
	if !header.Fin {
		w.state = w.state.Set(ws.StateFragmented)
		return nil, nil, nil
	}
	w.state = w.state.Clear(ws.StateFragmented)
	payload, w.message = w.message, w.message[:0]
	if cap(w.message) > 1<<20 {
		w.message = nil
	}
	return payload, nil, nil
}

// control reads a control frame, which may stand between the fragments of a message.
func (w *webSocket) control(header ws.Header) (payload, pong []byte, err error) {
	body := make([]byte, header.Length)
	if _, err := io.ReadFull(w.in, body); err != nil {
		return nil, nil, err
	}
	switch header.OpCode {
	case ws.OpPing:
		return nil, body, nil
	case ws.OpClose:
		if len(body) < 2 {
			return nil, nil, &CloseError{Code: codeNone}
		}
		code, reason := ws.ParseCloseFrameData(body)
		return nil, nil, &CloseError{Code: uint16(code), Reason: reason}
	}
	return nil, nil, nil
}

func (w *webSocket) appendFrames(dst, frames []byte) []byte {
	return appendMasked(dst, ws.NewBinaryFrame(frames))
}

func (w *webSocket) appendPong(dst, payload []byte) []byte {
	return appendMasked(dst, ws.NewPongFrame(payload))
}

func (w *webSocket) appendClose(dst []byte, code uint16, reason string) []byte {
	// A control frame holds 125 bytes, RFC 6455 section 5.5, two of them the code; half a
	// character at the end would be no UTF-8, which section 5.5.1 has the reason be.
	reason = strings.ToValidUTF8(reason[:min(len(reason), ws.MaxControlFramePayloadSize-2)], "")
	return appendMasked(dst, ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
}

// hangUp has nothing to do: the server answers the Close frame and closes the socket, as
// RFC 6455 section 7.1.1 wants it.
func (w *webSocket) hangUp() bool { return true }

func appendMasked(dst []byte, frame ws.Frame) []byte {
	out := bytes.NewBuffer(dst)
	if err := ws.WriteFrame(out, ws.MaskFrame(frame)); err != nil {
		panic("BUG: a frame that can't be written to memory: " + err.Error())
	}
	return out.Bytes()
}

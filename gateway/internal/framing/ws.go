package framing

import (
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Message is one whole message: Text or Binary with its fragments joined, or a
// Ping, Pong or Close. The zero Message is none.
type Message struct {
	Op ws.OpCode
	// Payload is a view, valid until the next call of the Decoder's methods or
	// until the input is given back, whichever comes first.
	Payload []byte
}

// Ready tells a message from none. It rests on opcode 0 being Continuation,
// which a whole message never has.
func (m Message) Ready() bool { return m.Op != ws.OpContinuation }

// Decoder is the receiving side of one connection. Its zero value is ready and
// one nil pointer is all that it holds between messages. For one goroutine.
type Decoder struct {
	// partial is nil unless a frame or a message is half here, or its last
	// message is still out with the caller.
	partial *partial
}

// Decode consumes the front of in, up to the end of the first whole message,
// and returns that. Without a whole message it consumes all of in: n == len(in)
// then, and what is half here is kept by the Decoder. So the caller loops:
//
//	for {
//		message, n, err := decoder.Decode(in, max)
//		in = in[n:]
//		if err != nil || !message.Ready() {
//			break
//		}
//		…
//	}
//
// It unmasks in place: what was consumed is no longer what the peer sent. max
// bounds the payload of a Text or Binary message, over all its fragments.
//
// An error is a *ProtocolError. After it the Decoder knows no longer where a
// frame begins: answer with the error's code, call Release and show it no more
// input. Whether the input comes in one piece or in many makes no difference to
// which messages and which error come out.
func (d *Decoder) Decode(in []byte, max int) (m Message, n int, err error) {
	d.settle()
	for n < len(in) {
		if d.partial == nil || !d.partial.insideFrame() {
			message, size, err := d.wholeMessage(in[n:], max)
			if err != nil || size > 0 {
				return message, n + size, err
			}
			if d.partial == nil {
				d.partial = getPartial()
			}
		}
		message, taken, err := d.partial.take(in[n:], max)
		n += taken
		if err != nil || message.Ready() {
			return message, n, err
		}
	}
	return Message{}, n, nil
}

// wholeMessage is the usual case: a message that is one frame, all of it here.
// size == 0 without an error means that it is not.
func (d *Decoder) wholeMessage(in []byte, max int) (m Message, size int, err error) {
	fragmented, room := d.assembling(max)
	h, size, err := parseHeader(in, fragmented, room)
	if size == 0 || err != nil {
		return Message{}, 0, err
	}
	if !h.Fin || h.OpCode == ws.OpContinuation || h.Length > int64(len(in)-size) {
		return Message{}, 0, nil
	}
	end := size + int(h.Length)
	payload := in[size:end:end]
	ws.Cipher(payload, h.Mask, 0)
	// RFC 6455 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but
	// finds that the byte stream is not, in fact, a valid UTF-8 stream, that
	// endpoint MUST _Fail the WebSocket Connection_."
	if h.OpCode == ws.OpText && !utf8.Valid(payload) {
		return Message{}, 0, faultText
	}
	return Message{Op: h.OpCode, Payload: payload}, end, nil
}

func (d *Decoder) assembling(max int) (fragmented bool, room int64) {
	if d.partial == nil {
		return false, int64(max)
	}
	return d.partial.fragmented(), d.partial.room(max)
}

// Pending says that half a frame or half a message is held: the peer owes us
// the rest, and the caller a time limit to the peer.
func (d *Decoder) Pending() bool {
	return d.partial != nil && !d.partial.idle()
}

// Release gives all buffers back, when the connection closes. Payloads that
// were handed out end with it.
func (d *Decoder) Release() {
	if d.partial != nil {
		putPartial(d.partial)
		d.partial = nil
	}
}

// settle lets go of the partial state as soon as it holds nothing, which at the
// latest is one call after the message it was for: that call ends the view.
func (d *Decoder) settle() {
	if d.partial != nil && d.partial.idle() {
		d.Release()
	}
}

package framing

import (
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/valyala/bytebufferpool"
)

// partial is a frame that is half here, a message that is, or both: a control
// frame may come between two fragments.
type partial struct {
	// The frame that is being read. Until its header is whole, header holds
	// the bytes of it; after that, missing is what its payload lacks.
	header     [ws.MaxHeaderSize]byte
	headerLen  uint8
	inPayload  bool
	frame      ws.Header
	missing    int64
	control    [ws.MaxControlFramePayloadSize]byte
	controlLen uint8

	// The message that is being put together; messageOp is Continuation when
	// there is none, assembly is nil until it has a byte. checked is how much of
	// a text is known to be UTF-8: whole characters from its start. handedOut
	// says that the caller has the message, until the next call.
	messageOp ws.OpCode
	assembly  *bytebufferpool.ByteBuffer
	checked   int
	handedOut bool
}

// partials are some 250 bytes each, and there is one for every read of a busy
// socket that ends inside a frame.
var partials = sync.Pool{New: func() any { return new(partial) }}

func getPartial() *partial { return partials.Get().(*partial) }

func putPartial(p *partial) {
	putAssembly(p.assembly)
	*p = partial{}
	partials.Put(p)
}

func (p *partial) insideFrame() bool { return p.headerLen > 0 || p.inPayload }

// fragmented says that a message is open: begun by a frame that was not its
// last, or handed out and not yet given back.
func (p *partial) fragmented() bool { return p.messageOp != ws.OpContinuation }

func (p *partial) idle() bool {
	return !p.insideFrame() && (!p.fragmented() || p.handedOut)
}

func (p *partial) room(max int) int64 { return int64(max) - int64(len(p.assembled())) }

func (p *partial) assembled() []byte {
	if p.assembly == nil {
		return nil
	}
	return p.assembly.B
}

// take consumes bytes of the current frame, at least one, and never more than
// belong to it.
func (p *partial) take(in []byte, max int) (m Message, n int, err error) {
	if !p.inPayload {
		n, err = p.takeHeader(in, max)
		if err != nil || !p.inPayload {
			return Message{}, n, err
		}
	}
	taken, err := p.takePayload(in[n:])
	n += taken
	if err != nil || p.missing > 0 {
		return Message{}, n, err
	}
	p.inPayload = false
	m, err = p.endFrame()
	return m, n, err
}

func (p *partial) takeHeader(in []byte, max int) (n int, err error) {
	held := int(p.headerLen)
	copied := copy(p.header[held:], in)
	h, size, err := parseHeader(p.header[:held+copied], p.fragmented(), p.room(max))
	if err != nil {
		return 0, err
	}
	if size == 0 {
		// All of in went into header: that has room for the longest one.
		p.headerLen += uint8(copied)
		return copied, nil
	}
	p.headerLen = 0
	p.inPayload = true
	p.frame = h
	p.missing = h.Length
	if h.OpCode.IsControl() {
		p.controlLen = 0
	} else if h.OpCode != ws.OpContinuation {
		p.messageOp = h.OpCode
	}
	return size - held, nil
}

// takePayload unmasks in place and copies what there is of the frame's payload.
// Text is checked at once. RFC 6455 8.1 asks only that bad text fails the
// connection; not waiting for the frame's end saves both sides the rest.
func (p *partial) takePayload(in []byte) (n int, err error) {
	chunk := in[:min(int64(len(in)), p.missing)]
	ws.Cipher(chunk, p.frame.Mask, int((p.frame.Length-p.missing)%4))
	p.missing -= int64(len(chunk))
	if p.frame.OpCode.IsControl() {
		p.controlLen += uint8(copy(p.control[p.controlLen:], chunk))
		return len(chunk), nil
	}
	if len(chunk) > 0 {
		p.assembly = appendAssembly(p.assembly, chunk)
	}
	if p.messageOp == ws.OpText {
		whole, ok := textPrefix(p.assembled()[p.checked:])
		if !ok {
			return 0, faultText
		}
		p.checked += whole
	}
	return len(chunk), nil
}

// endFrame hands out what the frame has completed, if anything.
func (p *partial) endFrame() (Message, error) {
	switch {
	case p.frame.OpCode.IsControl():
		return Message{Op: p.frame.OpCode, Payload: p.control[:p.controlLen:p.controlLen]}, nil
	case !p.frame.Fin:
		return Message{}, nil
	}
	payload := p.assembled()
	// RFC 6455 8.1 again: a text that ends inside a character.
	if p.messageOp == ws.OpText && p.checked < len(payload) {
		return Message{}, faultText
	}
	p.handedOut = true
	return Message{Op: p.messageOp, Payload: payload[:len(payload):len(payload)]}, nil
}

// textPrefix says how many bytes of text are whole characters. What remains is
// the beginning of one, at most three bytes; ok is false when it can't become
// one, or when there is anything else in text that isn't UTF-8.
func textPrefix(text []byte) (whole int, ok bool) {
	whole = len(text)
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		last := len(text) - back
		if utf8.RuneStart(text[last]) {
			// FullRune calls an impossible beginning full, so that ends up in
			// the part that Valid refuses.
			if !utf8.FullRune(text[last:]) {
				whole = last
			}
			break
		}
	}
	return whole, utf8.Valid(text[:whole])
}

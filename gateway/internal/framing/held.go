package framing

import "github.com/gobwas/ws"

// AppendHeld appends what a new Decoder has to be shown to come to where this one is: what is half here, as a client would
// send it. So half a message moves to another process as bytes, and there is no second form of it.
func (d *Decoder) AppendHeld(dst []byte) []byte {
	d.settle()
	if d.partial == nil {
		return dst
	}
	return d.partial.appendHeld(dst)
}

// appendHeld appends the fragments that have come as one, and what there is of the frame that is being read.
func (p *partial) appendHeld(dst []byte) []byte {
	whole, here := p.assembled(), 0
	data := p.inPayload && !p.frame.OpCode.IsControl()
	if data {
		here = int(p.frame.Length - p.missing)
	}
	before, part := whole[:len(whole)-here], whole[len(whole)-here:]
	// The frame that is being read may be the message's first.
	if p.fragmented() && !(data && p.frame.OpCode != ws.OpContinuation) {
		dst = appendMasked(dst, ws.Header{OpCode: p.messageOp, Length: int64(len(before))}, before)
	}
	switch {
	case data:
		return appendMasked(dst, p.frame, part)
	case p.inPayload:
		return appendMasked(dst, p.frame, p.control[:p.controlLen])
	}
	return append(dst, p.header[:p.headerLen]...)
}

// AppendClientMessage appends a whole message as a client would send it.
func AppendClientMessage(dst []byte, op ws.OpCode, payload []byte) []byte {
	return appendMasked(dst, ws.Header{Fin: true, OpCode: op, Length: int64(len(payload))}, payload)
}

// appendMasked appends the header of a client's frame and the beginning of its payload.
func appendMasked(dst []byte, h ws.Header, payload []byte) []byte {
	from := len(dst)
	dst = AppendHeader(dst, h.OpCode, int(h.Length))
	if !h.Fin {
		dst[from] &^= 0x80
	}
	dst[from+1] |= 0x80
	dst = append(dst, h.Mask[:]...)
	from = len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[from:], h.Mask, 0)
	return dst
}

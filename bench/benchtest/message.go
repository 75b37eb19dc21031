package benchtest

import (
	"bytes"

	"github.com/gobwas/ws"

	"rookery/proto"
)

// message is one of a room. Immutable but for what is guarded by Server.mu.
type message struct {
	seq  uint64
	lied bool // acknowledged, and never delivered

	// In a room of Rookery.
	header  proto.Header
	content []byte         // as proto.AppendContent writes it
	encoded *proto.Encoded // nil for a lied one
	key     string         // of the publish, with its user; empty: none

	// In a room of Echo or Broadcast.
	kind    ws.OpCode
	payload []byte

	// Guarded by Server.mu.
	kept int64 // members whose deliveries DropTail keeps back
}

// item is the delivery to a connection of this codec.
func (m *message) item(codec proto.Codec) *item {
	if m.encoded == nil {
		return &item{kind: m.kind, alone: true, payload: m.payload, delivery: true}
	}
	return &item{kind: kindOf(codec), payload: m.encoded.Frame(codec), delivery: true}
}

// garbled is m with a body that was never sent.
func (m *message) garbled() *message {
	wrong := &message{seq: m.seq, header: m.header, kind: m.kind}
	if m.encoded == nil {
		wrong.payload = otherBytes(m.payload)
		return wrong
	}
	value, text, _ := proto.ReadContent(m.content)
	if text {
		wrong.content = proto.AppendTextContent(nil, otherBytes(value))
	} else {
		wrong.content = proto.AppendDataContent(nil, otherBytes(value))
	}
	wrong.encoded = proto.Encode(wrong.header, wrong.content)
	return wrong
}

// otherBytes are as many as body has, one at least, and not these. They are UTF-8.
func otherBytes(body []byte) []byte {
	other := bytes.Repeat([]byte{'x'}, max(1, len(body)))
	if bytes.Equal(other, body) {
		other[0] = 'y'
	}
	return other
}

// elsewhere is m in a room of another name, which is as long as a name may be at most.
func (m *message) elsewhere() *message {
	wrong := &message{seq: m.seq, header: m.header, content: m.content}
	wrong.header.Room = wrong.header.Room[:min(len(wrong.header.Room), proto.MaxName-len(elsewhere))] + elsewhere
	wrong.encoded = proto.Encode(wrong.header, wrong.content)
	return wrong
}

// elsewhere ends the names of rooms that nobody should join.
const elsewhere = "-elsewhere"

// kindOf is the WebSocket message that carries a codec's frames.
func kindOf(codec proto.Codec) ws.OpCode {
	if codec == proto.JSON {
		return ws.OpText
	}
	return ws.OpBinary
}

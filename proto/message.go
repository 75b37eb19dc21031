package proto

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	v1 "rookery/proto/rookery/v1"
)

// Field numbers of the schema that the hot path writes by itself. A test compares them
// with the generated code.
const (
	fieldServerMessage    = 9
	fieldMessageRoom      = 1
	fieldMessageSeq       = 2
	fieldMessageAt        = 3
	fieldMessageFrom      = 4
	fieldMessageText      = 5
	fieldMessageData      = 6
	fieldMessageEphemeral = 7
	fieldMessageKey       = 8
	fieldHistoryMessage   = 3
)

// Header is what the server adds to the content of a message.
type Header struct {
	Room string
	Seq  uint64
	At   int64 // Unix milliseconds
	From string
	// Ephemeral messages have no Seq, and the Key of their publish; others have no Key.
	Ephemeral bool
	Key       string
}

// AppendContent appends the content of a publish as it is stored: the content fields of
// Message in the binary codec. Protocol Buffers may be concatenated, so a stored content
// with the header's fields before it is a Message, and catch-up copies instead of decoding.
func AppendContent(dst []byte, p *v1.Publish) []byte {
	if p.ReplyTo != 0 || p.Thread != 0 || len(p.Mentions) > 0 || p.Kind != "" || p.Change != nil {
		return appendRichContent(dst, p)
	}
	switch c := p.Content.(type) {
	case *v1.Publish_Text:
		dst = protowire.AppendTag(dst, fieldMessageText, protowire.BytesType)
		return protowire.AppendString(dst, c.Text)
	case *v1.Publish_Data:
		dst = protowire.AppendTag(dst, fieldMessageData, protowire.BytesType)
		return protowire.AppendBytes(dst, c.Data)
	}
	return dst
}

// DecodeMessage puts a header and a stored content together again. m's bytes are copies.
func DecodeMessage(m *v1.Message, h Header, content []byte) error {
	if err := m.UnmarshalVT(content); err != nil {
		return err
	}
	m.Room, m.Seq, m.At, m.From = h.Room, h.Seq, uint64(h.At), h.From
	m.Ephemeral, m.Key = h.Ephemeral, h.Key
	return nil
}

// AppendMessage appends the server frame that delivers a message, as it stands in a
// stream of the codec.
func AppendMessage(dst []byte, c Codec, h Header, content []byte) []byte {
	if c == JSON {
		dst = append(dst, `{"message":`...)
		dst = appendMessageJSON(dst, h, content)
		return append(dst, '}', '\n')
	}
	size := messageSize(h, content)
	field := protowire.SizeTag(fieldServerMessage) + protowire.SizeBytes(size)
	dst = binary.AppendUvarint(dst, uint64(field))
	return appendMessageField(dst, fieldServerMessage, size, h, content)
}

// Reasons of a gap.
const (
	GapExpired = "expired"
	GapDamaged = "damaged"
)

// AppendGap appends the server frame that stands for the messages first to last of a room,
// as it stands in a stream of the codec.
func AppendGap(dst []byte, c Codec, room string, first, last uint64, reason string) []byte {
	frame := &v1.ServerFrame{Op: &v1.ServerFrame_Gap{Gap: &v1.Gap{Room: room, First: first, Last: last, Reason: reason}}}
	return AppendServerFrame(dst, c, frame)
}

// HistoryBuilder writes a reply to a history request message by message, so that a page
// is encoded straight from the log. The zero value is not ready; use NewHistory.
type HistoryBuilder struct {
	codec    Codec
	head     *v1.ServerFrame
	messages [][]byte // newest first or oldest first, as added
	size     int
}

// NewHistory starts the reply to request id.
func NewHistory(c Codec, id uint64, room, epoch string, begin uint64) *HistoryBuilder {
	return &HistoryBuilder{codec: c, head: &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_History{
		History: &v1.History{Room: room, Epoch: epoch, Begin: begin},
	}}}
}

// Add encodes one message; its arguments may be reused afterwards.
func (b *HistoryBuilder) Add(h Header, content []byte) {
	var m []byte
	if b.codec == JSON {
		m = appendMessageJSON(nil, h, content)
	} else {
		size := messageSize(h, content)
		m = make([]byte, 0, protowire.SizeTag(fieldHistoryMessage)+protowire.SizeBytes(size))
		m = appendMessageField(m, fieldHistoryMessage, size, h, content)
	}
	b.messages = append(b.messages, m)
	b.size += len(m)
}

// AddMessage encodes a message that is not as the log has it, and returns its size; m may be reused afterwards.
func (b *HistoryBuilder) AddMessage(m *v1.Message) (size int) {
	var encoded []byte
	if b.codec == JSON {
		encoded = appendJSON(nil, m.ProtoReflect())
	} else {
		encoded = protowire.AppendTag(nil, fieldHistoryMessage, protowire.BytesType)
		encoded = protowire.AppendVarint(encoded, uint64(m.SizeVT()))
		encoded = appendMarshalled(encoded, m)
	}
	b.messages = append(b.messages, encoded)
	b.size += len(encoded)
	return len(encoded)
}

// AddGap says that the messages first to last of the page can't be read, and returns how many
// gaps there are.
func (b *HistoryBuilder) AddGap(first, last uint64) (gaps int) {
	page := b.head.GetHistory()
	page.Gaps = append(page.Gaps, &v1.Gap{Room: page.Room, First: first, Last: last, Reason: GapDamaged})
	return len(page.Gaps)
}

// Append appends the reply to dst as it stands in a stream. descending says that the
// messages were added newest first; the reply always has them oldest first.
func (b *HistoryBuilder) Append(dst []byte, descending, more bool) []byte {
	if descending {
		slices.Reverse(b.messages)
		slices.Reverse(b.head.GetHistory().Gaps)
	}
	page := b.head.GetHistory()
	page.More = more
	if b.codec == JSON {
		dst = append(dst, `{"id":`...)
		dst = strconv.AppendUint(dst, b.head.Id, 10)
		dst = append(dst, `,"history":{"room":`...)
		dst = appendJSONString(dst, page.Room)
		dst = append(dst, `,"epoch":`...)
		dst = appendJSONString(dst, page.Epoch)
		dst = append(dst, `,"messages":[`...)
		for i, m := range b.messages {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, m...)
		}
		dst = append(dst, `],"more":`...)
		dst = strconv.AppendBool(dst, more)
		dst = append(dst, `,"begin":`...)
		dst = strconv.AppendUint(dst, page.Begin, 10)
		dst = append(dst, `,"gaps":[`...)
		for i, gap := range page.Gaps {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, gap.ProtoReflect())
		}
		return append(dst, ']', '}', '}', '\n')
	}
	// The page's own fields and the messages are concatenated: both are fields of History.
	inner := page.SizeVT() + b.size
	frame := protowire.SizeTag(1) + protowire.SizeVarint(b.head.Id) +
		protowire.SizeTag(6) + protowire.SizeBytes(inner)
	dst = binary.AppendUvarint(dst, uint64(frame))
	dst = protowire.AppendTag(dst, 1, protowire.VarintType)
	dst = protowire.AppendVarint(dst, b.head.Id)
	dst = protowire.AppendTag(dst, 6, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(inner))
	start := len(dst)
	dst = append(dst, make([]byte, page.SizeVT())...)
	if _, err := page.MarshalToSizedBufferVT(dst[start:]); err != nil {
		panic("BUG: marshal of a history page into its own size: " + err.Error())
	}
	for _, m := range b.messages {
		dst = append(dst, m...)
	}
	return dst
}

// Encoded is a delivered message, encoded once and shared by every loop and connection
// that sends it. Immutable; safe for concurrent use.
type Encoded struct {
	Header
	binary  []byte
	content []byte
	frame   *v1.ServerFrame // of EncodeFrame
	size    int             // of frame, about

	jsonOnce sync.Once
	json     []byte
}

// Encode makes the frame that delivers a message. content must not change afterwards.
func Encode(h Header, content []byte) *Encoded {
	// Its tag and its two lengths fit into 16 bytes: room made at once, not byte by byte.
	b := make([]byte, 0, 16+messageSize(h, content))
	return &Encoded{Header: h, content: content, binary: AppendMessage(b, Binary, h, content)}
}

// EncodeFrame makes another frame for the members of a room. Like an ephemeral message it has no place in the room's order;
// from and key say which earlier one it takes the place of, for who is behind; no user's message ever does, whatever its key.
// f must not change afterwards.
func EncodeFrame(room, from, key string, f *v1.ServerFrame) *Encoded {
	binary := AppendServerFrame(nil, Binary, f)
	if key != "" {
		key = "\xff" + key // users' keys are UTF-8
	}
	return &Encoded{
		Header: Header{Room: room, From: from, Ephemeral: true, Key: key},
		binary: binary, frame: f, size: 8 * len(binary),
	}
}

// Frame returns the frame as it stands in a stream of the codec. It must not be changed.
// JSON is made when the first connection needs it: most rooms never do.
func (e *Encoded) Frame(c Codec) []byte {
	if c != JSON {
		return e.binary
	}
	e.jsonOnce.Do(func() {
		if e.frame != nil {
			e.json = AppendServerFrame(nil, JSON, e.frame)
			return
		}
		e.json = AppendMessage(nil, JSON, e.Header, e.content)
	})
	return e.json
}

// Concerns gives the earlier message that this one changes, or is a reply in the thread of, 0 if there is none: what the log gives of that is another from
// now on. change: it is no message but a change.
func (e *Encoded) Concerns() (seq uint64, change bool) {
	if Plain(e.content) {
		return 0, false
	}
	var m v1.Message
	if m.UnmarshalVT(e.content) != nil {
		return 0, true // of which nobody knows what it says
	}
	if m.Change != nil {
		return m.Change.Target, true
	}
	return m.Thread, false
}

// Size is about what the message holds of memory, for the bounds of queues.
func (e *Encoded) Size() int { return len(e.binary) + len(e.content) + e.size + 128 }

func messageSize(h Header, content []byte) int {
	size := protowire.SizeTag(fieldMessageRoom) + protowire.SizeBytes(len(h.Room)) +
		protowire.SizeTag(fieldMessageAt) + protowire.SizeVarint(uint64(h.At)) +
		protowire.SizeTag(fieldMessageFrom) + protowire.SizeBytes(len(h.From)) +
		len(content)
	if !h.Ephemeral {
		return size + protowire.SizeTag(fieldMessageSeq) + protowire.SizeVarint(h.Seq)
	}
	size += protowire.SizeTag(fieldMessageEphemeral) + 1
	if h.Key != "" {
		size += protowire.SizeTag(fieldMessageKey) + protowire.SizeBytes(len(h.Key))
	}
	return size
}

func appendMessageField(dst []byte, field protowire.Number, size int, h Header, content []byte) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, fieldMessageRoom, protowire.BytesType)
	dst = protowire.AppendString(dst, h.Room)
	if !h.Ephemeral {
		dst = protowire.AppendTag(dst, fieldMessageSeq, protowire.VarintType)
		dst = protowire.AppendVarint(dst, h.Seq)
	}
	dst = protowire.AppendTag(dst, fieldMessageAt, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(h.At))
	dst = protowire.AppendTag(dst, fieldMessageFrom, protowire.BytesType)
	dst = protowire.AppendString(dst, h.From)
	if h.Ephemeral {
		dst = protowire.AppendTag(dst, fieldMessageEphemeral, protowire.VarintType)
		dst = append(dst, 1)
		if h.Key != "" {
			dst = protowire.AppendTag(dst, fieldMessageKey, protowire.BytesType)
			dst = protowire.AppendString(dst, h.Key)
		}
	}
	return append(dst, content...)
}

// appendMessageJSON writes what appendJSON would for the same Message, without decoding
// it into one: a room's JSON form is made once a message, a catch-up's once a reader.
func appendMessageJSON(dst []byte, h Header, content []byte) []byte {
	if !Plain(content) {
		var m v1.Message
		if DecodeMessage(&m, h, content) == nil {
			return appendJSON(dst, m.ProtoReflect())
		}
	}
	dst = append(dst, `{"room":`...)
	dst = appendJSONString(dst, h.Room)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, h.Seq, 10)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, h.At, 10)
	dst = append(dst, `,"from":`...)
	dst = appendJSONString(dst, h.From)
	if h.Ephemeral {
		dst = append(dst, `,"ephemeral":true`...)
		if h.Key != "" {
			dst = append(dst, `,"key":`...)
			dst = appendJSONString(dst, h.Key)
		}
	}
	if value, isText, plain := ReadContent(content); plain && isText {
		dst = append(dst, `,"text":`...)
		dst = appendJSONString(dst, string(value))
	} else if plain {
		dst = append(dst, `,"data":`...)
		dst = appendJSONBytes(dst, value)
	}
	return append(dst, '}')
}

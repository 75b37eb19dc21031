package dialect

import (
	"bytes"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"rookery/proto"
)

// cutBinary gives the first frame of a stream and its size with its length, 0 while it is not there as a whole.
func cutBinary(in []byte) (frame []byte, n int, err error) {
	length, size, err := proto.Length(in)
	if err != nil || size == 0 || len(in) < size+length {
		return nil, 0, err
	}
	return in[size : size+length], size + length, nil
}

// cutLine gives the first line. The last one of a message may have no line feed.
func cutLine(in []byte, whole bool) (line []byte, n int) {
	if end := bytes.IndexByte(in, '\n'); end >= 0 {
		return in[:end], end + 1
	}
	if whole {
		return in, len(in)
	}
	return nil, 0
}

// Field numbers of the schema. A test compares them with the generated code.
const (
	fieldID        = 1
	fieldPublished = 5
	fieldMessage   = 9

	fieldPublishedSeq = 2

	fieldMessageRoom = 1
	fieldMessageSeq  = 2
	fieldMessageText = 5
	fieldMessageData = 6
)

// readBinaryMessage reads a message or an acknowledgement without an allocation; false for any other frame.
func (r *rookery) readBinaryMessage(frame []byte, e *Event) bool {
	var id uint64
	for len(frame) > 0 {
		field, kind, n := protowire.ConsumeTag(frame)
		if n < 0 {
			return false
		}
		frame = frame[n:]
		if kind == protowire.VarintType && field == fieldID {
			if id, n = protowire.ConsumeVarint(frame); n < 0 {
				return false
			}
			frame = frame[n:]
			continue
		}
		if kind != protowire.BytesType || field != fieldMessage && field != fieldPublished {
			return false
		}
		value, n := protowire.ConsumeBytes(frame)
		if n < 0 {
			return false
		}
		if frame = frame[n:]; field == fieldPublished {
			e.Kind, e.Seq = Acknowledged, varintField(value, fieldPublishedSeq)
		} else if !r.readMessageFields(value, e) {
			return false
		}
	}
	e.ID = uint32(id)
	return e.Kind != None
}

// varintField gives a field of a message, 0 if it has none.
func varintField(in []byte, want protowire.Number) uint64 {
	for len(in) > 0 {
		field, kind, n := protowire.ConsumeTag(in)
		if n < 0 {
			return 0
		}
		in = in[n:]
		if field == want && kind == protowire.VarintType {
			value, _ := protowire.ConsumeVarint(in)
			return value
		}
		if n = protowire.ConsumeFieldValue(field, kind, in); n < 0 {
			return 0
		}
		in = in[n:]
	}
	return 0
}

func (r *rookery) readMessageFields(in []byte, e *Event) bool {
	e.Kind = Message
	for len(in) > 0 {
		field, kind, n := protowire.ConsumeTag(in)
		if n < 0 {
			return false
		}
		in = in[n:]
		switch kind {
		case protowire.VarintType:
			value, n := protowire.ConsumeVarint(in)
			if n < 0 {
				return false
			}
			if in = in[n:]; field == fieldMessageSeq {
				e.Seq = value
			}
		case protowire.BytesType:
			value, n := protowire.ConsumeBytes(in)
			if n < 0 {
				return false
			}
			in = in[n:]
			switch field {
			case fieldMessageRoom:
				e.Room = r.number(value)
			case fieldMessageText, fieldMessageData:
				e.Body = value
			}
		default:
			return false
		}
	}
	return true
}

// readJSONMessage reads a message as every encoder writes it that keeps to the order of the schema and puts nothing
// into strings that needs an escape; false for anything else, which is decoded in full.
func (r *rookery) readJSONMessage(line []byte, e *Event) bool {
	rest, ok := bytes.CutPrefix(line, []byte(`{"message":{"room":"`))
	if !ok || bytes.IndexByte(line, '\\') >= 0 {
		return false
	}
	room, rest, ok := bytes.Cut(rest, []byte(`","seq":`))
	if !ok {
		return false
	}
	digits, rest, ok := bytes.Cut(rest, []byte(`,`))
	if !ok {
		return false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return false
	}
	_, rest, ok = bytes.Cut(rest, []byte(`,"text":"`))
	if !ok {
		return false
	}
	body, ok := bytes.CutSuffix(bytes.TrimRight(rest, "\r"), []byte(`"}}`))
	if !ok || bytes.IndexByte(body, '"') >= 0 {
		return false
	}
	e.Kind, e.Room, e.Seq, e.Body = Message, r.number(room), seq, body
	return true
}

package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"rookery/proto"
)

// cutBinary gives the first frame of a stream without its length.
func cutBinary(in []byte, end bool) (frame []byte, n int, err error) {
	length, size, err := proto.Length(in)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("the server's bytes are no frames: %w", err)
	case length > longestMessage:
		return nil, 0, fmt.Errorf("the server sent a frame of %d bytes, %d are taken", length, longestMessage)
	case size > 0 && len(in) >= size+length:
		return in[size : size+length], size + length, nil
	case end:
		return nil, 0, errors.New("the server's message ends inside a frame")
	}
	return nil, 0, nil
}

// Field numbers of the schema. A test compares them with the generated code.
const (
	fieldID        = 1
	fieldPublished = 5
	fieldMessage   = 9
	fieldReceipt   = 16
	fieldPublish   = 5 // of the client's

	fieldPublishRoom      = 1
	fieldPublishKey       = 2
	fieldPublishText      = 3
	fieldPublishEphemeral = 5

	fieldPublishedRoom = 1
	fieldPublishedSeq  = 2
	fieldPublishedAt   = 3

	fieldMessageRoom = 1
	fieldMessageSeq  = 2
	fieldMessageAt   = 3
	fieldMessageFrom = 4
	fieldMessageText = 5
	fieldMessageData = 6

	fieldReceiptRoom      = 1
	fieldReceiptUser      = 2
	fieldReceiptDelivered = 3
	fieldReceiptRead      = 4

	fieldMessageEphemeral = 7
	fieldMessageKey       = 8
)

// appendPublishBinary appends the request to publish a text, as proto.AppendClientFrame would, without an allocation.
func (r *rookery) appendPublishBinary(dst []byte, p Publish) []byte {
	r.publish = protowire.AppendTag(r.publish[:0], fieldPublishRoom, protowire.BytesType)
	r.publish = r.append(protowire.AppendVarint(r.publish, uint64(len(r.prefix)+digits(p.Room))), p.Room)
	r.publish = protowire.AppendTag(r.publish, fieldPublishKey, protowire.BytesType)
	if p.Ephemeral != "" {
		r.publish = protowire.AppendString(r.publish, p.Ephemeral)
		r.publish = protowire.AppendTag(r.publish, fieldPublishEphemeral, protowire.VarintType)
		r.publish = append(r.publish, 1)
	} else {
		key := appendInteger(dst, uint64(p.Key))[len(dst):] // in room that is written over
		r.publish = protowire.AppendBytes(r.publish, key)
	}
	r.publish = protowire.AppendTag(r.publish, fieldPublishText, protowire.BytesType)
	r.publish = protowire.AppendBytes(r.publish, p.Body)

	size := protowire.SizeTag(fieldPublish) + protowire.SizeBytes(len(r.publish))
	if p.ID != 0 {
		size += protowire.SizeTag(fieldID) + protowire.SizeVarint(uint64(p.ID))
	}
	dst = protowire.AppendVarint(dst, uint64(size))
	if p.ID != 0 {
		dst = protowire.AppendTag(dst, fieldID, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(p.ID))
	}
	dst = protowire.AppendTag(dst, fieldPublish, protowire.BytesType)
	return protowire.AppendBytes(dst, r.publish)
}

// appendPublishJSON is the same in JSON. Nothing in it needs an escape: see Publish.Body and checkPlain.
func (r *rookery) appendPublishJSON(dst []byte, p Publish) []byte {
	dst = append(dst, '{')
	if p.ID != 0 {
		dst = append(appendInteger(append(dst, `"id":`...), uint64(p.ID)), ',')
	}
	dst = r.append(append(dst, `"publish":{"room":"`...), p.Room)
	dst = append(dst, `","key":"`...)
	if p.Ephemeral != "" {
		dst = append(append(dst, p.Ephemeral...), `","ephemeral":true`...)
	} else {
		dst = append(appendInteger(dst, uint64(p.Key)), '"')
	}
	dst = append(append(dst, `,"text":"`...), p.Body...)
	return append(dst, "\"}}\n"...)
}

// readBinaryMessage reads a message, an acknowledgement or a receipt without an allocation; false for any other frame, and for one
// that is not as simple as every encoder writes it.
func (r *rookery) readBinaryMessage(frame []byte, e *Event) bool {
	var id uint64
	for len(frame) > 0 {
		field, kind, n := protowire.ConsumeTag(frame)
		if n < 0 || e.Kind != None {
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
		value, n := protowire.ConsumeBytes(frame)
		if kind != protowire.BytesType || n < 0 {
			return false
		}
		frame = frame[n:]
		read := false
		switch field {
		case fieldMessage:
			read = r.readMessageFields(value, e)
		case fieldPublished:
			read = readPublishedFields(value, e)
		case fieldReceipt:
			read = readReceiptFields(value, e)
		}
		if !read {
			return false
		}
	}
	e.ID = uint32(id)
	return e.Kind != None && id <= math.MaxUint32
}

func (r *rookery) readMessageFields(in []byte, e *Event) bool {
	e.Kind = Message
	for len(in) > 0 {
		field, number, value, n := consumeField(in)
		if n < 0 {
			return false
		}
		in = in[n:]
		switch {
		case field == fieldMessageSeq && value == nil:
			e.Seq = number
		case field == fieldMessageAt && value == nil:
		case field == fieldMessageRoom && value != nil:
			e.Room = r.number(value)
		case field == fieldMessageFrom && value != nil:
		case field == fieldMessageEphemeral && value == nil:
			e.Ephemeral = number != 0
		case field == fieldMessageKey && value != nil:
		case (field == fieldMessageText || field == fieldMessageData) && value != nil:
			e.Body = value
		default:
			return false
		}
	}
	return true
}

func readPublishedFields(in []byte, e *Event) bool {
	e.Kind = Acknowledged
	for len(in) > 0 {
		field, number, value, n := consumeField(in)
		if n < 0 {
			return false
		}
		in = in[n:]
		switch {
		case field == fieldPublishedSeq && value == nil:
			e.Seq = number
		case field == fieldPublishedAt && value == nil:
		case field == fieldPublishedRoom && value != nil:
		default:
			return false
		}
	}
	return true
}

// readReceiptFields keeps nothing: that it came is all that is counted.
func readReceiptFields(in []byte, e *Event) bool {
	e.Kind = Receipt
	for len(in) > 0 {
		field, _, value, n := consumeField(in)
		if n < 0 {
			return false
		}
		in = in[n:]
		switch {
		case (field == fieldReceiptRoom || field == fieldReceiptUser) && value != nil:
		case (field == fieldReceiptDelivered || field == fieldReceiptRead) && value == nil:
		default:
			return false
		}
	}
	return true
}

// consumeField reads a field that is a number (value is nil) or bytes; n is negative for any other. It does what protowire's functions do for
// the fields that every message has, whose tags are of one byte and whose lengths of two at most: one call instead of three, millions of times a second.
func consumeField(in []byte) (field protowire.Number, number uint64, value []byte, n int) {
	if len(in) > 2 && in[0]>>3 > 0 && in[0] < 0x80 {
		switch field = protowire.Number(in[0] >> 3); in[0] & 7 {
		case byte(protowire.VarintType):
			for n = 1; n < min(len(in), 10); n++ { // nine bytes of it, which can't run over
				number |= uint64(in[n]&0x7f) << (7 * (n - 1))
				if in[n] < 0x80 {
					return field, number, nil, n + 1
				}
			}
		case byte(protowire.BytesType):
			length, from := int(in[1]), 2
			if length >= 0x80 {
				length, from = length&0x7f|int(in[2])<<7, 3
			}
			if in[from-1] < 0x80 && length <= len(in)-from {
				return field, 0, in[from : from+length], from + length
			}
		}
	}
	return consumeAnyField(in)
}

func consumeAnyField(in []byte) (field protowire.Number, number uint64, value []byte, n int) {
	field, kind, tag := protowire.ConsumeTag(in)
	if tag < 0 {
		return 0, 0, nil, -1
	}
	switch kind {
	case protowire.VarintType:
		number, n = protowire.ConsumeVarint(in[tag:])
	case protowire.BytesType:
		value, n = protowire.ConsumeBytes(in[tag:])
	default:
		n = -1
	}
	if n < 0 {
		return 0, 0, nil, -1
	}
	return field, number, value, tag + n
}

// readJSONMessage reads a message or an acknowledgement as every encoder writes it that keeps to the order of the
// schema and puts nothing into strings that needs an escape; false for anything else, which is decoded in
// full. It does not ask whether strings are UTF-8.
func (r *rookery) readJSONMessage(line []byte, e *Event) bool {
	if bytes.IndexByte(line, '\\') >= 0 {
		return false
	}
	in := scanner{rest: line, ok: true}
	if in.next(`{"message":{"room":"`) {
		room := in.until('"')
		in.want(`,"seq":`)
		seq := in.number()
		in.want(`,"at":`)
		in.number()
		in.want(`,"from":"`)
		in.until('"')
		ephemeral := in.next(`,"ephemeral":true`)
		if ephemeral && in.next(`,"key":"`) {
			in.until('"')
		}
		in.want(`,"text":"`)
		body := in.until('"')
		if in.want(`}}`); !in.done() {
			return false
		}
		e.Kind, e.Room, e.Seq, e.Body, e.Ephemeral = Message, r.number(room), seq, body, ephemeral
		return true
	}
	in.want(`{"id":`)
	id := in.number()
	in.want(`,"published":{"room":"`)
	in.until('"')
	in.want(`,"seq":`)
	seq := in.number()
	in.want(`,"at":`)
	in.number()
	if in.want(`}}`); !in.done() || id > math.MaxUint32 {
		return false
	}
	e.Kind, e.ID, e.Seq = Acknowledged, uint32(id), seq
	return true
}

// scanner reads a text of which nearly all is known. The first thing that is not as expected ends it: ok is false
// from then on, and what it gives means nothing.
type scanner struct {
	rest []byte
	ok   bool
}

// next takes text if it comes next.
func (s *scanner) next(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scanner) want(text string) { s.ok = s.ok && s.next(text) }

// until gives what is in front of the next b, and takes both.
func (s *scanner) until(b byte) []byte {
	at := bytes.IndexByte(s.rest, b)
	if at < 0 {
		s.ok = false
		return nil
	}
	found := s.rest[:at]
	s.rest = s.rest[at+1:]
	return found
}

func (s *scanner) number() uint64 {
	number, rest := cutNumber(s.rest)
	s.ok = s.ok && len(rest) < len(s.rest)
	s.rest = rest
	return number
}

func (s *scanner) done() bool { return s.ok && len(s.rest) == 0 }

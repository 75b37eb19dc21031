package proto

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// appendJSON writes m by walking its schema, so that a new field needs no code here.
//
// protojson would write 64-bit integers as strings, because JavaScript can't hold them
// all, and blanks at random, so that nobody relies on its bytes. Our integers are all
// under 2^53, a person at a browser's console should see numbers, and golden vectors need
// one form. Reading is left to protojson. Fields come in the order of the schema.
// Numbers, booleans and lists are written also when they are zero or empty ("head":0 is
// what a reader of an empty room needs to see), but for the id of a frame that answers
// nothing and what nearly every message lacks, see rare; empty strings and bytes are left out.
func appendJSON(dst []byte, m protoreflect.Message) []byte {
	dst = append(dst, '{')
	fields := m.Descriptor().Fields()
	first := true
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) && !writtenWhenZero(fd) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, fd.JSONName()...)
		dst = append(dst, '"', ':')
		dst = appendJSONField(dst, fd, m.Get(fd))
	}
	return append(dst, '}')
}

// AppendJSON appends a message of the protocol as it stands in the JSON of a frame.
func AppendJSON(dst []byte, m protoreflect.ProtoMessage) []byte {
	return appendJSON(dst, m.ProtoReflect())
}

// InEveryJSON reports whether a field is in the JSON of every message, also when it is zero or empty.
func InEveryJSON(fd protoreflect.FieldDescriptor) bool { return writtenWhenZero(fd) }

// rare are fields that are left out when they are zero or empty: most messages and requests have none of them.
func rare(name protoreflect.Name) bool {
	switch name {
	case "id", "ephemeral", "reply_to", "thread", "mentions", "revision", "edits", "deleted", "reactions", "pinned", "remove", "own":
		return true
	}
	return false
}

func writtenWhenZero(fd protoreflect.FieldDescriptor) bool {
	if rare(fd.Name()) {
		return false
	}
	if fd.IsList() {
		return true
	}
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return !fd.HasPresence()
	}
	return false
}

func appendJSONField(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	if !fd.IsList() {
		return appendJSONValue(dst, fd, v)
	}
	dst = append(dst, '[')
	for i := range v.List().Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONValue(dst, fd, v.List().Get(i))
	}
	return append(dst, ']')
}

func appendJSONValue(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10)
	case protoreflect.StringKind:
		return appendJSONString(dst, v.String())
	case protoreflect.BytesKind:
		return appendJSONBytes(dst, v.Bytes())
	case protoreflect.MessageKind:
		return appendJSON(dst, v.Message())
	}
	panic("BUG: the schema uses a kind of field that the JSON codec does not write: " + fd.Kind().String())
}

const hexDigits = "0123456789abcdef"

// appendJSONString writes s as RFC 8259 section 7 wants it. Bytes that are no UTF-8 become
// the replacement character. U+2028 and U+2029 are escaped, because a line of ours may
// be read by tools that take them for line ends.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if (r == utf8.RuneError && size == 1) || r == '\u2028' || r == '\u2029' {
				dst = append(dst, s[start:i]...)
				dst = append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
				start = i + size
			}
			i += size
			continue
		}
		if b >= ' ' && b != '"' && b != '\\' && b != 0x7f {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendJSONBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

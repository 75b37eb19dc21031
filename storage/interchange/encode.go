package interchange

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// encoder writes lines. It belongs to one goroutine.
type encoder struct {
	contents Contents
	scratch  []byte // a body made again
}

// append appends a line in the one form that we write, with its line feed.
func (e *encoder) append(dst []byte, l *line) []byte {
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, kindNames[l.kind]...)
	dst = append(dst, '"')
	switch l.kind {
	case kindHeader:
		dst = appendHeader(dst, &l.header)
	case kindMessage, kindSystem:
		dst = e.appendRecord(dst, l)
	case kindBegin:
		dst = appendName(dst, fieldRoom, l.Record.Room)
		dst = appendUint(dst, fieldFirst, l.First)
	case kindGap:
		dst = appendName(dst, fieldRoom, l.Record.Room)
		dst = appendUint(dst, fieldFirst, l.First)
		dst = appendUint(dst, fieldLast, l.Last)
	case kindDamaged:
		if l.Record.Room != "" {
			dst = appendName(dst, fieldRoom, l.Record.Room)
		}
		if l.File != "" {
			dst = appendText(dst, fieldFile, l.File)
		}
		if l.File != "" || l.Offset != 0 {
			dst = appendInt(dst, fieldOffset, l.Offset)
		}
		dst = appendText(dst, fieldWhat, l.What)
	case kindFooter:
		dst = appendUint(dst, fieldLines, l.Lines)
		dst = appendUint(dst, fieldDamaged, l.Damaged)
		dst = appendInt(dst, fieldEnd, l.End)
		dst = appendText(dst, fieldChecksum, l.Checksum)
	default:
		panic(fmt.Sprintf("BUG: a line of kind %d is written", l.kind))
	}
	return append(dst, '}', '\n')
}

func appendHeader(dst []byte, h *header) []byte {
	dst = appendText(dst, fieldFormat, formatName)
	dst = appendUint(dst, fieldVersion, h.Version)
	dst = appendText(dst, fieldLog, h.Log)
	dst = appendText(dst, fieldEpoch, h.Epoch)
	dst = appendInt(dst, fieldStart, h.Start)
	dst = appendInt(dst, fieldAt, h.At)
	if len(h.Rooms) > 0 {
		dst = appendField(dst, fieldRooms)
		for i, room := range h.Rooms {
			dst = append(dst, "[,"[min(i, 1)])
			dst = appendString(dst, room)
		}
		dst = append(dst, ']')
	}
	if h.User != "" {
		dst = appendText(dst, fieldUser, h.User)
	}
	return dst
}

func (e *encoder) appendRecord(dst []byte, l *line) []byte {
	r := &l.Record
	dst = appendInt(dst, fieldPosition, l.Position)
	dst = appendName(dst, fieldRoom, r.Room)
	dst = appendUint(dst, fieldSeq, r.Seq)
	dst = appendInt(dst, fieldAt, r.At)
	dst = appendName(dst, fieldFrom, r.From)
	if r.Key != "" {
		dst = appendName(dst, fieldKey, r.Key)
	}
	if l.kind == kindMessage {
		value, text, ok := e.contents.Read(r.Body)
		if ok && text && !utf8.Valid(value) {
			ok = false
		}
		if ok {
			// Whether the body comes back is not left to the word of another package.
			e.scratch = e.contents.Append(e.scratch[:0], value, text)
			ok = bytes.Equal(e.scratch, r.Body)
		}
		switch {
		case ok && text:
			dst = appendField(dst, fieldText)
			return appendString(dst, value)
		case ok:
			return appendBytes(dst, fieldData, value)
		}
		if reading := e.contents.Reading(r.Body); reading != "" {
			dst = appendText(dst, fieldReading, reading)
		}
	}
	return appendBytes(dst, fieldBody, r.Body)
}

func appendField(dst []byte, f field) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, fieldNames[f]...)
	return append(dst, '"', ':')
}

func appendUint(dst []byte, f field, n uint64) []byte {
	return strconv.AppendUint(appendField(dst, f), n, 10)
}

func appendInt(dst []byte, f field, n int64) []byte {
	return strconv.AppendInt(appendField(dst, f), n, 10)
}

func appendText(dst []byte, f field, text string) []byte {
	return appendString(appendField(dst, f), text)
}

// appendName writes a name as text, or in the field's form of bytes, which is the one behind it.
func appendName(dst []byte, f field, name string) []byte {
	if !utf8.ValidString(name) {
		return appendBytes(dst, f+1, []byte(name))
	}
	return appendText(dst, f, name)
}

func appendBytes(dst []byte, f field, value []byte) []byte {
	dst = append(appendField(dst, f), '"')
	dst = base64.StdEncoding.AppendEncode(dst, value)
	return append(dst, '"')
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string. What could make a terminal do something, or a line
// read as another one, is escaped beyond what JSON asks for: exports are looked at.
func appendString[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); {
		b := text[i]
		if b < utf8.RuneSelf {
			if b >= ' ' && b != '"' && b != '\\' && b != 0x7f {
				i++
				continue
			}
			dst = append(dst, text[start:i]...)
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
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(len(text), i+utf8.UTFMax)]))
		switch {
		case r == utf8.RuneError && size == 1:
			// Texts are checked before; a reason of damage may hold anything.
			dst = append(append(dst, text[start:i]...), `\ufffd`...)
			start = i + size
		case invisible(r):
			dst = append(append(dst, text[start:i]...), '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			start = i + size
		}
		i += size
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// invisible are control characters, line separators, and what turns the direction of writing. All
// lie in the first 65,536.
func invisible(r rune) bool {
	return r >= 0x80 && r <= 0x9f || r == 0x061c || r == 0x200e || r == 0x200f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

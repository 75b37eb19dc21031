package interchange

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// keptNames bounds the names of rooms and users that a decoder keeps so as not to make them anew
// for each line.
const keptNames = 64 << 10

// decoder reads lines. It belongs to one goroutine.
type decoder struct {
	contents Contents
	parser   parser
	names    map[string]string
	value    []byte // of text and data
	name     []byte // of a name in base64
}

func newDecoder(contents Contents) *decoder {
	return &decoder{contents: contents, names: map[string]string{}}
}

var errTwice = errors.New("field is there twice")

// decode reads one line. The strings of the result are the caller's; the body is appended to
// l.Record.Body[:0], so who keeps it takes it out. What a kind does not have is zero.
func (d *decoder) decode(l *line, in []byte) error {
	*l = line{Record: recordWithBody(l.Record.Body)}
	d.parser.in, d.parser.at = in, 0
	var has fieldSet
	err := d.parser.object(func(name []byte) error {
		f, known := fieldsByName[string(name)]
		if !known {
			if bytes.HasPrefix(name, []byte(foreignPrefix)) {
				return d.parser.skip()
			}
			return fmt.Errorf("field %q is not known: use a newer version of rookery, or begin its name with %s if it is yours", name, foreignPrefix)
		}
		if has.has(f) {
			return fmt.Errorf("%s: %w", fieldNames[f], errTwice)
		}
		has |= setOf(f)
		if err := d.field(l, f); err != nil {
			return fmt.Errorf("%s: %w", fieldNames[f], err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !has.has(fieldKind) {
		return errors.New("field kind is missing: is this an export of rookery?")
	}
	has &^= setOf(fieldKind)
	// The header first: it says whether the rest can be understood.
	if l.kind == kindHeader && has.has(fieldVersion) && l.Version != version {
		return fmt.Errorf("version of the format is %d, this rookery knows %d: use a newer one", l.Version, version)
	}
	if err := shapes[l.kind].check(has); err != nil {
		return err
	}
	if l.kind == kindHeader || l.kind == kindFooter || l.kind == kindIgnored {
		return nil
	}
	return l.check()
}

// field reads the value of a field.
func (d *decoder) field(l *line, f field) (err error) {
	r := &l.Record
	switch f {
	case fieldKind:
		var name []byte
		if name, err = d.parser.string(); err == nil {
			l.kind, err = kindOf(name)
		}
	case fieldFormat:
		var name []byte
		if name, err = d.parser.string(); err == nil && string(name) != formatName {
			err = fmt.Errorf("%q, want %q", name, formatName)
		}
	case fieldVersion:
		l.Version, err = d.parser.uint()
	case fieldLog:
		l.Log, err = d.text()
	case fieldEpoch:
		l.Epoch, err = d.text()
	case fieldStart:
		l.Start, err = d.position()
	case fieldAt:
		r.At, err = d.parser.int()
		l.header.At = r.At
	case fieldRooms:
		l.Rooms, err = d.parser.strings(maxPatterns)
	case fieldUser:
		l.User, err = d.text()
	case fieldPosition:
		l.Position, err = d.position()
	case fieldRoom, fieldRoomBase64:
		r.Room, err = d.shared(f == fieldRoomBase64)
	case fieldSeq:
		r.Seq, err = d.parser.uint()
	case fieldFrom, fieldFromBase64:
		r.From, err = d.shared(f == fieldFromBase64)
	case fieldKey, fieldKeyBase64:
		var name []byte
		name, err = d.form(f == fieldKeyBase64)
		r.Key = string(name)
	case fieldText, fieldData:
		var value []byte
		if f == fieldText {
			value, err = d.parser.string()
		} else {
			d.value, err = d.parser.base64(d.value[:0])
			value = d.value
		}
		// Tag and length are a few bytes.
		r.Body = d.contents.Append(slices.Grow(r.Body[:0], len(value)+16), value, f == fieldText)
	case fieldBody:
		r.Body, err = d.parser.base64(r.Body[:0])
	case fieldReading:
		_, err = d.parser.string() // the body says the same
	case fieldFirst:
		l.First, err = d.parser.uint()
	case fieldLast:
		l.Last, err = d.parser.uint()
	case fieldFile:
		l.File, err = d.text()
	case fieldOffset:
		l.Offset, err = d.position()
	case fieldWhat:
		l.What, err = d.text()
	case fieldLines:
		l.Lines, err = d.parser.uint()
	case fieldDamaged:
		l.Damaged, err = d.parser.uint()
	case fieldEnd:
		l.End, err = d.position()
	case fieldChecksum:
		l.Checksum, err = d.text()
	}
	return err
}

func (d *decoder) text() (string, error) {
	text, err := d.parser.string()
	return string(text), err
}

func (d *decoder) position() (int64, error) {
	n, err := d.parser.int()
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is under 0", n)
	}
	return n, err
}

// form reads a name in one of its two forms. The result is valid until the next string.
func (d *decoder) form(inBase64 bool) ([]byte, error) {
	if !inBase64 {
		return d.parser.string()
	}
	var err error
	d.name, err = d.parser.base64(d.name[:0])
	return d.name, err
}

// shared reads a name that stands in many lines.
func (d *decoder) shared(inBase64 bool) (string, error) {
	name, err := d.form(inBase64)
	if err != nil {
		return "", err
	}
	if known, ok := d.names[string(name)]; ok {
		return known, nil
	}
	if len(d.names) >= keptNames {
		clear(d.names)
	}
	text := string(name)
	d.names[text] = text
	return text, nil
}

package interchange

import (
	"fmt"
	"math/bits"
	"strings"
)

const (
	formatName = "rookery export"
	version    = 1

	// foreignPrefix begins the names of kinds and fields that readers pass over.
	foreignPrefix = "x-"

	// maxLineBytes bounds a line: a text of storage.MaxBody bytes that are all escaped is six times as
	// long, and names and the rest add some kilobytes.
	maxLineBytes = 8 << 20
	maxPatterns  = 10_000
)

// field is a field of a line. The forms of a name in bytes stand right behind the one as text.
type field uint8

const (
	fieldKind field = iota
	fieldFormat
	fieldVersion
	fieldLog
	fieldEpoch
	fieldStart
	fieldAt
	fieldRooms
	fieldUser
	fieldPosition
	fieldRoom
	fieldRoomBase64
	fieldSeq
	fieldFrom
	fieldFromBase64
	fieldKey
	fieldKeyBase64
	fieldText
	fieldData
	fieldBody
	fieldReading
	fieldFirst
	fieldLast
	fieldFile
	fieldOffset
	fieldWhat
	fieldLines
	fieldDamaged
	fieldEnd
	fieldChecksum
)

var fieldNames = [...]string{
	fieldKind: "kind", fieldFormat: "format", fieldVersion: "version", fieldLog: "log", fieldEpoch: "epoch",
	fieldStart: "start", fieldAt: "at", fieldRooms: "rooms", fieldUser: "user", fieldPosition: "position",
	fieldRoom: "room", fieldRoomBase64: "roomBase64", fieldSeq: "seq", fieldFrom: "from", fieldFromBase64: "fromBase64",
	fieldKey: "key", fieldKeyBase64: "keyBase64", fieldText: "text", fieldData: "data", fieldBody: "body", fieldReading: "reading",
	fieldFirst: "first", fieldLast: "last", fieldFile: "file", fieldOffset: "offset", fieldWhat: "what",
	fieldLines: "lines", fieldDamaged: "damaged", fieldEnd: "end", fieldChecksum: "checksum",
}

var fieldsByName = func() map[string]field {
	byName := map[string]field{}
	for f, name := range fieldNames {
		byName[name] = field(f)
	}
	return byName
}()

// fieldSet is a set of fields.
type fieldSet uint32

func setOf(fields ...field) (s fieldSet) {
	for _, f := range fields {
		s |= 1 << f
	}
	return s
}

func (s fieldSet) has(f field) bool { return s&(1<<f) != 0 }

// String lists the fields, for the sentence that says what is wrong with a line.
func (s fieldSet) String() string {
	var names []string
	for ; s != 0; s &= s - 1 {
		names = append(names, fieldNames[bits.TrailingZeros32(uint32(s))])
	}
	return strings.Join(names, ", ")
}

// shape is what a line of a kind has besides its kind.
type shape struct {
	required fieldSet
	optional fieldSet
	oneOf    []fieldSet // exactly one of each
	atMost   fieldSet   // one of these, or none
}

var (
	roomForms = setOf(fieldRoom, fieldRoomBase64)
	fromForms = setOf(fieldFrom, fieldFromBase64)
	keyForms  = setOf(fieldKey, fieldKeyBase64)
)

var shapes = [...]shape{
	kindHeader: {
		required: setOf(fieldFormat, fieldVersion, fieldLog, fieldEpoch, fieldStart, fieldAt),
		optional: setOf(fieldRooms, fieldUser),
	},
	kindMessage: {
		required: setOf(fieldPosition, fieldSeq, fieldAt),
		optional: setOf(fieldReading),
		oneOf:    []fieldSet{roomForms, fromForms, setOf(fieldText, fieldData, fieldBody)},
		atMost:   keyForms,
	},
	kindSystem: {
		required: setOf(fieldPosition, fieldSeq, fieldAt, fieldBody),
		oneOf:    []fieldSet{roomForms, fromForms},
		atMost:   keyForms,
	},
	kindBegin:   {required: setOf(fieldFirst), oneOf: []fieldSet{roomForms}},
	kindGap:     {required: setOf(fieldFirst, fieldLast), oneOf: []fieldSet{roomForms}},
	kindDamaged: {required: setOf(fieldWhat), optional: setOf(fieldFile, fieldOffset), atMost: roomForms},
	kindFooter:  {required: setOf(fieldLines, fieldDamaged, fieldEnd, fieldChecksum)},
}

// check says what is missing in a line of this shape, or too much.
func (s *shape) check(has fieldSet) error {
	allowed := s.required | s.optional | s.atMost
	for _, forms := range s.oneOf {
		allowed |= forms
		if n := bits.OnesCount32(uint32(has & forms)); n != 1 {
			return fmt.Errorf("it has %d of the fields %v, must have one", n, forms)
		}
	}
	switch {
	case s.required&^has != 0:
		return fmt.Errorf("fields are missing: %v", s.required&^has)
	case has&^allowed != 0:
		return fmt.Errorf("fields do not belong to this kind: %v", has&^allowed)
	case bits.OnesCount32(uint32(has&s.atMost)) > 1:
		return fmt.Errorf("it has more than one of the fields %v", s.atMost)
	}
	return nil
}

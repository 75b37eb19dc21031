package interchange

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rookery/storage"
)

// lineKind is what a line is about.
type lineKind uint8

const (
	// kindIgnored is a line of somebody else's, whose kind begins with x-.
	kindIgnored lineKind = iota
	kindHeader
	kindMessage
	kindSystem
	kindBegin
	kindGap
	kindDamaged
	kindFooter
)

var kindNames = [...]string{
	kindHeader: "header", kindMessage: "message", kindSystem: "system", kindBegin: "begin",
	kindGap: "gap", kindDamaged: "damaged", kindFooter: "footer",
}

// kindOf gives the kind of a name.
func kindOf(name []byte) (lineKind, error) {
	for kind, known := range kindNames {
		if known != "" && known == string(name) {
			return lineKind(kind), nil
		}
	}
	if strings.HasPrefix(string(name), foreignPrefix) {
		return kindIgnored, nil
	}
	return 0, fmt.Errorf("kind %q is not known: use a newer version of rookery, or take the line out if it is not from an export", name)
}

// Filter says what an export is about. The zero value is everything.
type Filter struct {
	// Rooms are names, or beginnings of names with one * behind them. None is every room and the
	// system's own records.
	Rooms []string
	// User is whose messages are meant; "" is everybody's.
	User string
}

func (f *Filter) equal(other *Filter) bool {
	return f.User == other.User && slices.Equal(f.Rooms, other.Rooms)
}

// room reports whether a room is meant.
func (f *Filter) room(name string) bool {
	if isSystem(name) {
		return len(f.Rooms) == 0 && f.User == ""
	}
	return len(f.Rooms) == 0 || slices.ContainsFunc(f.Rooms, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return open && strings.HasPrefix(name, prefix) || pattern == name
	})
}

// isSystem reports whether a room is the system's own: no client can name it.
func isSystem(room string) bool { return strings.HasPrefix(room, "\x01") }

// header is the first line.
type header struct {
	Version uint64
	Log     string // names the log, without giving its id away
	Epoch   string // as clients see it
	Start   int64  // position that the export began at
	At      int64  // when it began, Unix milliseconds
	Filter
}

// footer is the last line.
type footer struct {
	Lines    uint64 // before it
	Damaged  uint64 // of these, damaged
	End      int64  // position to go on from
	Checksum string // of all bytes before it
}

// damage is a place in the log that can't be read.
type damage struct {
	File   string // name of the segment, may be empty
	Offset int64  // in the file
	What   string
}

// line is one line, taken apart. Which fields mean something depends on kind.
type line struct {
	kind lineKind
	header
	footer
	damage
	// Position is the record's place in the log.
	Position int64
	// Record is a message's or a system record; of begin, gap and damaged lines it has the room, or
	// "" in a damaged one that names none.
	Record storage.Record
	// First and Last are sequence numbers. A begin line has First only.
	First, Last uint64
}

// check refuses a record that no log could hold.
func (l *line) check() error {
	r := &l.Record
	switch {
	case (l.kind == kindMessage || l.kind == kindSystem) && isSystem(r.Room) != (l.kind == kindSystem):
		return fmt.Errorf("room %q does not go with the kind %s", r.Room, kindNames[l.kind])
	case len(r.Room) > storage.MaxName || r.Room == "" && l.kind != kindDamaged:
		return fmt.Errorf("name of the room has %d bytes, must have 1 to %d", len(r.Room), storage.MaxName)
	}
	switch l.kind {
	case kindMessage, kindSystem:
		switch {
		case len(r.From) == 0 || len(r.From) > storage.MaxName:
			return fmt.Errorf("name of the user has %d bytes, must have 1 to %d", len(r.From), storage.MaxName)
		case len(r.Key) > storage.MaxKey:
			return fmt.Errorf("key has %d bytes, at most %d fit", len(r.Key), storage.MaxKey)
		case len(r.Body) > storage.MaxBody:
			return fmt.Errorf("body has %d bytes, at most %d fit", len(r.Body), storage.MaxBody)
		case r.Seq == 0:
			return errors.New("seq is 0, the first one is 1")
		case r.Seq > storage.MaxSeq:
			return fmt.Errorf("seq is %d, the last one is %d", r.Seq, uint64(storage.MaxSeq))
		}
	case kindBegin:
		if l.First < 2 {
			return fmt.Errorf("first is %d: a begin line says that a room begins at 2 or later", l.First)
		} else if l.First > storage.MaxSeq {
			return fmt.Errorf("first is %d, the last number is %d", l.First, uint64(storage.MaxSeq))
		}
	case kindGap:
		if l.First < 1 || l.Last < l.First {
			return fmt.Errorf("gap from %d to %d: it must begin at 1 or later and not end before it begins", l.First, l.Last)
		} else if l.Last > storage.MaxSeq {
			return fmt.Errorf("last is %d, the last number is %d", l.Last, uint64(storage.MaxSeq))
		}
	}
	return nil
}

// Contents knows what the bodies of messages say, which storage does not.
type Contents interface {
	// Read gives what a body says, as a view into it, and whether that is text or bytes. ok is false
	// for a body that Append would not make from it again.
	Read(body []byte) (value []byte, text, ok bool)
	// Append appends the body that says so.
	Append(dst, value []byte, text bool) []byte
	// Reading gives a body of another kind in a form for people, "" if it has none. It may hold anything.
	Reading(body []byte) string
}

package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"rookery/storage"
)

const (
	separator = "\t"
	// behindSeparator ends the range of all keys that begin with a word and a separator.
	behindSeparator = "\n"
	// derived begins the keys that are only in memory. All others sort before it.
	derived = "~"

	maxKey   = 3*storage.MaxName + 16
	maxValue = 64 << 10
)

const (
	familyRoom       = "room"
	familyMember     = "member"
	familyPosition   = "position"
	familyDevice     = "device"
	familyBan        = "ban"
	familyMute       = "mute"
	familyRevocation = "revocation"
)

// family is what is known of the keys that begin with its name.
type family struct {
	names int
	empty bool       // the first name may be empty
	value func() any // something that a value must fit into
}

func known(name string) (family, bool) {
	switch name {
	case familyRoom:
		return family{names: 1, value: func() any { return new(roomValue) }}, true
	case familyMember:
		return family{names: 2, value: func() any { return new(Member) }}, true
	case familyPosition:
		return family{names: 2, value: func() any { return new(Position) }}, true
	case familyDevice:
		return family{names: 2, value: func() any { return new(Device) }}, true
	case familyBan:
		return family{names: 2, empty: true, value: func() any { return new(Ban) }}, true
	case familyMute:
		return family{names: 2, value: func() any { return new(Ban) }}, true
	case familyRevocation:
		return family{names: 2, value: func() any { return new(revocationValue) }}, true
	}
	return family{}, false
}

func key(family string, names ...string) string {
	return family + separator + strings.Join(names, separator)
}

// SplitKey gives the family of a key and the names behind it, in the order of the package doc.
func SplitKey(key string) (family string, names []string) {
	words := strings.Split(key, separator)
	return words[0], words[1:]
}

// mirror gives the second key of an entry, "" if it has none.
func mirror(key string) string {
	family, names, _ := strings.Cut(key, separator)
	if family != familyMember && family != familyPosition {
		return ""
	}
	room, user, _ := strings.Cut(names, separator)
	return derived + family + separator + user + separator + room
}

// checkKey says why a key can't be one.
func checkKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("catalog key %.40q… has %d bytes, at most %d fit", key, len(key), maxKey)
	}
	name, rest, more := strings.Cut(key, separator)
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return fmt.Errorf("catalog key %q does not begin with a word of a to z and hyphens", key)
	}
	f, ok := known(name)
	names := 0
	for ; more; names++ {
		var n string
		n, rest, more = strings.Cut(rest, separator)
		mayBeEmpty := ok && f.empty && names == 0
		if !validName(n) && (n != "" || !mayBeEmpty) {
			return fmt.Errorf("catalog key %q has a name that is not 1 to %d bytes of UTF-8 without control characters", key, storage.MaxName)
		}
	}
	if ok && names != f.names {
		return fmt.Errorf("catalog key %q has %d names, the family %q has %d", key, names, name, f.names)
	}
	return nil
}

// checkValue says why a value can't stand under a key.
func checkValue(key, value string) error {
	if len(value) > maxValue {
		return fmt.Errorf("catalog value of %q has %d bytes, at most %d fit", key, len(value), maxValue)
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("catalog value of %q is not UTF-8", key)
	}
	name, _ := SplitKey(key)
	f, ok := known(name)
	if !ok {
		return nil
	}
	if err := json.Unmarshal([]byte(value), f.value()); err != nil {
		return fmt.Errorf("catalog value of %q: %w", key, err)
	}
	return nil
}

// validName is the rule that the protocol has for names of rooms and users.
func validName(s string) bool {
	return s != "" && len(s) <= storage.MaxName && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"

	"rookery/storage"
)

// Room is the system room that holds the catalog's records.
const Room = "\x01catalog"

const (
	author        = "rookery"
	formatVersion = 1
)

const (
	kindChange = "change"
	kindPart   = "part"
	kindEnd    = "end"
)

// entry is a key and its value; no value means that the key is removed.
type entry struct {
	Key   string `json:"k"`
	Value text   `json:"v"`
	// Note is of a change: what it means, for who follows the records. It is no part of the state.
	Note text `json:"n,omitempty"`
}

// cost is at least what an entry takes in a record.
func (e *entry) cost() int { return len(`{"k":"","v":},`) + 2*len(e.Key) + len(e.Value) }

// text is JSON that is kept as it is, in compact form; "" is null.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return []byte(t), nil
}

func (t *text) UnmarshalJSON(b []byte) error {
	if *t = text(b); *t == "null" {
		*t = ""
	}
	return nil
}

// body is what a record says. Which fields count depends on the kind.
type body struct {
	Version  int     `json:"version"`
	Kind     string  `json:"kind"`
	Snapshot uint64  `json:"snapshot,omitempty"` // number of the snapshot's part 0
	Part     int     `json:"part,omitempty"`
	Entries  []entry `json:"entries,omitempty"`
	Parts    int     `json:"parts,omitempty"`
	Count    int     `json:"count,omitempty"`
	Checksum string  `json:"checksum,omitempty"`
}

var errTooLarge = fmt.Errorf("is more than fits into one record, %d bytes: change less at once", storage.MaxBody)

// encode gives the bytes of a record's body.
func (b body) encode() ([]byte, error) {
	b.Version = formatVersion
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // a value must come back byte for byte
	if err := encoder.Encode(b); err != nil {
		panic("BUG: a record of the catalog is no JSON: " + err.Error())
	}
	if out.Len() > storage.MaxBody {
		return nil, errTooLarge
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func decode(encoded []byte) (b body, err error) {
	if err := json.Unmarshal(encoded, &b); err != nil {
		return b, fmt.Errorf("is no JSON of the catalog: %w", err)
	}
	switch {
	case b.Version != formatVersion:
		return b, fmt.Errorf("has format version %d, this program knows %d: use the version that wrote it, or a newer one", b.Version, formatVersion)
	case b.Kind != kindChange && b.Kind != kindPart && b.Kind != kindEnd:
		return b, fmt.Errorf("is of the kind %q, which this program does not know: use a newer one", b.Kind)
	}
	for _, e := range b.Entries {
		if err := checkKey(e.Key); err != nil {
			return b, err
		}
		if e.Value == "" && b.Kind == kindPart {
			return b, errors.New("is a part of a snapshot and has a key without a value")
		}
	}
	return b, nil
}

// Notes gives what the changes of a record of the catalog have noted, in their order, see Change.Noted. They are copies.
func Notes(encoded []byte) (notes []json.RawMessage, err error) {
	b, err := decode(encoded)
	if err != nil {
		return nil, fmt.Errorf("a record of the catalog %w", err)
	}
	if b.Kind != kindChange {
		return nil, nil
	}
	for _, e := range b.Entries {
		if e.Note != "" {
			notes = append(notes, json.RawMessage(e.Note))
		}
	}
	return notes, nil
}

// sum is the checksum of a snapshot in the making.
type sum struct{ hash hash.Hash }

func newSum() sum { return sum{sha256.New()} }

func (s sum) add(entries []entry) {
	var buffer []byte
	for _, e := range entries {
		buffer = binary.AppendUvarint(buffer[:0], uint64(len(e.Key)))
		buffer = append(buffer, e.Key...)
		buffer = binary.AppendUvarint(buffer, uint64(len(e.Value)))
		buffer = append(buffer, e.Value...)
		s.hash.Write(buffer)
	}
}

func (s sum) String() string { return hex.EncodeToString(s.hash.Sum(nil)) }

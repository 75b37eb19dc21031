package ship

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

const (
	chunkFolder    = "chunks"
	manifestFolder = "manifests"

	// manifestVersion is that of the manifest, the names and the chunks together.
	manifestVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// manifest is a state of the log that is at the target.
type manifest struct {
	Log      number    `json:"log"`
	Epoch    number    `json:"epoch"`
	At       time.Time `json:"at"`
	End      int64     `json:"end"`
	Segments []segment `json:"segments"`
}

// segment is a file of the log.
type segment struct {
	Base       int64   `json:"base"`
	End        int64   `json:"end"`
	Generation uint32  `json:"generation"`
	Bytes      int64   `json:"bytes"`
	Chunks     []chunk `json:"chunks"`
}

// chunk is a part of a file, from the end of the one before.
type chunk struct {
	to       int64
	checksum uint32
}

// key names a file: content never changes under it.
type key struct {
	base       int64
	generation uint32
}

func (s *segment) key() key { return key{s.Base, s.Generation} }

// shipped gives how many bytes of a file its chunks hold.
func shipped(chunks []chunk) int64 { return from(chunks, len(chunks)) }

// from gives where chunk i begins.
func from(chunks []chunk, i int) int64 {
	if i == 0 {
		return 0
	}
	return chunks[i-1].to
}

// chunkName gives the name of chunk i of a file.
func chunkName(k key, chunks []chunk, i int) string {
	return fmt.Sprintf("%s/%020d-%d-%020d-%020d-%08x", chunkFolder, k.base, k.generation, from(chunks, i), chunks[i].to, chunks[i].checksum)
}

// names calls each for all chunks that the manifest names.
func (m *manifest) names(each func(name string)) {
	for i := range m.Segments {
		s := &m.Segments[i]
		for j := range s.Chunks {
			each(chunkName(s.key(), s.Chunks, j))
		}
	}
}

// find gives a file of the manifest, nil if it has none of that key.
func (m *manifest) find(k key) *segment {
	for i := range m.Segments {
		if m.Segments[i].key() == k {
			return &m.Segments[i]
		}
	}
	return nil
}

func manifestName(n uint64, content []byte) string {
	return fmt.Sprintf("%s/%020d-%08x", manifestFolder, n, checksum(content))
}

// manifestNumber says whether a name is a manifest's.
func manifestNumber(name string) (uint64, bool) {
	digits, sum, found := strings.Cut(strings.TrimPrefix(name, manifestFolder+"/"), "-")
	if !found || len(digits) != 20 || len(sum) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// envelope is a manifest as it is put.
type envelope struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	State    json.RawMessage `json:"state"`
}

func (m *manifest) encode() ([]byte, error) {
	state, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{manifestVersion, hex(checksum(state)), state})
}

// errNewer marks a manifest that is whole but not ours to read.
var errNewer = errors.New("this program reads version 1 only: use the version of the program that wrote it")

func decodeManifest(b []byte) (*manifest, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if e.Version != manifestVersion {
		return nil, fmt.Errorf("version %d: %w", e.Version, errNewer)
	}
	if hex(checksum(e.State)) != e.Checksum {
		return nil, errors.New("checksum does not match")
	}
	m := &manifest{}
	if err := json.Unmarshal(e.State, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

// check finds what no manifest of ours says.
func (m *manifest) check() error {
	last := int64(0)
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.Base < last || s.End <= s.Base || s.End > m.End || s.Bytes != shipped(s.Chunks) {
			return fmt.Errorf("segment from %d to %d with %d bytes is impossible", s.Base, s.End, s.Bytes)
		}
		for j := range s.Chunks {
			if size := s.Chunks[j].to - from(s.Chunks, j); size <= 0 || size > maxObjectBytes {
				return fmt.Errorf("chunk of %d bytes in the segment from %d is impossible", size, s.Base)
			}
		}
		last = s.End
	}
	return nil
}

// number is an id, in hex as the clients see the epoch.
type number uint64

func (n number) String() string { return strconv.FormatUint(uint64(n), 16) }

func (n number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

func (n *number) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	*n = number(v)
	return err
}

func hex(sum uint32) string { return fmt.Sprintf("%08x", sum) }

func (c chunk) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `[%d,"%08x"]`, c.to, c.checksum), nil
}

func (c *chunk) UnmarshalJSON(b []byte) error {
	var sum string
	if err := json.Unmarshal(b, &[]any{&c.to, &sum}); err != nil {
		return err
	}
	v, err := strconv.ParseUint(sum, 16, 32)
	c.checksum = uint32(v)
	return err
}

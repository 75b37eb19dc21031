package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

const (
	manifestName    = "MANIFEST"
	lockName        = "LOCK"
	temporarySuffix = ".tmp"

	manifestMagic = "rookery backup 1 "
	// maxManifestBytes is that of a log of 100,000 segments.
	maxManifestBytes = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Number is an id that is shown in hex, as epochs are everywhere.
type Number uint64

func (n Number) String() string { return strconv.FormatUint(uint64(n), 16) }

// MarshalText writes hex digits.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads hex digits.
func (n *Number) UnmarshalText(b []byte) error {
	value, err := strconv.ParseUint(string(b), 16, 64)
	*n = Number(value)
	return err
}

// Manifest is one state of a log.
type Manifest struct {
	LogID Number `json:"log_id"`
	Epoch Number `json:"epoch"`
	// End is the position behind the last record, EndAt that one's time in Unix milliseconds, 0 without records.
	End   int64     `json:"end"`
	EndAt int64     `json:"end_at"`
	Made  time.Time `json:"made"`
	Files []File    `json:"files"` // in the order of their bases
}

// File is a segment of a state.
type File struct {
	Name       string `json:"name"` // for Source.Open
	Base       int64  `json:"base"`
	End        int64  `json:"end"` // of the range
	Generation uint32 `json:"generation"`
	Bytes      int64  `json:"bytes"` // of content, which is what counts of the file
	// Checksum is the CRC32C of the content as 8 hex digits, or empty if nobody has read it: of links. The records
	// have checksums of their own.
	Checksum string `json:"checksum,omitempty"`
}

// check refuses what is no state of a log.
func (m *Manifest) check() error {
	end := int64(0)
	for _, f := range m.Files {
		if f.Base < end || f.End <= f.Base || f.Bytes < 0 {
			return fmt.Errorf("file %q of the segment at %d does not fit the one before it", f.Name, f.Base)
		}
		if f.Name == "" || filepath.Base(f.Name) != f.Name {
			return fmt.Errorf("%q of the segment at %d is no name of a file in the backup", f.Name, f.Base)
		}
		end = f.End
	}
	if len(m.Files) == 0 || end != m.End {
		return fmt.Errorf("the files end at position %d, the state at %d", end, m.End)
	}
	return nil
}

func encodeManifest(m *Manifest) ([]byte, error) {
	content, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return nil, err
	}
	content = append(content, '\n')
	head := fmt.Sprintf("%s%08x\n", manifestMagic, crc32.Checksum(content, castagnoli))
	return append([]byte(head), content...), nil
}

func decodeManifest(b []byte) (*Manifest, error) {
	head, content, _ := bytes.Cut(b, []byte("\n"))
	sum, ours := strings.CutPrefix(string(head), manifestMagic)
	switch {
	case !ours && strings.HasPrefix(string(head), "rookery backup "):
		return nil, errors.New("it is of another version: use the program that made it")
	case !ours:
		return nil, errors.New("it is no manifest of a backup")
	case sum != fmt.Sprintf("%08x", crc32.Checksum(content, castagnoli)):
		return nil, errors.New("its checksum does not match")
	}
	m := &Manifest{}
	if err := json.Unmarshal(content, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

// readManifest gives fs.ErrNotExist where no state is complete.
func readManifest(fsys vfs.FS, dir string) (*Manifest, error) {
	path := filepath.Join(dir, manifestName)
	file, err := fsys.OpenRead(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(file, 0, maxManifestBytes))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// writeManifest replaces MANIFEST in one step. The names of its files are durable before.
func writeManifest(fsys vfs.FS, dir string, m *Manifest) error {
	b, err := encodeManifest(m)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, manifestName)
	temporary := path + temporarySuffix
	if err := vfs.RemoveIfExists(fsys, temporary); err != nil {
		return err
	}
	file, err := fsys.Create(temporary)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(b, 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err := fsys.Rename(temporary, path); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// fileName is of a segment's content, and of no other's as long as the epoch is the same.
func fileName(s commitlog.SegmentInfo, epoch uint64) string {
	return fmt.Sprintf("%020d-%d-%d-%s", s.Base, s.Generation, s.Bytes, Number(epoch))
}

// isFileName says whether a name may be one that fileName has made.
func isFileName(name string) bool {
	var base, generation, bytes int64
	var epoch uint64
	n, err := fmt.Sscanf(name, "%20d-%d-%d-%x", &base, &generation, &bytes, &epoch)
	return n == 4 && err == nil
}

// exists says whether a file is there.
func exists(fsys vfs.FS, path string) (bool, error) {
	_, err := fsys.Links(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

package commitlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"rookery/storage"
	"rookery/storage/vfs"
)

const (
	metaName          = "META"
	metaTemporaryName = "META.tmp"
	temporarySuffix   = ".tmp" // of files that are renamed when they are complete
	lockName          = "LOCK"

	metaMagic = "RKRYMETA"
	metaBytes = 48

	// formatVersion is that of META, the segments and the records together.
	formatVersion = 2
)

// logState says how the log was left.
type logState uint8

const (
	stateClosed       logState = 1 // closed cleanly: the log ends at synced, exactly
	stateOpen         logState = 2 // in use with SyncAlways: what was acknowledged is there
	stateOpenRelaxed  logState = 3 // in use in another mode: after a crash acknowledged records may be missing
	lastKnownLogState          = stateOpenRelaxed
)

// meta is the content of the META file.
type meta struct {
	logID  uint64 // never changes and is never shown: the seal's secret
	epoch  uint64
	synced position // everything before it was synced when META was written
	state  logState
}

// wrongEnd says that a log can't end at a position, as far as META knows.
func (m *meta) wrongEnd(end position) error {
	switch {
	case end < m.synced:
		return fmt.Errorf("log ends at position %d, META says %d: is a segment missing?", end, m.synced)
	case m.state == stateClosed && end > m.synced:
		return fmt.Errorf("log ends at position %d, META says that it was closed at %d: is META an older copy?", end, m.synced)
	}
	return nil
}

func (m *meta) encode() []byte {
	b := make([]byte, metaBytes)
	copy(b, metaMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint64(b[16:], m.logID)
	binary.LittleEndian.PutUint64(b[24:], m.epoch)
	binary.LittleEndian.PutUint64(b[32:], uint64(m.synced))
	b[40] = byte(m.state)
	binary.LittleEndian.PutUint32(b[12:], checksumWithout(b))
	return b
}

// checksumWithout is over b without the checksum itself at 12..16, where META and segment
// headers both have it in every version.
func checksumWithout(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

func decodeMeta(b []byte) (meta, error) {
	var m meta
	if len(b) < 16 || string(b[:8]) != metaMagic {
		return m, errors.New("not a META file of this log")
	}
	if checksumWithout(b) != binary.LittleEndian.Uint32(b[12:]) {
		return m, errors.New("checksum does not match")
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != formatVersion {
		return m, versionError(version)
	}
	if len(b) != metaBytes {
		return m, fmt.Errorf("size is %d, want %d", len(b), metaBytes)
	}
	m = meta{
		logID:  binary.LittleEndian.Uint64(b[16:]),
		epoch:  binary.LittleEndian.Uint64(b[24:]),
		synced: position(binary.LittleEndian.Uint64(b[32:])),
		state:  logState(b[40]),
	}
	if m.state < stateClosed || m.state > lastKnownLogState || m.synced < 0 {
		return m, fmt.Errorf("state %d or position %d is out of bounds", m.state, m.synced)
	}
	return m, nil
}

// errVersion marks a log that is whole but not ours to read.
var errVersion = errors.New("this program reads format 2 only: use the version of the program that wrote it")

func versionError(version uint32) error {
	return fmt.Errorf("format version %d: %w", version, errVersion)
}

// readMeta gives fs.ErrNotExist where there is no META.
func readMeta(fsys vfs.FS, dir string) (meta, error) {
	path := filepath.Join(dir, metaName)
	file, err := fsys.Open(path)
	if err != nil {
		return meta{}, err
	}
	b := make([]byte, metaBytes+1)
	n, err := file.ReadAt(b, 0)
	err = errors.Join(ignoreEOF(err), file.Close())
	if err != nil {
		return meta{}, fmt.Errorf("read %s: %w", path, err)
	}
	m, err := decodeMeta(b[:n])
	switch {
	case errors.Is(err, errVersion):
		return m, fmt.Errorf("open %s: %w", path, err)
	case err != nil:
		return m, &storage.CorruptionError{Path: path, Err: fmt.Errorf("%w; %s", err, leftAlone)}
	}
	return m, nil
}

// writeMeta replaces META in one step: a crash leaves the old one or the new one.
func writeMeta(fsys vfs.FS, dir string, m meta) error {
	path := filepath.Join(dir, metaTemporaryName)
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	file, err := fsys.Create(path)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	_, err = file.WriteAt(m.encode(), 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fsys.Rename(path, filepath.Join(dir, metaName)); err != nil {
		return fmt.Errorf("rename %s: %w", path, err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// saveMeta is for a log that is opened or closed: on a full disk it takes the place of the old one. A server that starts there serves what there is,
// and one that was stopped there was closed cleanly.
func (c *Config) saveMeta(m meta) error {
	err := writeMeta(c.FS, c.Dir, m)
	if vfs.NoRoom(err) {
		c.Logger.Warn("no room for a new META, the old one is written over: make room on the file system", "path", filepath.Join(c.Dir, metaName), "error", err)
		err = overwriteMeta(c.FS, c.Dir, m)
	}
	return err
}

// overwriteMeta writes META where it is: that takes no room. It has less than a sector; a device that tears it all the same
// leaves one that does not verify, and the log then gets a new epoch.
func overwriteMeta(fsys vfs.FS, dir string, m meta) error {
	path := filepath.Join(dir, metaName)
	file, err := fsys.Open(path)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(m.encode(), 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// randomNumber is never 0, so that 0 can mean "none" to callers.
func randomNumber() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: it ends the program where there is no randomness
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

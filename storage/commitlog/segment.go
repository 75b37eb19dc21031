package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"rookery/storage"
	"rookery/storage/vfs"
)

const (
	segmentMagic       = "RKRYSEGM"
	segmentHeaderBytes = 64
	segmentSuffix      = ".log"
	segmentDigits      = 20
)

// segment is one file of the log.
type segment struct {
	// Set at construction.
	segmentHeader
	path string
	lost bool // stands for missing files: its range can't be read

	// Guarded by openFiles.mu. While it is in use, file does not change: its user needs no lock.
	file    vfs.File // nil while closed
	opening bool
	uses    int    // by the committer or recovery, and by reads
	lastUse uint64 // when the last one ended, by openFiles.clock

	// Written by the committer, read from any goroutine.
	committed atomic.Int64 // bytes of the file that readers may see
	oldestAt  atomic.Int64 // smallest and largest time of a record in it; what is between is
	newestAt  atomic.Int64 // nothing in an empty segment
	dead      atomic.Int64 // bytes of records that are not given any more, about
	leftAlone atomic.Bool  // retention does not rewrite it in this life: it is damaged, or its name is in doubt

	// index is made before a packed segment is in any list; reads replace it where it is damaged.
	index atomic.Pointer[packedIndex]
}

func newSegment(dir string, h segmentHeader) *segment {
	g := &segment{segmentHeader: h, path: filepath.Join(dir, segmentName(h.base))}
	g.oldestAt.Store(math.MaxInt64)
	g.newestAt.Store(math.MinInt64)
	return g
}

// size gives the bytes of the file that hold something.
func (g *segment) size() int64 { return g.committed.Load() }

// rangeEnd gives the position behind the segment's range.
func (g *segment) rangeEnd() position {
	if g.end != 0 {
		return g.end
	}
	return g.base + position(g.committed.Load())
}

// offsetOf gives where in the file the record at a position may stand.
func (g *segment) offsetOf(files *openFiles, at position, urgent bool) (int64, error) {
	offset := int64(at - g.base)
	switch {
	case g.lost:
		return 0, g.corruption(0, errors.New("segment is missing: restore it from a backup"))
	case offset < segmentHeaderBytes || at+recordHeaderBytes > g.rangeEnd():
		return 0, g.corruption(offset, errChain)
	case !g.packed():
		return offset, nil
	}
	e, err := files.findExtent(g, at, urgent)
	if err == errDropped {
		return 0, g.corruption(segmentHeaderBytes, err)
	}
	return e.start() + int64(at-e.at), err
}

func segmentName(base position) string {
	return fmt.Sprintf("%0*d%s", segmentDigits, base, segmentSuffix)
}

// parseSegmentName says whether a file of the directory is a segment.
func parseSegmentName(name string) (position, bool) {
	digits, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(digits) != segmentDigits {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return position(base), err == nil && base >= 0 && position(base) <= maxPosition
}

// segmentHeader is the fixed part of a segment, see doc.go.
type segmentHeader struct {
	base     position
	end      position // packed: where its range ends; 0: raw
	previous position // base of the segment before it when it was made; 0 for the first
	// generation counts how often the range was rewritten.
	generation uint32
	// needs is where the checkpoint begins that knows what was dropped from a packed segment; one
	// that begins before it does not.
	needs position
}

func (h segmentHeader) packed() bool { return h.end != 0 }

func encodeSegmentHeader(logID uint64, h segmentHeader) []byte {
	b := make([]byte, segmentHeaderBytes)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint64(b[16:], logID)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.base))
	binary.LittleEndian.PutUint64(b[32:], uint64(h.end))
	binary.LittleEndian.PutUint64(b[40:], uint64(h.previous))
	binary.LittleEndian.PutUint32(b[48:], h.generation)
	binary.LittleEndian.PutUint64(b[52:], uint64(h.needs))
	binary.LittleEndian.PutUint32(b[12:], checksumWithout(b))
	return b
}

// errSegmentHeader marks a header that may be one whose creation a crash cut short.
var errSegmentHeader = errors.New("segment header is damaged")

// errSegmentMoved marks a header of another place. A View meets it without a fault too, when a file that was opened by
// its name was given to another segment right then.
var errSegmentMoved = errors.New("was the file renamed?")

// logIDOf gives the log id of a header whose checksum is right, whatever its base.
func logIDOf(b []byte) (uint64, bool) {
	if len(b) < segmentHeaderBytes || string(b[:8]) != segmentMagic || checksumWithout(b[:segmentHeaderBytes]) != binary.LittleEndian.Uint32(b[12:]) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[16:]), true
}

func decodeSegmentHeader(b []byte, logID uint64, base position) (segmentHeader, error) {
	var h segmentHeader
	if len(b) < 16 || string(b[:8]) != segmentMagic {
		return h, errSegmentHeader
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version < formatVersion && version > 0 {
		return h, versionError(version)
	}
	if len(b) < segmentHeaderBytes || checksumWithout(b[:segmentHeaderBytes]) != binary.LittleEndian.Uint32(b[12:]) {
		return h, errSegmentHeader
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != formatVersion {
		return h, versionError(version)
	}
	h = segmentHeader{
		base:       position(binary.LittleEndian.Uint64(b[24:])),
		end:        position(binary.LittleEndian.Uint64(b[32:])),
		previous:   position(binary.LittleEndian.Uint64(b[40:])),
		generation: binary.LittleEndian.Uint32(b[48:]),
		needs:      position(binary.LittleEndian.Uint64(b[52:])),
	}
	if binary.LittleEndian.Uint64(b[16:]) != logID {
		return h, errors.New("segment is of another log: was a file copied into the directory?")
	}
	if h.base != base {
		return h, fmt.Errorf("segment header says position %d, its name says %d: %w", h.base, base, errSegmentMoved)
	}
	if base < 0 || base > maxPosition || h.end > maxPosition || h.end != 0 && h.end <= base+segmentHeaderBytes || h.previous > base {
		return h, fmt.Errorf("segment from %d to %d behind %d is impossible", base, h.end, h.previous)
	}
	return h, nil
}

// readSegmentHeader gives less than a header if the file is shorter.
func readSegmentHeader(file vfs.File) ([]byte, error) {
	header := make([]byte, segmentHeaderBytes)
	n, err := file.ReadAt(header, 0)
	return header[:n], ignoreEOF(err)
}

// createSegment makes an empty segment, of the spare if there is one. It gets its name when its header is durable, and
// nothing is written to it before its name is: a crash leaves a whole segment or a name that recovery removes. With the last
// name from the start a full disk and a power cut left a file with a size and nothing in it. ahead is how
// much of a new file is written with zeros.
func createSegment(fsys vfs.FS, dir, path string, logID uint64, h segmentHeader, ready *spare, ahead int64) (file vfs.File, err error) {
	made := ready
	if made == nil {
		made = &spare{path: path + temporarySuffix}
		// Left by an attempt before.
		if err := vfs.RemoveIfExists(fsys, made.path); err != nil {
			return nil, err
		}
		if made.file, err = fsys.Create(made.path); err != nil {
			return nil, err
		}
	}
	_, err = made.file.WriteAt(encodeSegmentHeader(logID, h), 0)
	switch {
	case err != nil:
	case ready != nil:
		err = made.file.Sync()
	default:
		err = writeZeros(made.file, segmentHeaderBytes, ahead)
	}
	if err == nil {
		err = fsys.Rename(made.path, path)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		// On a full disk what is left of it would be in the way of the next one.
		return nil, errors.Join(err, made.file.Close(), vfs.RemoveIfExists(fsys, made.path))
	}
	return made.file, nil
}

func (s *segment) corruption(offset int64, err error) error {
	return &storage.CorruptionError{Path: s.path, Offset: offset, Err: err}
}

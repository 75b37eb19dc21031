package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// forger changes numbers in the files of a log and makes their checksums right again, as somebody does who means harm, or a
// program with a fault. It knows where everything stands from the log as it was.
type forger struct {
	memory *vfs.Memory
	config Config
	seal   seal
	names  []string // of the files
	parts  map[string][]forgedPart
}

// forgedPart is a part of a file that has a checksum.
type forgedPart struct {
	offset int
	fields int // bytes of it that are numbers
	mend   func(file []byte)
}

// newForger makes a closed log with packed segments and raw ones, a stub, and two checkpoints.
func newForger(t testing.TB) *forger {
	t.Helper()
	f := &forger{memory: vfs.NewMemory(), parts: map[string][]forgedPart{}}
	f.config = retentionConfig(f.memory)
	l, err := Open(f.config)
	if err != nil {
		t.Fatal(err)
	}
	f.seal = l.seal
	fill(t, l, 6, 120)
	retain(t, l, func(room string) storage.Retention {
		if room == "room-1" {
			return storage.Retention{Age: 1}
		}
		return storage.Retention{Records: 4}
	})
	w := newWriter(l)
	for i := range 40 {
		w.mustAppend(t, "more", strings.Repeat("r", i))
	}
	w.mustCommit(t, 40)
	packed := l.segments.load()[0].packed()
	if err := l.Close(); err != nil || !packed {
		t.Fatalf("packed: %v, %v", packed, err)
	}
	names, err := f.memory.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f.look(name, readFile(t, f.memory, name))
	}
	return f
}

// look notes the parts of a file.
func (f *forger) look(name string, b []byte) {
	var parts []forgedPart
	base, isSegment := parseSegmentName(name)
	switch {
	case name == metaName:
		parts = append(parts, headerPart(0, metaBytes))
	case strings.HasPrefix(name, checkpointPrefix):
		parts = append(parts, forgedPart{0, checkpointHeaderBytes + 2*roomEntryBytes, func(b []byte) {
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}})
		parts = append(parts, forgedPart{len(b) - 12 - 2*segmentFactsBytes, 8 + 2*segmentFactsBytes, parts[0].mend})
	case isSegment:
		h, _ := decodeSegmentHeader(b, binary.LittleEndian.Uint64(b[16:]), base)
		parts = append(parts, headerPart(0, segmentHeaderBytes))
		if h.packed() {
			parts = append(parts, f.packedParts(b)...)
		} else {
			parts = append(parts, f.recordParts(b, base, segmentHeaderBytes, len(b))...)
		}
	default:
		return // LOCK
	}
	f.names = append(f.names, name)
	f.parts[name] = parts
}

func headerPart(offset, size int) forgedPart {
	return forgedPart{offset, size, func(b []byte) {
		binary.LittleEndian.PutUint32(b[offset+12:], checksumWithout(b[offset:offset+size]))
	}}
}

// recordParts are the records of a part of a file.
func (f *forger) recordParts(b []byte, shift position, from, to int) (parts []forgedPart) {
	for from < to {
		offset, size := from, int(binary.LittleEndian.Uint32(b[from+4:]))
		parts = append(parts, forgedPart{offset, recordHeaderBytes, func(b []byte) {
			record := b[offset : offset+size]
			binary.LittleEndian.PutUint32(record[8:], crc32.Checksum(record[recordHeaderBytes:], castagnoli))
			binary.LittleEndian.PutUint32(record, f.seal.headerChecksum(shift+position(offset), record))
		}})
		from += size
	}
	return parts
}

func (f *forger) packedParts(b []byte) (parts []forgedPart) {
	end := len(b) - packedEndBytes
	blocks, count := int(binary.LittleEndian.Uint64(b[end+16:])), int(binary.LittleEndian.Uint32(b[end+12:]))
	for offset := segmentHeaderBytes; offset < blocks; {
		e, _ := decodeExtentHeader(b[offset:], f.seal, int64(offset))
		parts = append(parts, f.recordParts(b, e.at-position(e.start()), int(e.start()), int(e.end()))...)
		parts = append(parts, forgedPart{offset, extentHeaderBytes, func(b []byte) {
			binary.LittleEndian.PutUint32(b[offset:], f.seal.checksum(b[offset+4:offset+extentHeaderBytes]))
		}})
		offset = int(e.end())
	}
	for i := range count {
		block := blocks + i*indexBlockBytes
		parts = append(parts, forgedPart{block, 8 + 2*indexEntryBytes, func(b []byte) {
			binary.LittleEndian.PutUint32(b[block:], f.seal.checksum(b[block+4:block+indexBlockBytes]))
		}})
	}
	parts = append(parts, forgedPart{end - 8*count, 8*count + packedFooterBytes, func(b []byte) {
		binary.LittleEndian.PutUint32(b[end+8:], 0)
		binary.LittleEndian.PutUint32(b[end+8:], f.seal.checksum(b[end-8*count:end+packedFooterBytes]))
	}})
	return append(parts, headerPart(len(b)-segmentHeaderBytes, segmentHeaderBytes))
}

// mend makes the checksums of a file right, in the order in which they cover each other.
func (f *forger) mend(name string, b []byte) {
	for _, part := range f.parts[name] {
		part.mend(b)
	}
}

// forge gives the log with a file changed.
func (f *forger) forge(t testing.TB, name string, change func(b []byte)) Config {
	t.Helper()
	config := f.config
	memory := f.memory.CrashClone(nil)
	b := readFile(t, memory, name)
	change(b)
	f.mend(name, b)
	writeFile(t, memory, name, b)
	config.FS = memory
	return config
}

func readFile(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	file, err := fsys.Open(filepath.Join(testDir, name))
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	b := make([]byte, size)
	if err == nil {
		_, err = file.ReadAt(b, 0)
	}
	if err := errors.Join(ignoreEOF(err), file.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// writeFile writes over a file.
func writeFile(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	file, err := fsys.Open(filepath.Join(testDir, name))
	if err == nil {
		_, err = file.WriteAt(b, 0)
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// bear does to a log what a server and the tools do. Whatever is in the files, there is an error or a result, and what the log takes it
// gives back.
func bear(t testing.TB, config Config) {
	t.Helper()
	if v, err := OpenView(config.FS, testDir); err == nil {
		_, _ = v.Verify(func(Finding) {})
		if err := v.Close(); err != nil {
			t.Errorf("close the view: %v", err)
		}
	}
	l, err := Open(config)
	if err != nil {
		return // it says what is wrong
	}
	for _, room := range []string{"room-0", "room-1", "room-5", "more", "new"} {
		for _, read := range []readFunction{l.ReadAfter, l.ReadBefore} {
			for at, pages := uint64(0), 0; pages < 20; pages++ {
				before := at
				err := read(room, at, storage.PageLimit{Records: 7}, func(r storage.Record) bool { at = r.Seq; return true })
				if gap, ok := errors.AsType[*storage.DamagedError](err); ok && before != gap.First {
					at = gap.Last
				}
				if at == before {
					break
				}
			}
		}
		bearWriting(t, l, room)
	}
	l.retention.policy, l.retention.changed = keepAll(storage.Retention{Records: 3, Bytes: 1 << 20, Age: 1 << 60}), true
	_ = l.retention.step()
	_ = l.Close()
	if l, err = Open(config); err == nil {
		_ = l.Close()
	}
}

func bearWriting(t testing.TB, l *Log, room string) {
	t.Helper()
	w := newWriter(l)
	r := w.record(room, "behind it")
	if w.append(r) != nil {
		return
	}
	if committed, _ := w.wait(1); committed == 0 {
		return
	}
	found := false
	err := l.ReadAfter(room, r.Seq-1, storage.PageLimit{}, func(got storage.Record) bool { found = equal(got, r); return false })
	if err != nil || !found {
		t.Errorf("record %d of room %q was acknowledged and is not given: %v", r.Seq, room, err)
	}
}

// TestForgedNumbers puts numbers that mean harm into each field of the files, one at a time, with right checksums.
func TestForgedNumbers(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	numbers := []uint64{0, 1, math.MaxUint32, storage.MaxSeq, math.MaxInt64, 1 << 63, math.MaxUint64}
	tried, turn := 0, phase(t, 5)
	for _, name := range f.names {
		for i, part := range f.parts[name] {
			// Neighbouring records are alike.
			if part.fields == recordHeaderBytes && i > 4 && i < len(f.parts[name])-6 && i%7 != turn {
				continue
			}
			for field := 0; field+4 <= part.fields; field += 4 {
				for n, number := range numbers {
					for _, width := range []int{4, 8} {
						if tried++; tried%5 != turn || width == 4 && n > 2 || field+width > part.fields {
							continue
						}
						what := fmt.Sprintf("%s: %d of %d bytes at offset %d + %d", name, number, width, part.offset, field)
						config := f.forge(t, name, func(b []byte) { putNumber(b[part.offset+field:], number, width) })
						guarded(t, what, func() { bear(t, config) })
					}
				}
			}
		}
	}
}

func putNumber(b []byte, number uint64, width int) {
	if width == 4 {
		binary.LittleEndian.PutUint32(b, uint32(number))
	} else {
		binary.LittleEndian.PutUint64(b, number)
	}
}

// guarded says what was forged where something went wrong.
func guarded(t *testing.T, what string, do func()) {
	t.Helper()
	failed := t.Failed()
	defer func() {
		if p := recover(); p != nil {
			t.Logf("panic with %s", what)
			panic(p)
		}
		if !failed && t.Failed() {
			t.Fatalf("with %s", what)
		}
	}()
	do()
}

// TestForgedIndex: an entry of the index leads behind the end of the file. The extents lead to the records all the same, and where the
// header of the extent is damaged too it is told.
func TestForgedIndex(t *testing.T) {
	f := newForger(t)
	name := segmentName(0)
	config := f.forge(t, name, func(b []byte) {
		blocks := binary.LittleEndian.Uint64(b[len(b)-packedEndBytes+16:])
		putNumber(b[blocks+8+8:], math.MaxUint32-1000, 4)
	})
	l := mustOpen(t, config)
	if got, damaged := readAround(t, l, "room-0", true); len(got) == 0 || len(damaged) > 0 {
		t.Errorf("%d records, %d are told as damaged", len(got), len(damaged))
	}
	mustClose(t, l)
	flip(t, config.FS, name, segmentHeaderBytes)
	if findings, _ := verify(t, mustView(t, config.FS)); len(findings) == 0 {
		t.Error("damage of an extent and of its entry is not found")
	}
}

// TestForgedDeadBytes: a checkpoint says that more of a file is dead than there is of it, or less than nothing. Retention would add that up and take
// files together that don't fit into one.
func TestForgedDeadBytes(t *testing.T) {
	f := newForger(t)
	name := checkpointNames(f.names)[0]
	for _, dead := range []int64{-1, math.MinInt64, math.MaxInt64} {
		config := f.forge(t, name, func(b []byte) {
			for i := range binary.LittleEndian.Uint64(b[40:]) {
				putNumber(b[len(b)-12-segmentFactsBytes*int(i)-8:], uint64(dead), 8)
			}
		})
		l := mustOpen(t, config)
		if damage := l.Stats().Damage; dead < 0 && damage == 0 || dead > 0 && damage > 0 {
			t.Errorf("%d dead bytes: %d places are damaged", dead, damage)
		}
		for _, g := range l.segments.load() {
			if is := g.dead.Load(); is < 0 || is > g.size() {
				t.Errorf("%d dead bytes: %d of %s, which has %d", dead, is, g.path, g.size())
			}
		}
		mustClose(t, l)
	}
}

// TestForgedRange: the header of a rewritten segment says that its range has the newest one in it. Nothing is removed on its word.
func TestForgedRange(t *testing.T) {
	f := newForger(t)
	name, newest := segmentName(0), position(0)
	for _, other := range f.names {
		base, _ := parseSegmentName(other)
		newest = max(newest, base)
	}
	for end, want := range map[position]string{newest + 1: "rewritten up to position", maxPosition: "rewritten up to position", math.MaxInt64: "is impossible"} {
		config := f.forge(t, name, func(b []byte) {
			putNumber(b[32:], uint64(end), 8)
			putNumber(b[len(b)-segmentHeaderBytes+32:], uint64(end), 8)
		})
		memory := config.FS.(*vfs.Memory)
		before := memory.String()
		if _, err := Open(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("opened a segment that ends at %d: %v", end, err)
		}
		if memory.String() != before {
			t.Errorf("a segment that ends at %d: files were changed", end)
		}
	}
}

// TestForgedFooter: a file with holes, as long as it likes, does not say how much is allocated.
func TestForgedFooter(t *testing.T) {
	const count = math.MaxUint32
	file := &footerFile{footer: make([]byte, packedFooterBytes), size: segmentHeaderBytes + count*(indexBlockBytes+8) + packedEndBytes}
	copy(file.footer, packedFooterMagic)
	binary.LittleEndian.PutUint32(file.footer[12:], count)
	binary.LittleEndian.PutUint64(file.footer[16:], segmentHeaderBytes)
	if _, _, err := readPackedFooter(file, newSeal(1), file.size); err != errIndex || file.asked > packedFooterBytes {
		t.Errorf("%v, %d bytes were asked for", err, file.asked)
	}
}

// footerFile is a file of which nothing is there but the footer.
type footerFile struct {
	vfs.File
	footer []byte
	size   int64
	asked  int // at once
}

func (f *footerFile) ReadAt(b []byte, offset int64) (int, error) {
	f.asked = max(f.asked, len(b))
	if offset == f.size-packedEndBytes {
		return copy(b, f.footer), nil
	}
	return 0, errBadSector
}

// TestLastNumber: behind the largest number there is none.
func TestLastNumber(t *testing.T) {
	written := false
	memory := craft(t, func(at position, b []byte) []byte {
		if written {
			return nil
		}
		written = true
		return appendStub(b, newSeal(7), at, &storage.Record{Room: "r", Seq: storage.MaxSeq}, 0, 0)
	})
	w := newWriter(mustOpen(t, testConfig(memory)))
	if err := w.append(w.record("r", "one more")); err == nil || !strings.Contains(err.Error(), "go on in another room") {
		t.Errorf("a record behind the largest number: %v", err)
	}
}

// TestIndexThatCannotBeMade: the index of a packed segment is damaged, and the disk does not give what it would be made of.
func TestIndexThatCannotBeMade(t *testing.T) {
	memory, config, _ := packedLog(t)
	name := segmentName(0)
	size := int64(len(readFile(t, memory, name)))
	flip(t, memory, name, size-packedEndBytes)
	config.FS = badMiddle{memory, filepath.Join(testDir, name), size - packedEndBytes}
	if l, err := Open(config); !errors.Is(err, errBadSector) {
		t.Errorf("opened as %v, %v", l, err)
	}
}

// badMiddle fails all reads of a file between its header and an offset.
type badMiddle struct {
	vfs.FS
	path string
	end  int64
}

func (f badMiddle) Open(path string) (vfs.File, error) {
	file, err := f.FS.Open(path)
	if path == f.path && err == nil {
		return badMiddleFile{file, f.end}, nil
	}
	return file, err
}

type badMiddleFile struct {
	vfs.File
	end int64
}

func (f badMiddleFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= segmentHeaderBytes && offset < f.end {
		return 0, errBadSector
	}
	return f.File.ReadAt(b, offset)
}

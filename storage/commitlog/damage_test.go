package commitlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// fixture is a log of a few small segments with all that a damage test needs to know.
type fixture struct {
	t       *testing.T
	fs      *vfs.Memory
	config  Config
	logged  bytes.Buffer
	records []storage.Record // one room, in order
	sizes   []int
	names   []string // of the segments
	names0  []string // before the damage
}

// newFixture writes records one batch each. With crash the process ends without Close, with all
// it wrote on the disk.
func newFixture(t *testing.T, crash bool) *fixture {
	t.Helper()
	f := &fixture{t: t, fs: vfs.NewMemory()}
	f.config = testConfig(f.fs)
	f.config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, f.config)
	w := newWriter(l)
	for i := range 60 {
		r := w.mustAppend(t, "room", strings.Repeat(string(rune('a'+i%26)), 100))
		w.mustCommit(t, i+1)
		f.records = append(f.records, r)
		f.sizes = append(f.sizes, recordBytes(&r))
	}
	if crash {
		f.fs = f.fs.CrashClone(nil) // nothing is unsynced, so nothing is asked of chance
	}
	mustClose(t, l)
	f.config.FS = f.fs
	f.config.Logger = slog.New(slog.NewTextHandler(&f.logged, nil))
	f.list()
	f.names0 = f.names
	if len(f.names) < 3 {
		t.Fatalf("%d segments, want 3 or more", len(f.names))
	}
	return f
}

// clone is the same on a disk of its own, whose log has said nothing.
func (f *fixture) clone(t *testing.T) *fixture {
	c := *f
	c.t, c.fs, c.logged = t, f.fs.CrashClone(nil), bytes.Buffer{}
	c.config.FS = c.fs
	c.config.Logger = slog.New(slog.NewTextHandler(&c.logged, nil))
	return &c
}

func (f *fixture) list() {
	f.t.Helper()
	names, err := f.fs.List(testDir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.names = nil
	for _, name := range names {
		if _, ok := parseSegmentName(name); ok {
			f.names = append(f.names, name)
		}
	}
}

func (f *fixture) path(name string) string { return testDir + "/" + name }

func (f *fixture) newest() string { return f.path(f.names[len(f.names)-1]) }

func (f *fixture) read(path string) []byte {
	f.t.Helper()
	file, err := f.fs.Open(path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	size, _ := file.Size()
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil && err != io.EOF {
		f.t.Fatal(err)
	}
	return b
}

// write replaces a file.
func (f *fixture) write(path string, content []byte) {
	f.t.Helper()
	_ = f.fs.Remove(path)
	file, err := f.fs.Create(path)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := file.WriteAt(content, 0); err != nil {
		f.t.Fatal(err)
	}
	if err := errors.Join(file.Sync(), file.Close(), f.fs.SyncDir(testDir)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) change(path string, change func(b []byte) []byte) {
	f.t.Helper()
	f.write(path, change(bytes.Clone(f.read(path))))
}

// opens checks that the log opens with exactly the first n records, takes one more and is then
// a whole log again.
func (f *fixture) opens(n int) {
	f.t.Helper()
	f.views(f.records[:n])
	l := mustOpen(f.t, f.config)
	checkRecords(f.t, "after the repair", readAll(f.t, l, "room"), f.records[:n])
	w := newWriter(l)
	r := w.mustAppend(f.t, "room", "after the repair")
	w.mustCommit(f.t, 1)
	mustClose(f.t, l)
	l = mustOpen(f.t, f.config)
	checkRecords(f.t, "opened once more", readAll(f.t, l, "room"), append(f.records[:n:n], r))
	mustClose(f.t, l)
}

// refuses checks that opening fails, changes nothing and lets go of the lock.
func (f *fixture) refuses() error {
	f.t.Helper()
	before := f.fs.String()
	_, err := Open(f.config)
	if err == nil {
		f.t.Fatal("Open accepted the damage")
	}
	if after := f.fs.String(); after != before {
		f.t.Errorf("Open changed files:\n%s\nbefore:\n%s", after, before)
	}
	if _, again := Open(f.config); again == nil || again.Error() != err.Error() {
		f.t.Errorf("second Open: got %v, want %v", again, err)
	}
	return err
}

// serves checks that the log opens without the records first to last, which are told as damaged in
// both directions, takes one more, and is the same when it is opened again.
func (f *fixture) serves(first, last int) {
	f.t.Helper()
	want := slices.Clone(f.records)
	if last >= first {
		want = slices.Delete(want, first, last+1)
	}
	f.views(want)
	for round := range 2 {
		l := mustOpen(f.t, f.config)
		for _, ascending := range []bool{true, false} {
			got, damaged := readAround(f.t, l, "room", ascending)
			checkRecords(f.t, fmt.Sprintf("round %d, ascending %v", round, ascending), got, want)
			head := int(l.Head("room"))
			for seq := range f.records {
				// The end of a room may be gone with what knew of it: then it is not the head.
				missing := first <= seq && seq <= last && seq < head
				if damaged[uint64(seq+1)] != missing {
					f.t.Errorf("round %d: record %d is told as damaged: %v, want %v", round, seq+1, damaged[uint64(seq+1)], missing)
				}
			}
		}
		if round == 0 {
			w := newWriter(l)
			r := w.mustAppend(f.t, "room", "after the repair")
			w.mustCommit(f.t, 1)
			want = append(want, r)
		}
		mustClose(f.t, l)
	}
}

// recordsOf gives the numbers of the records that stood in a segment.
func (f *fixture) recordsOf(segment int) (numbers []int) {
	at, in := position(0), -1
	for i, size := range f.sizes {
		if in+1 < len(f.names0) {
			if base, _ := parseSegmentName(f.names0[in+1]); at == base {
				in++
				at += segmentHeaderBytes
			}
		}
		if in == segment {
			numbers = append(numbers, i)
		}
		at += position(size)
	}
	return numbers
}

func (f *fixture) lastSize() int { return f.sizes[len(f.sizes)-1] }

// TestTornTail cuts, and separately zeroes, at every byte of the last record's header and its neighbours, and at every fifth of the rest,
// from another one on each time.
func TestTornTail(t *testing.T) {
	t.Parallel()
	whole := newFixture(t, true)
	content := whole.read(whole.newest())
	phase, tried := phase(t, 5), ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("tried last: %s", tried)
		}
	})
	for keep := range whole.lastSize() {
		if keep > recordHeaderBytes+8 && keep < whole.lastSize()-8 && keep%5 != phase {
			continue
		}
		cut := len(content) - whole.lastSize() + keep
		for name, damaged := range map[string][]byte{
			"cut":            content[:cut],
			"zero":           append(bytes.Clone(content[:cut]), make([]byte, len(content)-cut)...),
			"zero and more":  append(bytes.Clone(content[:cut]), make([]byte, len(content)-cut+9000)...),
			"garbage behind": append(bytes.Clone(content[:cut]), bytes.Repeat([]byte{0x5a, 1, 0}, 300)...),
		} {
			tried = fmt.Sprintf("%s at %d", name, keep)
			f := whole.clone(t)
			f.write(f.newest(), damaged)
			f.opens(len(f.records) - 1)
			if want := fmt.Sprintf("cut_bytes=%d", len(damaged)-(len(content)-whole.lastSize())); len(damaged) > len(content)-whole.lastSize() && !strings.Contains(f.logged.String(), want) && !allZero(damaged[len(content)-whole.lastSize():]) {
				t.Fatalf("%s at %d: log %q does not say %s", name, keep, f.logged.String(), want)
			}
		}
	}
}

// phase is which of each n places is tried: another one each time, or that of ROOKERY_SEED.
func phase(t *testing.T, n int) int {
	seed := time.Now().UnixNano()
	if text := os.Getenv("ROOKERY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("repeat with ROOKERY_SEED=%d", seed)
	return int(uint64(seed) % uint64(n))
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// TestDamage: what is damaged or missing is said, and everything else is given.
func TestDamage(t *testing.T) {
	t.Parallel()
	flip := func(offset int) func([]byte) []byte {
		return func(b []byte) []byte {
			if offset < 0 {
				offset += len(b)
			}
			b[offset] ^= 0x10
			return b
		}
	}
	newerVersion := func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[8:], formatVersion+1)
		binary.LittleEndian.PutUint32(b[12:], checksumWithout(b[:min(len(b), segmentHeaderBytes)]))
		return b
	}
	// serves expects that all but the records first to last are given.
	serves := func(missing func(f *fixture) (first, last int), words ...string) func(f *fixture) {
		return func(f *fixture) {
			f.t.Helper()
			first, last := missing(f)
			f.serves(first, last)
			for _, word := range words {
				contains(f.t, errors.New(f.logged.String()), word)
			}
		}
	}
	none := func(*fixture) (int, int) { return 0, -1 }
	// of gives records of a segment, from a number on, by number in it; -1 is the last.
	of := func(segment, first, last int) func(f *fixture) (int, int) {
		return func(f *fixture) (int, int) {
			in := f.recordsOf((segment + len(f.names0)) % len(f.names0))
			return in[(first+len(in))%len(in)], in[(last+len(in))%len(in)]
		}
	}
	refused := func(words ...string) func(f *fixture) {
		return func(f *fixture) {
			f.t.Helper()
			err := f.refuses()
			wantCorruption(f.t, err)
			for _, word := range append(words, "nothing was changed") {
				contains(f.t, err, word)
			}
		}
	}
	tests := map[string]struct {
		closed bool // cleanly, else crashed
		damage func(f *fixture)
		check  func(f *fixture)
	}{
		"nothing, crashed":       {false, func(*fixture) {}, func(f *fixture) { f.opens(60) }},
		"nothing, closed":        {true, func(*fixture) {}, func(f *fixture) { f.opens(60) }},
		"last record, crashed":   {false, func(f *fixture) { f.change(f.newest(), flip(-1)) }, func(f *fixture) { f.opens(59) }},
		"last record, closed":    {true, func(f *fixture) { f.change(f.newest(), flip(-1)) }, serves(of(-1, -1, -1))},
		"cut, closed":            {true, func(f *fixture) { f.change(f.newest(), func(b []byte) []byte { return b[:len(b)-f.lastSize()] }) }, refused("META says")},
		"garbage behind, closed": {true, func(f *fixture) { f.change(f.newest(), func(b []byte) []byte { return append(b, 1, 2, 3) }) }, func(f *fixture) { f.opens(60) }},
		"middle of the newest: payload": {false, func(f *fixture) {
			f.change(f.newest(), flip(segmentHeaderBytes+recordHeaderBytes))
		}, serves(of(-1, 0, 0), "payload", "offset=64")},
		"middle of the newest: header checksum": {false, func(f *fixture) {
			f.change(f.newest(), flip(segmentHeaderBytes+20))
		}, serves(of(-1, 0, 0), "record header", "offset=64")},
		"middle of the newest: length": {false, func(f *fixture) {
			f.change(f.newest(), flip(segmentHeaderBytes+6))
		}, serves(of(-1, 0, 0), "offset=64")},
		"last but one of the newest": {false, func(f *fixture) {
			f.change(f.newest(), flip(-f.lastSize()-1))
		}, serves(of(-1, -2, -2), "segment is damaged")},
		"middle of the newest: hole of zeros": {false, func(f *fixture) {
			f.change(f.newest(), func(b []byte) []byte { clear(b[72:300]); return b })
		}, serves(of(-1, 0, 1), "segment is damaged")},
		"end of an older segment": {false, func(f *fixture) {
			f.change(f.path(f.names[0]), flip(-1))
		}, serves(of(0, -1, -1), "segment is damaged", f0)},
		"older segment cut": {false, func(f *fixture) {
			f.change(f.path(f.names[1]), func(b []byte) []byte { return b[:len(b)-1] })
		}, serves(of(1, -1, -1), "segment is damaged")},
		"older segment cut between records": {false, func(f *fixture) {
			f.change(f.path(f.names[0]), func(b []byte) []byte { return b[:len(b)-f.sizes[22]] })
		}, serves(of(0, -1, -1), "segment is damaged")},
		"older segment cut behind a damaged record": {false, func(f *fixture) {
			in := f.recordsOf(1)
			last := len(in) - 1
			f.change(f.path(f.names[1]), func(b []byte) []byte {
				return flip(-f.sizes[in[last]] - f.sizes[in[last-1]] + 20)(b)[:len(b)-1]
			})
		}, serves(of(1, -2, -1), "segment is damaged")},
		"header of the first segment": {false, func(f *fixture) { f.change(f.path(f.names[0]), flip(3)) }, serves(none, "header of a segment", f0)},
		"header of the newest, with records": {false, func(f *fixture) {
			f.change(f.newest(), flip(30))
		}, serves(none, "header of a segment")},
		"first segment missing":  {false, func(f *fixture) { f.remove(f.names[0]) }, serves(of(0, 0, -1), "segment is missing", f0)},
		"middle segment missing": {false, func(f *fixture) { f.remove(f.names[1]) }, serves(of(1, 0, -1), "segment is missing")},
		"newest segment missing, closed": {true, func(f *fixture) { f.remove(f.names[len(f.names)-1]) },
			refused("META says")},
		"all segments missing, closed": {true, func(f *fixture) {
			for _, name := range f.names {
				f.remove(name)
			}
		}, refused("META says")},
		"segment renamed": {false, func(f *fixture) {
			if err := f.fs.Rename(f.newest(), f.path(segmentName(99999))); err != nil {
				f.t.Fatal(err)
			}
		}, func(f *fixture) { contains(f.t, f.refuses(), "renamed") }},
		"segment copied": {false, func(f *fixture) {
			f.write(f.path(segmentName(99999)), f.read(f.newest()))
		}, func(f *fixture) { contains(f.t, f.refuses(), "renamed") }},
		"segment of another log": {false, func(f *fixture) {
			f.write(f.newest(), newFixture(f.t, true).read(f.newest()))
		}, func(f *fixture) { contains(f.t, f.refuses(), "another log") }},
		"segment of a newer version": {false, func(f *fixture) {
			f.change(f.newest(), func(b []byte) []byte {
				newerVersion(b[:segmentHeaderBytes])
				return b
			})
		}, func(f *fixture) { contains(f.t, f.refuses(), "format version 3") }},
		"META of a newer version": {false, func(f *fixture) {
			f.change(f.path(metaName), func(b []byte) []byte {
				binary.LittleEndian.PutUint32(b[8:], formatVersion+1)
				binary.LittleEndian.PutUint32(b[12:], checksumWithout(b))
				return b
			})
		}, func(f *fixture) { contains(f.t, f.refuses(), "format version 3") }},
		"META missing":  {false, func(f *fixture) { f.remove(metaName) }, serves(none, "META is missing or damaged")},
		"META damaged":  {false, func(f *fixture) { f.change(f.path(metaName), flip(20)) }, serves(none, "META is missing or damaged")},
		"META empty":    {false, func(f *fixture) { f.write(f.path(metaName), nil) }, serves(none, "META is missing or damaged")},
		"META too long": {false, func(f *fixture) { f.change(f.path(metaName), func(b []byte) []byte { return append(b, 0) }) }, serves(none, "META is missing or damaged")},
		"META of before the newest segment, closed": {true, func(f *fixture) {
			f.change(f.path(metaName), func(b []byte) []byte {
				m, _ := decodeMeta(b)
				m.synced, _ = parseSegmentName(f.names[1])
				return m.encode()
			})
		}, func(f *fixture) {
			refused("META says that it was closed at", "is META an older copy?")(f)
			findings, _ := verify(f.t, mustView(f.t, f.fs))
			if len(findings) == 0 || !strings.Contains(findings[0].String(), "META says that it was closed at") {
				f.t.Errorf("found %v, want META", findings)
			}
		}},
		"META.tmp there": {false, func(f *fixture) { f.write(f.path(metaTemporaryName), []byte("half")) }, func(f *fixture) { f.opens(60) }},
		"foreign files": {false, func(f *fixture) {
			f.write(f.path("notes.txt"), []byte("hello"))
			f.write(f.path("123.log"), []byte("hello"))
		}, func(f *fixture) {
			f.opens(60)
			contains(f.t, errors.New(f.logged.String()), "notes.txt")
			contains(f.t, errors.New(f.logged.String()), "123.log")
		}},
		"segment where no log comes to": {false, func(f *fixture) {
			id := binary.LittleEndian.Uint64(f.read(f.newest())[16:])
			f.write(f.path(segmentName(maxPosition+1)), append(encodeSegmentHeader(id, segmentHeader{base: maxPosition + 1}), 0))
		}, func(f *fixture) {
			f.opens(60)
			contains(f.t, errors.New(f.logged.String()), "is ignored")
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, !test.closed)
			test.damage(f)
			test.check(f)
		})
	}
}

var f0 = segmentName(0)

func (f *fixture) remove(name string) {
	f.t.Helper()
	if err := errors.Join(f.fs.Remove(f.path(name)), f.fs.SyncDir(testDir)); err != nil {
		f.t.Fatal(err)
	}
}

func contains(t *testing.T, err error, word string) {
	t.Helper()
	if !strings.Contains(err.Error(), word) {
		t.Errorf("error %q does not say %q", err, word)
	}
}

// TestUnbornSegment is a crash while the next segment was being created: any part of its header
// may be there, or zeros.
func TestUnbornSegment(t *testing.T) {
	t.Parallel()
	whole := newFixture(t, true)
	for size := range segmentHeaderBytes + 1 {
		for _, zero := range []bool{false, true} {
			f := whole.clone(t)
			newest := f.read(f.newest())
			base, _ := parseSegmentName(f.names[len(f.names)-1])
			next := base + position(len(newest))
			header := make([]byte, size)
			if !zero {
				copy(header, encodeSegmentHeader(1, segmentHeader{base: next})) // of no log: never valid
				copy(header, newest[:min(size, 20)])
			}
			f.write(f.path(segmentName(next)), header)
			if size == segmentHeaderBytes && !zero {
				header[12] ^= 1
				f.write(f.path(segmentName(next)), header)
			}
			f.opens(60)
		}
	}
}

// TestForgedRecordInABody has a message whose body is the image of a record; cut short by a
// crash, it must not pass for proof that the log was damaged behind it.
func TestForgedRecordInABody(t *testing.T) {
	f := newFixture(t, true)
	l := mustOpen(t, f.config)
	w := newWriter(l)
	forged := f.read(f.newest())[segmentHeaderBytes:]
	r := w.mustAppend(t, "room", strings.Repeat(string(forged), 20)[:20*len(forged)])
	w.mustCommit(t, 1)
	f.fs = f.fs.CrashClone(nil)
	mustClose(t, l)
	f.config.FS = f.fs
	f.list()
	f.change(f.newest(), func(b []byte) []byte { return b[:len(b)-1] })
	f.opens(60)
	if len(r.Body) < 1000 {
		t.Error("the body was too short to forge anything")
	}
}

// TestUnknownKinds puts records of the future behind the log.
func TestUnknownKinds(t *testing.T) {
	for name, kind := range map[string]byte{"ignorable": ignorableBit | 9, "not ignorable": 9} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, true)
			m, err := readMeta(f.fs, testDir)
			if err != nil {
				t.Fatal(err)
			}
			base, _ := parseSegmentName(f.names[len(f.names)-1])
			f.change(f.newest(), func(b []byte) []byte {
				at := base + position(len(b))
				s := newSeal(m.logID)
				record := appendRecord(nil, s, at, &f.records[0], 0, links{total: 1 << 20})
				record[12] = kind
				binary.LittleEndian.PutUint32(record, s.headerChecksum(at, record))
				return append(b, record...)
			})
			if kind&ignorableBit != 0 {
				f.opens(60)
				return
			}
			contains(t, f.refuses(), "newer version")
		})
	}
}

// TestReadsVerify damages a log that is open: readers get an error and never a wrong message.
func TestReadsVerify(t *testing.T) {
	f := newFixture(t, true)
	l := mustOpen(t, f.config)
	first, err := f.fs.Open(f.path(f.names[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	offset := int64(segmentHeaderBytes)
	for i := range 3 {
		// Record i+1: once in its header, once in its room's name, once in its body.
		at := offset + []int64{21, recordHeaderBytes, int64(f.sizes[i]) - 1}[i]
		if _, err := first.WriteAt([]byte{0xff}, at); err != nil {
			t.Fatal(err)
		}
		fn := func(r storage.Record) bool {
			if r.Seq == uint64(i+1) || !equal(r, f.records[r.Seq-1]) {
				t.Errorf("got record %+v", r)
			}
			return true
		}
		corruption := wantCorruption(t, l.ReadAfter("room", uint64(i), storage.PageLimit{Records: 1}, fn))
		if corruption.Offset != offset || corruption.Path != f.path(f.names[0]) {
			t.Errorf("record %d: got %v, want offset %d", i+1, corruption, offset)
		}
		wantCorruption(t, l.ReadBefore("room", uint64(i+2), storage.PageLimit{Records: 1}, fn))
		offset += int64(f.sizes[i])
	}
	checkRecords(t, "the rest", collect(t, l.ReadAfter, "room", 3, storage.PageLimit{}), f.records[3:])
	if err := l.Err(); err != nil {
		t.Errorf("a damaged record stopped the appends: %v", err)
	}
}

// TestOwnFilesAreKnown: what other parts of the server keep in the directory is no news to the operator, at no start.
func TestOwnFilesAreKnown(t *testing.T) {
	f := newFixture(t, false)
	for _, name := range []string{"changes", "acme", "push", "oidc", "seen", "webhooks", "notes.txt"} {
		file, err := f.fs.Create(testDir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, mustOpen(t, f.config))
	logged := f.logged.String()
	for _, ours := range []string{"changes", "acme", "push", "oidc", "seen", "webhooks"} {
		if strings.Contains(logged, ours) {
			t.Errorf("the directory %s is taken for somebody else's:\n%s", ours, logged)
		}
	}
	if !strings.Contains(logged, "notes.txt") {
		t.Errorf("logged %s", logged)
	}
}

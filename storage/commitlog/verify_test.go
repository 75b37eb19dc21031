package commitlog

import (
	"errors"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

func verify(t testing.TB, v *View) (findings []Finding, summary Summary) {
	t.Helper()
	summary, err := v.Verify(func(f Finding) { findings = append(findings, f) })
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if summary.Findings != len(findings) {
		t.Errorf("%d findings were told, the summary says %d", len(findings), summary.Findings)
	}
	return findings, summary
}

// verifies checks that what is wrong is found, and just the records named that are not there.
func (f *fixture) verifies(v *View, want []storage.Record, damage int) {
	f.t.Helper()
	findings, summary := verify(f.t, v)
	if len(findings) < damage || summary.Records != uint64(len(want)) {
		f.t.Errorf("%d findings with %d damaged places, %d records of %d", len(findings), damage, summary.Records, len(want))
	}
	named := map[uint64]bool{}
	for _, finding := range findings {
		for seq := finding.First; seq <= finding.Last && seq > 0; seq++ {
			named[seq] = true
			if finding.Room != "room" {
				f.t.Errorf("missing records are said to be of room %q: %v", finding.Room, finding)
			}
		}
	}
	there := map[uint64]bool{}
	for _, r := range want {
		there[r.Seq] = true
	}
	for seq := range f.records {
		seq := uint64(seq + 1)
		// Nothing may tell of the newest ones; a checkpoint does after a clean end.
		known := len(want) > 0 && seq < want[len(want)-1].Seq || summary.State == "closed"
		if named[seq] && there[seq] || !named[seq] && !there[seq] && known {
			f.t.Errorf("record %d is there: %v, named as missing: %v in %v", seq, there[seq], named[seq], findings)
		}
	}
}

// TestVerifyAWholeLog: nothing is found, also beside the process that writes it, and what there is is counted.
func TestVerifyAWholeLog(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	config.SegmentBytes, config.growing = minSegmentBytes, false
	l := mustOpen(t, config)
	w := newWriter(l)
	for i := range 300 {
		w.mustAppend(t, []string{"a", "b", "c"}[i%3], strings.Repeat("x", i))
		w.mustCommit(t, i+1)
	}
	if err := l.StartRoom("d", 8); err != nil {
		t.Fatal(err)
	}
	w.next["d"] = 8
	w.mustAppend(t, "d", "the eighth")
	w.mustCommit(t, 301)
	v := mustView(t, memory)
	for _, state := range []string{"open", "closed"} {
		findings, s := verify(t, v)
		if len(findings) > 0 {
			t.Errorf("%s: found %v", state, findings)
		}
		base, bytes := l.Committed()
		if s.Records != 302 || s.Stubs != 1 || s.Rooms != 4 || s.State != state || s.Epoch != l.Epoch() || s.End != base+bytes || s.Bytes != s.End {
			t.Errorf("%s: got %+v", state, s)
		}
		if s.OldestAt != 1_000_001 {
			t.Errorf("oldest time: got %d, want that of the first record", s.OldestAt)
		}
		mustClose(t, l)
	}
	if _, s := verify(t, v); s.Checkpoints != 1 {
		t.Errorf("%d checkpoints, want the one of the end", s.Checkpoints)
	}
}

// craft makes a log of one segment with the records as they are given, all with right checksums.
func craft(t *testing.T, write func(at position, b []byte) []byte) *vfs.Memory {
	t.Helper()
	memory := vfs.NewMemory()
	if err := memory.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	b := encodeSegmentHeader(7, segmentHeader{})
	for {
		next := write(position(len(b)), b)
		if next == nil {
			break
		}
		b = next
	}
	file, err := memory.Create(testDir + "/" + segmentName(0))
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(b, 0)
	if err := errors.Join(err, file.Sync(), file.Close(), memory.SyncDir(testDir)); err != nil {
		t.Fatal(err)
	}
	if err := writeMeta(memory, testDir, meta{logID: 7, epoch: 1, synced: position(len(b)), state: stateClosed}); err != nil {
		t.Fatal(err)
	}
	return memory
}

// TestVerifyChains: records whose checksums are right and that do not hang together, which only a fault of
// a program makes.
func TestVerifyChains(t *testing.T) {
	type written struct {
		seq      uint64
		previous int // number of the record, from 0; -1: none
	}
	for name, test := range map[string]struct {
		records []written
		want    string
	}{
		"whole":              {[]written{{1, -1}, {2, 0}, {3, 1}}, ""},
		"one is missing":     {[]written{{1, -1}, {3, 0}}, `offset 64: record 2 of room "r": missing`},
		"the first missing":  {[]written{{1, -1}, {2, 0}, {6, 1}}, `records 3 to 5 of room "r": missing`},
		"one twice":          {[]written{{1, -1}, {2, 0}, {2, 1}}, `record 2 of room "r": it stands behind record 2`},
		"points to another":  {[]written{{1, -1}, {2, 0}, {3, 0}}, `record 3 of room "r": it points to position 64`},
		"a number goes back": {[]written{{1, -1}, {2, 0}, {3, 1}, {2, 0}}, `it stands behind record 3`},
	} {
		t.Run(name, func(t *testing.T) {
			var places []position
			memory := craft(t, func(at position, b []byte) []byte {
				if len(places) == len(test.records) {
					return nil
				}
				w := test.records[len(places)]
				places = append(places, at)
				to := links{total: 1000}
				if w.previous >= 0 {
					to.previous = places[w.previous]
				}
				return appendRecord(b, newSeal(7), at, &storage.Record{Room: "r", Seq: w.seq, From: "u"}, 0, to)
			})
			findings, _ := verify(t, mustView(t, memory))
			switch {
			case test.want == "" && len(findings) > 0:
				t.Errorf("found %v in a whole log", findings)
			case test.want != "" && (len(findings) != 1 || !strings.Contains(findings[0].String(), test.want)):
				t.Errorf("found %v, want one with %q", findings, test.want)
			}
		})
	}
}

// TestVerifyCheckpoint: a damaged checkpoint is found, though the log opens without it.
func TestVerifyCheckpoint(t *testing.T) {
	f := newFixture(t, false)
	names, _ := f.fs.List(testDir)
	path := f.path(checkpointNames(names)[0])
	f.change(path, func(b []byte) []byte { b[70] ^= 1; return b })
	findings, s := verify(t, mustView(t, f.fs))
	if len(findings) != 1 || findings[0].Path != path || s.Checkpoints != 1 {
		t.Errorf("found %v, want the checkpoint", findings)
	}
}

// TestVerifyGoesOnBehindAnError: a segment that the disk does not give is reported, and the others are read.
func TestVerifyGoesOnBehindAnError(t *testing.T) {
	f := newFixture(t, false)
	bad := f.path(f.names[1])
	v := mustView(t, failingReads{f.fs, bad})
	findings, s := verify(t, v)
	lost := len(f.recordsOf(1))
	if s.Records != uint64(60-lost) {
		t.Errorf("%d records were read, want 60 without the %d of the segment", s.Records, lost)
	}
	if len(findings) != 2 || !errors.Is(findings[0].Err, errBadSector) || findings[1].Path != bad || findings[1].Last-findings[1].First+1 != uint64(lost) {
		t.Errorf("found %v, want the error and the records", findings)
	}
}

var errBadSector = errors.New("bad sector")

// failingReads fails all reads of a file behind its header.
type failingReads struct {
	vfs.FS
	path string
}

func (f failingReads) OpenRead(path string) (vfs.File, error) {
	file, err := f.FS.OpenRead(path)
	if path == f.path && err == nil {
		return failingFile{file}, nil
	}
	return file, err
}

type failingFile struct{ vfs.File }

func (f failingFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= segmentHeaderBytes {
		return 0, errBadSector
	}
	return f.File.ReadAt(b, offset)
}

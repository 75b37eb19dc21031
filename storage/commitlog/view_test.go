package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

func mustView(t testing.TB, fsys vfs.FS) *View {
	t.Helper()
	v, err := OpenView(fsys, testDir)
	if err != nil {
		t.Fatalf("OpenView: %v", err)
	}
	t.Cleanup(func() { _ = v.Close() }) // a second Close is harmless
	return v
}

// scan gives all records from a position on, and the damage.
func scan(t testing.TB, v *View, from int64) (records []storage.Record, next int64, damage []*storage.CorruptionError) {
	t.Helper()
	next, err := v.Scan(from, func(e Entry) bool {
		if e.Position < from {
			t.Errorf("record at %d, asked for those from %d on", e.Position, from)
		}
		records = append(records, clone(e.Record))
		return true
	}, func(c *storage.CorruptionError) { damage = append(damage, c) })
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return records, next, damage
}

// views checks that a view gives what the log serves once it is opened, and changes nothing.
func (f *fixture) views(want []storage.Record) {
	f.t.Helper()
	before := f.fs.String()
	v := mustView(f.t, f.fs)
	got, _, damage := scan(f.t, v, 0)
	checkRecords(f.t, "view", got, want)
	inTheMiddle := len(want) > 0 && want[len(want)-1].Seq > uint64(len(want))
	if inTheMiddle && len(damage) == 0 {
		f.t.Errorf("view of %d of %d records: no damage is told", len(want), len(f.records))
	}
	f.verifies(v, want, len(damage))
	if err := v.Close(); err != nil {
		f.t.Errorf("close the view: %v", err)
	}
	if after := f.fs.String(); after != before {
		f.t.Errorf("the view changed files:\n%s\nbefore:\n%s", after, before)
	}
}

// TestViewGoesOn reads a log in parts, while it is open, from where the part before ended.
func TestViewGoesOn(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	config.SegmentBytes, config.growing = minSegmentBytes, false // with zeros behind the end
	l := mustOpen(t, config)
	v := mustView(t, memory)
	if v.LogID() != l.meta.logID || v.Epoch() != l.Epoch() {
		t.Errorf("log id and epoch: got %x, %x, want %x, %x", v.LogID(), v.Epoch(), l.meta.logID, l.Epoch())
	}
	w := newWriter(l)
	var want, got []storage.Record
	next := int64(0)
	for i := range 40 {
		for range 5 {
			want = append(want, w.mustAppend(t, fmt.Sprint("room", i%3), strings.Repeat("x", 50*(i%7))))
		}
		w.mustCommit(t, len(want))
		records, end, damage := scan(t, v, next)
		if len(damage) > 0 {
			t.Fatalf("damage in a whole log: %v", damage[0])
		}
		got, next = append(got, records...), end
		if base, bytes := l.Committed(); end != base+bytes {
			t.Fatalf("scan ended at %d, the log at %d", end, base+bytes)
		}
	}
	checkRecords(t, "in parts", got, want)
	infos, live := v.Segments(), l.Segments()
	if len(infos) != len(live) || len(infos) < 5 {
		t.Fatalf("%d segments, want %d and some", len(infos), len(live))
	}
	for i := range infos {
		if infos[i] != live[i] {
			t.Errorf("segment %d: got %+v, want %+v", i, infos[i], live[i])
		}
	}

	// A scan that is ended goes on behind the record it was ended with.
	var once []storage.Record
	next = 0
	for len(once) < len(want) {
		end, err := v.Scan(next, func(e Entry) bool {
			once = append(once, clone(e.Record))
			return len(once)%7 != 0
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		next = end
	}
	checkRecords(t, "seven at a time", once, want)
}

// TestViewGivesStubs: a room that was started higher has a stub first.
func TestViewGivesStubs(t *testing.T) {
	memory := vfs.NewMemory()
	l := mustOpen(t, testConfig(memory))
	if err := l.StartRoom("imported", 1001); err != nil {
		t.Fatal(err)
	}
	v := mustView(t, memory)
	var entries []Entry
	if _, err := v.Scan(0, func(e Entry) bool {
		e.Record = clone(e.Record)
		entries = append(entries, e)
		return true
	}, nil); err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || !entries[0].Stub || entries[0].Record.Room != "imported" || entries[0].Record.Seq != 1000 || entries[0].Position != segmentHeaderBytes {
		t.Errorf("got %+v, want the stub of imported 1000", entries)
	}
}

// TestViewOfNothing: what is no log is not taken for an empty one.
func TestViewOfNothing(t *testing.T) {
	memory := vfs.NewMemory()
	if _, err := OpenView(memory, testDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: got %v, want ErrNotExist", err)
	}
	if err := memory.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenView(memory, testDir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no log in "+testDir) {
		t.Errorf("empty directory: got %v, want that there is no log", err)
	}
}

// TestViewWhileFilesAreReused: retention takes a segment's file away while it is read, and gives it to
// another segment. What stood in it is now in a file that has its name.
func TestViewWhileFilesAreReused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	first := f.read(f.path(f.names[0]))
	v := mustView(t, f.fs)
	var got []storage.Record
	_, err := v.Scan(0, func(e Entry) bool {
		got = append(got, clone(e.Record))
		if len(got) != 1 {
			return true
		}
		// The view holds the file open, and has read into it.
		spare := f.path("SPARE-1")
		if err := f.fs.Rename(f.path(f.names[0]), spare); err != nil {
			t.Fatal(err)
		}
		file, err := f.fs.Open(spare)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		header := encodeSegmentHeader(v.LogID(), segmentHeader{base: 1 << 40})
		if _, err := file.WriteAt(append(header, make([]byte, len(first)-len(header))...), 0); err != nil {
			t.Fatal(err)
		}
		f.write(f.path(f.names[0]), first)
		return true
	}, func(c *storage.CorruptionError) { t.Errorf("damage in a whole log: %v", c) })
	if err != nil {
		t.Fatal(err)
	}
	checkRecords(t, "over a file that was reused", got, f.records)
}

// TestViewWhileSegmentsVanish: a segment that was listed is gone before it is opened.
func TestViewWhileSegmentsVanish(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	v := mustView(t, f.fs)
	gone := len(f.names) / 2
	var got []storage.Record
	var damage []*storage.CorruptionError
	next, err := v.Scan(0, func(e Entry) bool {
		if len(got) == 0 {
			f.remove(f.names[gone])
		}
		got = append(got, clone(e.Record))
		return true
	}, func(c *storage.CorruptionError) { damage = append(damage, c) })
	if err != nil {
		t.Fatal(err)
	}
	missing := f.recordsOf(gone)
	checkRecords(t, "around the missing segment", got, append(f.records[:missing[0]:missing[0]], f.records[missing[len(missing)-1]+1:]...))
	if len(damage) != 1 || damage[0].Path != f.path(f.names[gone]) {
		t.Errorf("damage: got %v, want the missing segment once", damage)
	}
	if next != int64(v.end()) {
		t.Errorf("scan ended at %d, the log ends at %d", next, v.end())
	}
	if infos := v.Segments(); !infos[gone].Missing {
		t.Errorf("segment %d: got %+v, want it missing", gone, infos[gone])
	}
}

// TestViewBesideAWriter scans again and again while records are written: no damage is seen, nothing that was
// committed before a scan is missing.
func TestViewBesideAWriter(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (vfs.FS, string){
		"memory": func(*testing.T) (vfs.FS, string) { return vfs.NewMemory(), testDir },
		"disk":   func(t *testing.T) (vfs.FS, string) { return vfs.Disk(), t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, dir := open(t)
			config := testConfig(fsys)
			config.Dir, config.SegmentBytes, config.growing = dir, 64<<10, false
			l := mustOpen(t, config)
			w := newWriter(l)
			var writing sync.WaitGroup
			writing.Go(func() {
				for i := range 3000 {
					for w.append(w.record(fmt.Sprint("room", i%5), strings.Repeat("y", i%300))) == storage.ErrFull {
					}
				}
			})
			v, err := OpenView(fsys, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			for count := 0; count < 3000; {
				w.mu.Lock()
				committed := w.committed
				w.mu.Unlock()
				count = 0
				heads := map[string]uint64{}
				if _, err := v.Scan(0, func(e Entry) bool {
					count++
					room := strings.Clone(e.Record.Room)
					if heads[room]++; heads[room] != e.Record.Seq {
						t.Errorf("room %q: got record %d, want %d", room, e.Record.Seq, heads[room])
					}
					return true
				}, func(c *storage.CorruptionError) { t.Errorf("damage in a whole log: %v", c) }); err != nil {
					t.Fatal(err)
				}
				if count < committed {
					t.Fatalf("%d records, %d were committed before", count, committed)
				}
			}
			writing.Wait()
		})
	}
}

package commitlog

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// logWithStubs is a closed log of packed and plain segments, in which some rooms have nothing but a stub.
func logWithStubs(t *testing.T) (*vfs.Memory, Config) {
	t.Helper()
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	l := mustOpen(t, config)
	fill(t, l, 6, 120)
	w := newWriter(l)
	for i := range 60 {
		w.mustAppend(t, "room-0", strings.Repeat("m", 100))
		w.mustCommit(t, i+1)
	}
	retain(t, l, func(room string) storage.Retention {
		if room == "room-0" {
			return storage.Retention{}
		}
		return storage.Retention{Age: time.Millisecond}
	})
	mustClose(t, l)
	stubs := 0
	for _, e := range entriesOf(t, memory) {
		if e.Stub {
			stubs++
		}
	}
	if first := mustView(t, memory).log.segments.load()[0]; stubs == 0 || !first.packed() {
		t.Fatalf("%d stubs, first segment packed: %v, want both", stubs, first.packed())
	}
	return memory, config
}

// copyOf gives a file system with the same content, all of it durable.
func copyOf(memory *vfs.Memory) *vfs.Memory { return memory.CrashClone(nil) }

// entriesOf gives all that a log has, which must be whole.
func entriesOf(t testing.TB, fsys vfs.FS) (entries []Entry) {
	t.Helper()
	v := mustView(t, fsys)
	if findings, _ := verify(t, v); len(findings) > 0 {
		t.Fatalf("%d findings, the first: %v", len(findings), findings[0])
	}
	if _, err := v.Scan(0, func(e Entry) bool {
		e.Record = clone(e.Record)
		entries = append(entries, e)
		return true
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestCut ends a log of packed and plain segments behind each of its records: it has just those before, opens with
// a new epoch, takes more, keeps them, and its next opening believes its checkpoint.
func TestCut(t *testing.T) {
	t.Parallel()
	memory, config := logWithStubs(t)
	m, err := readMeta(memory, testDir)
	if err != nil {
		t.Fatal(err)
	}
	all := entriesOf(t, memory)
	packed, plain := 0, 0
	for i, last := range all {
		for offset := range int64(2) { // a byte too few, and just so
			kept, until := i+int(offset), last.End-1+offset
			cut := copyOf(memory)
			end, epoch, err := Cut(cut, testDir, until)
			if err != nil {
				t.Fatalf("cut at %d: %v", until, err)
			}
			if epoch == m.epoch || kept > 0 && end < all[kept-1].End {
				t.Errorf("cut at %d: end %d, epoch %x", until, end, epoch)
			}
			got := entriesOf(t, cut)
			checkEntries(t, fmt.Sprint("cut at ", until), got, all[:kept])
			if checkpoints := checkpointsIn(t, cut); len(checkpoints) > 0 {
				t.Errorf("cut at %d: %v is there", until, checkpoints)
			}
			if i%15 != 0 {
				continue // what follows is slow
			}
			config.FS = cut
			l := mustOpen(t, config)
			if l.Epoch() != epoch {
				t.Errorf("cut at %d: opened with epoch %x, want %x", until, l.Epoch(), epoch)
			}
			w := newWriter(l)
			for n := range 3 {
				w.mustAppend(t, fmt.Sprint("room-", n), "behind the cut")
			}
			w.mustCommit(t, 3)
			mustClose(t, l)
			got = entriesOf(t, cut)
			checkEntries(t, fmt.Sprint("behind the cut at ", until), got[:kept], all[:kept])
			if len(got) != kept+3 || got[kept].Record.Seq != headOf(all[:kept], "room-0")+1 {
				t.Errorf("cut at %d: %d records, want %d and 3", until, len(got), kept)
			}
			l = mustOpen(t, config)
			if g := l.segments.load()[0]; g.packed() && g.needs > l.checkpoints.newest() {
				t.Errorf("cut at %d: segment needs a checkpoint from %d on, the newest is of %d", until, g.needs, l.checkpoints.newest())
			}
			if l.segments.load()[0].packed() {
				packed++
			} else {
				plain++
			}
			mustClose(t, l)
		}
	}
	if packed == 0 || plain == 0 {
		t.Errorf("%d logs with a packed segment, %d without, want some of each", packed, plain)
	}
}

func headOf(entries []Entry, room string) (head uint64) {
	for _, e := range entries {
		if e.Record.Room == room {
			head = e.Record.Seq
		}
	}
	return head
}

func checkEntries(t testing.TB, what string, got, want []Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i].Position != want[i].Position || got[i].Stub != want[i].Stub || !equal(got[i].Record, want[i].Record) {
			t.Fatalf("%s: record %d: got %+v, want %+v", what, i, got[i], want[i])
		}
	}
}

// TestVerifyPacked: what retention took is not missing, a damaged record is named, and so is a damaged index.
func TestVerifyPacked(t *testing.T) {
	t.Parallel()
	memory, _, all := packedLog(t)
	entries := entriesOf(t, memory) // whole
	v := mustView(t, memory)
	g := v.log.segments.load()[0]
	record := all["room-0"][2]
	var at position
	for _, e := range entries {
		if e.Record.Room == "room-0" && e.Record.Seq == record.Seq {
			at = position(e.Position)
		}
	}
	offset, err := g.offsetOf(v.log.files, at, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		offset int64
		want   []string
	}{
		"a record":          {offset + 70, []string{"payload does not match", `record 3 of room "room-0": missing`}},
		"an extent":         {segmentHeaderBytes + 3, []string{"header of an extent"}},
		"a block":           {g.index.Load().blocks + 9, []string{"index of a rewritten segment"}},
		"the footer":        {g.size() - packedEndBytes + 20, []string{"index of a rewritten segment"}},
		"the header":        {20, []string{"header of a segment"}},
		"the second header": {g.size() - 20, []string{"second header"}},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := copyOf(memory)
			flip(t, damaged, segmentName(0), test.offset)
			findings, _ := verify(t, mustView(t, damaged))
			said := fmt.Sprint(findings)
			if len(findings) != len(test.want) {
				t.Errorf("found %v, want %d", said, len(test.want))
			}
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("found %v, want %q", said, want)
				}
			}
		})
	}
}

// TestViewBesideRetention reads a log from the beginning, again and again, while it is written, swept and
// rewritten: no damage is seen, and each room is a run of numbers without a gap at its end.
func TestViewBesideRetention(t *testing.T) {
	t.Parallel()
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	config.growing = false // files become spares again
	l := mustOpen(t, config)
	var working sync.WaitGroup
	working.Go(func() {
		w := newWriter(l)
		for i := range 1500 {
			room := fmt.Sprint("room-", i%4)
			r := w.record(room, strings.Repeat("m", 100))
			r.At = time.Now().UnixMilli()
			if err := w.append(r); err != nil {
				t.Error(err)
				return
			}
			if i%15 == 14 {
				if committed, err := w.wait(i + 1); committed != i+1 {
					t.Error(err)
					return
				}
				retain(t, l, keepAll(storage.Retention{Records: 10}))
			}
		}
	})
	defer working.Wait()
	v := mustView(t, memory)
	for done := false; !done; {
		last := map[string]uint64{}
		if _, err := v.Scan(0, func(e Entry) bool {
			room := strings.Clone(e.Record.Room)
			if e.Record.Seq <= last[room] {
				t.Errorf("room %q: record %d behind %d", room, e.Record.Seq, last[room])
			}
			last[room] = e.Record.Seq
			return true
		}, func(c *storage.CorruptionError) { t.Errorf("damage in a whole log: %v", c) }); err != nil {
			t.Fatal(err)
		}
		if findings, _ := verify(t, v); len(findings) > 0 {
			t.Fatalf("found %v in a whole log", findings)
		}
		done = last["room-3"] == 1500/4
	}
	working.Wait()
	if l.Stats().Rewrites < 5 {
		t.Errorf("%d rewritings, want some", l.Stats().Rewrites)
	}
}

// listing calls a function once, behind the next List.
type listing struct {
	vfs.FS
	behind func()
}

func (l *listing) List(dir string) ([]string, error) {
	names, err := l.FS.List(dir)
	if behind := l.behind; behind != nil {
		l.behind = nil
		behind()
	}
	return names, err
}

// TestViewIsOfOneMoment: between the list of the segments and their headers records are written to new segments,
// and for their sake the older ones are dropped from those that were listed. A room has the ones or the others.
func TestViewIsOfOneMoment(t *testing.T) {
	memory := vfs.NewMemory()
	l := mustOpen(t, retentionConfig(memory))
	fill(t, l, 2, 100)
	before := map[string]uint64{"room-0": l.Head("room-0"), "room-1": l.Head("room-1")}
	fsys := &listing{FS: memory}
	v := mustView(t, fsys)
	fsys.behind = func() {
		fill(t, l, 2, 200)
		retain(t, l, keepAll(storage.Retention{Records: 1}))
	}
	heads := map[string]uint64{}
	if _, err := v.Scan(0, func(e Entry) bool {
		heads[strings.Clone(e.Record.Room)] = e.Record.Seq
		return true
	}, func(c *storage.CorruptionError) { t.Errorf("damage in a whole log: %v", c) }); err != nil {
		t.Fatal(err)
	}
	for room, head := range before {
		if heads[room] < head {
			t.Errorf("%s: newest record is %d, there were %d before", room, heads[room], head)
		}
	}
}

// TestViewWhileAFileMoves: a file is opened by its name and is another segment's when its header is read.
func TestViewWhileAFileMoves(t *testing.T) {
	f := newFixture(t, false)
	path, content := f.path(f.names[1]), f.read(f.path(f.names[1]))
	moved := bytes.Clone(content)
	copy(moved, encodeSegmentHeader(mustView(t, f.fs).LogID(), segmentHeader{base: 1 << 40}))
	f.write(path, moved)
	fsys := &listing{FS: f.fs}
	fsys.behind = func() { fsys.behind = func() { f.write(path, content) } } // at the second look it is there
	got, _, damage := scan(t, mustView(t, fsys), 0)
	checkRecords(t, "view", got, f.records)
	if len(damage) > 0 {
		t.Errorf("damage in a whole log: %v", damage)
	}
}

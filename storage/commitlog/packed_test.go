package commitlog

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// packedLog is a closed log whose first segments were rewritten: rooms that keep all, some and nothing.
func packedLog(t *testing.T) (memory *vfs.Memory, config Config, all map[string][]storage.Record) {
	t.Helper()
	memory = vfs.NewMemory()
	config = retentionConfig(memory)
	l := mustOpen(t, config)
	all = fill(t, l, 6, 120)
	retain(t, l, func(room string) storage.Retention {
		switch room {
		case "room-0":
			return storage.Retention{}
		case "room-1":
			return storage.Retention{Age: 1}
		}
		return storage.Retention{Records: 4}
	})
	if g := l.segments.load()[0]; !g.packed() || g.index.Load().first == nil {
		t.Fatal("the first segment was not rewritten")
	}
	for room := range all {
		all[room] = all[room][l.Begin(room)-1:]
	}
	mustClose(t, l)
	return memory, config, all
}

// TestPackedDamage damages a packed segment, each byte of its headers and every 21st elsewhere, from another one on each time. Opened with
// its checkpoint and without, the log serves everything else, and says what is missing: a record at most.
func TestPackedDamage(t *testing.T) {
	t.Parallel()
	memory, config, all := packedLog(t)
	file, err := memory.Open(filepath.Join(testDir, segmentName(0)))
	if err != nil {
		t.Fatal(err)
	}
	size, _ := file.Size()
	const step = 21
	unseen, phase := 0, int64(phase(t, step))
	for offset := range size {
		if offset > 200 && offset < size-packedEndBytes-16 && offset%step != phase {
			continue
		}
		for _, checkpoints := range []bool{true, false} {
			if !checkpoints && offset%2 != 0 {
				continue
			}
			damaged := memory.CrashClone(nil)
			flip(t, damaged, segmentName(0), offset)
			if !checkpoints {
				removeCheckpoints(t, damaged)
			}
			config.FS = damaged
			l := mustOpen(t, config)
			missing := 0
			for room, want := range all {
				got, gone := readAround(t, l, room, offset%2 == 0)
				for seq := range gone {
					want = slices.DeleteFunc(slices.Clone(want), func(r storage.Record) bool { return r.Seq == seq })
				}
				for seq := range gone {
					// Without checkpoints damage can't be told from what was dropped.
					if len(all[room]) > 0 && seq >= all[room][0].Seq {
						missing++
					}
				}
				if len(got) > len(want) { // without checkpoints what is not rewritten is given again
					got = got[len(got)-len(want):]
				}
				checkRecords(t, fmt.Sprintf("byte %d, checkpoints %v, %s", offset, checkpoints, room), got, want)
			}
			if missing > 1 {
				t.Fatalf("byte %d, checkpoints %v: %d records are missing", offset, checkpoints, missing)
			}
			// All of it is read: what no reader has met, the scan tells.
			seen := missing > 0 || l.Stats().Damage > 0
			snapshot := l.segments.enter()
			scanner := scanner{seal: l.seal, files: l.files}
			err := scanner.scanAll(snapshot.segments[0], 0, func(recordHeader, storage.Record, position) error { return nil },
				func(int64, error) { seen = true })
			l.segments.leave(snapshot)
			if err != nil {
				t.Fatalf("byte %d: scan: %v", offset, err)
			}
			if !seen {
				unseen++
			}
			mustClose(t, l)
		}
	}
	// The second header, the zeros behind the entries of a block whose extents nobody looked for.
	if unseen > segmentHeaderBytes*2+indexBlockBytes*2/step*3/2 { // half of them are tried twice
		t.Errorf("%d damaged bytes were not noticed", unseen)
	}
}

// TestOldCheckpointIsNotBelieved: one from before the rewriting says that records are there which were
// dropped by it.
func TestOldCheckpointIsNotBelieved(t *testing.T) {
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	l := mustOpen(t, config)
	all := fill(t, l, 2, 100)
	if err := l.checkpoints.write(); err != nil {
		t.Fatal(err)
	}
	old := checkpointsIn(t, memory)[0]
	w := newWriter(l)
	for i := range 100 {
		room := fmt.Sprint("room-", i%2)
		all[room] = append(all[room], w.mustAppend(t, room, "more of it, in a segment of its own"))
		w.mustCommit(t, i+1)
	}
	retain(t, l, keepAll(storage.Retention{Records: 10}))
	mustClose(t, l)
	for _, name := range checkpointsIn(t, memory) {
		if name != old {
			if err := memory.Remove(filepath.Join(testDir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	l = mustOpen(t, config)
	for room, records := range all {
		got, damaged := readAround(t, l, room, true)
		if len(damaged) > 0 || len(got) < 10 {
			t.Fatalf("%s: %d records, %d are told as damaged", room, len(got), len(damaged))
		}
		checkRecords(t, room, got, records[len(records)-len(got):])
	}
}

// TestDamagedSegmentIsNotRewritten: it keeps its bytes for whoever comes to repair it.
func TestDamagedSegmentIsNotRewritten(t *testing.T) {
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	l := mustOpen(t, config)
	fill(t, l, 2, 200)
	flip(t, memory, segmentName(0), segmentHeaderBytes+recordHeaderBytes+3)
	if err := l.Trim("room-0", 90); err != nil {
		t.Fatal(err)
	}
	if err := l.Trim("room-1", 90); err != nil {
		t.Fatal(err)
	}
	before := l.Stats()
	for range 2 {
		if err := l.retention.step(); err != nil {
			t.Fatal(err)
		}
	}
	first := l.segments.load()[0]
	if first.packed() || !first.leftAlone.Load() {
		t.Error("a damaged segment was rewritten")
	}
	if after := l.Stats(); after.Rewrites != 1 || after.Bytes > before.Bytes/2 {
		t.Errorf("the others were not: %d rewritings, %d bytes of %d", after.Rewrites, after.Bytes, before.Bytes)
	}
	mustClose(t, l)
}

// TestPackedWipedOut: nothing is left of the records of a packed segment but the index. Going around that takes some reads for each extent, not
// the whole index for each.
func TestPackedWipedOut(t *testing.T) {
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	config.SegmentBytes = 2 << 20
	l := mustOpen(t, config)
	fill(t, l, 3, 15_000)
	retain(t, l, func(room string) storage.Retention {
		if room == "room-0" {
			return storage.Retention{}
		}
		return storage.Retention{Age: 1}
	})
	g := l.segments.load()[0]
	if !g.packed() || len(g.index.Load().first) < 12 {
		t.Fatal("the first segment was not rewritten, or is small")
	}
	blocks := g.index.Load().blocks
	mustClose(t, l)
	name := segmentName(0)
	b := readFile(t, memory, name)
	clear(b[segmentHeaderBytes:blocks])
	writeFile(t, memory, name, b)
	counting := vfs.Faulty(memory)
	config.FS = counting
	l = mustOpen(t, config)
	before, damaged := counting.Calls(vfs.OpRead), 0
	snapshot := l.segments.enter()
	scanner := scanner{seal: l.seal, files: l.files}
	err := scanner.scanAll(snapshot.segments[0], 0, func(recordHeader, storage.Record, position) error { return nil }, func(int64, error) { damaged++ })
	l.segments.leave(snapshot)
	if err != nil || damaged < 12*indexBlockEntries-indexBlockEntries {
		t.Fatalf("%d places are damaged, %v", damaged, err)
	}
	if reads := counting.Calls(vfs.OpRead) - before; reads > 3*damaged {
		t.Errorf("%d reads for %d damaged places", reads, damaged)
	}
	mustClose(t, l)
}

package commitlog

import (
	"errors"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// TestLogIDLeavesNothingOpen: the log's id is looked for in segments of which some have no good header.
func TestLogIDLeavesNothingOpen(t *testing.T) {
	f := newFixture(t, false)
	f.remove(metaName)
	for _, name := range f.names[:len(f.names)-1] {
		f.change(f.path(name), func(b []byte) []byte {
			b[20] ^= 1
			return b
		})
	}
	config := f.config
	counting := newCountingFS(t, config.FS)
	config.FS = counting
	l := mustOpen(t, config)
	if open, _ := counting.counts(); open != l.Stats().OpenFiles {
		t.Errorf("%d segments are open, the log knows of %d", open, l.Stats().OpenFiles)
	}
	mustClose(t, l)
	if open, _ := counting.counts(); open != 0 {
		t.Errorf("%d segments are open behind Close", open)
	}
}

// TestDamagedBeginning: a room was made to begin at a high number, and the stub that says so is damaged. All that is not there before it is told
// as one gap, not as many as there are chunks.
func TestDamagedBeginning(t *testing.T) {
	const first = 1 << 40
	memory := vfs.NewMemory()
	l := mustOpen(t, testConfig(memory))
	if err := l.StartRoom("room", first); err != nil {
		t.Fatal(err)
	}
	w := newWriter(l)
	var want []storage.Record
	for range 200 {
		want = append(want, w.mustAppend(t, "room", "message"))
	}
	w.mustCommit(t, len(want))
	mustClose(t, l)
	flip(t, memory, segmentName(0), segmentHeaderBytes+20)
	removeCheckpoints(t, memory)
	l = mustOpen(t, testConfig(memory))
	err := l.ReadAfter("room", 0, storage.PageLimit{}, func(r storage.Record) bool {
		t.Errorf("record %d is given", r.Seq)
		return true
	})
	if damaged, ok := errors.AsType[*storage.DamagedError](err); !ok || damaged.First != 1 || damaged.Last != first-1 {
		t.Fatalf("the damage is told as %v", err)
	}
	var got []storage.Record
	if err := l.ReadAfter("room", first-1, storage.PageLimit{}, func(r storage.Record) bool {
		got = append(got, clone(r))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	checkRecords(t, "behind it", got, want)
}

// TestBeginningBehindDamage: damage elsewhere, which no checkpoint makes up for, does not take from a room of which all is gone that its stub says so: it
// would be told as damaged, and count as unread.
func TestBeginningBehindDamage(t *testing.T) {
	const first = 1 << 40
	memory := vfs.NewMemory()
	l := mustOpen(t, testConfig(memory))
	w := newWriter(l)
	w.mustAppend(t, "other", "message")
	w.mustCommit(t, 1)
	if err := l.StartRoom("room", first); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	flip(t, memory, segmentName(0), segmentHeaderBytes+20)
	removeCheckpoints(t, memory)
	l = mustOpen(t, testConfig(memory))
	if begin := l.Begin("room"); begin != first {
		t.Errorf("the room begins at %d, want %d", begin, uint64(first))
	}
	checkRecords(t, "room", readAll(t, l, "room"), nil)
}

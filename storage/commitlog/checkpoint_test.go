package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"rookery/storage"
	"rookery/storage/vfs"
)

// manyRooms writes a log of n rooms, some of them begun above 1 or trimmed, and gives what it holds.
func manyRooms(t *testing.T, l *Log, n int) map[string][]storage.Record {
	t.Helper()
	w := newWriter(l)
	rooms := map[string][]storage.Record{}
	for i := range 2 * n {
		room := fmt.Sprint("room-", i*i%n)
		rooms[room] = append(rooms[room], w.mustAppend(t, room, fmt.Sprint("message ", i)))
		if i%1000 == 999 { // a slow machine takes fewer at a time
			w.mustCommit(t, i+1)
		}
	}
	w.mustCommit(t, 2*n)
	for i := 0; i < n; i += 10 {
		room := fmt.Sprint("room-", i)
		if len(rooms[room]) < 2 {
			continue
		}
		if err := l.Trim(room, 2); err != nil {
			t.Fatal(err)
		}
		rooms[room] = rooms[room][1:]
	}
	return rooms
}

func checkRooms(t *testing.T, what string, l *Log, rooms map[string][]storage.Record) {
	t.Helper()
	for room, want := range rooms {
		checkRecords(t, what+", "+room, readAll(t, l, room), want)
		if got := l.Begin(room); got != want[0].Seq {
			t.Errorf("%s: %s begins at %d, want %d", what, room, got, want[0].Seq)
		}
	}
}

// TestCheckpointIsSyncedInChunks: a commit waits for no more than a chunk of a checkpoint, and one write.
func TestCheckpointIsSyncedInChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowFS{FS: vfs.NewMemory(), prefix: checkpointPrefix}
		l := mustOpen(t, testConfig(slow))
		const rooms = 3 * syncChunk / 48
		for i := range rooms {
			l.table.update(l.table.key(fmt.Sprint(i)), func(s *roomState) { s.headSeq = 1 })
		}
		mustClose(t, l)
		if most := slow.most.Load(); most < syncChunk || most > syncChunk+scanBufferBytes {
			t.Errorf("%d bytes of a checkpoint waited for a sync, want %d and a buffer at most", most, syncChunk)
		}
	})
}

// TestCheckpoint is longer than any buffer.
func TestCheckpoint(t *testing.T) {
	memory := vfs.NewMemory()
	counting := vfs.Faulty(memory)
	config := testConfig(counting)
	config.SegmentBytes = 64 << 10
	l := mustOpen(t, config)
	rooms := manyRooms(t, l, 8000)
	mustClose(t, l)
	before := counting.Calls(vfs.OpRead)
	l = mustOpen(t, config)
	segments := l.Stats().Segments
	if got := counting.Calls(vfs.OpRead) - before; got > segments+50 {
		t.Errorf("opening a closed log of %d segments took %d reads", segments, got)
	}
	checkRooms(t, "from the checkpoint", l, rooms)
	mustClose(t, l)
	if names := checkpointsIn(t, memory); len(names) > keptCheckpoints {
		t.Errorf("%d checkpoints are kept, want %d", len(names), keptCheckpoints)
	}
}

func checkpointsIn(t *testing.T, fsys vfs.FS) []string {
	t.Helper()
	names, err := fsys.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	return checkpointNames(names)
}

// TestCheckpointWhileWriting makes checkpoints beside a producer and opens what a crash right
// behind each would leave.
func TestCheckpointWhileWriting(t *testing.T) {
	t.Parallel()
	memory := vfs.NewMemory()
	config := testConfig(memory)
	config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, config)
	w := newWriter(l)
	rooms := map[string][]storage.Record{}
	rng := rand.New(rand.NewPCG(7, 7))
	n := 0
	for round := range 6 {
		for range 200 {
			room := fmt.Sprint("room-", rng.IntN(2000))
			rooms[room] = append(rooms[room], w.mustAppend(t, room, "message"))
			n++
		}
		done := make(chan error, 1)
		go func() { done <- l.checkpoints.write() }()
		w.mustCommit(t, n)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		crashed := config
		crashed.FS = memory.CrashClone(rng)
		after := mustOpen(t, crashed)
		checkRooms(t, fmt.Sprint("round ", round), after, rooms)
		mustClose(t, after)
	}
}

// TestCheckpointDamaged damages the newest one, its header and every fifth byte, and then all: the log is the same,
// and the epoch too.
func TestCheckpointDamaged(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, config)
	rooms := manyRooms(t, l, 40)
	epoch := l.Epoch()
	if err := l.checkpoints.write(); err != nil {
		t.Fatal(err)
	}
	w := newWriter(l) // so that the next one is another file
	rooms["room-1"] = append(rooms["room-1"], w.mustAppend(t, "room-1", "behind the first checkpoint"))
	w.mustCommit(t, 1)
	mustClose(t, l)
	names := checkpointsIn(t, memory)
	file, err := memory.Open(filepath.Join(testDir, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	size, _ := file.Size()
	for offset := range size {
		if offset > checkpointHeaderBytes && offset < size-12 && offset%5 != 0 {
			continue
		}
		clone := memory.CrashClone(nil)
		flip(t, clone, names[0], offset)
		var logged bytes.Buffer
		config.FS, config.Logger = clone, slog.New(slog.NewTextHandler(&logged, nil))
		l := mustOpen(t, config)
		if offset < 12 || offset >= 16 { // four bytes of the header mean nothing
			if !strings.Contains(logged.String(), "checkpoint of the rooms is damaged") {
				t.Fatalf("byte %d: the damage was not seen: %s", offset, logged.String())
			}
		}
		checkRooms(t, fmt.Sprint("byte ", offset), l, rooms)
		if l.Epoch() != epoch {
			t.Fatalf("byte %d: another epoch", offset)
		}
		mustClose(t, l)
	}
	clone := memory.CrashClone(nil)
	removeCheckpoints(t, clone)
	config.FS = clone
	l = mustOpen(t, config)
	for room, want := range rooms {
		got := readAll(t, l, room)
		checkRecords(t, "without any, "+room, got[len(got)-len(want):], want) // Trim is only in checkpoints
	}
	if l.Epoch() != epoch {
		t.Error("without any checkpoint: another epoch")
	}
}

func flip(t *testing.T, fsys vfs.FS, name string, offset int64) {
	t.Helper()
	file, err := fsys.Open(filepath.Join(testDir, name))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x20
	if _, err := file.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointWithoutItsName: one that can't get its name leaves nothing behind, or each attempt would take more of the disk.
func TestCheckpointWithoutItsName(t *testing.T) {
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory)
	l := mustOpen(t, testConfig(faulty))
	faulty.Break(vfs.Fault{Operation: vfs.OpRename, Call: faulty.Calls(vfs.OpRename) + 1, Err: errInjected})
	if err := l.checkpoints.write(); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	names, err := memory.List(testDir)
	if err != nil || slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, temporarySuffix) }) {
		t.Errorf("%v, %v", names, err)
	}
}

// TestCheckpointsOverCrashes: lives of which none is long enough for a checkpoint do not add up to more and more that an
// opening reads.
func TestCheckpointsOverCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := vfs.NewMemory()
		config := testConfig(memory)
		config.SegmentBytes, config.CheckpointBytes = 128<<10, minCheckpointBytes
		const records, recordSize = 12, 64 << 10
		for range 4 {
			config.FS = memory
			l := mustOpen(t, config)
			w := newWriter(l)
			for i := range records {
				w.mustAppend(t, "room", strings.Repeat("x", recordSize))
				w.mustCommit(t, i+1)
			}
			synctest.Wait() // for a checkpoint that is being written
			crashed := memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
			mustClose(t, l)
			memory = crashed
		}
		names := checkpointsIn(t, memory)
		if len(names) == 0 {
			t.Fatalf("no checkpoint behind %d bytes", 4*records*recordSize)
		}
		from, err := strconv.ParseInt(strings.TrimPrefix(names[0], checkpointPrefix), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		config.FS = memory
		if behind := mustOpen(t, config).End() - from; behind > config.CheckpointBytes+config.SegmentBytes+recordSize {
			t.Errorf("%d bytes lie behind the last checkpoint", behind)
		}
	})
}

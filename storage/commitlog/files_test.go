package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"rookery/storage"
	"rookery/storage/vfs"
)

// countingFS counts the segments that are open and sees to it that none is closed while it is
// being read.
type countingFS struct {
	vfs.FS
	t *testing.T
	// Set before the log is opened or changed while nothing reads; either may be nil. They are called
	// with a segment's name inside of an opening or a read.
	onOpen func(name string) error
	onRead func(name string)

	mu sync.Mutex

	// Guarded by mu.
	open, most int
	opened     map[string]int // how often, by name
}

func newCountingFS(t *testing.T, inner vfs.FS) *countingFS {
	return &countingFS{FS: inner, t: t, opened: map[string]int{}}
}

func (c *countingFS) Open(path string) (vfs.File, error) {
	return c.count(path, func() (vfs.File, error) {
		if c.onOpen != nil {
			if err := c.onOpen(filepath.Base(path)); err != nil {
				return nil, err
			}
		}
		return c.FS.Open(path)
	})
}

func (c *countingFS) Create(path string) (vfs.File, error) {
	return c.count(path, func() (vfs.File, error) { return c.FS.Create(path) })
}

// count counts a file before it is open, since it may hold a descriptor from then on.
func (c *countingFS) count(path string, open func() (vfs.File, error)) (vfs.File, error) {
	if !strings.HasSuffix(strings.TrimSuffix(path, temporarySuffix), segmentSuffix) {
		return open()
	}
	c.mu.Lock()
	c.open++
	c.most = max(c.most, c.open)
	c.opened[filepath.Base(path)]++
	c.mu.Unlock()
	file, err := open()
	if err != nil {
		c.closed()
		return nil, err
	}
	return &countingFile{File: file, fs: c, name: filepath.Base(path)}, nil
}

func (c *countingFS) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// counts gives how many segments are open and how many were at most, and begins to count that anew.
func (c *countingFS) counts() (open, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open, most = c.open, c.most
	c.most = c.open
	return open, most
}

func (c *countingFS) timesOpened(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened[name]
}

type countingFile struct {
	vfs.File
	fs   *countingFS
	name string

	mu    sync.Mutex
	reads int // guarded by mu
}

func (f *countingFile) addRead(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads += n
	return f.reads
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	f.addRead(1)
	defer f.addRead(-1)
	if f.fs.onRead != nil {
		f.fs.onRead(f.name)
	}
	return f.File.ReadAt(p, off)
}

func (f *countingFile) Close() error {
	if f.addRead(0) > 0 {
		f.fs.t.Errorf("segment %s is closed while it is read", f.name)
	}
	err := f.File.Close()
	f.fs.closed()
	return err
}

func roomBody(room string, seq uint64) string {
	return fmt.Sprintf("%s %d %s", room, seq, strings.Repeat("x", int(seq%400)))
}

// TestOpenFilesAreBounded reads random pages of random rooms from several goroutines while the
// writer begins segment after segment.
func TestOpenFilesAreBounded(t *testing.T) {
	for name, inner := range map[string]vfs.FS{"memory": vfs.NewMemory(), "disk": vfs.Disk()} {
		t.Run(name, func(t *testing.T) {
			counting := newCountingFS(t, inner)
			config := testConfig(counting)
			config.Dir = filepath.Join(t.TempDir(), "log")
			config.SegmentBytes, config.OpenSegments, config.Sync = minSegmentBytes, 2, SyncNever
			l := mustOpen(t, config)
			const rooms, each, readers = 5, 200, 6
			done := make(chan struct{})
			var running sync.WaitGroup
			for i := range readers {
				running.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), 0))
					for pages := 0; pages < 100 || !isClosed(done); pages++ {
						readRandomPage(t, l, rng, fmt.Sprint("room-", rng.IntN(rooms)))
					}
				})
			}
			w := newWriter(l)
			for i := range rooms * each {
				room := fmt.Sprint("room-", i%rooms)
				w.mustAppend(t, room, roomBody(room, uint64(i/rooms+1)))
				if i%20 == 19 {
					w.mustCommit(t, i+1)
				}
			}
			close(done)
			running.Wait()
			const bound = 2 + 1
			// One more where a segment ended while all others were being read.
			if _, most := counting.counts(); most > bound+1 || most < bound {
				t.Errorf("%d segments were open at once, want %d or %d", most, bound, bound+1)
			}
			stats := l.Stats()
			if open, _ := counting.counts(); stats.OpenFiles != open || open != bound || stats.Segments < 20 {
				t.Errorf("at rest %d segments are open, stats are %+v, want %d and 20 segments or more", open, stats, bound)
			}
			mustClose(t, l)
			if open, _ := counting.counts(); open != 0 || l.Stats().OpenFiles != 0 {
				t.Errorf("after Close %d segments are open, Stats says %d", open, l.Stats().OpenFiles)
			}
		})
	}
}

func isClosed(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func readRandomPage(t *testing.T, l *Log, rng *rand.Rand, room string) {
	t.Helper()
	head := l.Head(room)
	from := rng.Uint64N(head + 1)
	limit := storage.PageLimit{Records: 1 + rng.IntN(20)}
	next, step, read := from+1, uint64(1), l.ReadAfter
	if rng.IntN(2) == 0 {
		from++
		next, step, read = from-1, ^uint64(0), l.ReadBefore
	}
	some := next >= 1 && next <= head
	seen := 0
	err := read(room, from, limit, func(r storage.Record) bool {
		if r.Room != room || r.Seq != next || string(r.Body) != roomBody(room, next) {
			t.Errorf("room %s: got record %d of %s with %q, want %d", room, r.Seq, r.Room, r.Body, next)
			return false
		}
		seen++
		next += step
		return true
	})
	if err != nil || some && seen == 0 {
		t.Errorf("room %s from %d: %d records, %v", room, from, seen, err)
	}
}

// segmented makes a closed log of one room with n segments or more and gives the sequence
// number of the first record in each.
func segmented(t *testing.T, config Config, n int) (firsts []uint64) {
	t.Helper()
	l := mustOpen(t, config)
	w := newWriter(l)
	body := strings.Repeat("x", 900)
	for i := 0; len(firsts) < n; i++ {
		w.mustAppend(t, "room", body)
		w.mustCommit(t, i+1)
		if l.Stats().Segments > len(firsts) {
			firsts = append(firsts, uint64(i+1))
		}
	}
	mustClose(t, l)
	return firsts
}

func readOne(l *Log, seq uint64) error {
	got := uint64(0)
	err := l.ReadBefore("room", seq+1, storage.PageLimit{Records: 1}, func(r storage.Record) bool {
		got = r.Seq
		return true
	})
	if err == nil && got != seq {
		return fmt.Errorf("got record %d, want %d", got, seq)
	}
	return err
}

// segmentNames gives the files of the log in order.
func segmentNames(l *Log) []string {
	var names []string
	for _, g := range l.segments.load() {
		names = append(names, filepath.Base(g.path))
	}
	return names
}

func TestRecoveryIsBounded(t *testing.T) {
	memory := vfs.NewMemory()
	counting := newCountingFS(t, memory)
	config := testConfig(counting)
	config.SegmentBytes, config.OpenSegments = minSegmentBytes, 2
	segmented(t, config, 50)
	if open, most := counting.counts(); open != 0 || most > 3 {
		t.Errorf("writing: %d segments were open at once and are %d after Close, want 3 and 0", most, open)
	}
	l := mustOpen(t, config)
	if _, most := counting.counts(); most > 3 || l.Stats().Segments < 50 {
		t.Errorf("recovery of %d segments had %d open at once, want at most 3", l.Stats().Segments, most)
	}
	names := segmentNames(l)
	recent(t, l, zeroTime, 1<<30)
	if _, most := counting.counts(); most > 3 {
		t.Errorf("Recent had %d segments open at once, want 3", most)
	}
	mustClose(t, l)
	// Without a checkpoint all are read, and damage has more of them open: at a header, in the
	// middle, and at the end.
	for i, offset := range map[int]int64{30: 0, 20: 200, len(names) - 1: 70} {
		damaged := memory.CrashClone(nil)
		file, err := damaged.Open(filepath.Join(testDir, names[i]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte{0xff}, offset); err != nil {
			t.Fatal(err)
		}
		counting := newCountingFS(t, damaged)
		config.FS = counting
		removeCheckpoints(t, damaged)
		l, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Stats().Damage; got != 1 {
			t.Errorf("damage in segment %d: %d places are told, want 1", i, got)
		}
		mustClose(t, l)
		if open, most := counting.counts(); open != 0 || most > 3 {
			t.Errorf("damage in segment %d: %d segments are open after Close, %d were at once", i, open, most)
		}
	}
}

func removeCheckpoints(t *testing.T, fsys vfs.FS) {
	t.Helper()
	names, err := fsys.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range checkpointNames(names) {
		if err := fsys.Remove(filepath.Join(testDir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSegmentChangedBehindOurBack changes a segment that the log has closed meanwhile.
func TestSegmentChangedBehindOurBack(t *testing.T) {
	tests := map[string]struct {
		change func(f *fixture, path string)
		cause  error
		says   string
	}{
		"removed":  {func(f *fixture, path string) { f.remove(filepath.Base(path)) }, fs.ErrNotExist, "removed"},
		"empty":    {func(f *fixture, path string) { f.write(path, nil) }, nil, "file ends before"},
		"cut":      {func(f *fixture, path string) { f.change(path, func(b []byte) []byte { return b[:80] }) }, nil, "file ends before"},
		"next one": {func(f *fixture, path string) { f.write(path, f.read(f.path(f.names[1]))) }, nil, "renamed"},
		"of another log": {func(f *fixture, path string) {
			f.write(path, newFixture(f.t, true).read(path))
		}, nil, "another log"},
		"of a newer version": {func(f *fixture, path string) {
			f.change(path, func(b []byte) []byte {
				b[8]++
				copy(b[12:], []byte{0, 0, 0, 0})
				sum := checksumWithout(b[:segmentHeaderBytes])
				b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
				return b
			})
		}, errVersion, "format version 3"},
		"records of another": {func(f *fixture, path string) {
			f.write(path, append(bytes.Clone(f.read(path)[:segmentHeaderBytes]), newFixture(f.t, true).read(path)[segmentHeaderBytes:]...))
		}, nil, "record header"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, false)
			f.config.OpenSegments = 1
			l := mustOpen(t, f.config)
			if err := readOne(l, 30); err != nil { // in the second segment: closes the first
				t.Fatal(err)
			}
			path := f.path(f.names[0])
			original := f.read(path)
			test.change(f, path)
			nothing := func(r storage.Record) bool { t.Errorf("got record %d", r.Seq); return true }
			whole := len(f.recordsOf(0))
			for range 2 {
				err := l.ReadAfter("room", 1, storage.PageLimit{Records: 2}, nothing)
				if corruption := wantCorruption(t, err); corruption.Path != path || test.cause != nil && !errors.Is(err, test.cause) {
					t.Errorf("got %v, want one of %s with cause %v", err, path, test.cause)
				}
				contains(t, err, test.says)
			}
			others := 0
			if err := l.Recent(zeroTime, 100, func(storage.Record) bool { others++; return true }); err != nil || others != len(f.records)-whole {
				t.Errorf("Recent gave %d records, %v, want those of the other segments, %d", others, err, len(f.records)-whole)
			}
			if err := errors.Join(l.Err(), readOne(l, 60), readOne(l, 30)); err != nil {
				t.Errorf("the other segments: %v", err)
			}
			f.write(path, original)
			checkRecords(t, "the file is back", readAll(t, l, "room"), f.records)
			mustClose(t, l)
		})
	}
}

// TestNoDescriptorForARead: the page fails, the log and the next page do not.
func TestNoDescriptorForARead(t *testing.T) {
	counting := newCountingFS(t, vfs.NewMemory())
	config := testConfig(counting)
	config.SegmentBytes, config.OpenSegments = minSegmentBytes, 1
	firsts := segmented(t, config, 5)
	l := mustOpen(t, config)
	counting.onOpen = func(string) error { return syscall.EMFILE }
	for range 3 {
		if err := readOne(l, firsts[0]); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("got %v, want EMFILE", err)
		}
	}
	if err := l.Err(); err != nil {
		t.Errorf("a read stopped the appends: %v", err)
	}
	counting.onOpen = nil
	for _, seq := range firsts {
		if err := readOne(l, seq); err != nil {
			t.Errorf("record %d with descriptors again: %v", seq, err)
		}
	}
	w := newWriter(l)
	w.mustAppend(t, "room", "goes on")
	w.mustCommit(t, 1)
	if got := l.Stats().OpenFiles; got != 2 {
		t.Errorf("%d files open, want 2: a failed opening kept its slot", got)
	}
}

// TestReadersAndSlots holds a read in its segment: nobody closes the file, a reader of another segment
// waits for the slot, the committer and readers of what is open do not, and Close does.
func TestReadersAndSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counting := newCountingFS(t, vfs.NewMemory())
		config := testConfig(counting)
		config.SegmentBytes, config.OpenSegments = minSegmentBytes, 1
		segmented(t, config, 4)
		l := mustOpen(t, config)
		list := l.segments.load()
		read := func(i int) error { // not by the way of a page, which leads through other segments
			_, err := l.files.readAt(list[i], make([]byte, recordHeaderBytes), segmentHeaderBytes)
			return err
		}
		if err := read(1); err != nil {
			t.Fatal(err)
		}
		gate, gated := make(chan struct{}), segmentName(0)
		counting.onRead = func(name string) {
			if name == gated {
				<-gate
			}
		}
		before := counting.timesOpened(gated)
		results := make(chan error, 2)
		// Two readers of a closed segment: one opens it, with the gate at its header, the other waits.
		go func() { results <- read(0) }()
		go func() { results <- read(0) }()
		synctest.Wait()
		if got := counting.timesOpened(gated) - before; got != 1 {
			t.Errorf("two readers opened the segment %d times at once, want 1", got)
		}
		other := make(chan error, 1)
		go func() { other <- read(1) }()
		synctest.Wait()
		if len(results)+len(other) != 0 {
			t.Error("a read went on without a slot")
		}
		w := newWriter(l)
		if err := readOne(l, l.Head("room")); err != nil {
			t.Error(err)
		}
		segments := l.Stats().Segments
		n := 0
		for ; l.Stats().Segments < segments+3; n++ {
			w.mustAppend(t, "room", strings.Repeat("x", 900))
			w.mustCommit(t, n+1)
		}
		if open, most := counting.counts(); open > 3 || most > 3 {
			t.Errorf("%d segments open, %d at once, want the active one, the one being read and one while a segment ends", open, most)
		}
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		if len(closed) != 0 {
			t.Error("Close did not wait for the read")
		}
		// While a segment ended there was a slot for a moment, which the other reader may have had.
		if err := <-other; err != nil && !errors.Is(err, storage.ErrClosed) {
			t.Errorf("a reader that waited while the log was closed: got %v, want ErrClosed", err)
		}
		close(gate)
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		for range 2 {
			if err := <-results; err != nil && !errors.Is(err, storage.ErrClosed) {
				t.Errorf("a read beside Close: got %v, want ErrClosed", err)
			}
		}
		if open, _ := counting.counts(); open != 0 {
			t.Errorf("%d segments open after Close", open)
		}
	})
}

// brokenClose fails to close a segment that has content.
type brokenClose struct{ vfs.FS }

type brokenCloseFile struct{ vfs.File }

func (b brokenClose) Create(path string) (vfs.File, error) {
	file, err := b.FS.Create(path)
	if err != nil || !strings.HasSuffix(strings.TrimSuffix(path, temporarySuffix), segmentSuffix) {
		return file, err
	}
	return brokenCloseFile{file}, nil
}

func (f brokenCloseFile) Close() error { return errors.Join(errInjected, f.File.Close()) }

// TestFailedCloseIsTold: nobody waits for the closing of a file that makes way, so Close tells, and
// the log is not marked as cleanly closed.
func TestFailedCloseIsTold(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(brokenClose{memory})
	config.SegmentBytes, config.OpenSegments = minSegmentBytes, 1
	l := mustOpen(t, config)
	w := newWriter(l)
	for i := 0; l.Stats().Segments < 4; i++ {
		w.mustAppend(t, "room", strings.Repeat("x", 900))
		w.mustCommit(t, i+1)
	}
	if err := errors.Join(l.Err(), readOne(l, 1)); err != nil {
		t.Errorf("before Close: %v", err)
	}
	if err := l.Close(); !errors.Is(err, errInjected) {
		t.Errorf("Close: got %v, want the injected fault", err)
	}
	if m, err := readMeta(memory, testDir); err != nil || m.state == stateClosed {
		t.Errorf("META: state %d, %v, want one that is not closed", m.state, err)
	}
}

// TestASegmentHasItsNameWhenItIsDurable: whatever fails while a segment is made, no file of its name is left half made, and the next
// attempt succeeds.
func TestASegmentHasItsNameWhenItIsDurable(t *testing.T) {
	for _, operation := range []vfs.Operation{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename} {
		memory := vfs.NewMemory()
		if err := memory.MkdirAll(testDir); err != nil {
			t.Fatal(err)
		}
		faulty := vfs.Faulty(memory)
		faulty.Break(vfs.Fault{Operation: operation, Call: 1, Lasting: true, Err: syscall.ENOSPC})
		path := filepath.Join(testDir, segmentName(0))
		if _, err := createSegment(faulty, testDir, path, 1, segmentHeader{}, nil, 1<<20); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%v fails: %v", operation, err)
		}
		names, err := memory.List(testDir)
		if err != nil || slices.Contains(names, segmentName(0)) {
			t.Errorf("%v failed, and %v is there (%v)", operation, names, err)
		}
		faulty.Break()
		file, err := createSegment(faulty, testDir, path, 1, segmentHeader{}, nil, 1<<20)
		if err != nil {
			t.Fatalf("after %v failed: %v", operation, err)
		}
		file.Close()
	}
}

package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// TestSpare: segments after the first are made of a spare that was written before, a log that
// writes little makes none, and Close leaves none behind.
func TestSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := vfs.NewMemory()
		counting := newCountingFS(t, memory)
		config := testConfig(counting)
		config.SegmentBytes, config.growing = minSegmentBytes, false
		spares := func() (n int) {
			names, err := memory.List(testDir)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasPrefix(name, sparePrefix) {
					n++
				}
			}
			return n
		}
		l := mustOpen(t, config)
		w := newWriter(l)
		for i := range 40 {
			w.mustAppend(t, "room", strings.Repeat("x", 300))
			w.mustCommit(t, i+1)
			synctest.Wait() // the supply is ready
			want := 0
			if l.committer.written > minSegmentBytes/4 {
				want = 1
			}
			if got := spares(); got != want {
				t.Fatalf("record %d, %d bytes in the segment: %d spares, want %d", i, l.committer.written, got, want)
			}
		}
		for _, g := range l.segments.load() {
			file, err := memory.Open(g.path)
			if err != nil {
				t.Fatal(err)
			}
			if size, _ := file.Size(); size < minSegmentBytes {
				t.Errorf("%s has %d bytes, want %d written ahead", g.path, size, minSegmentBytes)
			}
		}
		mustClose(t, l)
		if got := spares(); got != 0 {
			t.Errorf("Close left %d spares", got)
		}
	})
}

// slowFS takes a second for every write to some files and counts what waits for a sync.
type slowFS struct {
	vfs.FS
	prefix string       // of their names
	most   atomic.Int64 // bytes of one that were written and not synced, at most
}

func (s *slowFS) Create(path string) (vfs.File, error) {
	file, err := s.FS.Create(path)
	if err == nil && strings.HasPrefix(filepath.Base(path), s.prefix) {
		file = &slowFile{File: file, fs: s}
	}
	return file, err
}

type slowFile struct {
	vfs.File
	fs      *slowFS
	waiting int64
}

func (f *slowFile) WriteAt(p []byte, off int64) (int, error) {
	time.Sleep(time.Second)
	f.waiting += int64(len(p))
	f.fs.most.Store(max(f.fs.most.Load(), f.waiting))
	return f.File.WriteAt(p, off)
}

func (f *slowFile) Sync() error {
	f.waiting = 0
	return f.File.Sync()
}

// TestSpareIsMadeInChunks: no commit waits for more than one chunk of zeros, the disk has as much
// time without them as with them, and Close does not wait for the rest.
func TestSpareIsMadeInChunks(t *testing.T) {
	const chunks = 4
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprint("closed meanwhile ", closed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowFS{FS: vfs.NewMemory(), prefix: sparePrefix}
				config := testConfig(slow)
				config.SegmentBytes, config.growing = chunks*syncChunk, false
				l := mustOpen(t, config)
				w := newWriter(l)
				for i := range chunks {
					w.mustAppend(t, "room", strings.Repeat("x", storage.MaxBody/2+1))
					w.mustCommit(t, i+1)
				}
				begun := time.Now()
				if !closed {
					for made := false; !made; {
						time.Sleep(time.Millisecond)
						l.files.supply.mu.Lock()
						made = l.files.supply.ready != nil
						l.files.supply.mu.Unlock()
					}
					if took := time.Since(begun).Round(time.Second); took != (2*chunks-1)*time.Second {
						t.Errorf("%d chunks, a second each, took %v", chunks, took)
					}
				}
				begun = time.Now()
				mustClose(t, l)
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("Close took %v", took)
				}
				if most := slow.most.Load(); most > syncChunk || !closed && most < syncChunk {
					t.Errorf("%d bytes of a spare waited for a sync, want %d", most, syncChunk)
				}
				if names, err := slow.List(testDir); err != nil || slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, sparePrefix) }) {
					t.Errorf("Close left %v, %v", names, err)
				}
			})
		})
	}
}

// crashCopy is the same log elsewhere.
func crashCopy(t *testing.T, config Config, memory *vfs.Memory) Config {
	t.Helper()
	config.FS = memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
	return config
}

// TestRecycle: a file that a backup still names is not written to; another one becomes the next
// segment, and nothing of its earlier life is ever read.
func TestRecycle(t *testing.T) {
	t.Parallel()
	for _, linked := range []bool{false, true} {
		t.Run(fmt.Sprint("linked ", linked), func(t *testing.T) {
			memory := vfs.NewMemory()
			config := testConfig(memory)
			config.SegmentBytes = minSegmentBytes // and growing: no other spare is made
			l := mustOpen(t, config)
			w := newWriter(l)
			old, kept := filepath.Join(testDir, segmentName(1<<40)), filepath.Join(testDir, "kept")
			// The first segment is full.
			var want []storage.Record
			for i := range 14 {
				want = append(want, w.mustAppend(t, "room", strings.Repeat("x", 200)))
				w.mustCommit(t, i+1)
			}
			// A segment of this log, at a position of its own. Its records are as long as those that are to come, so that where a new one ends an old
			// one begins, with the next number of the room and the right pointer: only the seal tells that it is of another life.
			content, next := encodeSegmentHeader(l.meta.logID, segmentHeader{base: 1 << 40}), l.End()
			for seq := uint64(15); len(content) < minSegmentBytes; seq++ {
				r := storage.Record{Room: "room", Seq: seq, At: 1, From: "user-room", Key: fmt.Sprint("key-", seq), Body: bytes.Repeat([]byte("o"), 200)}
				to := links{previous: position(next) + position(len(content)-recordBytes(&r)), total: 1 << 20}
				content = appendRecord(content, l.seal, position(1<<40+len(content)), &r, 0, to)
			}
			file, err := memory.Create(old)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(content, 0); err != nil {
				t.Fatal(err)
			}
			if linked {
				if err := memory.Link(old, kept); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.files.supply.recycle(old); err != nil {
				t.Fatal(err)
			}
			if ready := l.files.supply.ready != nil; ready == linked {
				t.Errorf("recycled: %v, want %v", ready, !linked)
			}
			for i := range 14 {
				want = append(want, w.mustAppend(t, "room", strings.Repeat("x", 200)))
				w.mustCommit(t, 14+i+1)
				crashed := mustOpen(t, crashCopy(t, config, memory))
				checkRecords(t, "after a crash", readAll(t, crashed, "room"), want)
				if stats := crashed.Stats(); stats.Damage > 0 || crashed.Epoch() != l.Epoch() {
					t.Fatalf("after a crash: %d places are damaged, the epoch is %x, was %x", stats.Damage, crashed.Epoch(), l.Epoch())
				}
				mustClose(t, crashed)
			}
			mustClose(t, l)
			checkRecords(t, "opened again", readAll(t, mustOpen(t, config), "room"), want)
			if linked {
				got := make([]byte, len(content))
				file, err := memory.Open(kept)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := file.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
					t.Errorf("the backup's file was written to: %v", err)
				}
			}
		})
	}
}

// TestSpareThatCannotBeUsed leaves no file behind: on a full disk it would be in the way until the next start.
func TestSpareThatCannotBeUsed(t *testing.T) {
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory)
	config := testConfig(faulty)
	config.SegmentBytes, config.growing = minSegmentBytes, false
	l := mustOpen(t, config)
	ready, err := l.files.supply.prepare()
	if err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]vfs.Operation{"rename": vfs.OpRename, "sync": vfs.OpSync, "write": vfs.OpWrite} {
		l.files.supply.offer(ready)
		faulty.Break(vfs.Fault{Operation: fault, Call: faulty.Calls(fault) + 1, Err: syscall.ENOSPC})
		if _, err := l.files.create(testDir, 1<<40, 0); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", name, err)
		}
		names, err := memory.List(testDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range names {
			if strings.HasPrefix(left, sparePrefix) {
				t.Errorf("%s failed: %s is left", name, left)
			}
		}
		if ready, err = l.files.supply.prepare(); err != nil {
			t.Fatal(err)
		}
	}
	l.files.supply.discard(ready)
}

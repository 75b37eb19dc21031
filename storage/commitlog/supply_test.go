package commitlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

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
			if l.committer.written > minSegmentBytes/2 {
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

// crashCopy is the same log elsewhere.
func crashCopy(t *testing.T, config Config, memory *vfs.Memory) Config {
	t.Helper()
	config.FS = memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
	return config
}

// TestRecycle: a file that a backup still names is not written to; another one becomes the next
// segment, and nothing of its earlier life is ever read.
func TestRecycle(t *testing.T) {
	for _, linked := range []bool{false, true} {
		t.Run(fmt.Sprint("linked ", linked), func(t *testing.T) {
			memory := vfs.NewMemory()
			config := testConfig(memory)
			config.SegmentBytes, config.growing = minSegmentBytes, false
			l := mustOpen(t, config)
			w := newWriter(l)
			old, kept := filepath.Join(testDir, segmentName(1<<40)), filepath.Join(testDir, "kept")
			// The image of a segment of this log, at a position of its own.
			content := bytes.Repeat(appendRecord(nil, l.seal, 1<<40+64, &storage.Record{Room: "room", Seq: 1, At: 1, From: "u"}, 0, links{total: 1 << 10}), 100)
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
			var want []storage.Record
			for i := range 30 {
				want = append(want, w.mustAppend(t, "room", strings.Repeat("x", 200)))
				w.mustCommit(t, i+1)
			}
			crashed := crashCopy(t, config, memory)
			checkRecords(t, "after a crash", readAll(t, mustOpen(t, crashed), "room"), want)
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

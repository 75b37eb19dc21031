package ship

import (
	"bytes"
	"io"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// TestObjectsAreFew looks after every commit: neither many small chunks nor old manifests stay, and what is there
// is what the kept manifests name.
func TestObjectsAreFew(t *testing.T) {
	_, target := newDirectory(t)
	l := openLog(t, vfs.NewMemory(), commitlog.Config{SegmentBytes: 64 << 10})
	w := newWriter(l)
	s := shipperOf(l, target)
	counted := &flaky{Target: target}
	s.config.Target = counted
	full := s.config.ChunkBytes
	for range 1500 {
		w.commit(t, "room", "a message of some bytes")
		mustLook(t, s)
		for _, segment := range s.copy.newest.Segments {
			most := int(segment.Bytes/full) + bits.Len64(uint64(full)/64)
			if segment.End != s.copy.newest.End {
				most = int((segment.Bytes + full - 1) / full)
			}
			if n := len(segment.Chunks); n > most {
				t.Fatalf("segment from %d, %d bytes, has %d chunks, want at most %d", segment.Base, segment.Bytes, n, most)
			}
		}
	}
	if len(s.copy.newest.Segments) < 3 {
		t.Fatal("the log is too short to show anything")
	}
	checkObjects(t, target)
	// A byte is put again when its chunk has grown by half, and when the segment is sealed.
	base, committed := l.Committed()
	if most := int64(12); counted.chunkBytes > most*(base+committed) {
		t.Errorf("%d bytes of chunks were put for a log of %d, want at most %d times", counted.chunkBytes, base+committed, most)
	}
}

// checkObjects: the kept manifests are there, what they name, and nothing else.
func checkObjects(t *testing.T, target Target) {
	t.Helper()
	manifests, err := listManifests(t.Context(), target)
	if err != nil || len(manifests) != keptManifests {
		t.Fatalf("%d manifests, want %d: %v", len(manifests), keptManifests, err)
	}
	named := map[string]bool{}
	for _, name := range manifests {
		m, err := loadManifest(t.Context(), target, name)
		if err != nil {
			t.Fatal(err)
		}
		m.names(func(name string) { named[name] = true })
	}
	chunks, err := target.List(t.Context(), chunkFolder)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range chunks {
		if !named[name] {
			t.Errorf("%s is named by no manifest", name)
		}
	}
	if len(chunks) != len(named) {
		t.Errorf("%d chunks are there, %d are named", len(chunks), len(named))
	}
}

// TestIdleAsksNothing: a log in which nothing happens costs no request.
func TestIdleAsksNothing(t *testing.T) {
	l, _, _, target := shippedLog(t)
	counted := &flaky{Target: target}
	s := shipperOf(l, counted)
	mustLook(t, s)
	calls := counted.calls
	for range 10 {
		mustLook(t, s)
	}
	if counted.calls != calls || len(counted.puts) != 0 {
		t.Errorf("%d calls in ten looks at an idle log, %d puts", counted.calls-calls, len(counted.puts))
	}
}

// TestNextChunk is the table of what is put next.
func TestNextChunk(t *testing.T) {
	ends := func(ends ...int64) []chunk {
		var chunks []chunk
		for _, to := range ends {
			chunks = append(chunks, chunk{to: to})
		}
		return chunks
	}
	for _, c := range []struct {
		name   string
		chunks []chunk
		bytes  int64
		sealed bool
		keep   int
		to     int64
	}{
		{"nothing yet", nil, 70, false, 0, 70},
		{"more than a full one", nil, 250, false, 0, 100},
		{"all there", ends(70), 70, false, 1, 0},
		{"a large one stays", ends(70), 90, false, 1, 90},
		{"a small one is merged", ends(30), 50, false, 0, 50},
		{"several are merged", ends(50, 60, 64), 70, false, 1, 70},
		{"a merged one is cut", ends(90), 170, false, 0, 100},
		{"full ones stay", ends(100, 200), 350, false, 2, 300},
		{"sealed, all there", ends(100, 200, 230), 230, true, 3, 0},
		{"sealed, the end in pieces", ends(100, 160, 190, 199), 199, true, 1, 199},
		{"sealed, the end in pieces over a full one", ends(100, 190, 199), 240, true, 1, 200},
		{"sealed, nothing yet", nil, 64, true, 0, 64},
	} {
		p := piece{segment: segment{Bytes: c.bytes, Chunks: c.chunks}, info: commitlog.SegmentInfo{Sealed: c.sealed}}
		if keep, to := p.next(100); to != c.to || to > 0 && keep != c.keep {
			t.Errorf("%s: keeps %d and goes to %d, want %d and %d", c.name, keep, to, c.keep, c.to)
		}
	}
}

// TestRestoreWhileChunksAreMerged opens the newest file, and then its chunks are merged and removed.
func TestRestoreWhileChunksAreMerged(t *testing.T) {
	_, target := newDirectory(t)
	memory := vfs.NewMemory()
	l := openLog(t, memory, commitlog.Config{SegmentBytes: 1 << 20})
	s := shipperOf(l, target)
	s.config.ChunkBytes = 1 << 20
	w := newWriter(l)
	for _, size := range []int{4000, 1500, 500} {
		w.commit(t, "room", strings.Repeat("x", size))
		mustLook(t, s)
	}
	if n := len(s.copy.newest.Segments[0].Chunks); n != 3 {
		t.Fatalf("%d chunks, the test wants 3", n)
	}
	source := &Source{Target: target}
	m, err := source.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := m.Files[0]
	r := openFile(t, source, file)
	start := make([]byte, 10)
	if _, err := io.ReadFull(r, start); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.commit(t, "room", strings.Repeat("y", 1000))
		mustLook(t, s)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Concat(start, rest)
	want := make([]byte, file.Bytes)
	if _, err := l.ReadSegment(l.Segments()[0], want, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes that are not those of the log: %v", len(got), err)
	}
}

// TestRottenFileIsNotPutAgain: a file of the log is damaged behind the shipper's back. Merging its chunks would put the
// damage over what is whole.
func TestRottenFileIsNotPutAgain(t *testing.T) {
	_, target := newDirectory(t)
	memory := vfs.NewMemory()
	l := openLog(t, memory, commitlog.Config{SegmentBytes: 1 << 20})
	s := shipperOf(l, target)
	w := newWriter(l)
	for _, size := range []int{1000, 400, 100} {
		w.commit(t, "room", strings.Repeat("x", size))
		mustLook(t, s)
	}
	whole := entries(t, memory)
	file, err := memory.Open(l.Segments()[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("rot"), 500); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	w.commit(t, "room", strings.Repeat("x", 3000))
	mustLook(t, s)
	restored, _ := restore(t, target)
	got := entries(t, restored)
	if len(got) != 4 {
		t.Fatalf("%d records, want 4", len(got))
	}
	for i := range whole {
		if !equal(got[i].Record, whole[i].Record) {
			t.Errorf("record %d is damaged at the target", i)
		}
	}
}

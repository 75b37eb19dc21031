package ship

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"rookery/storage/backup"
	"rookery/storage/commitlog"
)

// scriptedLog is a log whose files are a script's: what retention does between any two calls.
type scriptedLog struct {
	mu sync.Mutex

	// Guarded by mu.
	infos   []commitlog.SegmentInfo
	content map[key][]byte // of all files there ever were
	onRead  func()         // called at each read, without mu
}

func newScriptedLog() *scriptedLog {
	l := &scriptedLog{content: map[key][]byte{}}
	l.roll()
	return l
}

func (l *scriptedLog) Segments() []commitlog.SegmentInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.infos)
}

func (l *scriptedLog) Committed() (base, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := l.infos[len(l.infos)-1]
	return active.Base, active.Bytes
}

func (l *scriptedLog) ReadSegment(info commitlog.SegmentInfo, b []byte, offset int64) (int, error) {
	if l.onRead != nil {
		l.onRead()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key{info.Base, info.Generation}
	if !slices.ContainsFunc(l.infos, func(i commitlog.SegmentInfo) bool { return key{i.Base, i.Generation} == k && !i.Missing }) {
		return 0, commitlog.ErrReplaced
	}
	return copy(b, l.content[k][offset:]), nil
}

func (l *scriptedLog) append(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := &l.infos[len(l.infos)-1]
	k := key{active.Base, 0}
	l.content[k] = append(l.content[k], b...)
	active.Bytes = int64(len(l.content[k]))
	active.End = active.Base + active.Bytes
}

// roll seals the active file and begins the next.
func (l *scriptedLog) roll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	base := int64(0)
	if n := len(l.infos); n > 0 {
		l.infos[n-1].Sealed = true
		base = l.infos[n-1].End
	}
	header := fmt.Appendf(nil, "%064d", base)
	l.content[key{base, 0}] = header
	l.infos = append(l.infos, commitlog.SegmentInfo{Path: fmt.Sprint(base), Base: base, End: base + 64, Bytes: 64})
}

// pack replaces a run of sealed files, from number i on, by one.
func (l *scriptedLog) pack(i, n int, content []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	run := l.infos[i : i+n]
	packed := commitlog.SegmentInfo{Path: run[0].Path, Base: run[0].Base, End: run[n-1].End, Bytes: int64(len(content)), Sealed: true}
	for _, old := range run {
		packed.Generation = max(packed.Generation, old.Generation+1)
	}
	l.content[key{packed.Base, packed.Generation}] = content
	l.infos = slices.Replace(l.infos, i, i+n, packed)
}

// lose takes a file away, as a damaged disk does between two starts.
func (l *scriptedLog) lose(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.infos[i].Missing = true
}

// checkState reads the newest state back: files in order without overlap, each as the log has or had it.
func checkState(t *testing.T, l *scriptedLog, target Target) *backup.Manifest {
	t.Helper()
	source := &Source{Target: target}
	m, err := source.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for _, segment := range source.state.Segments {
		if segment.Base != last {
			t.Fatalf("segment at %d follows an end at %d", segment.Base, last)
		}
		last = segment.End
	}
	if last != m.End {
		t.Fatalf("the last segment ends at %d, the state at %d", last, m.End)
	}
	for _, file := range m.Files {
		content, err := io.ReadAll(openFile(t, source, file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(l.content[key{file.Base, file.Generation}], content) || int64(len(content)) != file.Bytes {
			t.Fatalf("%s, generation %d, is not the log's", file.Name, file.Generation)
		}
	}
	return m
}

// TestRetentionModel packs runs of files at any time, also in the middle of a look, while the target fails: no state
// mixes old and new files of a range, none ends before an older one, and a look that succeeds has all.
func TestRetentionModel(t *testing.T) {
	first := *modelSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	replaced, packs := 0, 0
	for run := range 4 * *modelRuns {
		seed := first + uint64(run)
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Logf("repeat with -model.seed=%d -model.runs=1", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			_, directory := newDirectory(t)
			target := &flaky{Target: directory}
			l := newScriptedLog()
			pack := func() {
				sealed := len(l.infos) - 1
				if sealed == 0 {
					return
				}
				packs++
				i := rng.IntN(sealed)
				l.pack(i, 1+rng.IntN(min(3, sealed-i)), randomBytes(rng, 64+rng.IntN(5000)))
			}
			l.onRead = func() {
				if rng.IntN(20) == 0 {
					pack()
				}
			}
			newShipper := func() *Shipper {
				return New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, ChunkBytes: 1 << 10, Logger: quiet})
			}
			s := newShipper()
			end := int64(0)
			for range 60 {
				switch k := rng.IntN(100); {
				case k < 40:
					l.append(randomBytes(rng, 1+rng.IntN(3000)))
				case k < 55:
					l.roll()
				case k < 65:
					pack()
				case k < 90:
					base, bytes := l.Committed()
					if err := s.look(t.Context(), time.Now()); err != nil {
						t.Fatal(err)
					}
					if source := checkState(t, l, directory); source.End != base+bytes {
						t.Fatalf("the state ends at %d, the log at %d", source.End, base+bytes)
					}
					if s.shippedEnd.Load() < end {
						t.Fatalf("the state ends at %d, an older one at %d", s.shippedEnd.Load(), end)
					}
					end = base + bytes
				default:
					target.failAt, target.happened = target.calls+1+rng.IntN(10), rng.IntN(2) == 0
					if err := s.look(t.Context(), time.Now()); err != nil && !errors.Is(err, errInjected) {
						t.Fatal(err)
					}
					target.failAt = 0
					if end > 0 {
						if got := checkState(t, l, directory).End; got < end {
							t.Fatalf("the state ends at %d, an older one at %d", got, end)
						}
					}
					if rng.IntN(2) == 0 {
						s = newShipper()
					}
				}
			}
			// In the end, when nothing changes, the target has the files as the log has them.
			l.onRead = nil
			for range 3 {
				mustLook(t, s)
			}
			source := checkState(t, l, directory)
			for i, info := range l.Segments() {
				if k := (key{source.Files[i].Base, source.Files[i].Generation}); k != (key{info.Base, info.Generation}) {
					t.Fatalf("file %d is %+v at the target, %d of generation %d in the log", i, k, info.Base, info.Generation)
				}
				if info.Generation > 0 {
					replaced++
				}
			}
			for range 2 * keptManifests {
				l.append([]byte("more"))
				mustLook(t, s)
			}
			checkObjects(t, directory)
		})
	}
	if packs == 0 || replaced == 0 {
		t.Errorf("%d packs, %d replaced files: the test shows nothing", packs, replaced)
	}
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestWhatTheLogLostStays: a file that is missing in the log, and was shipped, stays at the target.
func TestWhatTheLogLostStays(t *testing.T) {
	_, target := newDirectory(t)
	l := newScriptedLog()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 4 {
		l.append(randomBytes(rng, 3000))
		l.roll()
	}
	s := New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, ChunkBytes: 1 << 10, Logger: quiet})
	mustLook(t, s)
	l.lose(0)
	l.lose(2)
	for range 2 * keptManifests {
		l.append(randomBytes(rng, 1000))
		s = New(s.config)
		mustLook(t, s)
	}
	if source := checkState(t, l, target); len(source.Files) != 5 {
		t.Errorf("%d files at the target, want 5", len(source.Files))
	}
}

// TestNewGoesBeforeRewritten: a large rewritten file waits until what was committed is there.
func TestNewGoesBeforeRewritten(t *testing.T) {
	_, directory := newDirectory(t)
	target := &flaky{Target: directory}
	l := newScriptedLog()
	rng := rand.New(rand.NewPCG(1, 1))
	l.append(randomBytes(rng, 3000))
	l.roll()
	s := New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, ChunkBytes: 1 << 10, Logger: quiet})
	mustLook(t, s)

	l.pack(0, 1, randomBytes(rng, 20<<10))
	l.append(randomBytes(rng, 500))
	target.puts = nil
	mustLook(t, s)
	if n := len(target.puts); n != 22 || !isChunk(target.puts[0]) || isChunk(target.puts[1]) {
		t.Fatalf("%d puts, first %v, want a chunk, a manifest, and 20 chunks of the rewritten file", n, target.puts[:2])
	}
	if checkState(t, l, directory).Files[0].Generation != 0 {
		t.Error("the rewritten file is in a state before the next look")
	}
	mustLook(t, s)
	if checkState(t, l, directory).Files[0].Generation != 1 {
		t.Error("the rewritten file is not in the state of the next look")
	}
}

// TestNoStateEndsBeforeAnOlderOne: a file that was removed at the target was rewritten in the log, and must be put
// before what follows it is whole again. On that long way there is no new state.
func TestNoStateEndsBeforeAnOlderOne(t *testing.T) {
	_, target := newDirectory(t)
	l := newScriptedLog()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3 {
		l.append(randomBytes(rng, 3000))
		l.roll()
	}
	s := New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, ChunkBytes: 1 << 10, Logger: quiet})
	mustLook(t, s)
	if err := target.Remove(t.Context(), chunkName(key{0, 0}, s.copy.chunks[key{0, 0}], 0)); err != nil {
		t.Fatal(err)
	}
	l.pack(0, 1, randomBytes(rng, 3000))
	l.append(randomBytes(rng, 100))
	s = New(s.config)
	if err := s.look(t.Context(), time.Now().Add(-time.Hour)); err != nil { // every state on the way is due
		t.Fatal(err)
	}
	manifests, err := listManifests(t.Context(), target)
	if err != nil || len(manifests) != 2 {
		t.Fatalf("%d manifests, want 2: %v", len(manifests), err)
	}
	checkState(t, l, target)
}

// TestCutFileIsShippedAsItIs: a sealed file of a damaged log ends before its range does.
func TestCutFileIsShippedAsItIs(t *testing.T) {
	_, target := newDirectory(t)
	l := newScriptedLog()
	rng := rand.New(rand.NewPCG(1, 1))
	l.append(randomBytes(rng, 3000))
	l.roll()
	l.append(randomBytes(rng, 100))
	k := key{0, 0}
	l.content[k] = l.content[k][:2000]
	s := New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, ChunkBytes: 1 << 10, Logger: quiet})
	mustLook(t, s)
	source := checkState(t, l, target)
	if files := source.Files; len(files) != 2 || files[0].Bytes != 2000 || files[0].End != 3064 {
		t.Errorf("files are %+v", files)
	}
	mustLook(t, New(s.config))
}

// TestFileCutToNothingIsGoneOnWith: a manifest ends with a file of which there was nothing to ship.
func TestFileCutToNothingIsGoneOnWith(t *testing.T) {
	_, target := newDirectory(t)
	l := newScriptedLog()
	l.append(randomBytes(rand.New(rand.NewPCG(1, 1)), 3000))
	l.roll()
	m := &manifest{Log: 1, Epoch: 2, End: 3064, Segments: []segment{{End: 3064}}}
	content, err := m.encode()
	if err == nil {
		err = target.Put(t.Context(), manifestName(1, content), content)
	}
	if err != nil {
		t.Fatal(err)
	}
	mustLook(t, New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, ChunkBytes: 1 << 10, Logger: quiet}))
	checkState(t, l, target)
}

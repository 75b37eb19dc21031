package ship

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/storage/backup"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// shippedLog gives a log with some segments that was shipped once.
func shippedLog(t *testing.T) (l *commitlog.Log, memory *vfs.Memory, mount *vfs.Memory, target Target) {
	t.Helper()
	memory = vfs.NewMemory()
	mount, target = newDirectory(t)
	l = openLog(t, memory, commitlog.Config{SegmentBytes: 4 << 10})
	fill(t, l, 30)
	mustLook(t, shipperOf(l, target))
	return l, memory, mount, target
}

// fill commits records whose contents are nowhere else.
func fill(t *testing.T, l *commitlog.Log, n int) {
	t.Helper()
	w := newWriter(l)
	for range n {
		w.commit(t, "room", fmt.Sprintf("%x %300d", rand.Uint64(), 0))
	}
}

func wantRefused(t *testing.T, s *Shipper, reason string) {
	t.Helper()
	target := &flaky{Target: s.config.Target}
	s.config.Target = target
	err := s.look(t.Context(), time.Now())
	if refused, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(refused.Reason, reason) {
		t.Fatalf("look: %v, want a refusal that says %q", err, reason)
	}
	s.settle(err, time.Now())
	if !s.Stats().Refused || s.Stats().Errors != 1 {
		t.Fatalf("stats after a refusal: %+v", s.Stats())
	}
	if len(target.puts) != 0 {
		t.Fatalf("a refused shipper put %v", target.puts)
	}
}

func TestAnotherLogIsRefused(t *testing.T) {
	_, _, _, target := shippedLog(t)
	other := openLog(t, vfs.NewMemory(), commitlog.Config{})
	fill(t, other, 100)
	wantRefused(t, shipperOf(other, target), "another log")
}

// TestOlderCopyIsRefused: a log that was restored from a copy older than what was shipped must not put its
// own continuation over the only place that has the rest.
func TestOlderCopyIsRefused(t *testing.T) {
	l, memory, _, target := shippedLog(t)
	old := memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
	fill(t, l, 10)
	mustLook(t, shipperOf(l, target))

	restored := openLog(t, old, commitlog.Config{SegmentBytes: 4 << 10})
	wantRefused(t, shipperOf(restored, target), "was restored from an older copy")
	fill(t, restored, 20) // it is longer now, with another content
	wantRefused(t, shipperOf(restored, target), "another content")

	// With another epoch, as a restore makes it, the same.
	s := shipperOf(restored, target)
	s.config.Epoch++
	wantRefused(t, s, "another content")
}

// TestRestoredLogGoesOn: a log that was restored from the copy itself, with its new epoch, goes on shipping
// there; the old log, if it is still alive, is refused from then on.
func TestRestoredLogGoesOn(t *testing.T) {
	l, _, _, target := shippedLog(t)
	memory, _ := restore(t, target)
	restored := openLog(t, memory, commitlog.Config{SegmentBytes: 4 << 10})
	s := shipperOf(restored, target)
	mustLook(t, s)
	fill(t, restored, 10)
	mustLook(t, s)
	checkRestored(t, target, entries(t, memory), restored.Epoch())
	wantRefused(t, shipperOf(l, target), "ends at")
	fill(t, l, 20)
	wantRefused(t, shipperOf(l, target), "another content")
}

// TestEpochWithTheSameContentGoesOn: after kill -9 in a relaxed mode nothing is lost and the epoch is another.
func TestEpochWithTheSameContentGoesOn(t *testing.T) {
	l, memory, _, target := shippedLog(t)
	s := shipperOf(l, target)
	s.config.Epoch++
	flaky := &flaky{Target: target}
	s.config.Target = flaky
	mustLook(t, s)
	if len(flaky.puts) != 1 || !strings.HasPrefix(flaky.puts[0], manifestFolder) {
		t.Errorf("put %v, want one manifest with the new epoch", flaky.puts)
	}
	checkRestored(t, target, entries(t, memory), l.Epoch())
}

// TestSecondServerIsNoticed: two servers on continuations of one log. Whoever finds another's manifest
// does not put its own.
func TestSecondServerIsNoticed(t *testing.T) {
	l, memory, _, target := shippedLog(t)
	s := shipperOf(l, target)
	mustLook(t, s)

	twin := openLog(t, memory.CrashClone(rand.New(rand.NewPCG(1, 1))), commitlog.Config{SegmentBytes: 4 << 10})
	other := shipperOf(twin, target)
	mustLook(t, other)
	fill(t, twin, 5)
	mustLook(t, other)

	fill(t, l, 10)
	if err := s.look(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "another one ship there") {
		t.Fatalf("look: %v", err)
	}
	wantRefused(t, s, "another content")
}

// TestWhatIsMissingIsPutAgain: somebody removed chunks at the target.
func TestWhatIsMissingIsPutAgain(t *testing.T) {
	l, memory, _, target := shippedLog(t)
	names, err := target.List(t.Context(), chunkFolder)
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range []string{names[0], names[len(names)-1]} {
		if err := target.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	mustLook(t, shipperOf(l, target))
	checkRestored(t, target, entries(t, memory), l.Epoch())
}

// TestDamageAtTheTarget: the newest manifest is damaged, or a chunk. The one is passed over for the manifest before,
// the other is told by the restore.
func TestDamageAtTheTarget(t *testing.T) {
	l, memory, mount, target := shippedLog(t)
	fill(t, l, 1)
	mustLook(t, shipperOf(l, target))
	manifests, err := listManifests(t.Context(), target)
	if err != nil || len(manifests) != 2 {
		t.Fatal(manifests, err)
	}
	damage(t, mount, manifests[0])
	if got, want := checkRestored(t, target, entries(t, memory), l.Epoch()), 30; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	s := shipperOf(l, target)
	mustLook(t, s)
	if got, want := checkRestored(t, target, entries(t, memory), l.Epoch()), 31; got != want {
		t.Errorf("%d records, want %d", got, want)
	}

	for range 2 * keptManifests {
		fill(t, l, 1)
		mustLook(t, s)
	}
	checkRestored(t, target, entries(t, memory), l.Epoch())
	checkObjects(t, target)

	state := s.copy.newest
	damage(t, mount, chunkName(state.Segments[1].key(), state.Segments[1].Chunks, 0))
	if err := target.Remove(t.Context(), chunkName(state.Segments[2].key(), state.Segments[2].Chunks, 0)); err != nil {
		t.Fatal(err)
	}
	source := &Source{Target: target}
	config := backup.RestoreConfig{FS: vfs.NewMemory(), To: logDir, Logger: quiet}
	if _, err := backup.Restore(t.Context(), source, config); !errors.Is(err, errDamagedChunk) {
		t.Errorf("restore of a damaged chunk: %v", err)
	}
	source.AcceptDamage, config.AcceptDamage, config.FS = true, true, vfs.NewMemory()
	result, err := backup.Restore(t.Context(), source, config)
	if records := len(entries(t, memory)); err != nil || len(result.Damage) < 2 || int(result.Records) >= records || int(result.Records) < records-25 {
		t.Errorf("restored %d of %d records beside %d damaged places: %v", result.Records, records, len(result.Damage), err)
	}
	for _, name := range s.copy.kept {
		damage(t, mount, name)
	}
	wantRefused(t, shipperOf(l, target), "no manifest")
}

// damage changes a byte in the middle of an object.
func damage(t *testing.T, mount *vfs.Memory, name string) {
	t.Helper()
	file, err := mount.Open(filepath.Join(targetDir, name))
	if err != nil {
		return // removed meanwhile
	}
	size, err := file.Size()
	b := make([]byte, 1)
	if err == nil {
		_, err = file.ReadAt(b, size/2)
	}
	if err == nil {
		b[0] ^= 1
		_, err = file.WriteAt(b, size/2)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	l, _, _, target := shippedLog(t)
	content := []byte(`{"version":2,"checksum":"","state":{}}`)
	if err := target.Put(t.Context(), manifestName(100, content), content); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, shipperOf(l, target), "newer version")
	if _, err := (&Source{Target: target}).Manifest(t.Context()); !errors.Is(err, errNewer) {
		t.Errorf("restore: %v", err)
	}
}

// TestFilesOfOthersStay: what is no object of ours is not removed.
func TestFilesOfOthersStay(t *testing.T) {
	l, _, _, target := shippedLog(t)
	others := []string{"chunks/README", "manifests/notes.txt", "chunks/00000000000000000000-0-x"}
	for _, name := range others {
		if err := target.Put(t.Context(), name, []byte("mine")); err != nil {
			t.Fatal(err)
		}
	}
	orphan := chunkName(key{7, 7}, []chunk{{64, 1}}, 0)
	for _, name := range []string{orphan, orphan + temporarySuffix} {
		if err := target.Put(t.Context(), name, []byte("left by a crash")); err != nil {
			t.Fatal(err)
		}
	}
	s := shipperOf(l, target)
	fill(t, l, 1)
	mustLook(t, s)
	for _, name := range others {
		if _, err := target.Get(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{orphan, orphan + temporarySuffix} {
		if _, err := target.Get(t.Context(), name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

package vfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
)

// clones gives many possible crashes of the same moment.
func clones(m *Memory) []*Memory {
	var all []*Memory
	for seed := range uint64(200) {
		all = append(all, m.CrashClone(rand.New(rand.NewPCG(seed, 1))))
	}
	return all
}

func newMemoryDir(t *testing.T) *Memory {
	t.Helper()
	m := NewMemory()
	if err := m.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := newMemoryDir(t)
	f := writeFile(t, m, "/d/f", strings.Repeat("s", 3000))
	if err := errors.Join(f.Sync(), m.SyncDir("/d")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("u", 3000)), 3000); err != nil {
		t.Fatal(err)
	}
	endings := map[string]bool{}
	for i, clone := range clones(m) {
		got := readFile(t, clone, "/d/f")
		if !strings.HasPrefix(got, strings.Repeat("s", 3000)) {
			t.Fatalf("clone %d lost synced bytes", i)
		}
		endings[got[3000:]] = true
	}
	var whole, none, hole bool
	for ending := range endings {
		whole = whole || ending == strings.Repeat("u", 3000)
		none = none || ending == ""
		// A later block is there and an earlier one is not: what a torn batch looks like.
		hole = hole || strings.Contains(ending, "\x00u")
	}
	if !whole || !none || !hole {
		t.Errorf("among 200 crashes: whole %v, none %v, hole %v; want all three", whole, none, hole)
	}
	if got := readFile(t, m, "/d/f"); len(got) != 6000 {
		t.Errorf("the original changed: %d bytes", len(got))
	}
}

func TestCrashMayTakeNames(t *testing.T) {
	m := newMemoryDir(t)
	old := writeFile(t, m, "/d/config", "old")
	if err := errors.Join(old.Sync(), m.SyncDir("/d")); err != nil {
		t.Fatal(err)
	}
	next := writeFile(t, m, "/d/config.tmp", "new")
	if err := errors.Join(next.Sync(), m.Rename("/d/config.tmp", "/d/config")); err != nil {
		t.Fatal(err)
	}
	contents := map[string]int{}
	temporary := 0
	for i, clone := range clones(m) {
		contents[readFile(t, clone, "/d/config")]++
		_, err := clone.Open("/d/config.tmp")
		switch {
		case err == nil:
			temporary++
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatalf("clone %d: %v", i, err)
		}
	}
	if contents["old"] == 0 || contents["new"] == 0 || contents["old"]+contents["new"] != 200 {
		t.Errorf("after an unsynced rename: got %v, want old and new and nothing else", contents)
	}
	if temporary == 0 {
		t.Error("no crash fell between create and rename")
	}
	if err := m.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	for i, clone := range clones(m) {
		if got := readFile(t, clone, "/d/config"); got != "new" {
			t.Fatalf("clone %d after SyncDir: got %q", i, got)
		}
	}
}

func TestCrashIsRepeatable(t *testing.T) {
	m := newMemoryDir(t)
	writeFile(t, m, "/d/a", strings.Repeat("a", 5000))
	writeFile(t, m, "/d/b", strings.Repeat("b", 5000))
	if err := m.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	first := m.CrashClone(rand.New(rand.NewPCG(7, 7)))
	second := m.CrashClone(rand.New(rand.NewPCG(7, 7)))
	for _, path := range []string{"/d/a", "/d/b"} {
		if readFile(t, first, path) != readFile(t, second, path) {
			t.Errorf("%s differs between two clones of the same seed", path)
		}
	}
}

// TestFailedSyncForgets is the Linux behaviour the log must survive: the second sync succeeds
// and the bytes are still not there.
func TestFailedSyncForgets(t *testing.T) {
	m := newMemoryDir(t)
	faulty := Faulty(m, Fault{Operation: OpSync, Call: 1, Err: syscall.EIO})
	f := writeFile(t, faulty, "/d/f", "lost")
	if err := m.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("first sync: got %v, want EIO", err)
	}
	if err := f.Sync(); err != nil {
		t.Fatalf("second sync: %v", err)
	}
	if got := readFile(t, m, "/d/f"); got != "lost" {
		t.Errorf("the running system reads %q, want the bytes", got)
	}
	for i, clone := range clones(m) {
		if got := readFile(t, clone, "/d/f"); got != "\x00\x00\x00\x00" {
			t.Fatalf("clone %d: got %q, the bytes must be gone", i, got)
		}
	}
	if _, err := f.WriteAt([]byte("back"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for i, clone := range clones(m) {
		if got := readFile(t, clone, "/d/f"); got != "back" {
			t.Fatalf("clone %d after writing again: got %q", i, got)
		}
	}
}

func TestFaultsAndCounts(t *testing.T) {
	m := newMemoryDir(t)
	faulty := Faulty(m,
		Fault{Operation: OpWrite, Call: 2, Err: syscall.ENOSPC, Short: 3, Lasting: true},
		Fault{Operation: OpRead, Call: 1, Err: syscall.EIO},
		Fault{Operation: OpCreate, Call: 2, Err: syscall.EROFS},
	)
	f := writeFile(t, faulty, "/d/f", "first")
	if n, err := f.WriteAt([]byte("second"), 5); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("short write: got %d, %v, want 3, ENOSPC", n, err)
	}
	if n, err := f.WriteAt([]byte("xy"), 8); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("lasting fault: got %d, %v, want 2, ENOSPC", n, err)
	}
	b := make([]byte, 10)
	if _, err := f.ReadAt(b, 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("first read: got %v, want EIO", err)
	}
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "firstsecxy" {
		t.Errorf("second read: got %q, %v", b, err)
	}
	if _, err := faulty.Create("/d/g"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("second create: got %v, want EROFS", err)
	}
	for operation, want := range map[Operation]int{OpWrite: 3, OpRead: 2, OpCreate: 2, OpSync: 0} {
		if got := faulty.Calls(operation); got != want {
			t.Errorf("calls of %v: got %d, want %d", operation, got, want)
		}
	}
}

func TestOperationsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for o := range operations {
		if name := o.String(); name == "" || seen[name] {
			t.Errorf("operation %d: name %q is empty or taken", o, name)
		}
		seen[o.String()] = true
	}
}

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rookery/tuning"
	"rookery/tuning/hosttest"
)

// TestLinksAreNotReplaced: what is in the place of one of our files is somebody's, also where it leads nowhere.
func TestLinksAreNotReplaced(t *testing.T) {
	for _, target := range []string{"/dev/null", "no-such-file", "../../other.conf"} {
		dir := hosttest.Unpack(t, "vps-1gb")
		file := filepath.Join(dir, tuning.SysctlFile)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "other.conf"), []byte("# of another\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, file); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, dir)
		m := Disk{dir}
		_, err := Apply(m, state, planFor(t, m, dir, tuning.Target{Connections: 150000}), noon)
		if err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
			t.Errorf("apply over a link to %s: %v", target, err)
		}
		if diff := difference(before, snapshot(t, dir)); len(diff) > 0 {
			t.Errorf("over a link to %s these differ: %v", target, diff)
		}
	}
}

// TestHalvesAreTakenAway: a process that is killed while it writes a file leaves half of it, under a name that nobody reads.
func TestHalvesAreTakenAway(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-1gb")
	before := snapshot(t, dir)
	m := Disk{dir}
	plan := planFor(t, m, dir, tuning.Target{Connections: 150000})
	leave := func() {
		t.Helper()
		for _, f := range plan.Files {
			if err := os.WriteFile(m.half(f.Path), []byte("ha"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(m.half(stateFile(state)), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Apply(m, state, plan, noon); err != nil {
		t.Fatal(err)
	}
	leave()
	if _, _, err := Rollback(m, state, false); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, dir)
	if diff := difference(before, after); len(diff) > 0 {
		t.Errorf("rolled back, these differ: %v", diff)
	}
}

// TestADirectoryThatMayNotBeWritten: nothing is changed, and nothing of the attempt is left.
func TestADirectoryThatMayNotBeWritten(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-1gb")
	etc := filepath.Join(dir, filepath.Dir(tuning.SysctlFile))
	if err := os.RemoveAll(etc); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(etc, nil, 0o644); err != nil { // root may write into all directories, but not into a file
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	m := Disk{dir}
	if _, err := Apply(m, state, planFor(t, m, dir, tuning.Target{Connections: 150000}), noon); err == nil {
		t.Error("a file was written below a file")
	}
	after := snapshot(t, dir)
	if diff := difference(before, after); len(diff) > 0 {
		t.Errorf("these differ: %v", diff)
	}
}

// TestWhatWasKilledAtOnceIsTakenAway: before the state has its name nothing was changed, and tune.sh must not find that something is applied.
func TestWhatWasKilledAtOnceIsTakenAway(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-1gb")
	m := Disk{dir}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, state)), 0o755); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	for _, half := range []string{"", "{"} {
		if _, err := m.MakeDirectory(state); err != nil {
			t.Fatal(err)
		}
		if half != "" {
			if err := os.WriteFile(m.half(stateFile(state)), []byte(half), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := Rollback(m, state, false); !errors.Is(err, ErrNothing) {
			t.Errorf("rolled back where nothing was changed: %v", err)
		}
		if diff := difference(before, snapshot(t, dir)); len(diff) > 0 {
			t.Errorf("with %q of a state, these differ: %v", half, diff)
		}
	}
}

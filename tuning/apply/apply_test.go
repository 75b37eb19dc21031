package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/tuning"
	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

const state = "/var/lib/rookery-tune"

var noon = time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)

// snapshot is everything below a directory: names, contents, rights.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			text += " " + target
		case entry.Type().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += " " + string(b)
		}
		all[strings.TrimPrefix(name, dir)] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// difference lists what differs between two snapshots.
func difference(before, after map[string]string) (names []string) {
	for name := range before {
		if after[name] != before[name] {
			names = append(names, fmt.Sprintf("%s was %.60q, is %.60q", name, before[name], after[name]))
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			names = append(names, name+" is new")
		}
	}
	slices.Sort(names)
	return names
}

// planFor reads a tree and computes its plan, as the command does.
func planFor(t *testing.T, m Machine, dir string, target tuning.Target) tuning.Plan {
	t.Helper()
	return planOf(t, m, os.DirFS(dir), target)
}

func planOf(t *testing.T, m Machine, tree fs.FS, target tuning.Target) tuning.Plan {
	t.Helper()
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(m, state)
	if err != nil {
		t.Fatal(err)
	}
	return tuning.Make(h, target, s.Originals())
}

var target = tuning.Target{Connections: 150000, MessageRate: 10000}

func TestApplyAndRollBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		target tuning.Target
	}{
		{"vps-1gb", target}, {"vps-16gb", target}, {"lxc", target}, {"old-kernel", target}, {"new-kernel", target}, {"conflicts", target},
		{"vps-4gb", tuning.Target{Role: tuning.BehindProxy, Connections: 40000}}, {"vps-4gb", tuning.Target{Role: tuning.LoadGenerator, Connections: 60000}},
	} {
		name, target := c.name, c.target
		t.Run(fmt.Sprint(name, " ", target.Role), func(t *testing.T) {
			dir := hosttest.Unpack(t, name)
			m := Disk{dir}
			before := snapshot(t, dir)

			plan := planFor(t, m, dir, target)
			done, err := Apply(m, state, plan, noon)
			if err != nil || len(done.NotTaken) > 0 || done.Nothing() {
				t.Fatalf("apply: %+v, %v", done, err)
			}
			for _, v := range plan.Values {
				if v.Path == "" {
					continue
				}
				if b, err := os.ReadFile(dir + v.Path); err != nil || strings.TrimSpace(string(b)) != v.Wanted {
					t.Errorf("%s is %q, %v, want %s", v.Key, b, err, v.Wanted)
				}
			}
			applied := snapshot(t, dir)

			// The plan of the machine as it is now is the same, and changes nothing.
			again := planFor(t, m, dir, target)
			if again.Changed() {
				t.Errorf("the plan changes a machine to which it was applied: %+v", again)
			}
			done, err = Apply(m, state, again, noon.Add(time.Hour))
			if err != nil || !done.Nothing() {
				t.Errorf("applied again: %+v, %v, want nothing done", done, err)
			}
			if diff := difference(applied, snapshot(t, dir)); len(diff) > 0 {
				t.Errorf("applied again, these differ: %v", diff)
			}

			if _, _, err := Rollback(m, state, false); err != nil {
				t.Fatal(err)
			}
			after := snapshot(t, dir)
			if diff := difference(before, after); len(diff) > 0 {
				t.Errorf("rolled back, these differ: %v", diff)
			}
			if _, _, err := Rollback(m, state, false); !errors.Is(err, ErrNothing) {
				t.Errorf("rolled back twice: %v", err)
			}
		})
	}
}

// TestAnotherTarget: what a second plan does not need any more goes back to what was there before the first.
func TestAnotherTarget(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-1gb")
	m := Disk{dir}
	before := snapshot(t, dir)
	for _, connections := range []int{150000, 3000, 40000} {
		target := tuning.Target{Connections: connections}
		fresh := planFor(t, Disk{hosttest.Unpack(t, "vps-1gb")}, hosttest.Unpack(t, "vps-1gb"), target)
		if _, err := Apply(m, state, planFor(t, m, dir, target), noon); err != nil {
			t.Fatal(err)
		}
		for _, f := range fresh.Files {
			if b, _ := os.ReadFile(dir + f.Path); string(b) != f.After {
				t.Errorf("%d connections: %s is\n%s\nwant as on a machine to which nothing was applied\n%s", connections, f.Path, b, f.After)
			}
		}
		wanted := map[string]string{}
		for _, v := range fresh.Values {
			wanted[v.Path] = v.Wanted
		}
		for name, text := range snapshot(t, dir) {
			_, was, _ := strings.Cut(before[name], " ")
			_, is, _ := strings.Cut(text, " ")
			if strings.HasPrefix(name, "/proc/sys/") && wanted[name] == "" && is != was {
				t.Errorf("%d connections: %s is %q, want %q, as before everything", connections, name, is, was)
			}
		}
	}
	if _, _, err := Rollback(m, state, false); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, dir)
	if diff := difference(before, after); len(diff) > 0 {
		t.Errorf("rolled back, these differ: %v", diff)
	}
}

func TestChangesOfOthersAreKept(t *testing.T) {
	const somaxconn, file = "/proc/sys/net/core/somaxconn", "/" + tuning.SysctlFile
	for name, change := range map[string]struct {
		path, text, reason string
	}{
		"value": {somaxconn, "500\n", "net.core.somaxconn is 500, and was set to 16384"},
		"file":  {file, "# mine\n", "zz-rookery-tune.conf has another content"},
		"gone":  {file, "", "zz-rookery-tune.conf is not there any more"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := hosttest.Unpack(t, "vps-1gb")
			m := Disk{dir}
			before := snapshot(t, dir)
			if _, err := Apply(m, state, planFor(t, m, dir, target), noon); err != nil {
				t.Fatal(err)
			}
			if change.text == "" {
				if err := os.Remove(dir + change.path); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(dir+change.path, []byte(change.text), 0o644); err != nil {
				t.Fatal(err)
			}
			changed := snapshot(t, dir)
			refused := func(what string, err error) {
				t.Helper()
				var c *ChangedError
				if !errors.As(err, &c) || len(c.Reasons) != 1 || !strings.Contains(c.Reasons[0], change.reason) {
					t.Errorf("%s: %v, want a refusal that says %q", what, err, change.reason)
				}
				if diff := difference(changed, snapshot(t, dir)); len(diff) > 0 {
					t.Errorf("%s changed %v", what, diff)
				}
			}
			_, err := Apply(m, state, planFor(t, m, dir, tuning.Target{Connections: 90000}), noon)
			refused("apply", err)
			_, _, err = Rollback(m, state, false)
			refused("rollback", err)

			_, kept, err := Rollback(m, state, true)
			if err != nil || len(kept) != 1 {
				t.Fatalf("rollback that keeps changes: kept %v, %v", kept, err)
			}
			after := snapshot(t, dir)
			maps.DeleteFunc(after, func(name, _ string) bool {
				return slices.Contains([]string{change.path, filepath.Dir(change.path), "/etc"}, name)
			})
			maps.DeleteFunc(before, func(name, _ string) bool {
				return slices.Contains([]string{change.path, filepath.Dir(change.path), "/etc"}, name)
			})
			if diff := difference(before, after); len(diff) > 0 {
				t.Errorf("rolled back all but that, these differ: %v", diff)
			}
		})
	}
}

// stubborn is a kernel that takes a value and makes another of it.
type stubborn struct {
	Disk
	path, value string
}

func (s stubborn) Set(name, value string) error {
	if name == s.path {
		value = s.value
	}
	return s.Disk.Set(name, value)
}

func TestAValueThatDoesNotTakeIsTold(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-1gb")
	before := snapshot(t, dir)
	m := stubborn{Disk{dir}, "/proc/sys/net/core/somaxconn", "8192"}
	done, err := Apply(m, state, planFor(t, m, dir, target), noon)
	if err != nil || !reflect.DeepEqual(done.NotTaken, []string{"net.core.somaxconn: 16384 was written, it reads 8192"}) {
		t.Fatalf("did not take: %q, %v", done.NotTaken, err)
	}
	// What the kernel made of it is nobody's change.
	if _, _, err := Rollback(Disk{dir}, state, false); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, dir)
	if diff := difference(before, after); len(diff) > 0 {
		t.Errorf("rolled back, these differ: %v", diff)
	}
}

// TestNotBesideTheScript: of two that each keep what was there before, one would be wrong.
func TestNotBesideTheScript(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-4gb")
	m := Disk{dir}
	if err := os.MkdirAll(dir+scriptState, 0o755); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	if _, err := Apply(m, state, planFor(t, m, dir, target), noon); !errors.Is(err, errByScript) {
		t.Errorf("apply beside the script: %v", err)
	}
	if diff := difference(before, snapshot(t, dir)); len(diff) > 0 {
		t.Errorf("it changed %v", diff)
	}
}

func TestDamagedStateIsNotUsed(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-4gb")
	m := Disk{dir}
	for text, want := range map[string]string{"{": "is damaged", `{"Format":9,"Phase":"applied"}`: "has format 9, and this version reads 1"} {
		if err := os.MkdirAll(dir+state, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+stateFile(state), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Apply(m, state, tuning.Plan{}, noon)
		_, _, backErr := Rollback(m, state, true)
		for _, err := range []error{err, backErr} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("state %s: %v, want an error that says %q", text, err, want)
			}
		}
	}
}

// TestOneAtATime: who comes second is told so, and the lock leaves nothing behind.
func TestOneAtATime(t *testing.T) {
	dir := hosttest.Unpack(t, "vps-1gb")
	before := snapshot(t, dir)
	m := Disk{dir}
	unlock, err := m.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Lock(); err == nil || !strings.Contains(err.Error(), "another rookery tune") {
		t.Errorf("locked twice: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = m.Lock()
	if err != nil {
		t.Fatalf("locked again: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if diff := difference(before, snapshot(t, dir)); len(diff) > 0 {
		t.Errorf("these differ: %v", diff)
	}
}

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"rookery/tuning"
	"rookery/tuning/hosttest"
)

var errFault = errors.New("the disk says no")

// faulty is a machine in memory that fails at one change, by its number, or is killed there: then all later ones fail, too.
type faulty struct {
	tree   fstest.MapFS
	at     int // from 1; 0 is never
	killed bool
	after  bool // the change is made, and the error comes all the same
	n      int  // changes so far
}

func newFaulty(t *testing.T) *faulty { return &faulty{tree: hosttest.Tree(t, "conflicts")} }

func (f *faulty) change(do func()) error {
	f.n++
	switch {
	case f.n == f.at && f.after:
		do()
		return errFault
	case f.n == f.at, f.killed && f.n > f.at:
		return errFault
	}
	do()
	return nil
}

func (f *faulty) there(name string) bool {
	_, err := fs.Stat(f.tree, strings.TrimPrefix(name, "/"))
	return err == nil
}

func missing(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (f *faulty) ReadFile(name string) ([]byte, fs.FileMode, error) {
	if !f.there(name) {
		return nil, 0, missing(name)
	}
	name = strings.TrimPrefix(name, "/")
	b, err := fs.ReadFile(f.tree, name)
	if err != nil {
		return nil, 0, err // a directory
	}
	return b, f.tree[name].Mode, nil
}

func (f *faulty) Replace(name string, content []byte, mode fs.FileMode) error {
	return f.change(func() {
		f.tree[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: append([]byte(nil), content...), Mode: mode}
	})
}

func (f *faulty) Remove(name string) error {
	name = strings.TrimPrefix(name, "/")
	if !f.there(name) {
		return missing(name)
	}
	for other := range f.tree {
		if strings.HasPrefix(other, name+"/") {
			return errNotEmpty
		}
	}
	return f.change(func() { delete(f.tree, name) })
}

func (f *faulty) MakeDirectory(name string) (made bool, err error) {
	if f.there(name) {
		return false, nil
	}
	err = f.change(func() {
		f.tree[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		made = true
	})
	return made, err
}

func (f *faulty) Set(name, value string) error {
	return f.change(func() {
		f.tree[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: []byte(value + "\n"), Mode: 0o644}
	})
}

func (f *faulty) Reload(string) error { return f.change(func() {}) }

// now is everything there is but the way to the state.
func (f *faulty) now() map[string]string {
	all := map[string]string{}
	for name, file := range f.tree {
		all[name] = fmt.Sprintf("%v %s", file.Mode, file.Data)
	}
	maps.DeleteFunc(all, func(name, _ string) bool { return name == "var" || name == "var/lib" })
	return all
}

// withoutDirectories leaves out those that have an entry of their own: the machine as it was has none.
func withoutDirectories(all map[string]string) map[string]string {
	maps.DeleteFunc(all, func(_, text string) bool { return strings.HasPrefix(text, "d") })
	return all
}

// commands that are tried, each on a machine that was prepared for it.
var tried = map[string]struct {
	prepared bool
	run      func(t *testing.T, m *faulty) error
}{
	"apply": {false, func(t *testing.T, m *faulty) error {
		_, err := Apply(m, state, planOf(t, m, m.tree, target), noon)
		return err
	}},
	"apply for another target": {true, func(t *testing.T, m *faulty) error {
		_, err := Apply(m, state, planOf(t, m, m.tree, tuning.Target{Connections: 20000}), noon)
		return err
	}},
	"rollback": {true, func(t *testing.T, m *faulty) error {
		_, _, err := Rollback(m, state, false)
		return err
	}},
}

// prepare gives a machine as a command finds it, and how many changes the command makes.
func prepare(t *testing.T, command string) (m *faulty, changes int) {
	t.Helper()
	m = newFaulty(t)
	if tried[command].prepared {
		if err := tried["apply"].run(t, m); err != nil {
			t.Fatal(err)
		}
	}
	trial := &faulty{tree: maps.Clone(m.tree)}
	if err := tried[command].run(t, trial); err != nil {
		t.Fatal(err)
	}
	return m, trial.n
}

// TestNothingIsHalfWay has every change of a command fail once: then all is as it was before the command, and the next try
// does it.
func TestNothingIsHalfWay(t *testing.T) {
	original := newFaulty(t).now()
	for command, c := range tried {
		_, changes := prepare(t, command)
		if changes < 10 {
			t.Errorf("%s has only %d changes", command, changes)
		}
		for _, after := range []bool{false, true} {
			for at := 1; at <= changes; at++ {
				m, _ := prepare(t, command)
				before := m.now()
				m.at, m.after, m.n = at, after, 0
				if err := c.run(t, m); !errors.Is(err, errFault) {
					t.Errorf("%s, fault at change %d of %d: %v", command, at, changes, err)
					continue
				}
				diff := difference(before, m.now())
				if command == "rollback" && len(difference(original, withoutDirectories(m.now()))) == 0 {
					diff = nil // it was the end of it: what is left are empty directories at worst
				}
				if len(diff) > 0 {
					t.Errorf("%s, fault at change %d of %d, after it %v: these differ:\n%v", command, at, changes, after, diff)
				}
				m.at = 0
				if err := c.run(t, m); err != nil && !errors.Is(err, ErrNothing) {
					t.Errorf("%s after a fault at change %d: %v", command, at, err)
				}
			}
		}
	}
}

// TestKilled has commands be killed before and after every change: apply refuses then, and rollback puts everything back.
func TestKilled(t *testing.T) {
	original := newFaulty(t).now()
	for command, c := range tried {
		_, changes := prepare(t, command)
		for _, after := range []bool{false, true} {
			for at := 1; at <= changes; at++ {
				m, _ := prepare(t, command)
				m.at, m.after, m.killed, m.n = at, after, true, 0
				if err := c.run(t, m); !errors.Is(err, errFault) {
					t.Fatalf("%s killed at %d: %v", command, at, err)
				}
				m.at, m.killed = 0, false
				s, err := Load(m, state)
				if err != nil {
					t.Fatal(err)
				}
				if s.Phase == applying {
					if err := tried["apply"].run(t, m); !errors.Is(err, ErrInterrupted) {
						t.Errorf("%s killed at %d, apply says %v", command, at, err)
					}
				}
				if err := tried["rollback"].run(t, m); err != nil && !errors.Is(err, ErrNothing) {
					t.Errorf("%s killed at %d, rollback says %v", command, at, err)
				}
				now := m.now()
				// An empty directory may be left where the end came before or after everything else.
				delete(now, strings.TrimPrefix(state, "/"))
				if s.Phase == "" {
					now = withoutDirectories(now)
				}
				if diff := difference(original, now); len(diff) > 0 {
					t.Errorf("%s killed at %d of %d, after it %v, rolled back, these differ: %v", command, at, changes, after, diff)
				}
			}
		}
	}
}

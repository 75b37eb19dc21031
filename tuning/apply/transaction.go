package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// transaction makes changes and remembers how each is undone.
type transaction struct {
	machine Machine
	undo    []func() error
}

// undoAll undoes everything, the last first. It goes on after an error, and gives all of them.
func (t *transaction) undoAll() error {
	var faults error
	for _, undo := range slices.Backward(t.undo) {
		if err := undo(); err != nil {
			faults = errors.Join(faults, fmt.Errorf("this could not be undone: %w", err))
		}
	}
	t.undo = nil
	return faults
}

func (t *transaction) value(name string) string {
	b, _, _ := t.machine.ReadFile(name)
	return strings.TrimRight(string(b), "\n")
}

// set sets a value. What undoes it looks first: a write that failed has mostly changed nothing, and writing once more would fail, too.
func (t *transaction) set(name, value string) error {
	before := t.value(name)
	t.undo = append(t.undo, func() error {
		if t.value(name) == before {
			return nil
		}
		return t.machine.Set(name, before)
	})
	return t.machine.Set(name, value)
}

// putBack undoes what was done to a file: it is as it was, or was not there.
func (t *transaction) putBack(name string, there bool, content []byte, mode fs.FileMode) error {
	now, _, err := t.machine.ReadFile(name)
	switch {
	case !there:
		return ignoreMissing(t.machine.Remove(name))
	case err == nil && string(now) == string(content):
		return nil
	}
	return t.machine.Replace(name, content, mode)
}

// putFile writes or removes a file.
func (t *transaction) putFile(c change) error {
	content, mode, err := t.machine.ReadFile(c.path)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.gone {
		if !there {
			return ignoreMissing(t.machine.Remove(c.path)) // half of it may be
		}
		t.undo = append(t.undo, func() error { return t.putBack(c.path, true, content, mode) })
		return t.machine.Remove(c.path)
	}
	if err := t.makeDirectories(path.Dir(c.path)); err != nil {
		return err
	}
	t.undo = append(t.undo, func() error { return t.putBack(c.path, there, content, mode) })
	return t.machine.Replace(c.path, c.content, c.mode)
}

// makeDirectories makes those that are missing.
func (t *transaction) makeDirectories(dir string) error {
	for _, dir := range t.missing(dir) {
		isNew, err := t.machine.MakeDirectory(dir)
		if isNew {
			t.undo = append(t.undo, func() error { return ignoreMissing(t.machine.Remove(dir)) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// missing gives the directories on the way to one, and that one, that are not there, outermost first.
func (t *transaction) missing(dir string) (all []string) {
	for ; dir != "/"; dir = path.Dir(dir) {
		if _, _, err := t.machine.ReadFile(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		all = append(all, dir)
	}
	slices.Reverse(all)
	return all
}

// saveState writes the state under which changes are made, and the directory for it.
func (t *transaction) saveState(dir string, during State) error {
	if err := t.makeDirectories(dir); err != nil {
		return fmt.Errorf("make a place for what is saved: %w", err)
	}
	before, mode, err := t.machine.ReadFile(stateFile(dir))
	t.undo = append(t.undo, func() error { return t.putBack(stateFile(dir), err == nil, before, mode) })
	if err := during.save(t.machine, dir); err != nil {
		return fmt.Errorf("save what is there: %w", err)
	}
	return nil
}

// reload tells programs of files that have changed. When it is undone they are told again, of the files as they were.
func (t *transaction) reload(files []string) error {
	programs := reloadsFor(files)
	if len(programs) == 0 {
		return nil
	}
	tell := func() error {
		for _, program := range programs {
			if err := t.machine.Reload(program); err != nil {
				return fmt.Errorf("have %s read its files again: %w", program, err)
			}
		}
		return nil
	}
	// Undoing goes backwards, and this has to come after the files: first in the list.
	t.undo = slices.Insert(t.undo, 0, tell)
	return tell()
}

// removeDirectories takes away what was made for the files and for the state, where it is empty.
func (t *transaction) removeDirectories(made []string, stateDir string) error {
	if err := ignoreMissing(t.machine.Remove(stateFile(stateDir))); err != nil {
		return err
	}
	// From here on everything is as it was: what is left is an empty directory at worst.
	t.undo = nil
	for _, dir := range slices.Backward(append(slices.Clone(made), stateDir)) {
		// One that others have put something into stays.
		if err := t.machine.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotEmpty) {
			return fmt.Errorf("everything is put back, but an empty directory is left: %w", err)
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

package apply

import (
	"errors"
	"slices"
)

// ErrNothing means that nothing is applied.
var ErrNothing = errors.New("nothing was applied on this machine, so there is nothing to take back")

// Rollback puts files and values back as they were before the first Apply. Where somebody has changed since what Apply wrote it
// refuses with a ChangedError, unless keep is set: then it leaves what was changed as it is, and says so.
func Rollback(m Machine, dir string, keep bool) (done Done, kept []string, err error) {
	old, err := Load(m, dir)
	if err != nil {
		return Done{}, nil, err
	}
	if old.Phase == "" {
		// An apply that was killed before it had saved anything has left its directory, maybe with half a state.
		t := &transaction{machine: m}
		return Done{}, nil, errors.Join(ErrNothing, t.removeDirectories(nil, dir))
	}
	reasons := old.changedSince(m)
	if len(reasons) > 0 && !keep {
		return Done{}, nil, &ChangedError{reasons}
	}
	if len(reasons) > 0 {
		old = old.without(m)
	}
	t := &transaction{machine: m}
	// A state of nothing: all that the old one has goes back to its original.
	next := State{Directories: slices.Clone(old.Directories)}
	if done, err = t.carryOut(dir, old, next); err != nil {
		return Done{}, nil, err
	}
	if done.Nothing() { // nothing is left to be put back, but the state itself
		err = t.removeDirectories(old.Directories, dir)
	}
	return done, reasons, err
}

// without leaves out what was changed since.
func (s State) without(m Machine) State {
	rest := s
	rest.Files = slices.DeleteFunc(slices.Clone(s.Files), func(f SavedFile) bool {
		one := State{Phase: s.Phase, Files: []SavedFile{f}}
		return len(one.changedSince(m)) > 0
	})
	rest.Values = slices.DeleteFunc(slices.Clone(s.Values), func(v SavedValue) bool {
		one := State{Phase: s.Phase, Values: []SavedValue{v}}
		return len(one.changedSince(m)) > 0
	})
	return rest
}

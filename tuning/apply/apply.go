// Package apply changes a machine by a plan of package tuning, and takes that back.
//
//	apply.go        what Apply does
//	rollback.go     what Rollback does
//	state.go        what is remembered between them
//	transaction.go  changes that are undone when a later one fails
//	disk.go         the machine itself, or a tree of files
//
// It writes the files of the plan and sets the values of the plan, and nothing else. What was there before is saved and synced
// before the first change. If a change fails, those before it are undone. A process that is killed, or a machine that
// loses power, leaves a state that says "applying", by which Rollback knows that each file and value may be the
// old or the new one.
//
// Rollback gives back what was there, byte for byte, and refuses to where somebody has changed since what Apply wrote.
//
// # What is not promised
//
// Who calls these keeps two at the same time apart: Disk.Lock does. Owners of files are root's; access times and extended attributes are
// not kept. What the running gateway got from its old limit it keeps until it is started again.
package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"rookery/tuning"
)

// Machine is what is changed. Paths begin with a slash.
type Machine interface {
	ReadFile(name string) ([]byte, fs.FileMode, error)
	// Replace writes a file so that even after a power cut there is the old one or the new one.
	Replace(name string, content []byte, mode fs.FileMode) error
	Remove(name string) error
	// MakeDirectory makes one level. It reports false if it is there.
	MakeDirectory(name string) (bool, error)
	// Set writes a value into a file of the kernel, which is never made.
	Set(name, value string) error
	// Reload tells a program of the system that its files have changed: systemd or udev. It does nothing where that does not run.
	Reload(program string) error
}

// Done is what was changed.
type Done struct {
	Files    []string // paths
	Values   []string // like "net.core.somaxconn: 4096 → 8192"
	NotTaken []string // values that read otherwise than they were written
}

// Nothing says that there was nothing to do.
func (d Done) Nothing() bool { return len(d.Files)+len(d.Values) == 0 }

// ChangedError says that somebody changed since what was applied.
type ChangedError struct{ Reasons []string }

func (e *ChangedError) Error() string {
	return "somebody has changed what was applied:\n  " + strings.Join(e.Reasons, "\n  ")
}

// ErrInterrupted means that an earlier apply or rollback did not come to its end.
var ErrInterrupted = errors.New("an earlier apply or rollback was interrupted: rookery tune rollback puts back what it had changed, then apply again")

// scriptState is where the script of package script keeps what was there before. Of two that each know what was there before, one
// would be wrong.
const scriptState = "/var/lib/rookery-tune-script"

var errByScript = errors.New("tune.sh was applied on this machine: roll that back first, sh tune.sh rollback")

// Apply puts a plan into force. A plan that is in force already changes nothing. If it returns an error, nothing is changed, or the
// error says what could not be undone.
func Apply(m Machine, dir string, p tuning.Plan, now time.Time) (Done, error) {
	old, err := Load(m, dir)
	if err != nil {
		return Done{}, err
	}
	if old.Phase != "" && old.Phase != applied {
		return Done{}, ErrInterrupted
	}
	if reasons := old.changedSince(m); len(reasons) > 0 {
		return Done{}, &ChangedError{reasons}
	}
	if _, _, err := m.ReadFile(scriptState); !errors.Is(err, fs.ErrNotExist) {
		return Done{}, errByScript
	}
	next, err := intend(m, old, p, now)
	if err != nil {
		return Done{}, err
	}
	t := &transaction{machine: m}
	done, err := t.carryOut(dir, old, next)
	if err != nil || done.Nothing() {
		return Done{}, err
	}
	return done, nil
}

// intend gives the state that a plan leads to. Originals are those of the first apply.
func intend(m Machine, old State, p tuning.Plan, now time.Time) (State, error) {
	next := State{Format: format, Phase: applied, Target: p.Target.String(), Applied: now.UTC().Truncate(time.Second), Directories: slices.Clone(old.Directories)}
	for _, f := range p.Files {
		if f.After == "" {
			continue // ours from before: what is not in the next state goes back to its original
		}
		saved, known := old.file(f.Path)
		if !known {
			content, mode, err := m.ReadFile(f.Path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				saved = SavedFile{Path: f.Path}
			case err != nil:
				return next, fmt.Errorf("save what is there: %w", err)
			default:
				saved = SavedFile{Path: f.Path, There: true, Original: content, Mode: mode}
			}
		}
		saved.Written = []byte(f.After)
		next.Files = append(next.Files, saved)
	}
	for _, v := range p.Values {
		if v.Path == "" {
			continue
		}
		saved, known := old.value(v.Path)
		if !known {
			text, _, err := m.ReadFile(v.Path)
			if err != nil {
				return next, fmt.Errorf("save the value of %s: %w", v.Key, err)
			}
			saved = SavedValue{Path: v.Path, Key: v.Key, Original: strings.TrimRight(string(text), "\n")}
		}
		if saved.Asked != v.Wanted {
			saved.Asked, saved.Set = v.Wanted, v.Wanted
		}
		next.Values = append(next.Values, saved)
	}
	return next, nil
}

// carryOut leads a machine from one state to another. The state file says so before and after.
func (t *transaction) carryOut(dir string, old, next State) (done Done, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, t.undoAll())
		}
	}()
	changes := t.compare(old, next)
	if len(changes.files)+len(changes.values) == 0 {
		return done, nil
	}
	// Directories have to be known before they are made, or a power cut would leave them.
	next.Directories = append(next.Directories, t.missing(path.Dir(dir))...)
	for _, f := range changes.files {
		for _, dir := range t.missing(path.Dir(f.path)) {
			if !f.gone && !slices.Contains(next.Directories, dir) {
				next.Directories = append(next.Directories, dir)
			}
		}
	}
	if err := t.saveState(dir, between(old, next)); err != nil {
		return done, err
	}
	for _, f := range changes.files {
		if err := t.putFile(f); err != nil {
			return done, err
		}
		done.Files = append(done.Files, f.path)
	}
	for _, v := range changes.values {
		if err := t.set(v.path, v.value); err != nil {
			return done, fmt.Errorf("set %s to %s: %w", v.key, v.value, err)
		}
		done.Values = append(done.Values, fmt.Sprintf("%s: %s → %s", v.key, oneBlank(v.now), oneBlank(v.value)))
	}
	if err := t.reload(done.Files); err != nil {
		return done, err
	}
	done.NotTaken = next.readBack(t.machine, changes)
	if next.empty() {
		// Everything is as it was: so is the place of the state.
		return done, t.removeDirectories(next.Directories, dir)
	}
	return done, next.save(t.machine, dir)
}

// changes are what differs between a machine and a state.
type changes struct {
	files  []change
	values []change
}

type change struct {
	path, key string
	now       string // a value
	value     string
	content   []byte // a file
	mode      fs.FileMode
	gone      bool // the file is to be removed
}

// compare gives what has to be changed so that the machine is as the next state says. What only the old one has goes back to
// its original.
func (t *transaction) compare(old, next State) (c changes) {
	for _, f := range next.Files {
		content, _, err := t.machine.ReadFile(f.Path)
		if err != nil || string(content) != string(f.Written) {
			mode := f.Mode
			if !f.There {
				mode = 0o644
			}
			c.files = append(c.files, change{path: f.Path, content: f.Written, mode: mode})
		}
	}
	for _, f := range old.Files {
		if _, kept := next.file(f.Path); !kept {
			c.files = append(c.files, change{path: f.Path, content: f.Original, mode: f.Mode, gone: !f.There})
		}
	}
	for _, v := range next.Values {
		if now := t.value(v.Path); oneBlank(now) != oneBlank(v.Set) {
			c.values = append(c.values, change{path: v.Path, key: v.Key, now: now, value: v.Asked})
		}
	}
	// Back in the other direction: what was set last is undone first.
	for _, v := range slices.Backward(old.Values) {
		if _, kept := next.value(v.Path); kept {
			continue
		}
		// A module that is not loaded any more has taken its settings along.
		if _, _, err := t.machine.ReadFile(v.Path); !errors.Is(err, fs.ErrNotExist) {
			c.values = append(c.values, change{path: v.Path, key: v.Key, now: t.value(v.Path), value: v.Original})
		}
	}
	return c
}

// readBack notes what the kernel made of the values, and gives those that it did not take.
func (s *State) readBack(m Machine, c changes) (notTaken []string) {
	for _, change := range c.values {
		text, _, err := m.ReadFile(change.path)
		now := strings.TrimRight(string(text), "\n")
		if err != nil {
			now = err.Error()
		}
		if oneBlank(now) != oneBlank(change.value) {
			notTaken = append(notTaken, fmt.Sprintf("%s: %s was written, it reads %s", change.key, oneBlank(change.value), oneBlank(now)))
		}
		for i := range s.Values {
			if s.Values[i].Path == change.path && err == nil {
				s.Values[i].Set = now
			}
		}
	}
	return notTaken
}

func oneBlank(text string) string { return strings.Join(strings.Fields(text), " ") }

// programs are told of changes below a directory.
var programs = map[string]string{"/etc/systemd/system": "systemd", "/etc/udev/rules.d": "udev"}

// reloadsFor gives the programs that have to be told of files.
func reloadsFor(files []string) (all []string) {
	for _, f := range files {
		for dir, program := range programs {
			if strings.HasPrefix(path.Clean(f), dir+"/") && !slices.Contains(all, program) {
				all = append(all, program)
			}
		}
	}
	slices.Sort(all)
	return all
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// maxLooks bounds how often the log is listed again because a file was gone before it was linked.
const maxLooks = 100

// Config is what a backup needs to know. All but AcceptDamage must be set.
type Config struct {
	// From is the log's directory, To that of the backup, made if missing; both in FS.
	FS       vfs.FS
	From, To string
	// AcceptDamage makes a backup also of a log that lacks segments. Default: refuse, since it would take the
	// place of a backup that has them.
	AcceptDamage bool
}

// Result says what was done.
type Result struct {
	Manifest *Manifest
	// Kept were there already.
	Kept, Linked, Cloned, Copied int
	CopiedBytes                  int64
	Removed                      int // files that the state before had and this one has not
}

// making is one Make. Its steps:
//
//  1. lock: one at a time, and only into a directory of backups of this log.
//  2. look: which segments there are at one moment.
//  3. gather: each of them gets a file, linked, cloned or copied. If one is gone, 2 again.
//  4. manifest: the files' names are made durable, then MANIFEST is replaced.
//  5. sweep: what the state has no use for is removed.
type making struct {
	Config
	result Result
	former map[string]File // of the state before, by name
	done   map[string]File // of this one, also if it takes several looks
}

// Make brings the backup in a directory up to the log as it is now. A server may be writing it.
func Make(ctx context.Context, config Config) (result Result, err error) {
	m := &making{Config: config, former: map[string]File{}, done: map[string]File{}}
	view, err := commitlog.OpenView(m.FS, m.From)
	if err != nil {
		return m.result, fmt.Errorf("back up %s: %w", m.From, err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	lock, err := m.lock(view)
	if err != nil {
		return m.result, fmt.Errorf("back up to %s: %w", m.To, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for looks := 1; ; looks++ {
		err := m.gather(ctx, view)
		if err == nil {
			break
		}
		if !errors.Is(err, errGone) || looks == maxLooks {
			return m.result, fmt.Errorf("back up %s: %w", m.From, err)
		}
		if err := view.Look(); err != nil {
			return m.result, fmt.Errorf("back up %s: %w", m.From, err)
		}
	}
	if err := m.FS.SyncDir(m.To); err != nil {
		return m.result, fmt.Errorf("sync directory %s: %w", m.To, err)
	}
	if err := writeManifest(m.FS, m.To, m.result.Manifest); err != nil {
		return m.result, fmt.Errorf("back up to %s: %w", m.To, err)
	}
	if err := m.sweep(); err != nil {
		return m.result, fmt.Errorf("the backup is made, but what it does not need can't be removed: %w", err)
	}
	return m.result, nil
}

// lock makes and locks the directory and reads the state before.
func (m *making) lock(view *commitlog.View) (lock interface{ Close() error }, err error) {
	if err := vfs.MakeDirectory(m.FS, filepath.Clean(m.To)); err != nil {
		return nil, err
	}
	if err := m.ours(); err != nil {
		return nil, err
	}
	lock, err = m.FS.Lock(filepath.Join(m.To, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("another backup is being made there: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	former, err := readManifest(m.FS, m.To)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return lock, nil
	case err != nil:
		return lock, fmt.Errorf("%w; take another directory for the next backup", err)
	case former.LogID != Number(view.LogID()):
		return lock, errors.New("it holds a backup of another log: take another directory")
	}
	for _, f := range former.Files {
		m.former[f.Name] = f
	}
	return lock, nil
}

// ours refuses a directory that holds other things than backups: the log's own above all.
func (m *making) ours() error {
	names, err := m.FS.List(m.To)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != manifestName && name != lockName && !isFileName(strings.TrimSuffix(name, temporarySuffix)) && name != manifestName+temporarySuffix {
			return fmt.Errorf("%s is there, which is of no backup: take an empty or a new directory", name)
		}
	}
	return nil
}

// gather makes a file of each segment that the view has seen.
func (m *making) gather(ctx context.Context, view *commitlog.View) error {
	for _, damage := range view.Damage() {
		if !m.AcceptDamage {
			return fmt.Errorf("the log is damaged, and its backup would replace one that may be whole (take another directory and accept the damage if you want it all the same): %w", damage)
		}
	}
	made := &Manifest{LogID: Number(view.LogID()), Epoch: Number(view.Epoch()), Made: time.Now().UTC().Truncate(time.Millisecond)}
	segments := view.Segments()
	for _, s := range segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.Missing {
			continue
		}
		f, err := m.segment(s, view)
		if err != nil {
			return err
		}
		made.Files = append(made.Files, f)
		made.End = s.End
	}
	if err := made.check(); err != nil {
		return err
	}
	var err error
	made.EndAt, err = lastTime(view, segments, made.End)
	m.result.Manifest = made
	return err
}

// lastTime gives the time of the last record before a position.
func lastTime(view *commitlog.View, segments []commitlog.SegmentInfo, end int64) (at int64, err error) {
	for i := len(segments) - 1; i >= 0 && at == 0 && err == nil; i-- {
		_, err = view.Scan(segments[i].Base, func(e commitlog.Entry) bool {
			if e.Position >= end {
				return false
			}
			at = e.Record.At
			return true
		}, func(*storage.CorruptionError) {})
		end = segments[i].Base
	}
	return at, err
}

// sweep removes what the state has no use for.
func (m *making) sweep() error {
	needed := map[string]bool{}
	for _, f := range m.result.Manifest.Files {
		needed[f.Name] = true
	}
	names, err := m.FS.List(m.To)
	if err != nil {
		return err
	}
	for _, name := range names {
		if needed[name] || !isFileName(strings.TrimSuffix(name, temporarySuffix)) {
			continue
		}
		if err := m.FS.Remove(filepath.Join(m.To, name)); err != nil {
			return err
		}
		if _, complete := m.former[name]; complete {
			m.result.Removed++
		}
	}
	return m.FS.SyncDir(m.To)
}

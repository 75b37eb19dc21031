// Package vfs is the part of a file system that the log needs, small enough that a test can
// replace all of it. There are three kinds:
//
//   - Disk is the real one.
//   - Memory forgets: its CrashClone is what a disk may hold after power loss, where what was
//     not synced is kept, lost or kept in part.
//   - Faulty wraps either and fails on call n of a chosen operation.
//
// ReadOnly wraps any of them for a program that must not change anything.
//
// The contract is what POSIX gives and no more: a write is not durable before File.Sync, and
// a name (created, renamed, removed) is not durable before SyncDir of its directory. After a
// failed Sync nothing is known about any byte written since the last good one, and a second
// Sync that succeeds proves nothing: Linux marks the pages clean and forgets them. Memory and
// Faulty together behave just like that.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
)

// ErrLocked says that another process, or another opener in this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// FS names files by path. All methods are safe from any goroutine. Errors for missing and
// existing files match fs.ErrNotExist and fs.ErrExist.
type FS interface {
	// Open opens an existing file for reading and writing.
	Open(path string) (File, error)
	// OpenRead opens an existing file for reading only, also one that this process may not write.
	OpenRead(path string) (File, error)
	// Create makes a new file; one that exists is an error, never truncated.
	Create(path string) (File, error)
	// Rename replaces newPath in one step; both must be in the same directory.
	Rename(oldPath, newPath string) error
	Remove(path string) error
	// Link gives a file a second name; both must be on the same file system.
	Link(oldPath, newPath string) error
	// Links gives how many names a file has.
	Links(path string) (int, error)
	// List gives the names in a directory, sorted.
	List(dir string) ([]string, error)
	// MkdirAll makes dir and its missing parents; durable only after SyncDir of the parents.
	MkdirAll(dir string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock that ends with Close or with the process. It never waits:
	// if somebody else has it, the error matches ErrLocked.
	Lock(path string) (io.Closer, error)
}

// Cloner is an FS that can give a file's content to a new file without copying it, where the real file
// system below can: what is written to one of them later is not in the other.
type Cloner interface {
	Clone(oldPath, newPath string) error
}

// File is an open file. ReadAt is safe from any goroutine, also beside WriteAt elsewhere in
// the file and beside Close (then it fails with os.ErrClosed); the other methods belong to
// one goroutine.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes the content and the size durable, not the file's times (fdatasync).
	Sync() error
	// Truncate sets the size.
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// NoRoom says that a file system, or what a user may have of it, is full.
func NoRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// RemoveIfExists removes a file that may be missing.
func RemoveIfExists(fsys FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// MakeDirectory makes a directory and its missing parents, and the names of all that it makes durable. Parents that were there are left
// alone: this process may not be allowed to read them.
func MakeDirectory(fsys FS, dir string) error {
	var parents []string
	for missing := dir; ; missing = filepath.Dir(missing) {
		_, err := fsys.List(missing)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || missing == filepath.Dir(missing) {
			return err
		}
		parents = append(parents, filepath.Dir(missing))
	}
	if len(parents) == 0 {
		return nil
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := fsys.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Disk gives the operating system's file system.
func Disk() FS { return disk{} }

type disk struct{}

// Only the owner may read what people said: directories 0700, files 0600.
const (
	directoryMode = 0o700
	fileMode      = 0o600
)

func (disk) Open(path string) (File, error) {
	f, err := openFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) OpenRead(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Create(path string) (File, error) {
	f, err := openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Rename(oldPath, newPath string) error {
	if filepath.Dir(oldPath) != filepath.Dir(newPath) {
		return fmt.Errorf("rename %s to %s: not the same directory", oldPath, newPath)
	}
	return os.Rename(oldPath, newPath)
}

func (disk) Remove(path string) error { return os.Remove(path) }

func (disk) Link(oldPath, newPath string) error { return os.Link(oldPath, newPath) }

func (disk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

func (disk) MkdirAll(dir string) error { return os.MkdirAll(dir, directoryMode) }

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	// A file system without directory sync says EINVAL; it has nothing to make durable there.
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Lock uses flock: the kernel drops it when the process dies, so a stale lock file after
// kill -9 holds nobody up (which a file holding a process id would).
func (disk) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

type diskFile struct{ *os.File }

func (f diskFile) Sync() error {
	if err := syncData(f.File); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

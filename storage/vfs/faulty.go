package vfs

import (
	"io"
	"sync"
)

// Operation is a kind of call that Faulty can count and fail.
type Operation uint8

const (
	OpOpen Operation = iota
	OpCreate
	OpRename
	OpRemove
	OpList
	OpMkdir
	OpSyncDir
	OpLock
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpLink
	operations
)

func (o Operation) String() string {
	return [...]string{"open", "create", "rename", "remove", "list", "mkdir", "syncdir", "lock", "read", "write", "sync", "truncate", "link"}[o]
}

// Fault says which call fails and how.
type Fault struct {
	Operation Operation
	Call      int   // the first call that fails, counted from 1
	Lasting   bool  // all later calls of the operation fail too, as on a full disk
	Err       error // what the call returns, syscall.ENOSPC for example
	Short     int   // a failing write first writes this many bytes of what it was given
}

// FaultyFS is a file system that fails where it was told. Safe from any goroutine.
type FaultyFS struct {
	inner FS

	mu sync.Mutex

	// Guarded by mu.
	faults []Fault
	calls  [operations]int
}

// Faulty wraps fs. Without faults it only counts, which tells a test how many calls a run has.
// A Sync that fails on a Memory file loses what was written since the last one.
func Faulty(fs FS, faults ...Fault) *FaultyFS {
	return &FaultyFS{inner: fs, faults: faults}
}

// Add gives it one more fault.
func (f *FaultyFS) Add(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fault)
}

// Clear takes all faults away.
func (f *FaultyFS) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls gives how often an operation was called.
func (f *FaultyFS) Calls(o Operation) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[o]
}

func (f *FaultyFS) next(o Operation) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[o]++
	for i := range f.faults {
		fault := &f.faults[i]
		if fault.Operation == o && (f.calls[o] == fault.Call || fault.Lasting && f.calls[o] > fault.Call) {
			return fault
		}
	}
	return nil
}

func (f *FaultyFS) fail(o Operation) error {
	if fault := f.next(o); fault != nil {
		return fault.Err
	}
	return nil
}

func (f *FaultyFS) Open(path string) (File, error) { return f.open(f.inner.Open, path) }

// OpenRead counts as OpOpen.
func (f *FaultyFS) OpenRead(path string) (File, error) { return f.open(f.inner.OpenRead, path) }

func (f *FaultyFS) open(open func(string) (File, error), path string) (File, error) {
	if err := f.fail(OpOpen); err != nil {
		return nil, err
	}
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, fs: f}, nil
}

func (f *FaultyFS) Create(path string) (File, error) {
	if err := f.fail(OpCreate); err != nil {
		return nil, err
	}
	file, err := f.inner.Create(path)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, fs: f}, nil
}

func (f *FaultyFS) Rename(oldPath, newPath string) error {
	if err := f.fail(OpRename); err != nil {
		return err
	}
	return f.inner.Rename(oldPath, newPath)
}

func (f *FaultyFS) Remove(path string) error {
	if err := f.fail(OpRemove); err != nil {
		return err
	}
	return f.inner.Remove(path)
}

func (f *FaultyFS) Link(oldPath, newPath string) error {
	if err := f.fail(OpLink); err != nil {
		return err
	}
	return f.inner.Link(oldPath, newPath)
}

func (f *FaultyFS) Links(path string) (int, error) { return f.inner.Links(path) }

func (f *FaultyFS) List(dir string) ([]string, error) {
	if err := f.fail(OpList); err != nil {
		return nil, err
	}
	return f.inner.List(dir)
}

func (f *FaultyFS) MkdirAll(dir string) error {
	if err := f.fail(OpMkdir); err != nil {
		return err
	}
	return f.inner.MkdirAll(dir)
}

func (f *FaultyFS) SyncDir(dir string) error {
	if err := f.fail(OpSyncDir); err != nil {
		return err
	}
	return f.inner.SyncDir(dir)
}

func (f *FaultyFS) Lock(path string) (io.Closer, error) {
	if err := f.fail(OpLock); err != nil {
		return nil, err
	}
	return f.inner.Lock(path)
}

type faultyFile struct {
	File
	fs *FaultyFS
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.fail(OpRead); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	fault := f.fs.next(OpWrite)
	if fault == nil {
		return f.File.WriteAt(p, off)
	}
	n, err := f.File.WriteAt(p[:min(fault.Short, len(p))], off)
	if err != nil {
		return n, err
	}
	return n, fault.Err
}

func (f *faultyFile) Sync() error {
	fault := f.fs.next(OpSync)
	if fault == nil {
		return f.File.Sync()
	}
	if memory, ok := f.File.(*memoryFile); ok {
		memory.failSync()
	}
	return fault.Err
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.fail(OpTruncate); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Break replaces the faults; none makes everything work again.
func (f *FaultyFS) Break(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

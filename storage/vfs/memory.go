package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

// Memory is a file system in RAM that knows what a crash may take. Directories themselves
// are durable at once; names in them and contents of files are not. Safe from any goroutine.
type Memory struct {
	mu sync.Mutex

	// Guarded by mu.
	directories  map[string]bool
	names        map[string]*memoryInode // as the running system sees them
	durableNames map[string]*memoryInode // as of the last SyncDir
	pending      map[string][]nameChange // by directory, since its last SyncDir, in order
	locks        map[string]bool
	opened       map[*memoryInode]int // by how many files: without a name it takes room until it is closed
	capacity     int64                // 0: there is no bound
}

// nameChange sets path to inode, or removes it when inode is nil. A rename is two that
// belong together: they reach the disk both or neither.
type nameChange struct {
	path   string
	inode  *memoryInode
	joined bool // with the change before it
}

// NewMemory gives an empty file system.
func NewMemory() *Memory {
	return &Memory{
		directories:  map[string]bool{"/": true, ".": true},
		names:        map[string]*memoryInode{},
		durableNames: map[string]*memoryInode{},
		pending:      map[string][]nameChange{},
		locks:        map[string]bool{},
		opened:       map[*memoryInode]int{},
	}
}

// SetCapacity bounds the blocks that all files take together: a write that would take more fails with ENOSPC. 0 takes the bound away.
func (m *Memory) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Used gives the bytes of the blocks that files take. Those of a removed file are free when nobody has it open.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usedLocked()
}

func (m *Memory) usedLocked() (bytes int64) {
	counted := map[*memoryInode]bool{}
	count := func(inode *memoryInode) {
		if !counted[inode] {
			counted[inode] = true
			bytes += wholeBlocks(int64(len(inode.data)))
		}
	}
	for _, inode := range m.names {
		count(inode)
	}
	for inode := range m.opened {
		count(inode)
	}
	return bytes
}

func wholeBlocks(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }

func (m *Memory) Open(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	inode := m.names[path]
	if inode == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	m.opened[inode]++
	return &memoryFile{fs: m, inode: inode, path: path}, nil
}

func (m *Memory) OpenRead(path string) (File, error) {
	file, err := m.Open(path)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{file, path}, nil
}

func (m *Memory) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if m.names[path] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if !m.directories[filepath.Dir(path)] {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrNotExist}
	}
	inode := &memoryInode{dirty: map[int64]bool{}}
	m.changeLocked(nameChange{path: path, inode: inode})
	m.opened[inode]++
	return &memoryFile{fs: m, inode: inode, path: path}, nil
}

func (m *Memory) Rename(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldPath, newPath = filepath.Clean(oldPath), filepath.Clean(newPath)
	inode := m.names[oldPath]
	if inode == nil {
		return &fs.PathError{Op: "rename", Path: oldPath, Err: fs.ErrNotExist}
	}
	if filepath.Dir(oldPath) != filepath.Dir(newPath) {
		return fmt.Errorf("rename %s to %s: not the same directory", oldPath, newPath)
	}
	m.changeLocked(nameChange{path: oldPath})
	m.changeLocked(nameChange{path: newPath, inode: inode, joined: true})
	return nil
}

func (m *Memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if m.names[path] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	m.changeLocked(nameChange{path: path})
	return nil
}

func (m *Memory) Link(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldPath, newPath = filepath.Clean(oldPath), filepath.Clean(newPath)
	inode := m.names[oldPath]
	if inode == nil || !m.directories[filepath.Dir(newPath)] {
		return &fs.PathError{Op: "link", Path: newPath, Err: fs.ErrNotExist}
	}
	if m.names[newPath] != nil {
		return &fs.PathError{Op: "link", Path: newPath, Err: fs.ErrExist}
	}
	m.changeLocked(nameChange{path: newPath, inode: inode})
	return nil
}

func (m *Memory) Links(path string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	inode := m.names[filepath.Clean(path)]
	if inode == nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	n := 0
	for _, other := range m.names {
		if other == inode {
			n++
		}
	}
	return n, nil
}

func (m *Memory) changeLocked(change nameChange) {
	apply(m.names, change)
	dir := filepath.Dir(change.path)
	m.pending[dir] = append(m.pending[dir], change)
}

func apply(names map[string]*memoryInode, change nameChange) {
	if change.inode == nil {
		delete(names, change.path)
		return
	}
	names[change.path] = change.inode
}

func (m *Memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = filepath.Clean(dir)
	if !m.directories[dir] {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	var list []string
	for path := range m.names {
		if filepath.Dir(path) == dir {
			list = append(list, filepath.Base(path))
		}
	}
	sort.Strings(list)
	return list, nil
}

func (m *Memory) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for dir = filepath.Clean(dir); !m.directories[dir]; dir = filepath.Dir(dir) {
		m.directories[dir] = true
	}
	return nil
}

func (m *Memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = filepath.Clean(dir)
	if !m.directories[dir] {
		return &fs.PathError{Op: "sync", Path: dir, Err: fs.ErrNotExist}
	}
	for _, change := range m.pending[dir] {
		apply(m.durableNames, change)
	}
	delete(m.pending, dir)
	return nil
}

func (m *Memory) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if m.locks[path] {
		return nil, fmt.Errorf("lock %s: %w", path, ErrLocked)
	}
	m.locks[path] = true
	return &memoryLock{fs: m, path: path}, nil
}

type memoryLock struct {
	fs   *Memory
	path string
}

func (l *memoryLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if !l.fs.locks[l.path] {
		return fmt.Errorf("unlock %s: %w", l.path, os.ErrClosed)
	}
	delete(l.fs.locks, l.path)
	return nil
}

// String lists the files with their sizes, for test messages.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for path, inode := range m.names {
		lines = append(lines, fmt.Sprintf("%s %d bytes, %d durable, %d dirty blocks", path, len(inode.data), len(inode.durable), len(inode.dirty)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

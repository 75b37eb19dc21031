package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// blockBytes is the unit that a crash keeps or loses. It is a sector, smaller than any page,
// so that few bytes already make many blocks and small tests tear in many places.
const blockBytes = 512

// memoryInode is the content of a file, whatever its names. Guarded by Memory.mu.
type memoryInode struct {
	data    []byte         // as the running system reads it
	durable []byte         // as the disk holds it
	dirty   map[int64]bool // numbers of the blocks where the two may differ
	resized bool           // the size may differ too
}

func (n *memoryInode) markDirty(from, to int64) {
	for block := from / blockBytes; block*blockBytes < to; block++ {
		n.dirty[block] = true
	}
}

// sync brings the dirty blocks, and only those, to the disk: a block that a failed sync made
// clean stays lost, as on Linux.
func (n *memoryInode) sync() {
	if n.resized || len(n.data) > len(n.durable) {
		n.durable = resize(n.durable, int64(len(n.data)))
	}
	for block := range n.dirty {
		start := block * blockBytes
		if start < int64(len(n.durable)) && start < int64(len(n.data)) {
			copy(n.durable[start:min(start+blockBytes, int64(len(n.durable)))], n.data[start:])
		}
	}
	clear(n.dirty)
	n.resized = false
}

// forget is what a failed sync leaves: nothing reached the disk and nothing is dirty.
func (n *memoryInode) forget() {
	clear(n.dirty)
	n.resized = false
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

type memoryFile struct {
	fs    *Memory
	inode *memoryInode
	path  string

	closed bool // guarded by fs.mu
}

func (f *memoryFile) checkLocked(op string) error {
	if f.closed {
		return &fs.PathError{Op: op, Path: f.path, Err: os.ErrClosed}
	}
	return nil
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("read %s at %d: negative offset", f.path, off)
	}
	if off >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("write"); err != nil {
		return 0, err
	}
	end := off + int64(len(p))
	if size := int64(len(f.inode.data)); end > size {
		if more := wholeBlocks(end) - wholeBlocks(size); more > 0 && f.fs.capacity > 0 && f.fs.usedLocked()+more > f.fs.capacity {
			return 0, &fs.PathError{Op: "write", Path: f.path, Err: syscall.ENOSPC}
		}
		// A write past the end makes zeros before it, which are as unsynced as the write.
		f.inode.markDirty(min(size, off), off)
		f.inode.data = resize(f.inode.data, end)
		f.inode.resized = true
	}
	copy(f.inode.data[off:], p)
	f.inode.markDirty(off, end)
	return len(p), nil
}

func (f *memoryFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("sync"); err != nil {
		return err
	}
	f.inode.sync()
	return nil
}

// failSync is called by Faulty instead of Sync.
func (f *memoryFile) failSync() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.forget()
}

func (f *memoryFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("truncate"); err != nil {
		return err
	}
	old := int64(len(f.inode.data))
	// A copy, since resize would let a later write show through into the cut bytes.
	f.inode.data = append([]byte(nil), resize(f.inode.data, size)...)
	f.inode.resized = true
	f.inode.markDirty(min(old, size), max(old, size))
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("stat"); err != nil {
		return 0, err
	}
	return int64(len(f.inode.data)), nil
}

func (f *memoryFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkLocked("close"); err != nil {
		return err
	}
	f.closed = true
	if f.fs.opened[f.inode]--; f.fs.opened[f.inode] == 0 {
		delete(f.fs.opened, f.inode)
	}
	return nil
}

package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"rookery/storage/vfs"
)

// temporarySuffix marks an object that is being put. A name with it is listed, so that what a crash left
// is found and removed.
const temporarySuffix = ".tmp"

// Directory gives the target in a directory. The directory itself must be there: one that is missing is
// taken for a mount that is, and is not made. A call can't be interrupted while the file system hangs.
func Directory(fsys vfs.FS, dir string) Target {
	return &directory{fs: fsys, dir: filepath.Clean(dir), made: map[string]bool{}}
}

// IsShipped says whether a directory looks like one that a log was shipped to.
func IsShipped(fsys vfs.FS, dir string) bool {
	_, err := fsys.List(filepath.Join(dir, manifestFolder))
	return err == nil
}

type directory struct {
	// Set at construction.
	fs  vfs.FS
	dir string

	made map[string]bool // folders that are durable; owned by who puts
}

func (d *directory) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

func (d *directory) Put(ctx context.Context, name string, content []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	final := d.path(name)
	folder := filepath.Dir(final)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	if err := d.write(final+temporarySuffix, content); err != nil {
		return err
	}
	if err := d.fs.Rename(final+temporarySuffix, final); err != nil {
		return fmt.Errorf("put %s: %w", final, err)
	}
	if err := d.fs.SyncDir(folder); err != nil {
		delete(d.made, folder)
		return fmt.Errorf("sync directory %s: %w", folder, err)
	}
	return nil
}

func (d *directory) makeFolder(folder string) error {
	if d.made[folder] {
		return nil
	}
	if _, err := d.fs.List(d.dir); err != nil {
		return fmt.Errorf("directory to ship to: make it, or mount it: %w", err)
	}
	if err := d.fs.MkdirAll(folder); err != nil {
		return fmt.Errorf("make %s: %w", folder, err)
	}
	if err := d.fs.SyncDir(d.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", d.dir, err)
	}
	d.made[folder] = true
	return nil
}

func (d *directory) write(path string, content []byte) error {
	// Left by a crash, or by a put that failed.
	if err := vfs.RemoveIfExists(d.fs, path); err != nil {
		return err
	}
	file, err := d.fs.Create(path)
	if err != nil {
		// The folder may have been removed with all that was in it.
		clear(d.made)
		return fmt.Errorf("create %s: %w", path, err)
	}
	n, err := file.WriteAt(content, 0)
	if err == nil && n < len(content) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		// On a full disk what was written of it would be in the way of the next one.
		return fmt.Errorf("write %s: %w", path, errors.Join(err, vfs.RemoveIfExists(d.fs, path)))
	}
	return nil
}

func (d *directory) Get(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := d.fs.OpenRead(d.path(name))
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	var content []byte
	if err == nil && size > maxObjectBytes {
		err = errTooLarge
	}
	if err == nil {
		content = make([]byte, size)
		var n int
		n, err = file.ReadAt(content, 0)
		if n == len(content) {
			err = nil // an end of the file behind the last byte is none
		}
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", d.path(name), err)
	}
	return content, nil
}

func (d *directory) List(ctx context.Context, folder string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := d.fs.List(d.dir); err != nil {
		return nil, fmt.Errorf("directory to ship to: make it, or mount it: %w", err)
	}
	names, err := d.fs.List(d.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path(folder), err)
	}
	for i, name := range names {
		names[i] = folder + "/" + name
	}
	return names, nil
}

func (d *directory) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Not synced: what comes back after a power loss is found and removed again.
	return vfs.RemoveIfExists(d.fs, d.path(name))
}

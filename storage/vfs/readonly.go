package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// errReadOnly matches fs.ErrPermission.
var errReadOnly = errors.New("this program only reads here")

// ReadOnly gives fsys without the calls that change something: Open is OpenRead, and all others that
// would change a file or a name fail.
func ReadOnly(fsys FS) FS { return readOnly{fsys} }

type readOnly struct{ inner FS }

func refuse(operation, path string) error {
	return &fs.PathError{Op: operation, Path: path, Err: errors.Join(errReadOnly, fs.ErrPermission)}
}

func (r readOnly) Open(path string) (File, error) { return r.OpenRead(path) }

func (r readOnly) OpenRead(path string) (File, error) { return r.inner.OpenRead(path) }

func (r readOnly) List(dir string) ([]string, error) { return r.inner.List(dir) }
func (r readOnly) Links(path string) (int, error)    { return r.inner.Links(path) }

func (readOnly) Create(path string) (File, error)    { return nil, refuse("create", path) }
func (readOnly) Rename(oldPath, _ string) error      { return refuse("rename", oldPath) }
func (readOnly) Remove(path string) error            { return refuse("remove", path) }
func (readOnly) Link(_, newPath string) error        { return refuse("link", newPath) }
func (readOnly) MkdirAll(dir string) error           { return refuse("mkdir", dir) }
func (readOnly) SyncDir(dir string) error            { return refuse("sync", dir) }
func (readOnly) Lock(path string) (io.Closer, error) { return nil, refuse("lock", path) }

// readOnlyFile refuses what would change the file. A sync does not.
type readOnlyFile struct {
	File
	path string
}

func (f readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, refuse("write", f.path) }
func (f readOnlyFile) Truncate(int64) error               { return refuse("truncate", f.path) }

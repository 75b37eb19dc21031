package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"rookery/storage/vfs"
)

// Source is where a restore reads from.
type Source interface {
	// Manifest says which files belong to the state that is restored.
	Manifest(ctx context.Context) (*Manifest, error)
	// Open gives one of them from its beginning. What is behind its content is not read.
	Open(ctx context.Context, f File) (io.ReadCloser, error)
}

// Directory is a backup that Make has made.
func Directory(fsys vfs.FS, dir string) Source { return directory{fsys, dir} }

type directory struct {
	fs   vfs.FS
	path string
}

func (d directory) Manifest(context.Context) (*Manifest, error) {
	m, err := readManifest(d.fs, d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no complete backup in %s: %w", d.path, err)
	}
	return m, err
}

func (d directory) Open(_ context.Context, f File) (io.ReadCloser, error) {
	file, err := d.fs.OpenRead(filepath.Join(d.path, f.Name))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, 0, f.Bytes), file}, nil
}

package mapped

import (
	"encoding/json"
	"time"

	bolt "go.etcd.io/bbolt"

	"rookery/storage/vfs"
)

// File is an open bbolt file, whose transactions are Guarded. Its methods are safe for concurrent use as those of bbolt are.
type File struct{ tree *bolt.DB }

// Open opens a file, or makes it. A second process that has it open is an error within a second. Each transaction that changes something is
// synced.
func Open(path string) (f *File, err error) {
	err = Guarded(func() error {
		// With its list of free pages in the file: bbolt would look for them on a goroutine of its own, where nothing guards.
		tree, err := bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
		f = &File{tree}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Remedy is what to do where a file that holds something of its own can't be opened or read.
func Remedy(err error, forgets string) string {
	if vfs.NoRoom(err) {
		return "make room on the file system"
	}
	return "if it is damaged move it away to begin anew, which forgets " + forgets
}

// Path is the file's name.
func (f *File) Path() string { return f.tree.Path() }

// Update runs a transaction that changes something, View one that only reads.
func (f *File) Update(fn func(*bolt.Tx) error) error {
	return Guarded(func() error { return f.tree.Update(fn) })
}

// View runs a transaction that only reads.
func (f *File) View(fn func(*bolt.Tx) error) error {
	return Guarded(func() error { return f.tree.View(fn) })
}

// Close closes the file, behind its transactions.
func (f *File) Close() error { return Guarded(f.tree.Close) }

// PutJSON puts a value into a bucket as JSON, which it must be able to be.
func PutJSON(b *bolt.Bucket, key []byte, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("BUG: what is to be kept is no JSON: " + err.Error())
	}
	return b.Put(key, encoded)
}

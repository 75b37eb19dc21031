package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestContract runs the same calls over every kind, so that a test on Memory says something
// about Disk.
func TestContract(t *testing.T) {
	kinds := map[string]func(t *testing.T) (FS, string){
		"disk":   func(t *testing.T) (FS, string) { return Disk(), filepath.Join(t.TempDir(), "a", "b") },
		"memory": func(t *testing.T) (FS, string) { return NewMemory(), "/a/b" },
		"faulty": func(t *testing.T) (FS, string) { return Faulty(NewMemory()), "/a/b" },
	}
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			fsys, dir := make(t)
			testNames(t, fsys, dir)
			testContent(t, fsys, dir)
			testLock(t, fsys, dir)
		})
	}
}

func testNames(t *testing.T, fsys FS, dir string) {
	if _, err := fsys.List(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List of a missing directory: got %v, want ErrNotExist", err)
	}
	if _, err := fsys.Create(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create in a missing directory: got %v, want ErrNotExist", err)
	}
	for range 2 { // the second time it exists, which is no error
		if err := fsys.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fsys.Open(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing file: got %v, want ErrNotExist", err)
	}
	if err := fsys.Remove(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of a missing file: got %v, want ErrNotExist", err)
	}
	for _, name := range []string{"b", "a", "c"} {
		writeFile(t, fsys, filepath.Join(dir, name), name)
	}
	if _, err := fsys.Create(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of an existing file: got %v, want ErrExist", err)
	}
	if err := fsys.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename(filepath.Join(dir, "b"), filepath.Join(filepath.Dir(dir), "b")); err == nil {
		t.Error("Rename into another directory: got no error")
	}
	if err := fsys.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := fsys.List(dir); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("List: got %q, %v, want a and b", got, err)
	}
	if got := readFile(t, fsys, filepath.Join(dir, "b")); got != "c" {
		t.Errorf("content after rename: got %q, want %q", got, "c")
	}
}

func testContent(t *testing.T, fsys FS, dir string) {
	path := filepath.Join(dir, "content")
	f, err := fsys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte("world"), 6); n != 5 || err != nil {
		t.Fatalf("WriteAt: got %d, %v", n, err)
	}
	if n, err := f.WriteAt([]byte("hello"), 0); n != 5 || err != nil {
		t.Fatalf("WriteAt: got %d, %v", n, err)
	}
	b := make([]byte, 20)
	if n, err := f.ReadAt(b, 0); err != io.EOF || string(b[:n]) != "hello\x00world" {
		t.Errorf("ReadAt over the end: got %q, %v", b[:n], err)
	}
	if _, err := f.ReadAt(b, 11); err != io.EOF {
		t.Errorf("ReadAt at the end: got %v, want EOF", err)
	}
	if err := f.Truncate(3); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, fsys, path); got != "hel\x00\x00" {
		t.Errorf("after cutting and growing: got %q, cut bytes must be zero", got)
	}
	if size, err := f.Size(); size != 5 || err != nil {
		t.Errorf("Size: got %d, %v, want 5", size, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(b, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadAt after Close: got %v, want ErrClosed", err)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second Close: got %v, want ErrClosed", err)
	}
}

func testLock(t *testing.T, fsys FS, dir string) {
	path := filepath.Join(dir, "lock")
	lock, err := fsys.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second Lock: got %v, want ErrLocked", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err = fsys.Lock(path)
	if err != nil {
		t.Fatalf("Lock after unlock: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, fsys FS, path, content string) File {
	t.Helper()
	f, err := fsys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func readFile(t *testing.T, fsys FS, path string) string {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Repeat([]byte{'?'}, int(size))
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(b)
}

// TestReadOnly: what only reads can't change anything, whatever the file system would allow.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	for name, fsys := range map[string]FS{"disk": Disk(), "memory": NewMemory(), "faulty": Faulty(NewMemory())} {
		t.Run(name, func(t *testing.T) {
			if err := fsys.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "f")
			writeFile(t, fsys, path, "content")
			for how, open := range map[string]func(string) (File, error){
				"OpenRead": fsys.OpenRead, "ReadOnly": ReadOnly(fsys).Open,
			} {
				if _, err := open(path + "x"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of a missing file: got %v, want ErrNotExist", how, err)
				}
				f, err := open(path)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte("x"), 0); err == nil {
					t.Errorf("%s: a write got no error", how)
				}
				if err := f.Truncate(0); err == nil {
					t.Errorf("%s: Truncate got no error", how)
				}
				b := make([]byte, 7)
				if _, err := f.ReadAt(b, 0); err != nil || string(b) != "content" {
					t.Errorf("%s: got %q, %v", how, b, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			r := ReadOnly(fsys)
			_, createErr := r.Create(path + "x")
			_, lockErr := r.Lock(path + "x")
			for what, err := range map[string]error{
				"Create": createErr, "Lock": lockErr, "Rename": r.Rename(path, path+"x"), "Remove": r.Remove(path),
				"Link": r.Link(path, path+"x"), "MkdirAll": r.MkdirAll(path + "x"), "SyncDir": r.SyncDir(dir),
			} {
				if !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s: got %v, want ErrPermission", what, err)
				}
			}
			if names, err := r.List(dir); err != nil || !slices.Equal(names, []string{"f"}) {
				t.Errorf("List: got %q, %v", names, err)
			}
		})
	}
}

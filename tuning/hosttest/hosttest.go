// Package hosttest has trees of machines for tests: the files of /proc, /sys and /etc that package tuning/host reads, one
// txtar archive for each machine, whose comment says which.
//
// Those in testdata/recorded are of real machines: go run ./test/tuning --record wrote down what the tuner read there, without what nobody
// reads, and without names and addresses. Those in testdata/composed are put together by hand, so that a test can have what no machine
// at hand has: values follow the kernel's own defaults for the size and what is known of machines of the kind.
//
// In an archive a file that begins with "-> " is a symbolic link, and ␀ stands for a byte of zero. A line "Read-only: FILE FILE" of the comment
// names those that may not be written. Only tests import this package.
package hosttest

import (
	"embed"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"rookery/tuning/host"
)

//go:embed testdata/*/*.txtar
var archives embed.FS

// Names are those of all machines, with their directories before them for those that are recorded.
func Names(t testing.TB) (names []string) {
	t.Helper()
	files, err := fs.Glob(archives, "testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no trees", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txtar")
		names = append(names, strings.TrimPrefix(name, composed))
	}
	return names
}

// composed is the directory of those that tests name without one.
const composed = "composed/"

// Tree gives the files of a machine, in memory. A test may change them.
func Tree(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	if !strings.Contains(name, "/") {
		name = composed + name
	}
	b, err := archives.ReadFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	tree, archive := fstest.MapFS{}, txtar.Parse(b)
	for _, f := range archive.Files {
		if target, link := strings.CutPrefix(string(f.Data), "-> "); link {
			tree[f.Name] = &fstest.MapFile{Data: []byte(strings.TrimSpace(target)), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		tree[f.Name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(f.Data), "␀", "\x00")), Mode: 0o644}
	}
	for line := range strings.Lines(string(archive.Comment)) {
		names, readOnly := strings.CutPrefix(line, "Read-only: ")
		for _, name := range strings.Fields(names) {
			if readOnly {
				tree[name].Mode = 0o444
			}
		}
	}
	return tree
}

// Open reads a machine.
func Open(t testing.TB, name string, o host.Options) *host.Host {
	t.Helper()
	h, err := host.Open(Tree(t, name), o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Unpack writes a machine into a folder of the test, which it gives.
func Unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range Tree(t, name) {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(path.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if f.Mode&fs.ModeSymlink != 0 {
			err = os.Symlink(string(f.Data), to)
		} else {
			err = os.WriteFile(to, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

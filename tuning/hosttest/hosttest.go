// Package hosttest has trees of machines for tests: the files of /proc, /sys and /etc that package tuning/host reads, one
// txtar archive for each machine, whose comment says which. They are put together by hand: values follow the kernel's own defaults for
// the size and what is known of machines of the kind; none is a copy of one.
//
// In an archive a file that begins with "-> " is a symbolic link, and ␀ stands for a byte of zero. Only tests import this package.
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

//go:embed testdata/*.txtar
var archives embed.FS

// Names are those of all machines.
func Names(t testing.TB) (names []string) {
	t.Helper()
	entries, err := archives.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".txtar"))
	}
	return names
}

// Tree gives the files of a machine, in memory. A test may change them.
func Tree(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	b, err := archives.ReadFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	for _, f := range txtar.Parse(b).Files {
		if target, link := strings.CutPrefix(string(f.Data), "-> "); link {
			tree[f.Name] = &fstest.MapFile{Data: []byte(strings.TrimSpace(target)), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		tree[f.Name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(f.Data), "␀", "\x00")), Mode: 0o644}
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

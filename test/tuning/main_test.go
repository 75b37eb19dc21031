package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDifferences(t *testing.T) {
	before := map[string]string{"/etc/a": "1", "/etc/b": "1", "/proc/sys/c": "1"}
	after := map[string]string{"/etc/a": "1", "/etc/d": "1", "/proc/sys/c": "2"}
	if got, want := differences(before, after), []string{"/etc/b", "/etc/d", "/proc/sys/c"}; !slices.Equal(got, want) {
		t.Errorf("these differ: %v, want %v", got, want)
	}
	if got := differences(before, before); got != nil {
		t.Errorf("of the same these differ: %v", got)
	}
	if got := values(before); len(got) != 1 || got["/proc/sys/c"] != "1" {
		t.Errorf("the values are %v", got)
	}
}

// TestSnapshot: what this machine has is seen, and what counts by itself is not.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("text"), 0o640), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	all, err := snapshotOf("/proc/sys", dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(all["/proc/sys/net/core/somaxconn"], "-rw-r--r-- ") || all[file] != "-rw-r----- text" || !strings.HasSuffix(all[link], " file") {
		t.Errorf("a value is %q, a file %q, a link %q", all["/proc/sys/net/core/somaxconn"], all[file], all[link])
	}
	if err := os.WriteFile(file, []byte{0xff, 1}, 0o640); err != nil {
		t.Fatal(err)
	}
	if other, err := snapshotOf(dir); err != nil || other[file] == all[file] || !utf8.ValidString(other[file]) {
		t.Errorf("a file that is no text is %q, %v", other[file], err)
	}
	if _, there := all["/proc/sys/fs/file-nr"]; there {
		t.Error("the number of open files is compared")
	}
}

func TestReport(t *testing.T) {
	f := figures{
		Before: []met{{"a table", "500", 499, load{Held: 498, Files: 1024}}, {"RLIMIT_NOFILE", "1024", 848, load{Held: 848, Failed: 26548, Files: 1024}}},
		After:  load{Held: 15000, Files: 16000, Process: 34e6}, BurstBefore: burst{Made: 258, Overflows: 900}, BurstAfter: burst{Made: 2000}, Queue: "4096",
		SteeredAfter: 70, Compared: 2100, Kernel: "6.1", Connections: 15000,
	}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("a\n<!-- kernel: begin -->\nstale\n<!-- kernel: end -->\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePage(page, "kernel", f.text()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(page)
	text := string(b)
	if err != nil || strings.Contains(text, "stale") || !strings.HasPrefix(text, "a\n") || !strings.HasSuffix(text, "-->\nb\n") ||
		!strings.Contains(text, "| connections held | 498 | 848 | 15,000 |") || !strings.Contains(text, "| a table, which is 500 | RLIMIT_NOFILE, which is 1024 | nothing") ||
		!strings.Contains(text, "| times that an accept queue was full | 900 | 0 |") || !strings.Contains(text, "0 before, 70 after") {
		t.Errorf("the page is\n%s%v", text, err)
	}
	if err := writePage(filepath.Join(t.TempDir(), "none"), "kernel", ""); err == nil {
		t.Error("a page that is not there is written")
	}
}

func TestRefusals(t *testing.T) {
	for _, args := range [][]string{{"--connections", "5"}, {"--no-such"}, {inside, "a", "b", "many"}} {
		if err := start(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v is not refused", args)
		}
	}
}

package vfs

import (
	"errors"
	"syscall"
	"testing"
)

// TestCapacity: blocks count while a file has a name or is open, and what is there can be written over.
func TestCapacity(t *testing.T) {
	m := NewMemory()
	a := writeFile(t, m, "/a", "a")
	m.SetCapacity(2 * blockBytes)
	b, err := m.Create("/b")
	if err != nil {
		t.Fatal(err)
	}
	full := func(file File, size int, want bool) {
		t.Helper()
		if _, err := file.WriteAt(make([]byte, size), 0); errors.Is(err, syscall.ENOSPC) != want || err != nil && !want {
			t.Errorf("a write of %d bytes with %d used: %v, full %v", size, m.Used(), err, want)
		}
	}
	full(b, blockBytes, false)
	full(b, blockBytes, false)
	full(b, blockBytes+1, true)
	if err := m.Remove("/a"); err != nil {
		t.Fatal(err)
	}
	full(b, blockBytes+1, true)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	full(b, 2*blockBytes, false)
	if used := m.Used(); used != 2*blockBytes {
		t.Errorf("%d bytes are used", used)
	}
}

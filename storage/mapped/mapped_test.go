package mapped

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestGuarded(t *testing.T) {
	mine := errors.New("mine")
	if err := Guarded(func() error { return mine }); err != mine {
		t.Errorf("an error comes out as %v", err)
	}
	if err := Guarded(func() error { panic("page 3: invalid page type") }); !errors.Is(err, ErrDamaged) {
		t.Errorf("a panic comes out as %v", err)
	}
	defer func() {
		if p := recover(); p != "BUG: ours" {
			t.Errorf("a panic of our own came out as %v", p)
		}
	}()
	_ = Guarded(func() error { panic("BUG: ours") })
}

// TestGuardedFault: a mapped file that was cut off under its reader.
func TestGuardedFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 8192, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mapped)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	sum := 0
	if err := Guarded(func() error { sum += int(mapped[5000]); return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("a fault comes out as %v, %d", err, sum)
	}
}

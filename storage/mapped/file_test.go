package mapped

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

func TestRemedy(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "a.db", Err: syscall.ENOSPC}
	if got := Remedy(full, "all"); got != "make room on the file system" {
		t.Errorf("a full disk: %s", got)
	}
	if got := Remedy(ErrDamaged, "all"); !strings.Contains(got, "move it away to begin anew, which forgets all") {
		t.Errorf("damage: %s", got)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		return PutJSON(b, []byte("k"), []int{1, 2})
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, bolterrors.ErrTimeout) {
		t.Errorf("opened a second time: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.View(func(*bolt.Tx) error { return nil }); err == nil {
		t.Error("a closed file is read")
	}

	// Damage is an error, wherever it is met.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 2 * os.Getpagesize(); i < len(b); i++ {
		b[i] = 0xff
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = Open(path); err == nil {
		err = f.View(func(tx *bolt.Tx) error { tx.Bucket([]byte("b")).Get([]byte("k")); return nil })
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged file: %v", err)
	}
}

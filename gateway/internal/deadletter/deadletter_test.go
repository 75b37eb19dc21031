package deadletter

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"rookery/storage/mapped"
)

// TestLetters: they are listed from the oldest on, in pages; the oldest make room; no number comes twice.
func TestLetters(t *testing.T) {
	file, err := mapped.Open(filepath.Join(t.TempDir(), "letters.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	name, there := []byte("dead"), 0
	change := func(fn func(b *bolt.Bucket) error) {
		t.Helper()
		if err := file.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			return fn(b)
		}); err != nil {
			t.Fatal(err)
		}
	}
	bury := func(letters ...string) {
		t.Helper()
		change(func(b *bolt.Bucket) (err error) {
			there, err = Bury(b, letters, there, 3)
			return err
		})
	}
	list := func(after uint64, most int) string {
		t.Helper()
		var words []string
		if err := file.View(func(tx *bolt.Tx) error {
			return List(tx.Bucket(name), after, func(number uint64, letter string) bool {
				words = append(words, fmt.Sprint(number, letter))
				return len(words) < most
			})
		}); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d: %s", there, strings.Join(words, " "))
	}
	bury("a", "b")
	bury("c")
	if got := list(0, 2) + ", " + list(2, 2); got != "3: 1a 2b, 3: 3c" {
		t.Errorf("listed %s", got)
	}
	bury("d", "e")
	if got := list(0, 9); got != "3: 3c 4d 5e" {
		t.Errorf("with two too many there are %s", got)
	}
	change(func(b *bolt.Bucket) error {
		for number, want := range map[uint64]bool{5: true, 2: false} {
			if was, err := Remove(b, number); err != nil || was != want {
				t.Errorf("letter %d was there: %v, %v", number, was, err)
			}
		}
		there--
		return nil
	})
	bury("f")
	if got := list(0, 9); got != "3: 3c 4d 6f" {
		t.Errorf("behind one that was removed there are %s", got)
	}
	change(func(b *bolt.Bucket) error { return b.Put(key(7), []byte("no JSON")) })
	if err := file.View(func(tx *bolt.Tx) error {
		return List(tx.Bucket(name), 6, func(uint64, string) bool { return true })
	}); err == nil || !strings.Contains(err.Error(), "dead letter 7") {
		t.Errorf("a letter that can't be read: %v", err)
	}
}

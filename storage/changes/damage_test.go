package changes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// forge changes a value of the index of a bench that was killed.
func forge(t *testing.T, dir string, bucket, key []byte, change func(value []byte)) {
	t.Helper()
	tree, err := bolt.Open(filepath.Join(dir, "changes", "changes.db"), 0o640, treeOptions())
	if err != nil {
		t.Fatal(err)
	}
	err = tree.Update(func(tx *bolt.Tx) error {
		value := bytes.Clone(tx.Bucket(bucket).Get(key))
		change(value)
		return tx.Bucket(bucket).Put(key, value)
	})
	if err := errors.Join(err, tree.Sync(), tree.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestPositionThatCannotBe: an index that says to be before the beginning of the log is made again, and nothing is counted twice.
func TestPositionThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir).open()
	b.say("r", "alice", "hello")
	b.say("r", "bob", "thread 1")
	b.want("r", 1, "r0 e0@0 d0 p0 t1@2")
	b.kill()
	forge(t, dir, bucketMeta, []byte("state"), func(value []byte) { value[17] |= 0x80 })
	b = start(t, dir).open()
	defer b.close()
	b.want("r", 1, "r0 e0@0 d0 p0 t1@2")
	if n := b.index.Stats().Rebuilt; n != 1 || !strings.Contains(b.lines.String(), "it says that it is at position -") {
		t.Errorf("made again %d times; said\n%s", n, b.lines.String())
	}
}

// TestCountThatCannotBe: of ten numbers no more than ten are changes. Whoever takes the changes off what is unread would have a number
// without end.
func TestCountThatCannotBe(t *testing.T) {
	for _, forged := range []uint64{0, 1 << 40, 1<<64 - 1} {
		dir := t.TempDir()
		b := start(t, dir).open()
		b.say("r", "alice", "hello")
		b.say("r", "alice", "edit 1")
		b.say("r", "alice", "edit 1")
		b.want("r", 1, "r3 e2@3 d0 p0 t0@0")
		b.kill()
		forge(t, dir, bucketMade, withSeq(nameKey("r"), 3), func(value []byte) { binary.BigEndian.PutUint64(value, forged) })
		b = start(t, dir).open()
		count := func() (n uint64, err error) {
			err = b.index.View("r", func(v *View) error {
				n = v.Changes(0, 3)
				return nil
			})
			return n, err
		}
		if n, err := count(); n != 0 || !errors.Is(err, ErrDamaged) {
			t.Errorf("with %d: %d changes, %v", forged, n, err)
		}
		if err := b.index.Wait(); err != nil {
			t.Fatal(err)
		}
		if n, err := count(); n != 2 || err != nil {
			t.Errorf("made again: %d changes, %v", n, err)
		}
		b.close()
	}
}

// TestDamageThatCannotBeMended: the index turns out to be damaged while it is brought up to date, and can't be made again. That is an error
// at the start.
func TestDamageThatCannotBeMended(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir).open()
	b.kill()
	b = start(t, dir)
	b.say("r", "alice", "hello")
	config := b.config()
	config.Read = func([]byte) (Facts, bool) {
		if err := errors.Join(os.RemoveAll(config.Dir), os.WriteFile(config.Dir, nil, 0o600)); err != nil {
			t.Error(err)
		}
		panic("page 7 is no page")
	}
	if index, err := Open(config); err == nil || !strings.Contains(err.Error(), config.Dir) {
		t.Errorf("opened as %v, %v", index, err)
	}
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
}

package catalog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// damage changes one byte of the newest record on the disk that holds the text.
func damage(t *testing.T, memory *vfs.Memory, holds string) {
	t.Helper()
	names, err := memory.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(names) - 1; i >= 0; i-- {
		if filepath.Ext(names[i]) != ".log" {
			continue
		}
		f, err := memory.Open(filepath.Join(testDir, names[i]))
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, size)
		if _, err := f.ReadAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if at := bytes.LastIndex(content, []byte(holds)); at >= 0 {
			if _, err := f.WriteAt([]byte{content[at] ^ 1}, int64(at)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Sync(), f.Close()); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no record holds %q", holds)
}

// TestDamagedSnapshot damages what a snapshot consists of. Where the changes before it are still there
// they do instead; where they are gone the catalog is refused.
func TestDamagedSnapshot(t *testing.T) {
	tests := []struct {
		name    string
		trimmed bool
		holds   string
		refused bool
	}{
		{"a part, the past is there", false, `"kind":"part"`, false},
		{"a part, the past is gone", true, `"kind":"part"`, true},
		{"the end, the past is gone", true, `"kind":"end"`, true},
		{"a change after it", true, `"k":"after"`, true},
		{"a change before it", false, `"k":"before"`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			memory := vfs.NewMemory()
			log := mustOpenLog(t, silent(memory))
			config := small(log)
			config.Synced = test.trimmed
			c := mustOpen(t, config)
			mustUpdate(t, c, Set("before", []byte("1")))
			mustUpdate(t, c, entries(30)...)
			await(t, "a snapshot", func() bool { return c.Stats().Snapshots > 0 })
			mustUpdate(t, c, Set("after", []byte("1")))
			mustUpdate(t, c, Set("last", []byte("1"))) // the end of the log is not told from a torn batch
			want := content(t, c)
			c.Close()
			if trimmed := log.Begin(Room) > 1; trimmed != test.trimmed {
				t.Fatalf("the room begins at %d", log.Begin(Room))
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}

			memory = memory.CrashClone(rand.New(rand.NewPCG(1, 1))) // lets go of the lock; all is synced
			damage(t, memory, test.holds)
			log = mustOpenLog(t, silent(memory))
			c, err := Open(small(log))
			if err == nil {
				defer c.Close()
			}
			if !test.refused {
				if err != nil {
					t.Fatal(err)
				}
				mustEqual(t, "after the damage", content(t, c), want)
				return
			}
			if err == nil {
				t.Fatal("half a catalog was opened")
			}
			if _, told := errors.AsType[*storage.DamagedError](err); !told || !strings.Contains(err.Error(), "backup") {
				t.Errorf("the error does not say where and what to do: %v", err)
			}
		})
	}
}

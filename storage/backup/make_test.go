package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// TestIncremental makes a backup of a log that is being written, again and again into the same directory, and
// restores each.
func TestIncremental(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	sealed := 0
	for round := range 4 {
		w.write(50)
		result := mustMake(t, memory)
		segments := w.log.Segments()
		if result.Kept != sealed || result.Linked != len(segments)-1-sealed || result.Copied != 1 {
			t.Errorf("round %d: %+v of %d segments, %d of them sealed before", round, result, len(segments), sealed)
		}
		sealed = len(segments) - 1
		base, bytes := w.log.Committed()
		if m := result.Manifest; m.End != base+bytes || m.EndAt != w.records[len(w.records)-1].At || len(m.Files) != len(segments) {
			t.Errorf("round %d: %+v, the log ends at %d", round, m, base+bytes)
		}
		if names, _ := memory.List(backupDir); len(names) != len(segments)+1 {
			t.Errorf("round %d: files %v, want MANIFEST and %d segments", round, names, len(segments))
		}
		restored := mustRestore(t, memory, Until{})
		got, _ := contents(t, memory, restoredDir)
		checkRecords(t, fmt.Sprint("round ", round), got, w.records)
		if restored.Epoch == result.Manifest.Epoch || restored.Records != uint64(len(w.records)) || restored.Cut != 0 {
			t.Errorf("round %d: %+v, want a new epoch and all records", round, restored)
		}
		removeAll(t, memory, restoredDir)
	}
	// Nothing new: nothing but the newest segment's content, which has the same name.
	if again := mustMake(t, memory); again.Linked+again.Copied+again.Removed != 0 || again.Kept != sealed+1 {
		t.Errorf("without new records: %+v, want all kept", again)
	}
}

// TestHoldsNothingThatTheLogLoses: what is copied while the log has not synced it yet is in the log after a power loss too. Else other
// records could come to its place, up to the same end, and the next backup would take the file for theirs.
func TestHoldsNothingThatTheLogLoses(t *testing.T) {
	for seed := range uint64(20) {
		memory := vfs.NewMemory()
		l, err := commitlog.Open(commitlog.Config{FS: memory, Dir: logDir, Sync: commitlog.SyncNever, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		const records = 30
		written := make(chan struct{}, records)
		producer := l.NewProducer(func(n int, _ error) {
			for range n {
				written <- struct{}{}
			}
		})
		for seq := range uint64(records) {
			if err := producer.Append(storage.Record{Room: "room", Seq: seq + 1, At: 1, From: "user", Body: make([]byte, 100)}); err != nil {
				t.Fatal(err)
			}
			<-written
		}
		mustMake(t, memory)
		crashed := memory.CrashClone(rand.New(rand.NewPCG(seed, 1)))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := contents(t, crashed, logDir); len(got) != records {
			t.Fatalf("seed %d: the backup has %d records, the log %d", seed, records, len(got))
		}
	}
}

// TestOnDisk: there links are links, and a log that goes on does not change the backup.
func TestOnDisk(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "log"), filepath.Join(dir, "backup")
	w := openLog(t, vfs.Disk(), from)
	w.write(100)
	result, err := Make(context.Background(), Config{FS: vfs.Disk(), From: from, To: to})
	if err != nil {
		t.Fatal(err)
	}
	if links, err := vfs.Disk().Links(filepath.Join(to, result.Manifest.Files[0].Name)); links != 2 || err != nil {
		t.Errorf("first file has %d names, %v, want 2", links, err)
	}
	want := w.records
	w.write(100)
	config := RestoreConfig{FS: vfs.Disk(), To: filepath.Join(dir, "restored", "log"), Logger: quiet()}
	if _, err := Restore(context.Background(), Directory(vfs.Disk(), to), config); err != nil {
		t.Fatal(err)
	}
	got, _ := contents(t, vfs.Disk(), config.To)
	checkRecords(t, "restored", got, want)
}

// TestFaultsLeaveTheFormerBackup fails each call of each kind during the second backup: the first or
// the second can be restored, also after a crash.
func TestFaultsLeaveTheFormerBackup(t *testing.T) {
	operations := []vfs.Operation{vfs.OpOpen, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpList, vfs.OpSyncDir, vfs.OpLock, vfs.OpRead, vfs.OpWrite, vfs.OpSync, vfs.OpLink}
	for _, operation := range operations {
		failed := 0
		for call := 1; ; call++ {
			memory := vfs.NewMemory()
			w := openLog(t, memory, logDir)
			w.write(60)
			mustMake(t, memory)
			first := len(w.records)
			w.write(60)
			faulty := vfs.Faulty(memory, vfs.Fault{Operation: operation, Call: call, Err: syscall.EIO})
			_, err := Make(context.Background(), Config{FS: faulty, From: logDir, To: backupDir})
			if err != nil && !errors.Is(err, syscall.EIO) {
				t.Errorf("%v %d: %v", operation, call, err)
			}
			if faulty.Calls(operation) < call {
				break
			}
			failed++
			crashed := memory.CrashClone(rand.New(rand.NewPCG(uint64(call), uint64(operation))))
			for what, after := range map[string]*vfs.Memory{"running": memory, "crashed": crashed} {
				m, merr := readManifest(after, backupDir)
				if merr != nil {
					t.Fatalf("%v %d, %s: %v", operation, call, what, merr)
				}
				want := w.records[:first]
				if m.EndAt != want[first-1].At {
					want = w.records
				}
				mustRestore(t, after, Until{})
				got, _ := contents(t, after, restoredDir)
				checkRecords(t, fmt.Sprintf("%v %d, %s", operation, call, what), got, want)
			}
			// The next one makes up for it.
			removeAll(t, memory, restoredDir)
			mustMake(t, memory)
			mustRestore(t, memory, Until{})
			got, _ := contents(t, memory, restoredDir)
			checkRecords(t, fmt.Sprintf("%v %d, made again", operation, call), got, w.records)
			if names, _ := memory.List(backupDir); strings.Contains(fmt.Sprint(names), temporarySuffix) {
				t.Errorf("%v %d: files %v, want none unfinished", operation, call, names)
			}
			if err := w.log.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if failed == 0 {
			t.Errorf("a backup has no call of %v to fail", operation)
		}
	}
}

// replacing is a file system on which a segment is gone, or another, at the moment in which it is linked.
type replacing struct {
	vfs.FS
	before func(oldPath string)
}

func (r replacing) Link(oldPath, newPath string) error {
	r.before(oldPath)
	return r.FS.Link(oldPath, newPath)
}

// TestLooksAgain: what was listed is not what is linked.
func TestLooksAgain(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, memory *vfs.Memory, path string) (undo func()){
		"gone": func(t *testing.T, memory *vfs.Memory, path string) func() {
			content := readFile(t, memory, path)
			if err := memory.Remove(path); err != nil {
				t.Fatal(err)
			}
			return func() { writeFile(t, memory, path, content) }
		},
		"another segment": func(t *testing.T, memory *vfs.Memory, path string) func() {
			content := readFile(t, memory, path)
			writeFile(t, memory, path, readFile(t, memory, logDir+"/"+commitlog.SegmentName(0)))
			return func() { writeFile(t, memory, path, content) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			memory := vfs.NewMemory()
			w := openLog(t, memory, logDir)
			w.write(100)
			second := w.log.Segments()[1].Path
			links := 0
			var undo func()
			fsys := replacing{memory, func(path string) {
				if undo != nil {
					undo()
					undo = nil
				}
				if path == second {
					if links++; links == 1 {
						undo = replace(t, memory, path)
					}
				}
			}}
			// Looking again comes before linking again, so the file is back for it.
			looked := lookingAgain{fsys, func() {
				if undo != nil {
					undo()
					undo = nil
				}
			}}
			result, err := Make(context.Background(), Config{FS: looked, From: logDir, To: backupDir})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(result.Manifest.Files); links != 2 || result.Linked+result.Copied != n {
				t.Errorf("%d links of the replaced segment, want 2; %+v of %d files", links, result, n)
			}
			mustRestore(t, memory, Until{})
			got, _ := contents(t, memory, restoredDir)
			checkRecords(t, "restored", got, w.records)
		})
	}
}

type lookingAgain struct {
	vfs.FS
	before func()
}

func (l lookingAgain) List(dir string) ([]string, error) {
	if dir == logDir {
		l.before()
	}
	return l.FS.List(dir)
}

// withoutLinks is a file system like one of another device.
type withoutLinks struct{ vfs.FS }

func (withoutLinks) Link(oldPath, newPath string) error {
	return &fs.PathError{Op: "link", Path: newPath, Err: syscall.EXDEV}
}

// cloning can't link and can clone.
type cloning struct{ withoutLinks }

func (c cloning) Clone(oldPath, newPath string) error {
	from, err := c.OpenRead(oldPath)
	if err != nil {
		return err
	}
	defer from.Close()
	size, err := from.Size()
	if err != nil {
		return err
	}
	b := make([]byte, size)
	if _, err := from.ReadAt(b, 0); err != nil {
		return err
	}
	to, err := c.Create(newPath)
	if err != nil {
		return err
	}
	_, err = to.WriteAt(b, 0)
	return errors.Join(err, to.Close())
}

// TestWithoutLinks: then segments are cloned or copied, once.
func TestWithoutLinks(t *testing.T) {
	for name, wrap := range map[string]func(vfs.FS) vfs.FS{
		"copied": func(f vfs.FS) vfs.FS { return withoutLinks{f} },
		"cloned": func(f vfs.FS) vfs.FS { return cloning{withoutLinks{f}} },
	} {
		t.Run(name, func(t *testing.T) {
			memory := vfs.NewMemory()
			fsys := wrap(memory)
			w := openLog(t, memory, logDir)
			w.write(60)
			first := mustMake(t, fsys)
			n := len(first.Manifest.Files)
			if first.Linked != 0 || first.Copied+first.Cloned != n || (first.Cloned > 0) != (name == "cloned") {
				t.Errorf("first: %+v", first)
			}
			w.write(60)
			second := mustMake(t, fsys)
			if second.Kept != n-1 {
				t.Errorf("second: %+v, want the %d sealed ones kept", second, n-1)
			}
			for _, f := range second.Manifest.Files {
				if (f.Checksum == "") != (name == "cloned" && f.End != second.Manifest.End) {
					t.Errorf("file %+v: a copy has a checksum, a clone none", f)
				}
			}
			memory = memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
			mustRestore(t, memory, Until{})
			got, _ := contents(t, memory, restoredDir)
			checkRecords(t, "restored after a crash", got, w.records)
		})
	}
}

// TestMakeRefuses what would spoil a directory or a backup.
func TestMakeRefuses(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	w.write(60)
	make := func(from, to string) error {
		_, err := Make(context.Background(), Config{FS: memory, From: from, To: to})
		return err
	}
	refused := func(err error, word string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want an error with %q", err, word)
		}
	}
	refused(make("/nowhere", backupDir), "not exist")
	refused(make(logDir, logDir), "is of no backup: take an empty or a new directory")
	other := openLog(t, memory, "/data/other")
	other.write(1)
	mustMake(t, memory)
	refused(make("/data/other", backupDir), "backup of another log")

	lock, err := memory.Lock(backupDir + "/" + lockName)
	if err != nil {
		t.Fatal(err)
	}
	refused(make(logDir, backupDir), "another backup is being made")
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}

	// A log that has lost a segment does not replace a backup that has it.
	if err := memory.Remove(w.log.Segments()[1].Path); err != nil {
		t.Fatal(err)
	}
	refused(make(logDir, backupDir), "segment is missing")
	mustRestore(t, memory, Until{})
	got, _ := contents(t, memory, restoredDir)
	checkRecords(t, "the backup before the loss", got, w.records)

	manifest := readFile(t, memory, backupDir+"/"+manifestName)
	manifest[len(manifest)-5] ^= 1
	writeFile(t, memory, backupDir+"/"+manifestName, manifest)
	refused(make(logDir, backupDir), "checksum does not match; take another directory")
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// TestUntilPosition cuts at, before and behind the end of every record. The log takes more afterwards, and is
// then whole.
func TestUntilPosition(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	w.write(60)
	mustMake(t, memory)
	_, ends := contents(t, memory, logDir)
	for i, end := range ends {
		for offset, kept := range map[int64]int{-1: i, 0: i + 1, 1: i + 1} {
			if end+offset > ends[len(ends)-1] {
				continue
			}
			result := mustRestore(t, memory, Until{Position: end + offset})
			if result.Records != uint64(kept) || result.EndAt != append([]storage.Record{{}}, w.records...)[kept].At {
				t.Errorf("position %d: %+v, want %d records", end+offset, result, kept)
			}
			if kept > 0 && result.End != ends[kept-1] {
				t.Errorf("position %d: the log ends at %d, the last record at %d", end+offset, result.End, ends[kept-1])
			}
			again := openLog(t, memory, restoredDir)
			if again.log.Epoch() != uint64(result.Epoch) {
				t.Errorf("position %d: epoch %x, the restore said %v", end+offset, again.log.Epoch(), result.Epoch)
			}
			again.at = 5_000_000
			again.write(3)
			if err := again.log.Close(); err != nil {
				t.Fatal(err)
			}
			got, _ := contents(t, memory, restoredDir)
			checkRecords(t, fmt.Sprint("until position ", end+offset), got, append(slices.Clone(w.records[:kept]), again.records...))
			removeAll(t, memory, restoredDir)
		}
	}
	config := restoreConfig(memory)
	config.Until.Position = ends[len(ends)-1] + 1
	if _, err := Restore(context.Background(), Directory(memory, backupDir), config); err == nil || !strings.Contains(err.Error(), "behind the end of the backup") {
		t.Errorf("a position behind the end: got %v", err)
	}
}

// TestUntilTime: what counts is the first record whose time is later, also where the clock goes back.
func TestUntilTime(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	// 1,000,000, 1,000,010 … then a jump ahead for ten records, and back.
	w.write(40)
	w.at += 60_000
	w.write(10)
	w.at -= 60_100
	w.write(20)
	mustMake(t, memory)
	for _, test := range []struct {
		at            int64
		kept, earlier int
	}{
		{999_999, 0, 0},
		{1_000_000, 1, 0},
		{1_000_009, 1, 0},
		{1_000_010, 2, 0},
		{1_000_390, 40, 0}, // those behind the jump begin at 1,000,400
		{1_000_450, 40, 6},
		{1_060_399, 40, 20},
		{1_060_400, 41, 20},
		{1_060_490, 70, 0},
		{9_000_000, 70, 0},
	} {
		result := mustRestore(t, memory, Until{At: test.at})
		got, _ := contents(t, memory, restoredDir)
		checkRecords(t, fmt.Sprint("until ", test.at), got, w.records[:test.kept])
		if result.Cut != uint64(len(w.records)-test.kept) || result.CutEarlier != uint64(test.earlier) {
			t.Errorf("until %d: %d cut, %d of them with earlier times, want %d and %d", test.at, result.Cut, result.CutEarlier, len(w.records)-test.kept, test.earlier)
		}
		removeAll(t, memory, restoredDir)
	}
}

// TestDamagedBackup changes every file in turn: it is found, and with AcceptDamage all the rest is restored.
func TestDamagedBackup(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	w.write(100)
	m := mustMake(t, memory).Manifest
	last := len(m.Files) - 1
	for name, change := range map[string]struct {
		file   int
		change func(b []byte) []byte // nil: the file is gone
	}{
		"a byte of the first":    {0, func(b []byte) []byte { b[300] ^= 1; return b }},
		"a byte of the last":     {last, func(b []byte) []byte { b[300] ^= 1; return b }},
		"last byte of the last":  {last, func(b []byte) []byte { b[m.Files[last].Bytes-1] ^= 1; return b }},
		"a header":               {1, func(b []byte) []byte { b[20] ^= 1; return b }},
		"end of one is cut off":  {1, func(b []byte) []byte { return b[:m.Files[1].Bytes-1] }},
		"end of the last cut":    {last, func(b []byte) []byte { return b[:m.Files[last].Bytes-1] }},
		"one is gone":            {1, nil},
		"the first is gone":      {0, nil},
		"the last is gone":       {last, nil},
		"another in one's place": {1, func([]byte) []byte { return readFile(t, memory, backupDir+"/"+m.Files[0].Name) }},
	} {
		t.Run(name, func(t *testing.T) {
			path := backupDir + "/" + m.Files[change.file].Name
			content := readFile(t, memory, path)
			if change.change == nil {
				if err := memory.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				writeFile(t, memory, path, change.change(slices.Clone(content)))
			}
			defer writeFile(t, memory, path, content)
			config := restoreConfig(memory)
			_, err := Restore(context.Background(), Directory(memory, backupDir), config)
			var corrupt *storage.CorruptionError
			if !errors.As(err, &corrupt) {
				t.Errorf("got %v, want a *storage.CorruptionError", err)
			}
			if _, err := commitlog.Open(commitlog.Config{FS: memory, Dir: restoredDir, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "a restore did not end") {
				t.Errorf("a server on what was left: got %v, want a refusal", err)
			}
			removeAll(t, memory, restoredDir)
			config.AcceptDamage = true
			result, err := Restore(context.Background(), Directory(memory, backupDir), config)
			if err != nil {
				t.Fatal(err)
			}
			inFile := uint64(25)
			if len(result.Damage) == 0 || result.Records < 100-inFile || result.Records > 100 {
				t.Errorf("%+v, want damage told and all records but some of one file", result)
			}
			l := openLog(t, memory, restoredDir)
			l.write(1)
			if err := l.log.Close(); err != nil {
				t.Fatal(err)
			}
			removeAll(t, memory, restoredDir)
		})
	}
}

// TestRestoreFaults fails each call of each kind: there is an error, and what is left is refused by a server or is the
// whole log.
func TestRestoreFaults(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	w.write(60)
	mustMake(t, memory)
	_, ends := contents(t, memory, logDir)
	until := Until{Position: ends[40]}
	for _, operation := range []vfs.Operation{vfs.OpOpen, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpList, vfs.OpSyncDir, vfs.OpRead, vfs.OpWrite, vfs.OpSync, vfs.OpTruncate} {
		failed := 0
		for call := 1; ; call++ {
			faulty := vfs.Faulty(memory, vfs.Fault{Operation: operation, Call: call, Err: syscall.EIO})
			config := restoreConfig(faulty)
			config.Until = until
			_, err := Restore(context.Background(), Directory(faulty, backupDir), config)
			if faulty.Calls(operation) < call {
				removeAll(t, memory, restoredDir)
				break
			}
			failed++
			l, openErr := commitlog.Open(commitlog.Config{FS: memory, Dir: restoredDir, Logger: quiet()})
			if openErr != nil {
				if err == nil || !strings.Contains(openErr.Error(), "a restore did not end") {
					t.Errorf("%v %d: restore: %v, open: %v", operation, call, err, openErr)
				}
			} else if err := l.Close(); err != nil {
				t.Error(err)
			}
			if names, _ := memory.List(restoredDir); openErr == nil && slices.Contains(names, commitlog.SegmentName(0)) {
				got, _ := contents(t, memory, restoredDir)
				if len(got) > 0 || err == nil {
					checkRecords(t, fmt.Sprintf("%v %d (%v)", operation, call, err), got, w.records[:41])
				}
			}
			removeAll(t, memory, restoredDir)
		}
		if failed == 0 {
			t.Errorf("a restore has no call of %v to fail", operation)
		}
	}
}

// TestRestoreRefuses: nothing is restored over anything.
func TestRestoreRefuses(t *testing.T) {
	memory := vfs.NewMemory()
	w := openLog(t, memory, logDir)
	w.write(10)
	if err := w.log.Close(); err != nil { // it makes files ready in the background
		t.Fatal(err)
	}
	refused := func(from, to, word string) {
		t.Helper()
		before := memory.String()
		config := restoreConfig(memory)
		config.To = to
		_, err := Restore(context.Background(), Directory(memory, from), config)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want an error with %q", err, word)
		}
		if after := memory.String(); after != before {
			t.Errorf("files were changed:\n%s\nbefore:\n%s", after, before)
		}
	}
	refused(backupDir, restoredDir, "there is no complete backup in "+backupDir)
	mustMake(t, memory)
	refused(backupDir, logDir, "is not empty")
	refused(backupDir, backupDir, "is not empty")
	refused(logDir, restoredDir, "there is no complete backup in "+logDir)
	manifest := readFile(t, memory, backupDir+"/"+manifestName)
	m, err := decodeManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	m.Files[0].Name = "../other/" + m.Files[0].Name
	elsewhere, err := encodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, memory, backupDir+"/"+manifestName, elsewhere)
	refused(backupDir, restoredDir, "is no name of a file in the backup")
	writeFile(t, memory, backupDir+"/"+manifestName, manifest)
	if err := memory.MkdirAll(restoredDir); err != nil {
		t.Fatal(err)
	}
	writeFile(t, memory, restoredDir+"/"+commitlog.RestoringName, nil)
	refused(backupDir, restoredDir, "a restore into it did not end")
}

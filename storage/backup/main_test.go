package backup

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	logDir      = "/data/log"
	backupDir   = "/backup/chat"
	restoredDir = "/restored"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// writtenLog is an open log with small segments, and what was appended to it.
type writtenLog struct {
	t        testing.TB
	log      *commitlog.Log
	producer *commitlog.Producer
	reports  chan error
	heads    map[string]uint64
	records  []storage.Record // in the order of the log
	at       int64            // time of the next record
}

func openLog(t testing.TB, fsys vfs.FS, dir string) *writtenLog {
	t.Helper()
	l, err := commitlog.Open(commitlog.Config{FS: fsys, Dir: dir, SegmentBytes: 4 << 10, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	w := &writtenLog{t: t, log: l, reports: make(chan error, 1000), heads: map[string]uint64{}, at: 1_000_000}
	w.producer = l.NewProducer(func(n int, err error) {
		for range n {
			w.reports <- err
		}
	})
	t.Cleanup(func() { _ = l.Close() }) // a second Close is harmless
	return w
}

// write appends n records, one batch each.
func (w *writtenLog) write(n int) {
	w.t.Helper()
	for range n {
		room := fmt.Sprint("room", len(w.records)%3)
		if w.heads[room] == 0 {
			w.heads[room] = w.log.Head(room)
		}
		w.heads[room]++
		r := storage.Record{Room: room, Seq: w.heads[room], At: w.at, From: "u", Key: fmt.Sprint("k", len(w.records)), Body: []byte(strings.Repeat("x", 100+len(w.records)%50))}
		w.at += 10
		if err := w.producer.Append(r); err != nil {
			w.t.Fatal(err)
		}
		if err := <-w.reports; err != nil {
			w.t.Fatal(err)
		}
		w.records = append(w.records, r)
	}
}

func mustMake(t testing.TB, fsys vfs.FS) Result {
	t.Helper()
	result, err := Make(context.Background(), Config{FS: fsys, From: logDir, To: backupDir})
	if err != nil {
		t.Fatalf("Make: %v", err)
	}
	return result
}

func restoreConfig(fsys vfs.FS) RestoreConfig {
	return RestoreConfig{FS: fsys, To: restoredDir, Logger: quiet()}
}

func mustRestore(t testing.TB, fsys vfs.FS, until Until) RestoreResult {
	t.Helper()
	config := restoreConfig(fsys)
	config.Until = until
	result, err := Restore(context.Background(), Directory(fsys, backupDir), config)
	if err != nil {
		t.Fatalf("Restore: %v", err)
	}
	return result
}

// contents gives the records of a log that nobody has open, whole or not at all.
func contents(t testing.TB, fsys vfs.FS, dir string) (records []storage.Record, ends []int64) {
	t.Helper()
	v, err := commitlog.OpenView(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if s, err := v.Verify(func(f commitlog.Finding) { t.Errorf("%s: %v", dir, f) }); err != nil || s.Findings > 0 {
		t.Fatalf("verify %s: %d findings, %v", dir, s.Findings, err)
	}
	if _, err := v.Scan(0, func(e commitlog.Entry) bool {
		records = append(records, clone(e.Record))
		ends = append(ends, e.End)
		return true
	}, nil); err != nil {
		t.Fatal(err)
	}
	return records, ends
}

func clone(r storage.Record) storage.Record {
	return storage.Record{Room: strings.Clone(r.Room), Seq: r.Seq, At: r.At, From: strings.Clone(r.From), Key: strings.Clone(r.Key), Body: append([]byte(nil), r.Body...)}
}

func checkRecords(t testing.TB, what string, got, want []storage.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		a, b := got[i], want[i]
		if a.Room != b.Room || a.Seq != b.Seq || a.At != b.At || a.From != b.From || a.Key != b.Key || string(a.Body) != string(b.Body) {
			t.Fatalf("%s: record %d: got %+v, want %+v", what, i, a, b)
		}
	}
}

// removeAll empties a directory of a Memory or a Disk.
func removeAll(t testing.TB, fsys vfs.FS, dir string) {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		return
	}
	for _, name := range names {
		if err := fsys.Remove(dir + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t testing.TB, fsys vfs.FS, path string) []byte {
	t.Helper()
	file, err := fsys.OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, _ := file.Size()
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b
}

// writeFile puts a new file with the content in the place of one.
func writeFile(t testing.TB, fsys vfs.FS, path string, content []byte) {
	t.Helper()
	if err := vfs.RemoveIfExists(fsys, path); err != nil {
		t.Fatal(err)
	}
	file, err := fsys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
}

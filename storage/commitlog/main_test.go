package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/storage"
	"rookery/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "/data/log"

// testConfig is a log on fsys that says nothing.
func testConfig(fsys vfs.FS) Config {
	return Config{FS: fsys, Dir: testDir, Logger: slog.New(slog.DiscardHandler), growing: true}
}

func mustOpen(t testing.TB, config Config) *Log {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a second Close is harmless; a test that cares calls it
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// writer is a producer that counts what it was told. append belongs to one goroutine.
type writer struct {
	log      *Log
	producer *Producer
	next     map[string]uint64

	mu   sync.Mutex
	cond *sync.Cond

	// Guarded by mu.
	reported, committed int
	err                 error
}

func newWriter(l *Log) *writer {
	w := &writer{log: l, next: map[string]uint64{}}
	w.cond = sync.NewCond(&w.mu)
	w.producer = l.NewProducer(func(n int, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reported += n
		if err == nil {
			w.committed += n
		} else {
			w.err = err
		}
		w.cond.Broadcast()
	})
	return w
}

// record makes the next record of a room.
func (w *writer) record(room, body string) storage.Record {
	if w.next[room] == 0 {
		w.next[room] = w.log.Head(room) + 1
	}
	seq := w.next[room]
	return storage.Record{Room: room, Seq: seq, At: 1_000_000 + int64(seq), From: "user-" + room, Key: fmt.Sprint("key-", seq), Body: []byte(body)}
}

func (w *writer) append(r storage.Record) error {
	err := w.producer.Append(r)
	if err == nil {
		w.next[r.Room]++
	}
	return err
}

func (w *writer) mustAppend(t testing.TB, room, body string) storage.Record {
	t.Helper()
	r := w.record(room, body)
	if err := w.append(r); err != nil {
		t.Fatalf("Append: %v", err)
	}
	return r
}

// wait blocks until n records in all were reported and gives how many are committed.
func (w *writer) wait(n int) (committed int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.reported < n {
		w.cond.Wait()
	}
	return w.committed, w.err
}

func (w *writer) mustCommit(t testing.TB, n int) {
	t.Helper()
	if committed, err := w.wait(n); committed != n || err != nil {
		t.Fatalf("committed %d of %d: %v", committed, n, err)
	}
}

func clone(r storage.Record) storage.Record {
	r.From = string(append([]byte(nil), r.From...))
	r.Room = string(append([]byte(nil), r.Room...))
	r.Key = string(append([]byte(nil), r.Key...))
	r.Body = slices.Clone(r.Body)
	return r
}

type readFunction func(room string, position uint64, limit storage.PageLimit, fn func(storage.Record) bool) error

func collect(t testing.TB, read readFunction, room string, from uint64, limit storage.PageLimit) []storage.Record {
	t.Helper()
	var records []storage.Record
	err := read(room, from, limit, func(r storage.Record) bool {
		records = append(records, clone(r))
		return true
	})
	if err != nil {
		t.Fatalf("read room %q from %d: %v", room, from, err)
	}
	return records
}

// readAll reads a room page by page, as a client that catches up does.
func readAll(t testing.TB, l *Log, room string) []storage.Record {
	t.Helper()
	var all []storage.Record
	for after := uint64(0); ; after = all[len(all)-1].Seq {
		page := collect(t, l.ReadAfter, room, after, storage.PageLimit{Records: 100, Bytes: 8 << 10})
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

func recent(t testing.TB, l *Log, since time.Time, limit int) []storage.Record {
	t.Helper()
	var records []storage.Record
	err := l.Recent(since, limit, func(r storage.Record) bool {
		records = append(records, clone(r))
		return true
	})
	if err != nil {
		t.Fatalf("Recent: %v", err)
	}
	return records
}

func checkRecords(t testing.TB, what string, got, want []storage.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !equal(got[i], want[i]) {
			t.Fatalf("%s: record %d: got %+v, want %+v", what, i, got[i], want[i])
		}
	}
}

func equal(a, b storage.Record) bool {
	return a.Room == b.Room && a.Seq == b.Seq && a.At == b.At && a.From == b.From && a.Key == b.Key && string(a.Body) == string(b.Body)
}

func wantCorruption(t testing.TB, err error) *storage.CorruptionError {
	t.Helper()
	var corruption *storage.CorruptionError
	if !errors.As(err, &corruption) {
		t.Fatalf("got error %v, want a *storage.CorruptionError", err)
	}
	return corruption
}

// readAround reads a room and goes on behind damage; records come ascending.
func readAround(t *testing.T, l *Log, room string, ascending bool) (records []storage.Record, damaged map[uint64]bool) {
	t.Helper()
	damaged = map[uint64]bool{}
	at := uint64(0)
	for {
		n := 0
		limit := storage.PageLimit{Records: 7}
		take := func(r storage.Record) bool {
			n++
			at = r.Seq
			records = append(records, clone(r))
			return true
		}
		var err error
		if ascending {
			err = l.ReadAfter(room, at, limit, take)
		} else {
			err = l.ReadBefore(room, at, limit, take)
		}
		var gap *storage.DamagedError
		switch {
		case errors.As(err, &gap):
			for seq := gap.First; seq <= gap.Last; seq++ {
				damaged[seq] = true
			}
			at = gap.Last
			if !ascending {
				at = gap.First
			}
		case err != nil:
			t.Fatal(err)
		}
		if n == 0 && gap == nil || !ascending && at == 1 {
			break
		}
	}
	if !ascending {
		slices.Reverse(records)
	}
	return records, damaged
}

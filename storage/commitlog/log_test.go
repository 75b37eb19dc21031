package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

func TestWriteReadReopen(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"disk", "memory"} {
		for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
			t.Run(kind+" "+mode.String(), func(t *testing.T) {
				config := testConfig(vfs.NewMemory())
				if kind == "disk" {
					config.FS, config.Dir = nil, filepath.Join(t.TempDir(), "a", "b")
				}
				config.Sync, config.SegmentBytes = mode, minSegmentBytes
				testWriteReadReopen(t, config)
			})
		}
	}
}

func testWriteReadReopen(t *testing.T, config Config) {
	l := mustOpen(t, config)
	epoch := l.Epoch()
	if epoch == 0 {
		t.Error("epoch is 0")
	}
	w := newWriter(l)
	want := map[string][]storage.Record{}
	var order []storage.Record
	for i := range 300 {
		for _, room := range []string{"a", "b", strings.Repeat("ü", 60)}[:1+i%3] {
			r := w.mustAppend(t, room, strings.Repeat("x", i))
			want[room] = append(want[room], r)
			order = append(order, r)
		}
		w.mustCommit(t, len(order))
	}
	check := func(l *Log) {
		t.Helper()
		for room, records := range want {
			if got := l.Head(room); got != uint64(len(records)) {
				t.Errorf("Head(%q): got %d, want %d", room, got, len(records))
			}
			checkRecords(t, "ascending", readAll(t, l, room), records)
			backwards := collect(t, l.ReadBefore, room, 0, storage.PageLimit{Records: 1000, Bytes: 1 << 30})
			slices.Reverse(backwards)
			checkRecords(t, "descending", backwards, records)
		}
		checkRecords(t, "log order", recent(t, l, time.Time{}, 1000), order)
	}
	check(l)
	if stats := l.Stats(); stats.Segments < 3 || stats.Records != uint64(len(order)) || stats.Rooms != 3 || stats.QueueBytes != 0 {
		t.Errorf("stats: got %+v", stats)
	}
	before := l.Stats().Bytes
	mustClose(t, l)

	l = mustOpen(t, config)
	check(l)
	if l.Epoch() != epoch {
		t.Error("epoch changed over a clean close")
	}
	if got := l.Stats().Bytes; got != before {
		t.Errorf("bytes after reopening: got %d, want %d", got, before)
	}
	w = newWriter(l)
	want["a"] = append(want["a"], w.mustAppend(t, "a", "after reopening"))
	order = append(order, want["a"][300])
	w.mustCommit(t, 1)
	check(l)
}

// TestPages reads every range of a room with every kind of limit.
func TestPages(t *testing.T) {
	config := testConfig(vfs.NewMemory())
	config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, config)
	w := newWriter(l)
	const n = 200
	var want []storage.Record
	for i := range n {
		want = append(want, w.mustAppend(t, "room", strings.Repeat("x", i%50)))
		w.mustAppend(t, fmt.Sprint("other-", i%7), "noise")
	}
	w.mustCommit(t, 2*n)
	for from := range uint64(n + 3) {
		for _, limit := range []int{1, 2, 63, 64, 65, 130, 1000} {
			first := min(int(from), n)
			got := collect(t, l.ReadAfter, "room", from, storage.PageLimit{Records: limit, Bytes: 1 << 30})
			checkRecords(t, fmt.Sprintf("%d after %d", limit, from), got, want[first:min(first+limit, n)])

			last := int(from) - 1
			if from == 0 || from > n {
				last = n
			}
			got = collect(t, l.ReadBefore, "room", from, storage.PageLimit{Records: limit, Bytes: 1 << 30})
			slices.Reverse(got)
			checkRecords(t, fmt.Sprintf("%d before %d", limit, from), got, want[max(0, last-limit):last])
		}
	}
}

func TestPageLimits(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	for range 600 {
		w.mustAppend(t, "small", "")
	}
	for range 5 {
		w.mustAppend(t, "large", strings.Repeat("x", 200_000))
	}
	w.mustCommit(t, 605)
	size := recordBytes(&storage.Record{Room: "small", From: "user-small", Key: "key-1"})
	tests := map[string]struct {
		room  string
		limit storage.PageLimit
		want  int
	}{
		"default is 256 records":          {"small", storage.PageLimit{}, 256},
		"default is 256 KiB":              {"large", storage.PageLimit{}, 1},
		"records":                         {"small", storage.PageLimit{Records: 3}, 3},
		"bytes":                           {"small", storage.PageLimit{Bytes: 3 * (size + 2)}, 3}, // newer keys are longer
		"bytes, one short":                {"small", storage.PageLimit{Bytes: 3*size - 1}, 2},
		"first record over the limit":     {"large", storage.PageLimit{Bytes: 1}, 1},
		"second record over the limit":    {"large", storage.PageLimit{Bytes: 399_999}, 1},
		"two records, larger than memory": {"large", storage.PageLimit{Bytes: 401_000}, 2},
		"unknown room":                    {"none", storage.PageLimit{}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := collect(t, l.ReadAfter, test.room, 0, test.limit); len(got) != test.want {
				t.Errorf("ReadAfter: got %d records, want %d", len(got), test.want)
			}
			if got := collect(t, l.ReadBefore, test.room, 0, test.limit); len(got) != test.want {
				t.Errorf("ReadBefore: got %d records, want %d", len(got), test.want)
			}
		})
	}
	for name, read := range map[string]readFunction{"ReadAfter": l.ReadAfter, "ReadBefore": l.ReadBefore} {
		calls := 0
		if err := read("small", 0, storage.PageLimit{}, func(storage.Record) bool { calls++; return calls < 3 }); err != nil || calls != 3 {
			t.Errorf("%s: false at call 3: got %d calls, %v", name, calls, err)
		}
	}
}

func TestRecent(t *testing.T) {
	config := testConfig(vfs.NewMemory())
	config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, config)
	w := newWriter(l)
	var all []storage.Record
	for i := range 400 {
		r := w.record(fmt.Sprint("room-", i%3), "body of some length, to fill a few segments")
		r.At = int64(i)
		if i%10 == 9 {
			r.At -= 100 // the clock went back
		}
		if err := w.append(r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	w.mustCommit(t, 400)
	for _, since := range []int64{-1000, 0, 150, 399, 5000} {
		var want []storage.Record
		for _, r := range all {
			if r.At >= since {
				want = append(want, r)
			}
		}
		for _, limit := range []int{0, 1, 50, 399, 400, 1000} {
			what := fmt.Sprintf("since %d, %d records", since, limit)
			checkRecords(t, what, recent(t, l, time.UnixMilli(since), limit), want[max(0, len(want)-limit):])
		}
	}
	calls := 0
	if err := l.Recent(time.UnixMilli(0), 100, func(storage.Record) bool { calls++; return false }); err != nil || calls != 1 {
		t.Errorf("false at the first call: got %d calls, %v", calls, err)
	}
}

func TestAppendRefusals(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	long := strings.Repeat("n", 129)
	tests := map[string]func(*storage.Record){
		"room is empty":     func(r *storage.Record) { r.Room = "" },
		"room is too long":  func(r *storage.Record) { r.Room = long },
		"user is empty":     func(r *storage.Record) { r.From = "" },
		"user is too long":  func(r *storage.Record) { r.From = long },
		"key is too long":   func(r *storage.Record) { r.Key = long },
		"body is too large": func(r *storage.Record) { r.Body = make([]byte, storage.MaxBody+1) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.record("room", "body")
			change(&r)
			if err := w.append(r); err == nil {
				t.Error("Append took it")
			}
		})
	}
	largest := storage.Record{Room: long[1:], Seq: 1, At: -1 << 63, From: long[1:], Key: long[1:], Body: bytes.Repeat([]byte{7}, storage.MaxBody)}
	if err := w.append(largest); err != nil {
		t.Fatal(err)
	}
	w.mustCommit(t, 1)
	checkRecords(t, "largest record", readAll(t, l, largest.Room), []storage.Record{largest})
	checkRecords(t, "largest record", recent(t, l, time.UnixMilli(-1<<62), 1), nil)
	mustClose(t, l)
	if err := w.append(w.record("room", "late")); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Append after Close: got %v, want ErrClosed", err)
	}
	if got := l.Stats().Rooms; got != 1 {
		t.Errorf("refused appends made %d rooms, want 1", got)
	}
}

func TestAppendOutOfOrder(t *testing.T) {
	for name, seq := range map[string]uint64{"zero": 0, "repeated": 2, "gap": 4} {
		t.Run(name, func(t *testing.T) {
			l := mustOpen(t, testConfig(vfs.NewMemory()))
			w := newWriter(l)
			w.mustAppend(t, "room", "1")
			r := w.mustAppend(t, "room", "2")
			third := r
			third.Seq = 3
			r.Seq = seq
			if err := w.producer.Append(r); !errors.Is(err, storage.ErrSequence) {
				t.Errorf("got %v, want ErrSequence", err)
			}
			if err := w.producer.Append(third); err != nil {
				t.Errorf("the right one after it: %v", err)
			}
			w.mustCommit(t, 3)
		})
	}
}

func TestAfterClose(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	w.mustAppend(t, "room", "queued when Close is called")
	mustClose(t, l)
	w.mustCommit(t, 1)
	mustClose(t, l)
	nothing := func(storage.Record) bool { t.Error("a record after Close"); return true }
	for name, err := range map[string]error{
		"ReadAfter":  l.ReadAfter("room", 0, storage.PageLimit{}, nothing),
		"ReadBefore": l.ReadBefore("room", 0, storage.PageLimit{}, nothing),
		"Recent":     l.Recent(time.Time{}, 10, nothing),
		"Err":        l.Err(),
	} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s after Close: got %v, want ErrClosed", name, err)
		}
	}
}

func TestConfigFaultsAreReportedTogether(t *testing.T) {
	_, err := Open(Config{SegmentBytes: 1, OpenSegments: -1, Sync: 9, SyncEvery: -time.Second, QueueBytes: 1})
	for _, word := range []string{"Dir", "SegmentBytes", "OpenSegments", "set Sync to", "SyncEvery", "QueueBytes"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error does not name %s: %v", word, err)
		}
	}
}

func TestLockedDirectory(t *testing.T) {
	for name, config := range map[string]Config{
		"disk":   {Dir: t.TempDir(), Logger: testConfig(nil).Logger},
		"memory": testConfig(vfs.NewMemory()),
	} {
		t.Run(name, func(t *testing.T) {
			l := mustOpen(t, config)
			_, err := Open(config)
			if !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), config.Dir) || !strings.Contains(err.Error(), "stop the other process") {
				t.Errorf("second Open: got %v, want ErrLocked, the directory and what to do", err)
			}
			mustClose(t, l)
			mustClose(t, mustOpen(t, config))
		})
	}
}

// recordingFS notes which directories are synced.
type recordingFS struct {
	vfs.FS
	synced map[string]bool
}

func (r recordingFS) SyncDir(dir string) error {
	r.synced[dir] = true
	return r.FS.SyncDir(dir)
}

// TestMadeDirectoriesAreSynced: a name in a directory that was never synced can be gone, with
// all that lies below.
func TestMadeDirectoriesAreSynced(t *testing.T) {
	memory := vfs.NewMemory()
	if err := memory.MkdirAll("/there"); err != nil {
		t.Fatal(err)
	}
	config := testConfig(recordingFS{memory, map[string]bool{}})
	config.Dir = "/there/a/b"
	mustClose(t, mustOpen(t, config))
	synced := config.FS.(recordingFS).synced
	for dir, want := range map[string]bool{"/": false, "/there": true, "/there/a": true, "/there/a/b": true} {
		if synced[dir] != want {
			t.Errorf("directory %s synced: got %v, want %v", dir, synced[dir], want)
		}
	}
}

// TestReadersBesideTheWriter follows a room from several goroutines while it is written and
// segments end; each must see 1, 2, 3 … and never more than the head says.
func TestReadersBesideTheWriter(t *testing.T) {
	t.Parallel()
	config := testConfig(vfs.NewMemory())
	config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, config)
	const n = 2000
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for seen := uint64(0); seen < n; {
				head := l.Head("room")
				err := l.ReadAfter("room", seen, storage.PageLimit{Records: 70}, func(r storage.Record) bool {
					seen++
					if r.Seq != seen || string(r.Body) != fmt.Sprint("body ", seen) {
						t.Errorf("got record %d with %q, want %d", r.Seq, r.Body, seen)
						return false
					}
					return true
				})
				if err != nil || t.Failed() {
					t.Errorf("at %d: %v", seen, err)
					return
				}
				if now := l.Head("room"); now < head || now < seen {
					t.Errorf("head went from %d to %d with %d seen", head, now, seen)
				}
				runtime.Gosched()
			}
		})
	}
	w := newWriter(l)
	for i := range n {
		w.mustAppend(t, "room", fmt.Sprint("body ", i+1))
		if i%50 == 49 {
			w.mustCommit(t, i+1)
		}
	}
	readers.Wait()
}

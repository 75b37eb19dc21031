package backup

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// loadedRoom is written by one goroutine. Its record seq is always the same, so that what was restored can be
// compared with it.
type loadedRoom struct {
	name string
	keep storage.Retention
	// appended is counted before an append, acknowledged by the committer.
	appended, acknowledged atomic.Uint64
}

func (r *loadedRoom) record(seq uint64) storage.Record {
	return storage.Record{
		Room: r.name, Seq: seq, At: 1_700_000_000_000 + int64(seq), From: "writer", Key: fmt.Sprint(seq),
		Body: []byte(fmt.Sprintf("%s %d %s", r.name, seq, strings.Repeat("x", int(seq*37%900)))),
	}
}

// write appends until stop is closed, at most 8 records ahead of their commits.
func (r *loadedRoom) write(t *testing.T, l *commitlog.Log, stop chan struct{}) {
	ahead := make(chan struct{}, 8)
	producer := l.NewProducer(func(n int, err error) {
		if err != nil {
			t.Errorf("room %s: %v", r.name, err)
		}
		r.acknowledged.Add(uint64(n))
		for range n {
			<-ahead
		}
	})
	for seq := uint64(1); ; seq++ {
		select {
		case <-stop:
			for range cap(ahead) { // until all is committed
				ahead <- struct{}{}
			}
			return
		case ahead <- struct{}{}:
		}
		r.appended.Store(seq)
		if err := producer.Append(r.record(seq)); err != nil {
			t.Errorf("room %s: %v", r.name, err)
			<-ahead
			return
		}
	}
}

// TestUnderLoad makes backups of a log that is written by several producers and rewritten by retention, restores
// each, and compares it message by message: all that was acknowledged before the backup began is there, and
// nothing that was not appended before it ended.
func TestUnderLoad(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "log"), filepath.Join(dir, "backup")
	l, err := commitlog.Open(commitlog.Config{Dir: from, SegmentBytes: 64 << 10, RetainEvery: time.Millisecond, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rooms := map[string]*loadedRoom{}
	for i, keep := range []storage.Retention{{}, {Records: 50}, {Records: 20}, {Bytes: 4000}} {
		r := &loadedRoom{name: fmt.Sprint("room", i), keep: keep}
		rooms[r.name] = r
	}
	l.Retain(func(room string) storage.Retention { return rooms[room].keep })
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for _, r := range rooms {
		writers.Go(func() { r.write(t, l, stop) })
	}
	defer writers.Wait()
	defer close(stop)

	linked, rewritten := 0, 0
	for round := 0; round < 40 && (round < 5 || rewritten < 3); round++ {
		acknowledged := map[string]uint64{}
		for name, r := range rooms {
			acknowledged[name] = r.acknowledged.Load()
		}
		result, err := Make(context.Background(), Config{FS: vfs.Disk(), From: from, To: to})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		appended := map[string]uint64{}
		for name, r := range rooms {
			appended[name] = r.appended.Load()
		}
		linked += result.Linked
		for _, f := range result.Manifest.Files {
			if f.Generation > 0 {
				rewritten++
			}
		}
		restored := filepath.Join(dir, fmt.Sprint("restored", round))
		if _, err := Restore(context.Background(), Directory(vfs.Disk(), to), RestoreConfig{FS: vfs.Disk(), To: restored, Logger: quiet()}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		compare(t, restored, rooms, acknowledged, appended)
		if t.Failed() {
			t.Fatalf("round %d: %+v", round, result)
		}
	}
	if linked == 0 || rewritten < 3 {
		t.Errorf("%d files were linked, %d of retention's: the test has not shown what it should", linked, rewritten)
	}
}

func compare(t *testing.T, restored string, rooms map[string]*loadedRoom, acknowledged, appended map[string]uint64) {
	t.Helper()
	records, _ := contents(t, vfs.Disk(), restored)
	byRoom := map[string][]storage.Record{}
	for _, r := range records {
		byRoom[r.Room] = append(byRoom[r.Room], r)
	}
	for name, room := range rooms {
		got := byRoom[name]
		if len(got) == 0 {
			if acknowledged[name] > 0 {
				t.Errorf("room %s: nothing is there, %d were acknowledged", name, acknowledged[name])
			}
			continue
		}
		head := got[len(got)-1].Seq
		if head < acknowledged[name] || head > appended[name] {
			t.Errorf("room %s: ends with %d, %d were acknowledged before, %d appended after", name, head, acknowledged[name], appended[name])
		}
		kept := head // all
		if room.keep.Records > 0 {
			kept = min(head, room.keep.Records)
		} else if room.keep.Bytes > 0 {
			kept = 1
		}
		if uint64(len(got)) < kept {
			t.Errorf("room %s: %d records up to %d, want %d at least", name, len(got), head, kept)
		}
		// The newest ones without a gap; before them what retention has not got to yet.
		want := head
		for i := len(got) - 1; i >= 0 && want > head-kept; i-- {
			checkRecords(t, name, got[i:i+1], []storage.Record{room.record(want)})
			want--
		}
		for _, r := range got {
			if string(r.Body) != "" {
				checkRecords(t, name, []storage.Record{r}, []storage.Record{room.record(r.Seq)})
			}
		}
	}
}

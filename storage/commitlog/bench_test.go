package commitlog

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// BenchmarkPublish has publishers that each wait for their record before they append the next:
// what group commit is for. One op is one record, durable. The files are in TMPDIR: point it
// at the disk that is meant.
func BenchmarkPublish(b *testing.B) {
	for _, publishers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			config := testConfig(nil)
			config.Dir = filepath.Join(b.TempDir(), "log")
			l := mustOpen(b, config)
			publish(b, l, publishers)
			b.StopTimer()
			stats := l.Stats()
			b.ReportMetric(float64(stats.Records)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(stats.Records)/float64(stats.Syncs), "records/sync")
			mustClose(b, l)
		})
	}
}

// publish runs b.N records through one producer, as a room shard would. It returns when the last
// is reported, so the clock stops behind the drain.
func publish(b *testing.B, l *Log, publishers int) {
	body := []byte(strings.Repeat("m", 100))
	records := make([]storage.Record, publishers) // one room each
	for i := range records {
		records[i] = storage.Record{Room: fmt.Sprint("room-", i), From: "user", Key: "key-12345678", Body: body}
	}
	// The reports come in the order of the appends: so a ring of who waits is all a shard needs.
	var mu sync.Mutex
	var waiting []int
	idle := make(chan int, publishers)
	p := l.NewProducer(func(n int, err error) {
		if err != nil {
			b.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, i := range waiting[:n] {
			idle <- i
		}
		waiting = append(waiting[:0], waiting[n:]...)
	})
	for i := range publishers {
		idle <- i
	}
	b.ReportAllocs()
	for b.Loop() {
		i := <-idle
		r := &records[i]
		r.Seq++
		r.At = time.Now().UnixMilli()
		mu.Lock()
		waiting = append(waiting, i)
		mu.Unlock()
		if err := p.Append(*r); err != nil {
			b.Fatal(err)
		}
	}
	for range publishers {
		<-idle
	}
}

// BenchmarkBareSync is the ground under BenchmarkPublish: one write of as many bytes as a batch
// of that many records has, and one sync, with no log around them. One op is one record.
func BenchmarkBareSync(b *testing.B) {
	r := storage.Record{Room: "room-123", Seq: 1, From: "user", Key: "key-12345678", Body: make([]byte, 100)}
	for _, records := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			file, err := vfs.Disk().Create(filepath.Join(b.TempDir(), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			batch := bytes.Repeat([]byte{1}, records*recordBytes(&r))
			offset, n := int64(0), 0
			for b.Loop() {
				if n++; n%records != 0 {
					continue
				}
				if _, err := file.WriteAt(batch, offset); err != nil {
					b.Fatal(err)
				}
				if err := file.Sync(); err != nil {
					b.Fatal(err)
				}
				offset += int64(len(batch))
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// filled gives a closed log of n records of 100 bytes in rooms rooms, and its size.
func filled(b *testing.B, rooms, n int) (Config, int64) {
	b.Helper()
	config := testConfig(nil)
	config.Dir = filepath.Join(b.TempDir(), "log")
	config.Sync = SyncNever
	l := mustOpen(b, config)
	w := newWriter(l)
	body := strings.Repeat("m", 100)
	for i := range n {
		w.mustAppend(b, fmt.Sprint("room-", i%rooms), body)
		if i%10_000 == 9_999 {
			w.mustCommit(b, i+1)
		}
	}
	w.mustCommit(b, n)
	size := l.Stats().Bytes
	mustClose(b, l)
	return config, size
}

// BenchmarkOpen is the rate at which a log is read and checked at the start.
func BenchmarkOpen(b *testing.B) {
	const records = 500_000
	config, size := filled(b, 1000, records)
	b.SetBytes(size)
	for b.Loop() {
		l, err := Open(config)
		if err != nil {
			b.Fatal(err)
		}
		mustClose(b, l)
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkPage reads 50 records: newest of a room, and from its start, in a log where a room's
// records stand together and in one where they are far apart.
func BenchmarkPage(b *testing.B) {
	for _, rooms := range []int{1, 1000} {
		config, _ := filled(b, rooms, 500_000)
		l := mustOpen(b, config)
		limit := storage.PageLimit{Records: 50}
		fn := func(storage.Record) bool { return true }
		run := func(name string, read func() error) {
			b.Run(fmt.Sprintf("rooms=%d/%s", rooms, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := read(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("newest", func() error { return l.ReadBefore("room-0", 0, limit, fn) })
		run("oldest", func() error { return l.ReadAfter("room-0", 0, limit, fn) })
		mustClose(b, l)
	}
}

func BenchmarkEncode(b *testing.B) {
	r := storage.Record{Room: "room-123", Seq: 1, From: "user", Key: "key-12345678", Body: make([]byte, 100)}
	buffer := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		buffer = appendRecord(buffer[:0], 1, 32, &r, 0, links{})
	}
}

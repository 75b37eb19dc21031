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

// BenchmarkCommit has publishers that each wait for their record before they append the next:
// what group commit is for. One op is one record, durable. Rounds of the log and rounds of two bare loops take
// turns: a bare loop writes and syncs as many bytes in as many batches as the log's round did, into a file
// that was written before (prepared) or one that grows (appended). x-prepared and x-appended are the
// log's bytes per second over theirs. The files are in TMPDIR: point it at the disk that is meant.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ publishers, body int }{{1, 128}, {100, 128}, {1000, 128}} {
		b.Run(fmt.Sprintf("publishers=%d", c.publishers), func(b *testing.B) {
			config := testConfig(nil)
			config.Dir, config.growing = filepath.Join(b.TempDir(), "log"), false
			l := mustOpen(b, config)
			publishers := newPublishers(b, l, c.publishers, c.body)
			prepared, appended := newBare(b, true), newBare(b, false)
			var log time.Duration
			round := max(200, 20*c.publishers)
			b.ReportAllocs()
			for b.Loop() {
				before := l.Stats()
				started := time.Now()
				publishers.run(round)
				log += time.Since(started)
				after := l.Stats()
				b.StopTimer()
				batches, size := int(after.Batches-before.Batches), after.Bytes-before.Bytes
				prepared.run(batches, size)
				appended.run(batches, size)
				b.StartTimer()
			}
			b.StopTimer()
			stats := l.Stats()
			b.ReportMetric(float64(stats.Records)/log.Seconds(), "records/s")
			b.ReportMetric(float64(stats.Bytes)/log.Seconds()/1e6, "MB/s")
			b.ReportMetric(float64(stats.Records)/float64(stats.Batches), "records/sync")
			b.ReportMetric(prepared.took.Seconds()/log.Seconds(), "x-prepared")
			b.ReportMetric(appended.took.Seconds()/log.Seconds(), "x-appended")
			b.ReportMetric(float64(log.Nanoseconds())/float64(stats.Records), "ns/op")
			mustClose(b, l)
		})
	}
}

// bare is the ground under the log: a file, writes, syncs.
type bare struct {
	b      *testing.B
	file   vfs.File
	size   int64 // written before; 0: the file grows
	offset int64
	took   time.Duration
}

func newBare(b *testing.B, prepared bool) *bare {
	file, err := vfs.Disk().Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	r := &bare{b: b, file: file}
	if prepared {
		r.size = 64 << 20
		if err := writeZeros(file, 0, r.size); err != nil {
			b.Fatal(err)
		}
	}
	return r
}

func (r *bare) run(batches int, size int64) {
	batch := bytes.Repeat([]byte{1}, int(size)/batches)
	started := time.Now()
	for range batches {
		if r.size > 0 && r.offset+int64(len(batch)) > r.size {
			r.offset = 0
		}
		if _, err := r.file.WriteAt(batch, r.offset); err != nil {
			r.b.Fatal(err)
		}
		if err := r.file.Sync(); err != nil {
			r.b.Fatal(err)
		}
		r.offset += int64(len(batch))
	}
	r.took += time.Since(started)
}

// publishers append through one producer, as a room shard would.
type publishers struct {
	b        *testing.B
	producer *Producer
	records  []storage.Record // one room each
	idle     chan int

	mu      sync.Mutex
	waiting []int // in the order of the appends, which is that of the reports
}

func newPublishers(b *testing.B, l *Log, n, body int) *publishers {
	p := &publishers{b: b, idle: make(chan int, n)}
	for i := range n {
		p.records = append(p.records, storage.Record{Room: fmt.Sprint("room-", i), From: "user", Key: "key-12345678", Body: make([]byte, body)})
		p.idle <- i
	}
	p.producer = l.NewProducer(func(n int, err error) {
		if err != nil {
			b.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, i := range p.waiting[:n] {
			p.idle <- i
		}
		p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	})
	return p
}

// run publishes n records and returns when the last is reported.
func (p *publishers) run(n int) {
	for range n {
		i := <-p.idle
		r := &p.records[i]
		r.Seq++
		r.At = time.Now().UnixMilli()
		p.mu.Lock()
		p.waiting = append(p.waiting, i)
		p.mu.Unlock()
		if err := p.producer.Append(*r); err != nil {
			p.b.Fatal(err)
		}
	}
	for range p.records {
		defer func(i int) { p.idle <- i }(<-p.idle)
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

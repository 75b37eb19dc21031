package commitlog

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// BenchmarkCommit has publishers that each wait for their record before they append the next:
// what group commit is for. One op is one record, durable. Rounds of the log and rounds of two bare loops take
// turns: a bare loop writes and syncs as many bytes in the same batches as the log's round did, into a file
// that was written before (prepared) or one that grows (appended). x-prepared and x-appended are the
// log's bytes per second over theirs, in all; the median of the rounds is beside it, since a
// stall of the disk hits one side only. The files are in TMPDIR: point it at the disk that is meant.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ publishers, body, round int }{{1, 128, 500}, {100, 128, 20_000}, {1000, 128, 200_000}} {
		b.Run(fmt.Sprintf("publishers=%d", c.publishers), func(b *testing.B) {
			config := testConfig(nil)
			config.Dir, config.growing = filepath.Join(b.TempDir(), "log"), false
			l := mustOpen(b, config)
			publishers := newPublishers(b, l, c.publishers, c.body)
			prepared, appended := newBare(b, true), newBare(b, false)
			var rounds, toPrepared, toAppended []float64
			b.ReportAllocs()
			for b.Loop() {
				publishers.batches = publishers.batches[:0]
				started := time.Now()
				publishers.run(c.round)
				took := time.Since(started).Seconds()
				b.StopTimer()
				rounds = append(rounds, took)
				awaitSpare(b, l) // which the bare loops must not pay for
				toPrepared = append(toPrepared, prepared.run(publishers.batches)/took)
				toAppended = append(toAppended, appended.run(publishers.batches)/took)
				b.StartTimer()
			}
			b.StopTimer()
			log := 0.0
			for _, took := range rounds {
				log += took
			}
			stats := l.Stats()
			b.ReportMetric(float64(stats.Records)/log, "records/s")
			b.ReportMetric(float64(stats.Bytes)/log/1e6, "MB/s")
			b.ReportMetric(float64(stats.Records)/float64(stats.Batches), "records/sync")
			b.ReportMetric(prepared.took/log, "x-prepared")
			b.ReportMetric(appended.took/log, "x-appended")
			b.ReportMetric(median(toPrepared), "x-prepared-p50")
			b.ReportMetric(median(toAppended), "x-appended-p50")
			b.ReportMetric(1e9*log/float64(stats.Records), "ns/op")
			mustClose(b, l)
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// awaitSpare returns when no spare segment is being made.
func awaitSpare(b *testing.B, l *Log) {
	supply := l.files.supply
	wanted := func() bool {
		_, n := l.Committed()
		supply.mu.Lock()
		defer supply.mu.Unlock()
		return n > l.config.SegmentBytes/4 && supply.ready == nil
	}
	for until := time.Now().Add(time.Minute); wanted(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			b.Fatal("no spare segment was made in a minute")
		}
	}
}

// bare is the ground under the log: a file, writes, syncs.
type bare struct {
	b      *testing.B
	file   vfs.File
	size   int64 // written before; 0: the file grows
	offset int64
	batch  []byte
	took   float64 // seconds, in all
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

// run gives the seconds that it took.
func (r *bare) run(batches []int64) float64 {
	if largest := slices.Max(batches); int64(len(r.batch)) < largest {
		r.batch = bytes.Repeat([]byte{1}, int(largest))
	}
	started := time.Now()
	for _, size := range batches {
		if r.size > 0 && r.offset+size > r.size {
			r.offset = 0
		}
		if _, err := r.file.WriteAt(r.batch[:size], r.offset); err != nil {
			r.b.Fatal(err)
		}
		if err := r.file.Sync(); err != nil {
			r.b.Fatal(err)
		}
		r.offset += size
	}
	took := time.Since(started).Seconds()
	r.took += took
	return took
}

// publishers append through one producer, as a room shard would.
type publishers struct {
	b        *testing.B
	producer *Producer
	records  []storage.Record // one room each
	idle     chan int

	// Owned by the committer between run's begin and end.
	batches []int64  // their bytes
	end     position // of the last one

	mu      sync.Mutex
	waiting []int // in the order of the appends, which is that of the reports
}

func newPublishers(b *testing.B, l *Log, n, body int) *publishers {
	p := &publishers{b: b, idle: make(chan int, n), end: l.committedEnd()}
	for i := range n {
		p.records = append(p.records, storage.Record{Room: fmt.Sprint("room-", i), From: "user", Key: "key-12345678", Body: make([]byte, body)})
		p.idle <- i
	}
	p.producer = l.NewProducer(func(n int, err error) {
		if err != nil {
			b.Error(err)
		}
		end := l.committedEnd()
		p.batches = append(p.batches, int64(end-p.end))
		p.end = end
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

// BenchmarkCommitBesideSpare is how long one publisher waits for its commit while the next segment's file is
// made all the time, and while it is not. One op is a record; the rounds of both kinds take turns.
func BenchmarkCommitBesideSpare(b *testing.B) {
	config := testConfig(nil)
	config.Dir, config.growing = filepath.Join(b.TempDir(), "log"), false
	l := mustOpen(b, config)
	publishers := newPublishers(b, l, 1, 128)
	var alone, beside []float64 // milliseconds
	took := 0.0                 // seconds of writing spares
	made := 0
	for b.Loop() {
		alone = append(alone, publishers.each(1000)...)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for open := true; open; {
				select {
				case <-stop:
					open = false
				default:
					started := time.Now()
					spare, err := l.files.supply.prepare()
					if err != nil {
						b.Error(err)
						return
					}
					took += time.Since(started).Seconds()
					made++
					l.files.supply.discard(spare)
				}
			}
		}()
		beside = append(beside, publishers.each(1000)...)
		close(stop)
		<-done
	}
	for name, waits := range map[string][]float64{"alone": alone, "beside": beside} {
		slices.Sort(waits)
		b.ReportMetric(waits[len(waits)/2], name+"-p50-ms")
		b.ReportMetric(waits[len(waits)*99/100], name+"-p99-ms")
		b.ReportMetric(waits[len(waits)-1], name+"-max-ms")
	}
	b.ReportMetric(1000*took/float64(made), "spare-ms")
	mustClose(b, l)
}

// each publishes n records one after the other and gives the milliseconds that each took.
func (p *publishers) each(n int) []float64 {
	waits := make([]float64, n)
	for i := range waits {
		started := time.Now()
		p.run(1)
		waits[i] = 1000 * time.Since(started).Seconds()
	}
	return waits
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

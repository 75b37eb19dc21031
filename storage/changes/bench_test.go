package changes

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// quickFacts takes as long for what says nothing as the gateway's own.
func quickFacts(body []byte) (Facts, bool) {
	if body[0] == 'x' {
		return Facts{}, false
	}
	return readFacts(body)
}

// fill opens a log with records of about 200 bytes, of which one in every says something.
func fill(b *testing.B, records, every int) *commitlog.Log {
	log, err := commitlog.Open(commitlog.Config{Dir: b.TempDir(), FS: vfs.Disk(), Sync: commitlog.SyncNever, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	const batch = 1000
	done := make(chan int, batch)
	producer := log.NewProducer(func(n int, err error) {
		if err != nil {
			b.Error(err)
		}
		done <- n
	})
	plain := strings.Repeat("x", 130)
	for i := 0; i < records; {
		for range min(batch, records-i) {
			i++
			room := fmt.Sprint("room-", i%1000)
			body := plain
			if i%every == 0 {
				body = fmt.Sprintf("react %d +", 1+i%50)
			}
			r := storage.Record{Room: room, Seq: uint64((i-1)/1000 + 1), At: 1, From: "user", Body: []byte(body)}
			if room == "room-0" {
				r.Seq = uint64(i / 1000)
			}
			if err := producer.Append(r); err != nil {
				b.Fatal(err)
			}
		}
		for n := min(batch, records); n > 0; {
			n -= <-done
		}
	}
	return log
}

// BenchmarkRebuild makes the index of a log again: ns/op is for one record.
func BenchmarkRebuild(b *testing.B) {
	for name, every := range map[string]int{"plain": 1 << 40, "one in ten": 10} {
		b.Run(name, func(b *testing.B) {
			log := fill(b, max(b.N, 1000)/1000*1000, every)
			dir := filepath.Join(b.TempDir(), "changes")
			b.ResetTimer()
			index, err := Open(Config{Log: log, Dir: dir, Read: quickFacts, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if info, err := os.Stat(index.treePath()); err == nil {
				b.ReportMetric(float64(info.Size())/float64(b.N), "index-bytes/op")
			}
			if err := index.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkState looks up what was done to a message, as a page of history does for each of its messages.
func BenchmarkState(b *testing.B) {
	log := fill(b, 100_000, 2)
	index, err := Open(Config{Log: log, Dir: filepath.Join(b.TempDir(), "changes"), Read: quickFacts, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer index.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N / 50 {
		if err := index.View(fmt.Sprint("room-", i%1000), func(v *View) error {
			for seq := range uint64(50) {
				v.State(seq + 1)
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

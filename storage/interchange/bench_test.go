package interchange

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

const benchRecords = 200_000

// benchLog makes a log on the disk of records with 100 letters in 1000 rooms.
func benchLog(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "log")
	log := openBench(b, dir)
	l := &testLog{log, b, vfs.Disk()}
	var records []storage.Record
	for i := range uint64(benchRecords) {
		body := text(strings.Repeat("message ", 12) + fmt.Sprintf("%04d", i%10_000))
		records = append(records, message(fmt.Sprint("room-", i%1000), i/1000+1, body))
	}
	l.append(records...)
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

func openBench(b *testing.B, dir string) *commitlog.Log {
	b.Helper()
	log, err := commitlog.Open(commitlog.Config{Dir: dir, Sync: commitlog.SyncInterval, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return log
}

func benchExport(b *testing.B, dir string, out io.Writer) int64 {
	b.Helper()
	view, err := commitlog.OpenView(vfs.Disk(), dir)
	if err != nil {
		b.Fatal(err)
	}
	s, err := Export(context.Background(), view, out, ExportConfig{Contents: protoContents{}})
	if err != nil || s.Messages != benchRecords {
		b.Fatal(s, err)
	}
	if err := view.Close(); err != nil {
		b.Fatal(err)
	}
	return s.Bytes
}

// reportRecords adds the rate of records; MB/s are those of the lines.
func reportRecords(b *testing.B) {
	b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkExport writes a log whole to nowhere. One op is 200,000 messages.
func BenchmarkExport(b *testing.B) {
	dir := benchLog(b)
	b.SetBytes(benchExport(b, dir, io.Discard))
	b.ReportAllocs()
	for b.Loop() {
		benchExport(b, dir, io.Discard)
	}
	reportRecords(b)
}

// BenchmarkImport appends an export to a new log, which is synced when it is closed, and compares it
// with one that has all of it. One op is 200,000 messages.
func BenchmarkImport(b *testing.B) {
	var file bytes.Buffer
	size := benchExport(b, benchLog(b), &file)
	config := ImportConfig{Contents: protoContents{}}
	run := func(b *testing.B, log *commitlog.Log, config ImportConfig, want ImportSummary) {
		b.Helper()
		s, err := Import(context.Background(), log, bytes.NewReader(file.Bytes()), config)
		if err != nil || s.Appended != want.Appended || s.Present != want.Present {
			b.Fatal(s, err)
		}
	}
	b.Run("append", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		parent := b.TempDir()
		for n := 0; b.Loop(); n++ {
			log := openBench(b, filepath.Join(parent, fmt.Sprint(n)))
			run(b, log, config, ImportSummary{Appended: benchRecords})
			if err := log.Close(); err != nil {
				b.Fatal(err)
			}
		}
		reportRecords(b)
	})
	filled := filepath.Join(b.TempDir(), "filled")
	log := openBench(b, filled)
	defer log.Close()
	run(b, log, config, ImportSummary{Appended: benchRecords})
	for _, ordered := range []bool{true, false} {
		b.Run(fmt.Sprintf("compare/ordered=%v", ordered), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				config := config
				if ordered {
					view, err := commitlog.OpenView(vfs.Disk(), filled)
					if err != nil {
						b.Fatal(err)
					}
					defer view.Close()
					config.Existing = view
				}
				run(b, log, config, ImportSummary{Present: benchRecords})
			}
			reportRecords(b)
		})
	}
}

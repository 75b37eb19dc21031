package commitlog

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rookery/storage"
)

// BenchmarkCommitBesideRetention has one publisher that waits for each record, alone and while retention
// rewrites 192 MiB of log of which three quarters have to go. The times of a commit, of which the syncs
// are most, are what to compare: retention may cost a commit one sync of its own, 1 MiB, at the worst.
// Run it with -benchtime 1x, with TMPDIR on the disk that is meant.
func BenchmarkCommitBesideRetention(b *testing.B) {
	for b.Loop() {
		config := testConfig(nil)
		config.Dir, config.growing = filepath.Join(b.TempDir(), "log"), false
		config.SegmentBytes, config.RetainEvery = 16<<20, time.Hour
		l := mustOpen(b, config)
		filler := newWriter(l)
		body := string(make([]byte, 1000))
		const records = 180_000
		for i := range records {
			filler.mustAppend(b, fmt.Sprint("room-", i%40), body)
			if i%5000 == 0 {
				filler.mustCommit(b, i+1)
			}
		}
		filler.mustCommit(b, records)

		w := newWriter(l)
		alone := commitTimes(b, w, func(since time.Duration) bool { return since < 3*time.Second })
		stepped := make(chan error, 1)
		l.retention.policy = func(room string) storage.Retention {
			if room < "room-4" {
				return storage.Retention{Records: 10}
			}
			return storage.Retention{}
		}
		l.retention.changed = true
		started := time.Now()
		go func() { stepped <- l.retention.step() }()
		var err error
		beside := commitTimes(b, w, func(time.Duration) bool {
			select {
			case err = <-stepped:
				return false
			default:
				return true
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		stats := l.Stats()
		b.ReportMetric(float64(stats.FreedBytes)/1e6/time.Since(started).Seconds(), "freed-MB/s")
		for name, times := range map[string][]time.Duration{"alone": alone, "beside": beside} {
			slices.Sort(times)
			for quantile, at := range map[string]int{"p50": len(times) / 2, "p99": len(times) * 99 / 100, "max": len(times) - 1} {
				b.ReportMetric(float64(times[at].Microseconds())/1000, fmt.Sprint(name, "-", quantile, "-ms"))
			}
		}
		mustClose(b, l)
	}
}

func commitTimes(b *testing.B, w *writer, goOn func(since time.Duration) bool) (times []time.Duration) {
	begun := time.Now()
	n := w.reported
	for goOn(time.Since(begun)) {
		started := time.Now()
		w.mustAppend(b, "publisher", "a message of a usual size, which somebody has typed just now and waits for")
		n++
		w.mustCommit(b, n)
		times = append(times, time.Since(started))
	}
	return times
}

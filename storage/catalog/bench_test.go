package catalog

import (
	"fmt"
	"log/slog"
	"testing"

	"rookery/storage/commitlog"
)

// benchEntries is a large server: a million memberships, positions and settings.
const benchEntries = 1_000_000

// BenchmarkOpen opens a catalog with a million entries, from a snapshot.
func BenchmarkOpen(b *testing.B) {
	log, c := large(b)
	c.Close()
	b.ReportAllocs()
	for b.Loop() {
		c, err := Open(Config{Log: log, Synced: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if n := c.Stats().Entries; n != benchEntries {
			b.Fatalf("%d entries", n)
		}
		c.Close()
	}
	b.ReportMetric(benchEntries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkUpdate is a change after another of one caller: a sync each.
func BenchmarkUpdate(b *testing.B) {
	log := mustOpenLog(b, commitlog.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	c := mustOpen(b, Config{Log: log, Synced: true})
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		seq++
		mustUpdate(b, c, Advance("lobby", "alice", Position{"7f3a", seq, seq}))
	}
}

// large makes a catalog whose room begins at a snapshot of a million entries.
func large(b *testing.B) (*commitlog.Log, *Catalog) {
	log := mustOpenLog(b, commitlog.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler), Sync: commitlog.SyncNever})
	c := mustOpen(b, Config{Log: log, Synced: true, Logger: slog.New(slog.DiscardHandler), SnapshotBytes: 1 << 40})
	const each = 4000
	for i := 0; i < benchEntries; i += each {
		changes := make([]Change, each)
		for j := range changes {
			user := fmt.Sprintf("user-%07d", i+j)
			changes[j] = Advance(fmt.Sprintf("room-%d", j%100), user, Position{"7f3a9c21", uint64(j), uint64(j)})
		}
		mustUpdate(b, c, changes...)
	}
	c.Close()
	c = mustOpen(b, Config{Log: log, Synced: true, Logger: slog.New(slog.DiscardHandler)})
	await(b, "a snapshot", func() bool { return c.Stats().Snapshots == 1 && log.Begin(Room) > 1 })
	return log, c
}

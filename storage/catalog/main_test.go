package catalog

import (
	"context"
	"log/slog"
	"maps"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// buntdb's housekeeper ends by itself within a second after Close, and nobody can wait for it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"))
}

const testDir = "/data/log"

// silent is a log configuration that says nothing and heals at once.
func silent(fsys vfs.FS) commitlog.Config {
	return commitlog.Config{FS: fsys, Dir: testDir, Logger: slog.New(slog.DiscardHandler), SegmentBytes: 1 << 20, HealEvery: time.Millisecond}
}

func mustOpenLog(t testing.TB, config commitlog.Config) *commitlog.Log {
	t.Helper()
	l, err := commitlog.Open(config)
	if err != nil {
		t.Fatalf("open the log: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a second Close is harmless; a test that cares calls it
	return l
}

// small is a configuration with snapshots every now and then, of many parts.
func small(log *commitlog.Log) Config {
	return Config{Log: log, Synced: true, SnapshotBytes: 2 << 10, Logger: slog.New(slog.DiscardHandler), partCost: 300}
}

func mustOpen(t testing.TB, config Config) *Catalog {
	t.Helper()
	c, err := Open(config)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustUpdate(t testing.TB, c *Catalog, changes ...Change) {
	t.Helper()
	if err := c.Update(t.Context(), changes...); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// content gives all entries.
func content(t testing.TB, from interface {
	Walk(fn func(key, value string) bool) error
}) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := from.Walk(func(key, value string) bool { all[key] = value; return true }); err != nil {
		t.Fatalf("Walk: %v", err)
	}
	return all
}

func mustEqual(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("%s: got %d entries %v, want %d %v", what, len(got), got, len(want), want)
	}
}

// await polls what another goroutine will do without anybody to tell of it.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: did not happen", what)
		case <-tick.C:
		}
	}
}

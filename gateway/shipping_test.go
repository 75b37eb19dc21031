package gateway_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/storage/backup"
	"rookery/storage/ship"
	"rookery/storage/vfs"
)

func shipTo(dir string) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Ship.To, c.Ship.Every = dir, 100*time.Millisecond }
}

// restored gives how many records the shipped copy of a log has.
func restored(t *testing.T, dir string) uint64 {
	t.Helper()
	source := &ship.Source{Target: ship.Directory(vfs.Disk(), dir)}
	config := backup.RestoreConfig{FS: vfs.Disk(), To: filepath.Join(t.TempDir(), "log"), Logger: slog.New(slog.DiscardHandler)}
	result, err := backup.Restore(t.Context(), source, config)
	if err != nil {
		t.Fatal(err)
	}
	return result.Records
}

// awaitMetric polls, since nobody is told when a metric changes.
func awaitMetric(t *testing.T, srv *gatewaytest.Server, name string, done func(float64) bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !done(metric(t, srv, name)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s stays at %v", name, metric(t, srv, name))
		}
	}
}

func isZero(v float64) bool { return v == 0 }

// TestShipsWhileItServesAndWhenItLeaves: what is acknowledged is at the target soon, and all of it when the
// server has left.
func TestShipsWhileItServesAndWhenItLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := gatewaytest.Start(t, shipTo(dir))
	p := login(t, srv.Addr(), wires[0], "alice")
	for range 20 {
		p.publish("room", "", "hello")
		p.must()
	}
	awaitMetric(t, srv, "rookery_ship_lag_seconds", isZero)
	for name, want := range map[string]bool{"rookery_ship_refused": true, "rookery_ship_errors_total": true, "rookery_ship_bytes_total": false} {
		if got := metric(t, srv, name); isZero(got) != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	if n := restored(t, dir); n != 20 {
		t.Errorf("%d records were shipped, want 20", n)
	}
	p.publish("room", "", "the last words")
	p.must()
	srv.Stop()
	if n := restored(t, dir); n != 21 {
		t.Errorf("%d records were shipped before the server had left, want 21", n)
	}
}

// TestServesWhileItCantShip: a mount that is missing is no reason not to serve. When it comes, the log
// is shipped.
func TestServesWhileItCantShip(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mount")
	srv := gatewaytest.Start(t, shipTo(dir))
	p := login(t, srv.Addr(), wires[0], "alice")
	p.publish("room", "", "hello")
	p.must()
	awaitMetric(t, srv, "rookery_ship_errors_total", func(v float64) bool { return v > 0 })
	if !srv.Logged("the log can't be shipped", "mount it", dir) {
		t.Error("no line of the log says so")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	awaitMetric(t, srv, "rookery_ship_lag_seconds", isZero)
	if n := restored(t, dir); n != 1 {
		t.Errorf("%d records were shipped, want 1", n)
	}
	if !srv.Logged("the log is shipped again") {
		t.Error("no line of the log says that it goes on")
	}
}

// TestDoesNotShipOverAnotherLog: a directory that another server ships to is left alone, and somebody is told.
func TestDoesNotShipOverAnotherLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := gatewaytest.Start(t, shipTo(dir))
	p := login(t, first.Addr(), wires[0], "alice")
	p.publish("room", "", "hello")
	p.must()
	first.Stop()

	second := gatewaytest.Start(t, shipTo(dir))
	awaitMetric(t, second, "rookery_ship_refused", func(v float64) bool { return v == 1 })
	if !second.Logged("the log is not shipped", "another log", "empty prefix") {
		t.Error("no line of the log says so")
	}
	second.Stop()
	if n := restored(t, dir); n != 1 {
		t.Errorf("the copy has %d records, want the one of the first server", n)
	}
}

package s3

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/backup"
	"rookery/storage/commitlog"
	"rookery/storage/ship"
	"rookery/storage/vfs"
)

// TestShipping writes a log, ships it, kills the store in the middle and starts it again. The log never notices;
// shipping catches up; what is restored is the log, message by message.
func TestShipping(t *testing.T) {
	s := startStore(t, false)
	quiet := slog.New(slog.DiscardHandler)
	l, err := commitlog.Open(commitlog.Config{Dir: filepath.Join(t.TempDir(), "log"), SegmentBytes: 1 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	config := ship.Config{Log: l, LogID: l.LogID(), Epoch: l.Epoch(), Target: s.target("copy"), Every: 200 * time.Millisecond, ChunkBytes: 256 << 10, Logger: quiet}
	shipper := ship.New(config)
	shipper.Start()

	var bodies []string
	write := func(n int) {
		var committed sync.WaitGroup
		committed.Add(n)
		producer := l.NewProducer(func(done int, err error) {
			if err != nil {
				t.Error(err)
			}
			committed.Add(-done)
		})
		for range n {
			bodies = append(bodies, fmt.Sprintf("%d %1000d", len(bodies), 0))
			r := storage.Record{Room: "room", Seq: uint64(len(bodies)), At: time.Now().UnixMilli(), From: "alice", Body: []byte(bodies[len(bodies)-1])}
			if err := producer.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		committed.Wait()
	}
	await := func(what string, done func(ship.Stats) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(shipper.Stats()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, shipper.Stats())
			}
		}
	}
	whole := func(stats ship.Stats) bool { return stats.Behind == 0 }

	write(2000)
	await("the first copy", whole)
	for range 2 {
		write(1500)
		s.kill()
		failed := shipper.Stats().Errors
		write(1000)
		await("a store that is down", func(stats ship.Stats) bool { return stats.Errors > failed && stats.Behind > 0 })
		s.start()
		write(500)
		await("the store is up again", whole)
	}
	// Another process goes on where this one ends.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	write(100)
	if err := shipper.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	put := shipper.Stats().Bytes
	shipper = ship.New(config)
	shipper.Start()
	write(100)
	await("after a restart", whole)
	if again := shipper.Stats().Bytes; again > put/4 {
		t.Errorf("%d bytes were put behind the restart, %d before", again, put)
	}
	if err := shipper.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if shipper.Stats().Refused {
		t.Error("the store's copy was refused")
	}

	restored := filepath.Join(t.TempDir(), "restored")
	result, err := backup.Restore(t.Context(), &ship.Source{Target: s.target("copy")}, backup.RestoreConfig{FS: vfs.Disk(), To: restored, Logger: quiet})
	if err != nil || int(result.Records) != len(bodies) || uint64(result.Epoch) == l.Epoch() {
		t.Fatalf("restored %d records of %d, epoch %v: %v", result.Records, len(bodies), result.Epoch, err)
	}
	view, err := commitlog.OpenView(vfs.Disk(), restored)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	i := 0
	if _, err := view.Scan(0, func(e commitlog.Entry) bool {
		if e.Record.Seq != uint64(i+1) || string(e.Record.Body) != bodies[i] {
			t.Errorf("record %d is %d, %.20q", i+1, e.Record.Seq, e.Record.Body)
		}
		i++
		return !t.Failed()
	}, func(damage *storage.CorruptionError) { t.Error(damage) }); err != nil || i != len(bodies) {
		t.Errorf("%d records of %d: %v", i, len(bodies), err)
	}
}

package interchange

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// TestExportWhileRetentionRuns exports while files are rewritten, until some are and nothing more
// goes: each export says in full what was still given when it ended, without a gap, and an
// import of it begins its rooms where this one does or before.
func TestExportWhileRetentionRuns(t *testing.T) {
	fsys := vfs.NewMemory()
	log, err := commitlog.Open(commitlog.Config{
		FS: fsys, Dir: testDir, SegmentBytes: 16 << 10, RetainEvery: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	from := &testLog{log, t, fsys}
	var all []storage.Record
	for i := range uint64(3000) {
		// Rooms that keep little and rooms that keep all, one that ends early, one that is only in the middle.
		room := fmt.Sprint("room-", i%5)
		switch {
		case i < 100:
			room = "early"
		case i > 1000 && i < 1300 && i%2 == 0:
			room = "middle"
		}
		all = append(all, storage.Record{Room: room})
	}
	seqs := map[string]uint64{}
	for i := range all {
		seqs[all[i].Room]++
		all[i] = message(all[i].Room, seqs[all[i].Room], text(fmt.Sprint("message ", i)))
	}
	for part := range slices.Chunk(all, 100) { // a batch is in one segment
		from.append(part...)
	}
	log.Retain(func(room string) storage.Retention {
		switch room {
		case "room-0", "room-1":
			return storage.Retention{}
		}
		return storage.Retention{Records: 50}
	})
	packed := func() bool {
		for _, segment := range log.Segments() {
			if segment.Generation > 0 && log.Begin("middle") > 1 {
				return true
			}
		}
		return false
	}
	for round, ended := 0, false; !ended; round++ {
		ended = packed()
		view := from.view()
		file := mustExport(t, view, ExportConfig{})
		for _, kind := range kinds(t, file) {
			if kind == "damaged" || len(kind) > 3 && kind[:3] == "gap" {
				t.Fatalf("round %d: the export has a line %s", round, kind)
			}
		}
		to := openLog(t, vfs.NewMemory())
		to.mustImport(file)
		for room, last := range seqs {
			if to.Head(room) != last || to.Begin(room) > log.Begin(room) {
				t.Fatalf("round %d: %s is %d to %d, want up to %d from %d or before", round, room, to.Begin(room), to.Head(room), last, log.Begin(room))
			}
		}
		for _, r := range all {
			if r.Seq < log.Begin(r.Room) {
				continue
			}
			if err := to.ReadAfter(r.Room, r.Seq-1, storage.PageLimit{Records: 1}, func(got storage.Record) bool {
				if !sameRecord(&got, &r) {
					t.Errorf("round %d: record %d of %s is %+v", round, r.Seq, r.Room, got)
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := view.Close(); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "exported again", said(mustExport(t, to.view(), ExportConfig{})), said(file))
		if s := to.mustImport(file); s.Appended != 0 {
			t.Fatalf("round %d: again: %+v", round, s)
		}
		_ = to.Close()
	}
	if log.Begin("early") != 51 || log.Begin("room-0") != 1 {
		t.Errorf("early begins at %d, room-0 at %d", log.Begin("early"), log.Begin("room-0"))
	}
}

package catalog

import (
	"fmt"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// entries are n of about 100 bytes.
func entries(n int) []Change {
	changes := make([]Change, n)
	for i := range changes {
		changes[i] = Set(fmt.Sprintf("later\t%04d", i), []byte(`"`+strings.Repeat("x", 80)+`"`))
	}
	return changes
}

// fill sets n entries of about 100 bytes, each time to other values.
func fill(t testing.TB, c *Catalog, n int) {
	t.Helper()
	for i := range n {
		mustUpdate(t, c, Set(fmt.Sprintf("later\t%04d", i), fmt.Appendf(nil, `"%080d"`, c.Stats().Updates)))
	}
}

// TestUpdatesPassASnapshot: what is asked of the catalog while a snapshot is under way comes between two of
// its parts, and both are right when they are read again.
func TestUpdatesPassASnapshot(t *testing.T) {
	memory := vfs.NewMemory()
	log := mustOpenLog(t, silent(memory))
	config := small(log)
	var kinds []string
	var between []*update
	var c *Catalog
	config.appended = func(r storage.Record) {
		b, err := decode(r.Body)
		if err != nil {
			t.Error(err)
		}
		kinds = append(kinds, b.Kind)
		if b.Kind == kindPart && b.Part < 3 {
			// A key behind the part, one before it, and one that is removed.
			u, err := newUpdate([]Change{
				Set(fmt.Sprint("a\t", b.Part), []byte("1")), Set(fmt.Sprint("z\t", b.Part), []byte("2")),
				Remove(fmt.Sprintf("later\t%04d", b.Part)), Remove(fmt.Sprintf("later\t%04d", 20+b.Part)),
			})
			if err != nil {
				t.Error(err)
			}
			if err := c.mailbox.put(u); err != nil {
				t.Error(err)
			}
			between = append(between, u)
		}
	}
	c = mustOpen(t, config)
	mustUpdate(t, c, entries(30)...)
	await(t, "a snapshot", func() bool { return c.Stats().Snapshots > 0 })
	c.Close()
	if order := strings.Join(kinds, " "); !strings.HasPrefix(order, "change part change part change part change part") {
		t.Errorf("the order of the records is %s", order)
	}
	for _, u := range between {
		if err := <-u.done; err != nil {
			t.Error(err)
		}
	}
	again := mustOpen(t, small(log))
	got := content(t, again)
	if got["a\t0"] != "1" || got["z\t2"] != "2" || got["later\t0001"] != "" || got["later\t0021"] != "" || len(got) != 30 {
		t.Errorf("read again: %d entries %v", len(got), got)
	}
	if log.Begin(Room) == 1 {
		t.Error("the room was not trimmed")
	}
}

// TestWhatASnapshotCosts: no more is written for snapshots than for changes, and the room stays short.
func TestWhatASnapshotCosts(t *testing.T) {
	log := mustOpenLog(t, silent(vfs.NewMemory()))
	config := small(log)
	config.partCost = partCost
	bytes := map[string]int{}
	config.appended = func(r storage.Record) {
		b, err := decode(r.Body)
		if err != nil {
			t.Error(err)
		}
		bytes[b.Kind] += len(r.Body)
	}
	c := mustOpen(t, config)
	for range 20 {
		fill(t, c, 50)
	}
	c.Close()
	// The state is counted without the names of the fields, and one snapshot may be cut off at the end.
	if changes, parts := bytes[kindChange], bytes[kindPart]+bytes[kindEnd]; parts > changes*3/2 || parts == 0 {
		t.Errorf("snapshots wrote %d bytes, changes %d", parts, changes)
	}
	stats := c.Stats()
	if stats.Entries != 50 || stats.SinceSnapshotBytes > 2*stats.Bytes+2*config.SnapshotBytes {
		t.Errorf("at the end: %+v", stats)
	}
}

// TestTrimWaitsForTheSync: where committed is not synced, the past is kept until the segment of the snapshot
// is sealed.
func TestTrimWaitsForTheSync(t *testing.T) {
	logConfig := silent(vfs.NewMemory())
	logConfig.Sync, logConfig.SegmentBytes = commitlog.SyncNever, 64<<10
	open := func() (*commitlog.Log, *Catalog) {
		log := mustOpenLog(t, logConfig)
		newest := newestSnapshot(t, log)
		config := small(log)
		config.Synced = false
		c := mustOpen(t, config)
		await(t, "the trim of an opening", func() bool { return log.Begin(Room) >= newest })
		return log, c
	}
	log, c := open()
	fill(t, c, 40)
	await(t, "a snapshot", func() bool { return c.Stats().Snapshots > 0 })
	if base, _ := log.Committed(); base != 0 || log.Begin(Room) != 1 {
		t.Errorf("the room begins at %d before anything is synced (segment %d)", log.Begin(Room), base)
	}
	for base := int64(0); base == 0; base, _ = log.Committed() {
		fill(t, c, 10)
	}
	fill(t, c, 10)
	if log.Begin(Room) == 1 {
		t.Error("the room was not trimmed when the segment was sealed")
	}

	closeBoth := func() {
		c.Close()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	closeBoth()
	logConfig.SegmentBytes = 64 << 20 // no further segment is begun
	log, c = open()
	before := log.Begin(Room)
	fill(t, c, 50)
	await(t, "a snapshot", func() bool { return c.Stats().Snapshots > 0 })
	if log.Begin(Room) != before {
		t.Errorf("the room was trimmed from %d to %d before anything is synced", before, log.Begin(Room))
	}
	closeBoth()
	log, c = open()
	if log.Begin(Room) == before {
		t.Error("the room was not trimmed when the log was opened")
	}
	if len(content(t, c)) != 50 {
		t.Errorf("%d entries at the end", len(content(t, c)))
	}
}

// newestSnapshot gives the number of the newest complete snapshot in the log.
func newestSnapshot(t *testing.T, log *commitlog.Log) uint64 {
	t.Helper()
	r := NewReplay()
	defer r.Close()
	if err := r.read(log); err != nil {
		t.Fatal(err)
	}
	return r.origin
}

// TestSnapshotIsCompared: a state that the log does not give back is not what the past is dropped for.
func TestSnapshotIsCompared(t *testing.T) {
	log := mustOpenLog(t, silent(vfs.NewMemory()))
	config := small(log)
	var c *Catalog
	config.appended = func(r storage.Record) {
		if b, err := decode(r.Body); err == nil && b.Kind == kindPart {
			// As if a bug had changed the state without a record.
			c.state.apply([]entry{{Key: b.Entries[0].Key, Value: `"other"`}})
		}
	}
	c = mustOpen(t, config)
	fill(t, c, 60)
	c.Close()
	if c.Stats().Snapshots != 0 || log.Begin(Room) != 1 {
		t.Errorf("%d snapshots, the room begins at %d", c.Stats().Snapshots, log.Begin(Room))
	}
}

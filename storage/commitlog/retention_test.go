package commitlog

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// retain does one step of retention in this goroutine; the log's own never gets to it within a test.
func retain(t testing.TB, l *Log, policy func(string) storage.Retention) {
	t.Helper()
	l.retention.mu.Lock()
	l.retention.policy, l.retention.changed = policy, true
	l.retention.mu.Unlock()
	if err := l.retention.step(); err != nil {
		t.Fatalf("retention: %v", err)
	}
}

func keepAll(keep storage.Retention) func(string) storage.Retention {
	return func(string) storage.Retention { return keep }
}

// retentionConfig has many small segments.
func retentionConfig(fsys vfs.FS) Config {
	config := testConfig(fsys)
	config.SegmentBytes, config.unpaced = minSegmentBytes, true
	config.RetainEvery = time.Hour
	return config
}

// fill appends n records to rooms in turn; their times are a second apart and end now.
func fill(t testing.TB, l *Log, rooms, n int) map[string][]storage.Record {
	t.Helper()
	w := newWriter(l)
	all := map[string][]storage.Record{}
	for i := range n {
		r := w.record(fmt.Sprint("room-", i%rooms), strings.Repeat("m", 100))
		r.At = time.Now().Add(time.Duration(i-n) * time.Second).UnixMilli()
		if err := w.append(r); err != nil {
			t.Fatal(err)
		}
		all[r.Room] = append(all[r.Room], r)
		if i%20 == 19 { // a batch is in one segment
			w.mustCommit(t, i+1)
		}
	}
	w.mustCommit(t, n)
	return all
}

func TestRetentionByCountAgeAndBytes(t *testing.T) {
	size := func(r storage.Record) uint64 { return uint64(recordBytes(&r)) }
	for _, c := range []struct {
		name string
		keep storage.Retention
		want func(all []storage.Record) int // how many are kept
	}{
		{"nothing", storage.Retention{}, func(all []storage.Record) int { return len(all) }},
		{"count", storage.Retention{Records: 17}, func([]storage.Record) int { return 17 }},
		{"one", storage.Retention{Records: 1}, func([]storage.Record) int { return 1 }},
		{"bytes", storage.Retention{Bytes: 4000}, func(all []storage.Record) int {
			n, bytes := 0, uint64(0)
			for n < len(all) && bytes+size(all[len(all)-1-n]) <= 4000 {
				bytes += size(all[len(all)-1-n])
				n++
			}
			return n
		}},
		{"fewer bytes than a record", storage.Retention{Bytes: 1}, func([]storage.Record) int { return 1 }},
		{"age of all", storage.Retention{Age: time.Millisecond}, func([]storage.Record) int { return 0 }},
		{"age of none", storage.Retention{Age: 24 * time.Hour}, func(all []storage.Record) int { return len(all) }},
		{"the tightest", storage.Retention{Records: 50, Bytes: 400, Age: time.Hour}, func([]storage.Record) int { return 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := vfs.NewMemory()
			config := retentionConfig(memory)
			l := mustOpen(t, config)
			all := fill(t, l, 3, 600)
			time.Sleep(2 * time.Millisecond) // the newest is older than a millisecond
			before := l.Stats().Bytes
			retain(t, l, keepAll(c.keep))
			check := func(what string) {
				t.Helper()
				for room, records := range all {
					want := records[len(records)-c.want(records):]
					checkRecords(t, what+": "+room, readAll(t, l, room), want)
					if begin := uint64(len(records)-len(want)) + 1; l.Begin(room) != begin {
						t.Errorf("%s: %s begins at %d, want %d", what, room, l.Begin(room), begin)
					}
					if l.Head(room) != uint64(len(records)) {
						t.Errorf("%s: %s ends at %d, want %d", what, room, l.Head(room), len(records))
					}
				}
			}
			check("at once")
			if kept := float64(c.want(all["room-0"])) / 200; kept < 0.3 && float64(l.Stats().Bytes) > float64(before)*(kept+0.3) {
				t.Errorf("%d bytes of %d are left, %.0f%% of the records are kept", l.Stats().Bytes, before, 100*kept)
			}
			mustClose(t, l)
			l = mustOpen(t, config)
			check("reopened")
			mustClose(t, l)
			// Without any checkpoint the segments alone say the same, but for what was not rewritten.
			removeCheckpoints(t, memory)
			l = mustOpen(t, config)
			for room, records := range all {
				if l.Head(room) != uint64(len(records)) {
					t.Errorf("without checkpoints: %s ends at %d, want %d", room, l.Head(room), len(records))
				}
				got := readAll(t, l, room)
				checkRecords(t, "without checkpoints: "+room, got, records[len(records)-len(got):])
			}
			mustClose(t, l)
		})
	}
}

// TestAgeGoesOnWithTime: the second look at a room that nobody writes to finds what is too old now.
func TestAgeGoesOnWithTime(t *testing.T) {
	config := retentionConfig(vfs.NewMemory())
	l := mustOpen(t, config)
	all := fill(t, l, 1, 300)["room-0"]
	keep := storage.Retention{Age: 200 * time.Second}
	retain(t, l, keepAll(keep))
	first := l.Begin("room-0")
	if first < 90 || first > 110 {
		t.Fatalf("begins at %d, want about 100", first)
	}
	// The same policy, no write, later.
	if err := l.retention.sweepRooms(keepAll(keep), false, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := l.Begin("room-0"); got < first+50 {
		t.Fatalf("begins at %d a minute later, want %d or more", got, first+50)
	}
	got := readAll(t, l, "room-0")
	checkRecords(t, "later", got, all[len(all)-len(got):])
}

// TestAgeWithAWrongClock: messages that were dated wrongly take no others with them before their time.
func TestAgeWithAWrongClock(t *testing.T) {
	young, old, future := time.Duration(0), -2*time.Hour, 48*time.Hour
	wrong := -50 * 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		ages []time.Duration // ten messages each, against now
		keep storage.Retention
		want uint64 // where the room begins
	}{
		"behind, for the newest":              {[]time.Duration{young, wrong}, storage.Retention{Age: time.Hour}, 1},
		"behind, in the middle":               {[]time.Duration{young, wrong, young}, storage.Retention{Age: time.Hour}, 1},
		"behind, and what is before is due":   {[]time.Duration{old, young, wrong, young}, storage.Retention{Age: time.Hour}, 11},
		"behind, twice":                       {[]time.Duration{old, young, wrong, young, wrong}, storage.Retention{Age: time.Hour}, 11},
		"behind, and all is due":              {[]time.Duration{old, wrong, old}, storage.Retention{Age: time.Hour}, 31},
		"behind, and more than enough":        {[]time.Duration{young, wrong, young}, storage.Retention{Age: time.Hour, Records: 25}, 6},
		"ahead: nothing is kept for its sake": {[]time.Duration{old, future, old}, storage.Retention{Age: time.Hour}, 31},
	} {
		t.Run(name, func(t *testing.T) {
			l := mustOpen(t, retentionConfig(vfs.NewMemory()))
			w := newWriter(l)
			n := 0
			for _, age := range c.ages {
				for range 10 {
					r := w.record("room", "m")
					r.At = time.Now().Add(age).UnixMilli()
					if err := w.append(r); err != nil {
						t.Fatal(err)
					}
					n++
				}
			}
			w.mustCommit(t, n)
			retain(t, l, keepAll(c.keep))
			if got := l.Begin("room"); got != c.want {
				t.Errorf("the room begins at %d, want %d", got, c.want)
			}
		})
	}
}

// TestRoomsKeepDifferently: those that keep all lie between those that keep little.
func TestRoomsKeepDifferently(t *testing.T) {
	config := retentionConfig(vfs.NewMemory())
	l := mustOpen(t, config)
	all := fill(t, l, 10, 3000)
	policy := func(room string) storage.Retention {
		if room == "room-3" {
			return storage.Retention{}
		}
		return storage.Retention{Records: 5}
	}
	before := l.Stats()
	retain(t, l, policy)
	after := l.Stats()
	if after.Bytes > before.Bytes/4 || after.Segments > before.Segments/4 {
		t.Errorf("%d bytes in %d segments are left of %d in %d", after.Bytes, after.Segments, before.Bytes, before.Segments)
	}
	if after.DroppedRecords != 9*295 || after.FreedBytes < before.Bytes/2 || after.Rewrites == 0 {
		t.Errorf("dropped %d records, freed %d bytes in %d rewritings", after.DroppedRecords, after.FreedBytes, after.Rewrites)
	}
	checkRecords(t, "kept", readAll(t, l, "room-3"), all["room-3"])
	page := collect(t, l.ReadBefore, "room-3", 200, storage.PageLimit{Records: 50})
	for i, r := range page {
		if !equal(r, all["room-3"][198-i]) {
			t.Fatalf("descending page: record %d is %d", i, r.Seq)
		}
	}
	for i := range 10 {
		room := fmt.Sprint("room-", i)
		if i != 3 {
			checkRecords(t, room, readAll(t, l, room), all[room][295:])
		}
	}
	// All go on from where they were.
	w := newWriter(l)
	for i := range 100 {
		room := fmt.Sprint("room-", i%10)
		all[room] = append(all[room], w.mustAppend(t, room, "more"))
	}
	w.mustCommit(t, 100)
	retain(t, l, policy)
	mustClose(t, l)
	l = mustOpen(t, config)
	checkRecords(t, "kept and more", readAll(t, l, "room-3"), all["room-3"])
	checkRecords(t, "little and more", readAll(t, l, "room-4"), all["room-4"][305:])
}

// TestEmptyRoomsGoOn: a room that lost all its records gives out the next number, also when only the
// segments are left to say so, and after its stub was rewritten again.
func TestEmptyRoomsGoOn(t *testing.T) {
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	l := mustOpen(t, config)
	fill(t, l, 30, 900)
	w := newWriter(l)
	n := 0
	for round := range 4 {
		if err := l.Trim("room-7", 1<<40); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			w.mustAppend(t, "other", strings.Repeat("x", 100))
			n++
		}
		w.mustCommit(t, n)
		retain(t, l, func(room string) storage.Retention {
			if room == "other" {
				return storage.Retention{Records: 3}
			}
			return storage.Retention{Age: time.Nanosecond}
		})
		if head, begin := l.Head("room-7"), l.Begin("room-7"); head != 30 || begin != 31 {
			t.Fatalf("round %d: room is %d to %d, want 31 to 30", round, begin, head)
		}
	}
	epoch := l.Epoch()
	mustClose(t, l)
	removeCheckpoints(t, memory)
	l = mustOpen(t, config)
	if l.Epoch() != epoch {
		t.Error("the epoch changed though nothing is missing")
	}
	for i := range 30 {
		if room := fmt.Sprint("room-", i); l.Head(room) != 30 || l.Begin(room) != 31 {
			t.Errorf("%s is %d to %d, want 31 to 30", room, l.Begin(room), l.Head(room))
		}
	}
	w = newWriter(l)
	want := w.mustAppend(t, "room-7", "goes on")
	w.mustCommit(t, 1)
	checkRecords(t, "room-7", readAll(t, l, "room-7"), []storage.Record{want})
	if want.Seq != 31 {
		t.Errorf("the next number is %d, want 31", want.Seq)
	}
}

// TestCrashInRetention stops at each call that changes something, takes the power away, and opens: every
// room begins where it did or where it was to, and what it has is right.
func TestCrashInRetention(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) { // growing or not, rewritten before or not
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			crashInRetention(t, seed)
		})
	}
}

func crashInRetention(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	config.growing = seed%2 == 0
	l := mustOpen(t, config)
	all := fill(t, l, 7, 700)
	if seed < 2 { // a second rewriting
		retain(t, l, keepAll(storage.Retention{Records: 60}))
	}
	mustClose(t, l)
	policy := func(room string) storage.Retention {
		switch room {
		case "room-1":
			return storage.Retention{}
		case "room-2":
			return storage.Retention{Age: time.Nanosecond}
		}
		return storage.Retention{Records: 10}
	}
	for _, operation := range []vfs.Operation{vfs.OpWrite, vfs.OpSync, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir} {
		for call, hit := 1, true; hit; call++ {
			again := memory.CrashClone(rng)
			faulty := vfs.Faulty(again)
			config.FS = faulty
			l := mustOpen(t, config)
			faulty.Add(vfs.Fault{Operation: operation, Call: faulty.Calls(operation) + call, Lasting: true, Err: errInjected})
			l.retention.mu.Lock()
			l.retention.policy, l.retention.changed = policy, true
			l.retention.mu.Unlock()
			hit = l.retention.step() != nil
			check := func(what string) {
				t.Helper()
				for room, records := range all {
					begin := int(l.Begin(room))
					if head := int(l.Head(room)); head != len(records) || begin > head+1 || policy(room) == (storage.Retention{}) && begin > 41 {
						t.Fatalf("seed %d, %v %d, %s: %s is %d to %d", seed, operation, call, what, room, begin, head)
					}
					checkRecords(t, fmt.Sprint("seed ", seed, " ", operation, call, what, room), readAll(t, l, room), records[begin-1:])
				}
			}
			check("live")
			config.FS = again.CrashClone(rng)
			_ = l.Close()
			l = mustOpen(t, config)
			check("after")
			// And it can be done in the end.
			retain(t, l, policy)
			check("again")
			mustClose(t, l)
		}
	}
}

package commitlog

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes a new one each time")
	modelRuns = flag.Int("model.runs", 9, "runs of the model test")
)

// model is the oracle: a plain slice of what was appended, in order.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	memory *vfs.Memory
	config Config

	log      *Log
	writer   *writer
	appended []storage.Record  // by this and all earlier lives of the log that still count
	base     int               // how many of them were there when it was opened
	begins   map[string]uint64 // where rooms begin at the latest, since retention has been at work
	life     int               // so that a number given out twice has two contents
	epoch    uint64
	crashes  int
}

// TestModel does random appends, reads, clean restarts and crashes, and compares all with
// the oracle. What was acknowledged is there, in its place; what was not is there as a prefix of
// the append order or not at all; the epoch stays, unless the mode allows loss.
func TestModel(t *testing.T) {
	t.Parallel()
	runs := *modelRuns
	if testing.Short() {
		runs = min(runs, 6)
	}
	first := *modelSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for run := range runs {
		seed := first + uint64(run)
		mode := SyncMode(seed % 3)
		t.Run(fmt.Sprintf("%v/%d", mode, run), func(t *testing.T) {
			t.Parallel()
			t.Logf("repeat with -model.seed=%d -model.runs=1", seed)
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), memory: vfs.NewMemory(), begins: map[string]uint64{}}
			m.config = testConfig(nil)
			m.config.SegmentBytes = minSegmentBytes << m.rng.IntN(4)
			m.config.OpenSegments = 1 + m.rng.IntN(3)
			m.config.Sync, m.config.SyncEvery = mode, time.Millisecond
			m.config.growing = m.rng.IntN(2) == 0
			m.config.CheckpointBytes = minCheckpointBytes
			m.config.unpaced = true
			m.open()
			for range 150 {
				m.step()
			}
			m.restart()
			mustClose(t, m.log)
			t.Logf("%d records, %d crashes, %d lives", len(m.appended), m.crashes, m.life)
		})
	}
}

func (m *model) open() {
	m.t.Helper()
	m.config.FS = m.memory
	m.log = mustOpen(m.t, m.config)
	m.log.active.mu.Lock()
	m.log.active.keep = m.rng.IntN(5) // most rooms are idle between their records
	m.log.active.mu.Unlock()
	m.writer = newWriter(m.log)
	m.base = len(m.appended)
	m.life++
	m.epoch = m.log.Epoch()
}

func (m *model) step() {
	switch k := m.rng.IntN(100); {
	case k < 60:
		for range 1 + m.rng.IntN(20) {
			m.append()
		}
	case k < 70:
		m.writer.mustCommit(m.t, len(m.appended)-m.base)
	case k < 85:
		m.read()
	case k < 87:
		m.retain()
	case k < 90:
		if err := m.log.checkpoints.write(); err != nil {
			m.t.Fatal(err)
		}
	case k < 95:
		m.crash()
	default:
		m.restart()
	}
}

func (m *model) append() {
	room := fmt.Sprint("room-", m.rng.IntN(1+m.rng.IntN(20)))
	body := fmt.Sprintf("%d:%s", m.life, strings.Repeat("b", m.rng.IntN(1+m.rng.IntN(3000))))
	m.appended = append(m.appended, m.writer.mustAppend(m.t, room, body))
}

func (m *model) acknowledged() int {
	n, err := m.writer.wait(0)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.base + n
}

// ofRoom filters the oracle.
func ofRoom(records []storage.Record, room string) []storage.Record {
	var found []storage.Record
	for _, r := range records {
		if r.Room == room {
			found = append(found, r)
		}
	}
	return found
}

// read takes a random page while the committer works: what it gives is a piece of the room as
// appended, and it has at least what was acknowledged before.
func (m *model) read() {
	m.t.Helper()
	room := fmt.Sprint("room-", m.rng.IntN(20))
	known := len(ofRoom(m.appended[:m.acknowledged()], room))
	all := ofRoom(m.appended, room)
	limit := storage.PageLimit{Records: 1 + m.rng.IntN(100), Bytes: 1 << 30}
	from := max(m.rng.IntN(len(all)+2), int(m.log.Begin(room))-1)

	page := collect(m.t, m.log.ReadAfter, room, uint64(from), limit)
	if len(page) < min(limit.Records, known-from) {
		m.t.Fatalf("room %q after %d: %d records, %d are acknowledged", room, from, len(page), known)
	}
	if len(page) > 0 {
		checkRecords(m.t, "page after", page, all[from:][:len(page)])
	}
	page = collect(m.t, m.log.ReadBefore, room, uint64(from), limit)
	slices.Reverse(page)
	if len(page) > 0 {
		first := int(page[0].Seq) - 1
		checkRecords(m.t, "page before", page, all[first:][:len(page)])
	}
	if head := int(m.log.Head(room)); head < known || head > len(all) {
		m.t.Fatalf("room %q: head %d, acknowledged %d, appended %d", room, head, known, len(all))
	}
}

// retain lets retention do a whole step while the committer works and readers read.
func (m *model) retain() {
	m.t.Helper()
	keep := uint64(1 + m.rng.IntN(30))
	of := m.rng.IntN(3)
	policy := func(room string) storage.Retention {
		if len(room)%3 == of {
			return storage.Retention{}
		}
		return storage.Retention{Records: keep}
	}
	if m.rng.IntN(4) == 0 { // all of a room, at once
		m.writer.mustCommit(m.t, len(m.appended)-m.base)
		room := fmt.Sprint("room-", m.rng.IntN(20))
		if err := m.log.Trim(room, 1<<40); err != nil {
			m.t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	appended := slices.Clone(m.appended)
	go func() { done <- m.readBeside(appended) }()
	retain(m.t, m.log, policy)
	for range m.rng.IntN(20) {
		m.append()
	}
	if err := <-done; err != nil {
		m.t.Fatal(err)
	}
	for room := range 20 {
		name := fmt.Sprint("room-", room)
		begin := m.log.Begin(name)
		if begin < m.begins[name] {
			m.t.Fatalf("room %q begins at %d, before it did at %d", name, begin, m.begins[name])
		}
		if head := m.log.Head(name); policy(name).Records > 0 && head > 2*keep && begin+keep+uint64(m.unreported()) <= head {
			m.t.Fatalf("room %q begins at %d and ends at %d, want %d kept", name, begin, head, keep)
		}
		m.begins[name] = begin
	}
}

// readBeside reads all rooms in both directions, over and over while rooms lose their beginnings and files
// are replaced: what it gives is as appended and without a hole.
func (m *model) readBeside(appended []storage.Record) error {
	for range 5 {
		for room := range 20 {
			name := fmt.Sprint("room-", room)
			all := ofRoom(appended, name)
			for _, ascending := range []bool{true, false} {
				read := m.log.ReadAfter
				if !ascending {
					read = m.log.ReadBefore
				}
				last := uint64(0)
				var wrong error
				err := read(name, 0, storage.PageLimit{Records: 1000}, func(r storage.Record) bool {
					switch {
					case r.Seq <= uint64(len(all)) && !equal(r, all[r.Seq-1]):
						wrong = fmt.Errorf("room %q, record %d: got %+v, want %+v", name, r.Seq, r, all[r.Seq-1])
					case last != 0 && ascending && r.Seq != last+1, last != 0 && !ascending && r.Seq != last-1:
						wrong = fmt.Errorf("room %q: record %d behind %d", name, r.Seq, last)
					}
					last = r.Seq
					return wrong == nil
				})
				if err := errors.Join(err, wrong); err != nil {
					return fmt.Errorf("beside retention: %w", err)
				}
			}
		}
	}
	return nil
}

func (m *model) unreported() int { return len(m.appended) - m.base }

// restart closes cleanly: all is there.
func (m *model) restart() {
	m.t.Helper()
	mustClose(m.t, m.log)
	if got := m.acknowledged(); got != len(m.appended) {
		m.t.Fatalf("after Close %d of %d records are acknowledged", got, len(m.appended))
	}
	epoch := m.epoch
	m.open()
	if m.epoch != epoch {
		m.t.Fatal("the epoch changed over a clean restart")
	}
	m.compare(m.appended)
}

// crash takes the power away at this moment, with batches on their way.
func (m *model) crash() {
	m.t.Helper()
	m.crashes++
	acknowledged := m.acknowledged() // before the clone: later ones may be in it or not
	survivor := m.memory.CrashClone(m.rng)
	mustClose(m.t, m.log)
	m.memory = survivor
	epoch := m.epoch
	m.open()
	relaxed := m.config.Sync != SyncAlways
	if (m.epoch != epoch) != relaxed {
		m.t.Fatalf("mode %v: epoch changed: %v", m.config.Sync, m.epoch != epoch)
	}
	found := 0
	for room := range 20 {
		name := fmt.Sprint("room-", room)
		found += int(m.log.Head(name))
		// A crash takes back what retention did last, or not.
		begin := m.log.Begin(name)
		if begin > max(1, m.begins[name]) {
			m.t.Fatalf("room %q begins at %d after a crash, it began at %d", name, begin, m.begins[name])
		}
		m.begins[name] = begin
	}
	if found > len(m.appended) || found < acknowledged && !relaxed {
		m.t.Fatalf("after a crash %d records, %d were acknowledged, %d appended", found, acknowledged, len(m.appended))
	}
	m.appended = m.appended[:found:found]
	m.base = found
	m.compare(m.appended)
}

func (m *model) compare(want []storage.Record) {
	m.t.Helper()
	var kept []storage.Record
	for _, r := range want {
		if r.Seq >= m.log.Begin(r.Room) {
			kept = append(kept, r)
		}
	}
	inOrder := recent(m.t, m.log, time.Time{}, 1<<30)
	// What retention has taken may be in the files still.
	inOrder = slices.DeleteFunc(inOrder, func(r storage.Record) bool { return r.Seq < m.log.Begin(r.Room) })
	checkRecords(m.t, "log order", inOrder, kept)
	for room := range 20 {
		name := fmt.Sprint("room-", room)
		checkRecords(m.t, name, readAll(m.t, m.log, name), ofRoom(kept, name))
		if head, all := m.log.Head(name), ofRoom(want, name); head != uint64(len(all)) {
			m.t.Fatalf("room %q ends at %d, want %d", name, head, len(all))
		}
	}
}

// TestCrashInARecovery crashes, and crashes again at every call that changes something while
// recovery is at work: what was acknowledged before the first crash is there in the end.
func TestCrashInARecovery(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		memory := vfs.NewMemory()
		config := testConfig(memory)
		config.SegmentBytes, config.growing = minSegmentBytes, seed%2 == 0
		l := mustOpen(t, config)
		w := newWriter(l)
		var records []storage.Record
		for i := range 30 {
			records = append(records, w.mustAppend(t, "room", strings.Repeat("x", 150)))
			w.mustCommit(t, i+1)
		}
		for range 20 {
			records = append(records, w.mustAppend(t, "room", strings.Repeat("y", 150)))
		}
		crashed := memory.CrashClone(rng)
		mustClose(t, l)
		for _, operation := range []vfs.Operation{vfs.OpWrite, vfs.OpSync, vfs.OpTruncate, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir} {
			for call := 1; ; call++ {
				again := crashed.CrashClone(rng)
				config.FS = vfs.Faulty(again, vfs.Fault{Operation: operation, Call: call, Err: errInjected})
				l, err := Open(config)
				if err == nil {
					// The fault falls on Close or on nothing: recovery is through.
					if err := l.Close(); err != nil && !errors.Is(err, errInjected) {
						t.Fatalf("seed %d, %v %d: Close: %v", seed, operation, call, err)
					}
					break
				}
				if !errors.Is(err, errInjected) {
					t.Fatalf("seed %d, %v %d: %v", seed, operation, call, err)
				}
				config.FS = again.CrashClone(rng)
				l = mustOpen(t, config)
				got := readAll(t, l, "room")
				if len(got) < 30 {
					t.Fatalf("seed %d, %v %d: %d records, 30 were acknowledged", seed, operation, call, len(got))
				}
				checkRecords(t, "after two crashes", got, records[:len(got)])
				mustClose(t, l)
			}
		}
	}
}

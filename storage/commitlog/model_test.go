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
	modelRuns = flag.Int("model.runs", 15, "runs of the model test")
)

// model is the oracle: a plain slice of what was appended, in order.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	memory *vfs.Memory
	config Config

	log      *Log
	writer   *writer
	appended []storage.Record // by this and all earlier lives of the log that still count
	base     int              // how many of them were there when it was opened
	life     int              // so that a number given out twice has two contents
	epoch    uint64
	crashes  int
}

// TestModel does random appends, reads, clean restarts and crashes, and compares all with
// the oracle. What was acknowledged is there, in its place; what was not is there as a prefix of
// the append order or not at all; the epoch stays, unless the mode allows loss.
func TestModel(t *testing.T) {
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
			t.Logf("repeat with -model.seed=%d -model.runs=1", seed)
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), memory: vfs.NewMemory()}
			m.config = testConfig(nil)
			m.config.SegmentBytes = minSegmentBytes << m.rng.IntN(4)
			m.config.OpenSegments = 1 + m.rng.IntN(3)
			m.config.Sync, m.config.SyncEvery = mode, time.Millisecond
			m.config.growing = m.rng.IntN(2) == 0
			m.config.CheckpointBytes = minCheckpointBytes
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
	case k < 87:
		m.read()
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
	from := m.rng.IntN(len(all) + 2)

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
	found := recent(m.t, m.log, time.Time{}, 1<<30)
	if len(found) > len(m.appended) || len(found) < acknowledged && !relaxed {
		m.t.Fatalf("after a crash %d records, %d were acknowledged, %d appended", len(found), acknowledged, len(m.appended))
	}
	m.appended = m.appended[:len(found):len(found)]
	m.base = len(found)
	m.compare(m.appended)
}

func (m *model) compare(want []storage.Record) {
	m.t.Helper()
	checkRecords(m.t, "log order", recent(m.t, m.log, time.Time{}, 1<<30), want)
	for room := range 20 {
		name := fmt.Sprint("room-", room)
		checkRecords(m.t, name, readAll(m.t, m.log, name), ofRoom(want, name))
	}
}

// TestCrashInARecovery crashes, and crashes again at every call that changes something while
// recovery is at work: what was acknowledged before the first crash is there in the end.
func TestCrashInARecovery(t *testing.T) {
	for seed := range uint64(20) {
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

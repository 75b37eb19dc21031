package ship

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes a new one each time")
	modelRuns = flag.Int("model.runs", 8, "runs of the model test")
)

// model ships a real log while the target fails, the shipper is killed, and both machines lose power.
type model struct {
	t   *testing.T
	rng *rand.Rand

	memory *vfs.Memory
	log    *commitlog.Log
	writer *writer

	mount   *vfs.Memory
	target  *flaky
	shipper *Shipper

	covered int64 // position up to which the target was told to have all
	looks   int
	failed  int
}

// TestModel: whatever happens between any two calls, the newest manifest gives a log that opens, is the
// same as the log up to the manifest's end, record by record, and has all that a look that succeeded found.
func TestModel(t *testing.T) {
	first := *modelSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for run := range *modelRuns {
		seed := first + uint64(run)
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Logf("repeat with -model.seed=%d -model.runs=1", seed)
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), memory: vfs.NewMemory()}
			m.mount, _ = newDirectory(t)
			m.open()
			for range 60 {
				m.step()
			}
			m.target.failAt = 0
			m.look()
			m.check()
			if m.failed == 0 || m.looks == 0 {
				t.Errorf("%d looks succeeded and %d failed: the test shows nothing", m.looks, m.failed)
			}
			t.Logf("%d looks, %d failed, %d calls, up to %d", m.looks, m.failed, m.target.calls, m.covered)
		})
	}
}

func (m *model) open() {
	m.log = openLog(m.t, m.memory, commitlog.Config{SegmentBytes: 4 << 10 << m.rng.IntN(3), CheckpointBytes: 1 << 20})
	m.writer = newWriter(m.log)
	m.kill()
}

// kill is what is left when a process is gone: the target.
func (m *model) kill() {
	calls := 0
	if m.target != nil {
		calls = m.target.calls
	}
	m.target = &flaky{Target: Directory(m.mount, targetDir), calls: calls}
	m.shipper = shipperOf(m.log, m.target)
	m.shipper.config.ChunkBytes = 1 << 10 << m.rng.IntN(4)
}

func (m *model) step() {
	switch k := m.rng.IntN(100); {
	case k < 40:
		for range 1 + m.rng.IntN(30) {
			m.writer.commit(m.t, fmt.Sprint("room-", m.rng.IntN(5)), strings.Repeat("b", m.rng.IntN(1+m.rng.IntN(2000))))
		}
	case k < 60:
		m.target.failAt = 0
		m.look()
	case k < 85:
		// Fails once, or from a call on for good, after which the shipper is killed.
		m.target.failAt, m.target.lasting = m.target.calls+1+m.rng.IntN(12), m.rng.IntN(2) == 0
		m.target.happened = m.rng.IntN(2) == 0
		m.look()
		if m.target.lasting {
			m.kill()
		}
		m.check()
	case k < 90:
		m.mount = m.mount.CrashClone(m.rng) // the host of the mount loses power
		m.kill()
		m.check()
	case k < 95:
		survivor := m.memory.CrashClone(m.rng)
		if err := m.log.Close(); err != nil {
			m.t.Fatal(err)
		}
		m.memory = survivor
		m.open()
	default:
		if err := m.log.Close(); err != nil {
			m.t.Fatal(err)
		}
		m.open()
	}
}

func (m *model) look() {
	base, bytes := m.log.Committed()
	err := m.shipper.look(m.t.Context(), time.Now())
	if err != nil {
		m.failed++
		return
	}
	m.looks++
	m.covered = base + bytes
	if behind := m.shipper.Stats().Behind; behind != 0 {
		m.t.Fatalf("behind by %v after a look", behind)
	}
}

func (m *model) check() {
	m.t.Helper()
	directory := Directory(m.mount, targetDir)
	if names, err := directory.List(m.t.Context(), manifestFolder); err != nil || len(names) == 0 && m.covered == 0 {
		return // nothing was ever shipped
	}
	checkRestored(m.t, directory, entries(m.t, m.memory), m.log.Epoch())
	if end := shippedEnd(m.t, directory); end < m.covered {
		m.t.Fatalf("the target goes up to %d, a look that succeeded found the log up to %d", end, m.covered)
	}
}

// TestKillBetweenAnyTwoCalls does the same looks with a kill at call n, for every n.
func TestKillBetweenAnyTwoCalls(t *testing.T) {
	for _, happened := range []bool{false, true} {
		for n := 1; ; n++ {
			memory, mount := vfs.NewMemory(), vfs.NewMemory()
			if err := mount.MkdirAll(targetDir); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, memory, commitlog.Config{SegmentBytes: 4 << 10})
			w := newWriter(l)
			target := &flaky{Target: Directory(mount, targetDir), failAt: n, lasting: true, happened: happened}
			s := shipperOf(l, target)
			s.config.ChunkBytes = 1 << 10
			covered, killed := 0, false
			for round := range 8 {
				for range 8 {
					w.commit(t, "room", strings.Repeat("x", 50+round*40))
				}
				if s.look(t.Context(), time.Now()) != nil {
					killed = true
					break
				}
				covered = 8 * (round + 1)
			}
			after := Directory(mount.CrashClone(rand.New(rand.NewPCG(uint64(n), 0))), targetDir)
			if covered > 0 {
				if got := checkRestored(t, after, entries(t, memory), l.Epoch()); got < covered {
					t.Fatalf("killed at call %d: %d records, %d were covered", n, got, covered)
				}
			}
			s = shipperOf(l, after)
			mustLook(t, s)
			if got, want := checkRestored(t, after, entries(t, memory), l.Epoch()), int(l.Head("room")); got != want {
				t.Fatalf("killed at call %d: then %d records, want %d", n, got, want)
			}
			if !killed {
				if n < 40 {
					t.Fatalf("the run makes only %d calls", n)
				}
				break
			}
		}
	}
}

// TestRetentionWhileShipping ships a log that rewrites its files all the time: what is restored has of each room
// what is kept, and numbers that go on.
func TestRetentionWhileShipping(t *testing.T) {
	const keep = 20
	_, target := newDirectory(t)
	l := openLog(t, vfs.NewMemory(), commitlog.Config{SegmentBytes: 4 << 10, RetainEvery: time.Millisecond})
	l.Retain(func(string) storage.Retention { return storage.Retention{Records: keep} })
	w, s := newWriter(l), shipperOf(l, target)
	written := map[string][]storage.Record{}
	write := func(n int) {
		for i := range n {
			room := fmt.Sprint("room-", i%3)
			written[room] = append(written[room], w.append(t, room, fmt.Sprintf("%d %300d", len(written[room]), 0)))
			w.wait(t)
		}
	}
	rewritten := func() (n int) {
		for i := range s.copy.newest.Segments {
			if s.copy.newest.Segments[i].Generation > 0 {
				n++
			}
		}
		return n
	}
	for looks := 0; looks < 50 || rewritten() == 0; looks++ {
		write(10)
		mustLook(t, s)
	}
	memory, _ := restore(t, target)
	restored := openLog(t, memory, commitlog.Config{})
	for room, all := range written {
		if head := restored.Head(room); head != uint64(len(all)) {
			t.Errorf("%s ends at %d, want %d", room, head, len(all))
		}
		next := len(all) - keep
		err := restored.ReadAfter(room, uint64(next), storage.PageLimit{}, func(r storage.Record) bool {
			if !equal(r, all[next]) {
				t.Errorf("%s: got %+v, want %+v", room, r, all[next])
			}
			next++
			return true
		})
		if err != nil || next != len(all) {
			t.Errorf("%s: read up to %d of %d: %v", room, next, len(all), err)
		}
	}
}

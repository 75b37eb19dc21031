package catalog

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes a new one each time")
	modelRuns = flag.Int("model.runs", 12, "runs of the model test")
)

// model is the oracle: what every update so far adds up to, as plain maps.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	memory *vfs.Memory
	mode   commitlog.SyncMode
	config commitlog.Config

	log     *commitlog.Log
	catalog *Catalog

	states       []map[string]string // after each update that still counts; states[0] is nothing
	acknowledged int                 // how many of them were
	flying       []*update
	crashes      int
	snapshots    uint64
	rewrites     uint64

	mu sync.Mutex
	// Guarded by mu: all records of the room that were ever there and still count, trimmed ones too.
	history []storage.Record
}

// counterKey holds the number of the update that wrote it, so a state says which one it is.
const counterKey = "counter\tupdates"

// TestModel does random updates, many at a time, with snapshots among them, and takes the power away
// in between. What is there afterwards is what some number of updates adds up to, at least those that
// were acknowledged, and it equals a replay of every record since the first.
func TestModel(t *testing.T) {
	runs := *modelRuns
	if testing.Short() {
		runs = min(runs, 6)
	}
	first := *modelSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	rewrites := uint64(0)
	for run := range runs {
		seed := first + uint64(run)
		mode := commitlog.SyncMode(seed % 2)
		t.Run(fmt.Sprintf("%v/%d", mode, run), func(t *testing.T) {
			t.Logf("repeat with -model.seed=%d -model.runs=1", seed)
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), memory: vfs.NewMemory(), mode: mode, states: []map[string]string{{}}}
			m.config = silent(nil)
			m.config.Sync, m.config.SyncEvery = mode, time.Millisecond
			m.config.SegmentBytes = 8 << 10 << m.rng.IntN(3)
			m.config.RetainEvery = time.Millisecond // files are rewritten without what was trimmed
			m.open()
			for range 120 {
				m.step()
			}
			m.restart()
			m.close()
			t.Logf("%d updates, %d crashes, %d snapshots, %d rewritten files, %d records, from %d on in the log", len(m.states)-1, m.crashes, m.snapshots, m.rewrites, len(m.history), m.log.Begin(Room))
			rewrites += m.rewrites
			if m.snapshots == 0 {
				t.Error("there was no snapshot")
			}
		})
	}
	if rewrites == 0 {
		t.Error("no file was rewritten")
	}
}

func (m *model) open() {
	m.config.FS = m.memory
	m.log = mustOpenLog(m.t, m.config)
	// Records that a crash took are written again with another content.
	m.history = m.history[:m.log.Head(Room)]
	config := small(m.log)
	config.Synced = m.mode == commitlog.SyncAlways
	config.SnapshotBytes = 512 << m.rng.IntN(4)
	config.partCost = 100 << m.rng.IntN(5)
	config.appended = func(r storage.Record) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.history = append(m.history, r)
	}
	m.catalog = mustOpen(m.t, config)
}

func (m *model) close() {
	m.t.Helper()
	m.catalog.Close()
	m.snapshots += m.catalog.Stats().Snapshots
	m.rewrites += m.log.Stats().Rewrites
	if err := m.log.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) step() {
	switch k := m.rng.IntN(100); {
	case k < 70:
		for range 1 + m.rng.IntN(20) {
			m.update()
		}
	case k < 88:
		m.land()
		m.compare("live", content(m.t, m.catalog), len(m.states)-1)
		m.mirrors()
	case k < 94:
		m.crash()
	default:
		m.restart()
	}
}

// update sends one and does not wait for it.
func (m *model) update() {
	state := maps.Clone(m.states[len(m.states)-1])
	set := func(key, value string) { state[key] = value }
	n := strconv.Itoa(len(m.states))
	changes := []Change{Set(counterKey, []byte(n))}
	set(counterKey, n)
	for range 1 + m.rng.IntN(4) {
		room, user := fmt.Sprint("room ", m.rng.IntN(6)), fmt.Sprint("<user>", m.rng.IntN(6))
		switch m.rng.IntN(6) {
		case 0:
			key := fmt.Sprint("later\t", user)
			changes = append(changes, Set(key, fmt.Appendf(nil, `{ "n": %s}`, n)))
			set(key, `{"n":`+n+`}`)
		case 1:
			key := fmt.Sprint("later\t", user)
			changes = append(changes, Remove(key))
			delete(state, key)
		case 2:
			changes = append(changes, SetMember(room, user, Member{Role: n}))
			set("member\t"+room+"\t"+user, `{"role":"`+n+`"}`)
		case 3:
			changes = append(changes, RemoveMember(room, user))
			delete(state, "member\t"+room+"\t"+user)
		case 4:
			key, to := "position\t"+room+"\t"+user, Position{"e", uint64(m.rng.IntN(1000)), uint64(m.rng.IntN(1000))}
			changes = append(changes, Advance(room, user, to))
			var is Position
			if state[key] != "" {
				if err := json.Unmarshal([]byte(state[key]), &is); err != nil {
					m.t.Fatal(err)
				}
			}
			set(key, fmt.Sprintf(`{"delivered":%d,"epoch":"e","read":%d}`, max(is.Delivered, to.Delivered), max(is.Read, to.Read)))
		case 5:
			changes = append(changes, SetRetention(room, &storage.Retention{Records: uint64(len(m.states))}))
			set("room\t"+room, `{"retention":{"messages":`+n+`}}`)
		}
	}
	u, err := newUpdate(changes)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.catalog.mailbox.put(u); err != nil {
		m.t.Fatal(err)
	}
	m.states = append(m.states, state)
	m.flying = append(m.flying, u)
}

// land waits for all that was sent.
func (m *model) land() {
	m.t.Helper()
	for _, u := range m.flying {
		if err := <-u.done; err != nil {
			m.t.Fatalf("Update: %v", err)
		}
		m.acknowledged++
	}
	m.flying = nil
}

// landed counts the acknowledgements that are there already.
func (m *model) landed() {
	for len(m.flying) > 0 {
		select {
		case err := <-m.flying[0].done:
			if err != nil {
				m.t.Fatalf("Update: %v", err)
			}
			m.flying = m.flying[1:]
			m.acknowledged++
		default:
			return
		}
	}
}

func (m *model) restart() {
	m.t.Helper()
	m.catalog.Close()
	m.land()
	m.close()
	m.open()
	m.compare("after a restart", content(m.t, m.catalog), len(m.states)-1)
	m.replays()
}

// crash takes the power away with updates and a snapshot on their way.
func (m *model) crash() {
	m.t.Helper()
	m.crashes++
	m.landed() // before the clone: later ones may be in it or not
	least := m.acknowledged
	survivor := m.memory.CrashClone(m.rng)
	m.catalog.Close()
	m.land()
	m.close()
	m.memory = survivor
	m.open()
	if m.mode != commitlog.SyncAlways {
		least = 0
	}
	got := content(m.t, m.catalog)
	n := 0
	if got[counterKey] != "" {
		n, _ = strconv.Atoi(got[counterKey])
	}
	if n < least || n >= len(m.states) {
		m.t.Fatalf("after a crash the state is that of update %d, %d were acknowledged, %d sent", n, least, len(m.states)-1)
	}
	m.compare("after a crash", got, n)
	m.states, m.acknowledged = m.states[:n+1], n
	m.replays()
}

func (m *model) compare(what string, got map[string]string, update int) {
	m.t.Helper()
	mustEqual(m.t, fmt.Sprintf("%s, update %d", what, update), got, m.states[update])
}

// replays compares the state as it was opened, from the newest snapshot, with a replay of every
// record that was kept, and with one that knows nothing of snapshots.
func (m *model) replays() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	want := content(m.t, m.catalog)
	all, changes := NewReplay(), NewReplay()
	defer all.Close()
	defer changes.Close()
	for _, r := range m.history {
		if err := all.Add(r); err != nil {
			m.t.Fatal(err)
		}
		b, err := decode(r.Body)
		if err != nil {
			m.t.Fatal(err)
		}
		if b.Kind == kindChange {
			changes.change(b.Entries, 0)
		}
	}
	if err := all.Whole(uint64(len(m.history))); err != nil {
		m.t.Fatal(err)
	}
	mustEqual(m.t, "replay of all records", content(m.t, all), want)
	mustEqual(m.t, "replay of all changes", content(m.t, changes), want)
}

// mirrors looks for each membership from both sides.
func (m *model) mirrors() {
	m.t.Helper()
	var want, got []string
	for n := range 6 {
		user := fmt.Sprint("<user>", n)
		for r := range 6 {
			room := fmt.Sprint("room ", r)
			if value, ok := m.states[len(m.states)-1]["member\t"+room+"\t"+user]; ok {
				want = append(want, user+room+value)
			}
		}
		if err := m.catalog.RoomsOf(user, func(room string, member Member) bool {
			got = append(got, user+room+`{"role":"`+member.Role+`"}`)
			return true
		}); err != nil {
			m.t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.t.Fatalf("rooms of users: got %v, want %v", got, want)
	}
}

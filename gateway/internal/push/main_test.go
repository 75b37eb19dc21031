package push

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a log, a directory and a sender in memory. Its lock is held for memory work only.
type world struct {
	mu sync.Mutex

	messages []Message
	texts    map[place]string
	deleted  map[place]bool
	members  map[string]map[string]Member // by room and user
	broken   error                        // of all that is asked

	findBroken error // of Find alone

	outcome func(s *Summary) Outcome // nil: all is taken
	sent    []sent
	tries   int
	devices []string
	without string // users whose names begin so have no device
}

type place struct {
	room string
	seq  uint64
}

// sent is a summary that was taken.
type sent struct {
	Summary
	at time.Time
}

func newWorld() *world {
	return &world{
		texts: make(map[place]string), deleted: make(map[place]bool), members: make(map[string]map[string]Member), devices: []string{""},
	}
}

// locked runs something with the lock held.
func (w *world) locked(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

func (w *world) join(room string, users ...string) {
	w.locked(func() {
		if w.members[room] == nil {
			w.members[room] = make(map[string]Member)
		}
		for _, user := range users {
			w.members[room][user] = Member{From: w.headLocked(room)}
		}
	})
}

func (w *world) change(room, user string, fn func(*Member)) {
	w.locked(func() {
		m := w.members[room][user]
		fn(&m)
		w.members[room][user] = m
	})
}

func (w *world) headLocked(room string) (head uint64) {
	for _, m := range w.messages {
		if m.Room == room {
			head = m.Seq
		}
	}
	return head
}

func (w *world) publish(room, from string, mentions ...string) (seq uint64) {
	w.locked(func() {
		seq = w.headLocked(room) + 1
		w.messages = append(w.messages, Message{int64(len(w.messages)) * 10, room, seq, time.Now().UnixMilli(), from, mentions})
		w.texts[place{room, seq}] = "text " + from
	})
	return seq
}

func (w *world) End() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(len(w.messages)) * 10
}

func (w *world) Read(from int64, each func(Message) bool) (next int64, err error) {
	w.mu.Lock()
	messages, err := w.messages[from/10:], w.broken
	w.mu.Unlock()
	for _, m := range messages[:min(len(messages), 7)] {
		from += 10
		if !each(m) {
			break
		}
	}
	return from, err
}

func (w *world) Alive(room string, seqs []uint64) (alive []uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seq := range seqs {
		if !w.deleted[place{room, seq}] {
			alive = append(alive, seq)
		}
	}
	return alive, w.broken
}

func (w *world) Find(room string, seq uint64) (Found, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		if m.Room == room && m.Seq == seq {
			return Found{m.From, m.At, w.texts[place{room, seq}]}, true, errors.Join(w.broken, w.findBroken)
		}
	}
	return Found{}, false, w.broken
}

func (w *world) Count(room string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.members[room]), w.broken
}

func (w *world) Each(room string, fn func(string, Member)) error {
	w.mu.Lock()
	members, err := maps.Clone(w.members[room]), w.broken
	w.mu.Unlock()
	for user, m := range members {
		fn(user, m)
	}
	return err
}

func (w *world) Member(room, user string) (Member, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, ok := w.members[room][user]
	return m, ok, w.broken
}

func (w *world) Devices(user string) ([]string, error) {
	if w.without != "" && strings.HasPrefix(user, w.without) {
		return nil, nil
	}
	return w.devices, nil
}

func (w *world) Send(_ context.Context, s *Summary) (o Outcome) {
	w.locked(func() {
		w.tries++
		if w.outcome != nil {
			o = w.outcome(s)
		}
		if o.Verdict == Sent {
			w.sent = append(w.sent, sent{*s, time.Now()})
		}
	})
	return o
}

// taken gives what was sent since the last call, when nothing moves any more.
func (w *world) taken() (all []sent) {
	synctest.Wait()
	w.locked(func() { all, w.sent = w.sent, nil })
	return all
}

const (
	testAfter  = 30 * time.Second
	testWindow = 5 * time.Minute
)

func (w *world) start(t *testing.T, dir string, change func(*Config)) *Keeper {
	t.Helper()
	cfg := Config{
		Log: w, History: "1-1", Directory: w, Senders: []Destination{{"webhook", w, true}}, Dir: dir,
		Logger: slog.New(slog.DiscardHandler), After: testAfter, Window: testWindow, RoomMembers: 20,
	}
	if change != nil {
		change(&cfg)
	}
	k, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keep runs a test with a keeper under a fake clock.
func keep(t *testing.T, change func(*Config), fn func(t *testing.T, w *world, k *Keeper)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		k := w.start(t, dir, change)
		fn(t, w, k)
		shut(t, k)
	})
}

func shut(t *testing.T, k *Keeper) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

// later is when what was published now has certainly been told.
func later() { time.Sleep(testAfter + 2*longestTurn) }

var errRefused = errors.New("refused")

func roomsOf(s sent) (rooms []string) {
	for _, r := range s.Rooms {
		rooms = append(rooms, r.Room)
	}
	slices.Sort(rooms)
	return rooms
}

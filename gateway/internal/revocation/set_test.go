package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store.
type memory struct {
	mu    sync.Mutex
	all   map[Key]Entry
	fault error
}

func (m *memory) Revocations(fn func(Entry) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.all {
		if !fn(e) {
			break
		}
	}
	return m.fault
}

func (m *memory) Revoke(_ context.Context, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == nil {
		m.all[e.Key] = e
	}
	return m.fault
}

func (m *memory) Restore(_ context.Context, keys ...Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if m.fault == nil {
			delete(m.all, k)
		}
	}
	return m.fault
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

func open(t *testing.T, m *memory) (*Set, *[]Entry) {
	t.Helper()
	if m.all == nil {
		m.all = map[Key]Entry{}
	}
	told := &[]Entry{}
	s, err := Open(Config{Store: m, Tell: func(e Entry) { *told = append(*told, e) }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, told
}

func TestWhatIsRevoked(t *testing.T) {
	s, told := open(t, &memory{})
	at := time.Unix(1_763_812_800, 600_000_000)
	until := time.Now().Add(time.Hour)
	for _, e := range []Entry{{Key{Token: "t1"}, at, until}, {Key{User: "alice"}, at, until}} {
		if err := s.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if len(*told) != 2 {
		t.Errorf("the loops were told %v", *told)
	}
	for _, c := range []struct {
		token, user string
		issued      time.Time
		want        bool
	}{
		{"t1", "bob", at.Add(time.Hour), true},
		{"t2", "bob", time.Time{}, false},
		{"", "bob", time.Time{}, false},
		{"", "t1", time.Time{}, false}, // a user whose name is a token's id
		{"alice", "bob", time.Time{}, false},
		{"", "alice", time.Time{}, true},
		{"", "alice", at.Add(-time.Hour), true},
		{"", "alice", at.Truncate(time.Second), true},
		{"", "alice", at.Truncate(time.Second).Add(time.Second), false},
	} {
		if got := s.Revoked(c.token, c.user, c.issued); got != c.want {
			t.Errorf("token %q of %q issued %v: revoked %v", c.token, c.user, c.issued, got)
		}
	}
	if was, err := s.Remove(t.Context(), Key{User: "alice"}); !was || err != nil {
		t.Errorf("take back: %v, %v", was, err)
	}
	if was, err := s.Remove(t.Context(), Key{User: "alice"}); was || err != nil {
		t.Errorf("take back again: %v, %v", was, err)
	}
	if s.Revoked("", "alice", time.Time{}) {
		t.Error("what was taken back is in force")
	}
}

func TestItIsStoredFirst(t *testing.T) {
	m := &memory{}
	s, told := open(t, m)
	e := Entry{Key{Token: "t"}, time.Now(), time.Now().Add(time.Hour)}
	m.mu.Lock()
	m.fault = errors.New("the disk is full")
	m.mu.Unlock()
	if err := s.Add(t.Context(), e); err == nil || s.Len() != 0 || len(*told) != 0 {
		t.Errorf("what could not be stored: %v, in force %d, told %v", err, s.Len(), *told)
	}
	m.mu.Lock()
	m.fault = nil
	m.mu.Unlock()
	if err := s.Add(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	again, _ := open(t, &memory{all: maps.Clone(m.all)})
	if !again.Revoked("t", "x", time.Time{}) {
		t.Error("it is forgotten after a restart")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	s.turn <- struct{}{} // somebody else's
	if err := s.Add(canceled, e); !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up is told %v", err)
	}
	s.give()
}

// slow is a store that has not answered when nobody waits any longer.
type slow struct {
	*memory
	giveUp context.CancelFunc
}

func (s slow) Revoke(ctx context.Context, _ Entry) error {
	s.giveUp()
	return context.Cause(ctx)
}

// TestAStoreThatDoesNotAnswer: what may be stored is in force.
func TestAStoreThatDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	s, err := Open(Config{Store: slow{&memory{}, cancel}, Tell: func(Entry) { told++ }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	e := Entry{Key{User: "ann"}, time.Now(), time.Now().Add(time.Hour)}
	if err := s.Add(ctx, e); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "repeat") {
		t.Errorf("who gives up is told %v", err)
	}
	if !s.Revoked("", "ann", time.Now()) || told != 1 {
		t.Errorf("in force are %v, told %d times", s.List(), told)
	}
}

func TestWhatIsOverIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{all: map[Key]Entry{}}
		for i := range 2500 {
			k := Key{Token: fmt.Sprint(i)}
			m.all[k] = Entry{k, time.Now(), time.Now().Add(30 * time.Minute)}
		}
		k := Key{User: "alice"}
		m.all[k] = Entry{k, time.Now(), time.Now().Add(90 * time.Minute)}
		s, _ := open(t, m)
		synctest.Wait()
		if s.Len() != 2501 {
			t.Fatalf("%d at the start", s.Len())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.Len() != 1 || m.len() != 1 {
			t.Errorf("after an hour %d are in force, %d stored", s.Len(), m.len())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.Len() != 0 || m.len() != 0 {
			t.Errorf("after two hours %d are in force, %d stored", s.Len(), m.len())
		}
	})
}

func TestTheyAreBounded(t *testing.T) {
	m := &memory{all: make(map[Key]Entry, Max)}
	until := time.Now().Add(time.Hour)
	for i := range Max {
		k := Key{Token: fmt.Sprint(i)}
		m.all[k] = Entry{k, time.Now(), until}
	}
	s, _ := open(t, m)
	if err := s.Add(t.Context(), Entry{Key{User: "alice"}, time.Now(), until}); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if err := s.Add(t.Context(), Entry{Key{Token: "7"}, time.Now(), until}); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rookery/gateway/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is records, and an application that is told of them.
type world struct {
	mu      sync.Mutex // guards all below
	records []Record
	begin   uint64
	told    []string // bodies that were taken
	ids     map[string]string
	tries   int
	answer  func(body string) int

	dir     string
	history string
}

func newWorld(t *testing.T) *world {
	return &world{begin: 1, ids: make(map[string]string), answer: func(string) int { return 204 }, dir: t.TempDir(), history: "h"}
}

func (w *world) Head() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return uint64(len(w.records))
}

func (w *world) Begin() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begin
}

// Read gives two records at a time.
func (w *world) Read(after uint64, each func(Record)) (last uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last = after
	for _, r := range w.records[after:min(after+2, uint64(len(w.records)))] {
		each(r)
		last = r.Number
	}
	return last, nil
}

// Post implements Hook.
func (w *world) Post(_ context.Context, id, kind string, data any) (*webhook.Answer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	body := string(data.(json.RawMessage))
	w.tries++
	if known := w.ids[id]; kind != "membership" || known != "" && known != body {
		return nil, fmt.Errorf("the id %s is of %s and %s", id, known, body)
	}
	w.ids[id] = body
	status := w.answer(body)
	switch {
	case status == 0:
		return nil, errors.New("no answer")
	case status < 300:
		w.told = append(w.told, body)
	}
	return &webhook.Answer{Status: status}, nil
}

// happen adds a record for each line "room what".
func (w *world) happen(room string, bodies ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := Record{Number: uint64(len(w.records)) + 1, At: time.Now().UnixMilli()}
	for _, n := range bodies {
		r.Notices = append(r.Notices, Notice{Room: room, Body: json.RawMessage(fmt.Sprintf("%q", fmt.Sprint(room, " ", n)))})
	}
	w.records = append(w.records, r)
}

// of gives what was taken of a room, in order and without repetitions right behind each other.
func (w *world) of(room string) (numbers []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, body := range w.told {
		var in string
		var n int
		if _, err := fmt.Sscanf(body, "\"%s %d\"", &in, &n); err == nil && in == room {
			numbers = append(numbers, n)
		}
	}
	return slices.Compact(numbers)
}

func (w *world) start(t *testing.T, change func(*Config)) *Keeper {
	t.Helper()
	cfg := Config{Source: w, Hook: w, History: w.history, Dir: w.dir, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	k, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func stop(t *testing.T, k *Keeper) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func upTo(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

// TestOrder: rooms keep their order though attempts fail, and one that is stuck does not hold up the others.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.start(t, nil)
		defer stop(t, k)
		n := 0
		w.answer = func(body string) int {
			if n++; n%3 == 0 {
				return []int{0, 503, 401, 302}[n/3%4]
			}
			return 204
		}
		for i := range 30 {
			w.happen("a", i)
			w.happen("b", 2*i, 2*i+1)
		}
		time.Sleep(6 * time.Hour)
		if got := w.of("a"); !slices.Equal(got, upTo(30)) {
			t.Errorf("of a: %v", got)
		}
		if got := w.of("b"); !slices.Equal(got, upTo(60)) {
			t.Errorf("of b: %v", got)
		}
		if s := k.Stats(); s.Waiting != 0 || s.Sent != 90 || s.Failed == 0 || s.Died != 0 {
			t.Errorf("counted %+v", s)
		}
		w.mu.Lock()
		w.answer = func(body string) int {
			if body[1] == 'a' {
				return 500
			}
			return 204
		}
		w.mu.Unlock()
		w.happen("a", 30)
		w.happen("b", 60)
		time.Sleep(time.Minute)
		if got := w.of("b"); got[len(got)-1] != 60 {
			t.Error("b waits for a")
		}
	})
}

// TestDeath: what is never taken becomes a dead letter, at once or after a day, and the line goes on.
func TestDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.start(t, func(c *Config) { c.DeadLetters = 2 })
		defer stop(t, k)
		w.answer = func(body string) int {
			switch body {
			case `"a 0"`:
				return 500
			case `"b 0"`:
				return 422
			}
			return 204
		}
		w.happen("a", 0, 1)
		w.happen("b", 0, 1)
		time.Sleep(time.Hour)
		if got := w.of("b"); !slices.Equal(got, []int{1}) || len(w.of("a")) != 0 {
			t.Errorf("after an hour b is told %v and a %v", got, w.of("a"))
		}
		time.Sleep(26 * time.Hour)
		if got := w.of("a"); !slices.Equal(got, []int{1}) {
			t.Errorf("after a day a is told %v", got)
		}
		letters, err := k.DeadLetters(t.Context(), 0, 10)
		if err != nil || len(letters) != 2 || letters[0].Room != "b" || letters[1].Room != "a" || letters[1].Attempts < 10 || letters[1].Error == "" {
			t.Fatalf("the dead letters are %+v, %v", letters, err)
		}
		if err := k.Resend(t.Context(), letters[0].Number); err == nil {
			t.Error("what is refused again was taken")
		}
		w.mu.Lock()
		w.answer = func(string) int { return 204 }
		w.mu.Unlock()
		if err := errors.Join(k.Resend(t.Context(), letters[0].Number), k.Discard(t.Context(), letters[1].Number)); err != nil {
			t.Error(err)
		}
		if err := k.Discard(t.Context(), letters[1].Number); !errors.Is(err, ErrNoLetter) {
			t.Errorf("discarded twice: %v", err)
		}
		w.mu.Lock()
		w.answer = func(string) int { return 400 }
		w.mu.Unlock()
		w.happen("c", 0, 1, 2)
		time.Sleep(time.Minute)
		if s := k.Stats(); s.Dead != 2 || s.Lost != 1 || s.Died != 5 {
			t.Errorf("counted %+v", s)
		}
	})
}

// TestCrash: a process that is killed at any time loses nothing, and repeats in order.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop(t, w.start(t, nil))
		n := 0
		for round := range 8 {
			k := w.start(t, nil)
			w.mu.Lock()
			w.answer = func(string) int { return []int{500, 204}[round%2] }
			w.mu.Unlock()
			for range 50 {
				w.happen("a", n)
				n++
				time.Sleep(20 * time.Millisecond)
			}
			// The file as it is now is what the next process finds; whatever was taken since its last turn was taken for nothing.
			crashed := copyFile(t, filepath.Join(w.dir, "notices.db"), k)
			stop(t, k)
			w.dir = crashed
		}
		k := w.start(t, nil)
		time.Sleep(3 * time.Hour)
		stop(t, k)
		next := 0
		for _, got := range w.of("a") {
			if got > next {
				t.Fatalf("%d was told and not %d", got, next)
			}
			next = max(next, got+1)
		}
		if next != n {
			t.Errorf("told of %d, want %d", next, n)
		}
	})
}

// copyFile gives a directory with the file as a crash would leave it: between two transactions.
func copyFile(t *testing.T, path string, k *Keeper) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := k.call(t.Context(), func() error {
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(filepath.Join(dir, "notices.db"), b, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBehind: a full queue holds up the reading, and what was replaced meanwhile is counted and said.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.start(t, func(c *Config) { c.Waiting = 10 })
		w.answer = func(string) int { return 0 }
		for i := range 30 {
			w.happen("a", i)
		}
		time.Sleep(time.Minute)
		if s := k.Stats(); s.Waiting != 10 || s.Missed != 0 {
			t.Errorf("counted %+v", s)
		}
		w.mu.Lock()
		w.begin = 16
		w.answer = func(string) int { return 204 }
		w.mu.Unlock()
		time.Sleep(2 * time.Hour)
		if got, want := w.of("a"), append(upTo(10), upTo(30)[15:]...); !slices.Equal(got, want) {
			t.Errorf("told of %v", got)
		}
		if s := k.Stats(); s.Missed != 5 || s.Waiting != 0 {
			t.Errorf("counted %+v", s)
		}
		stop(t, k)
		// Another history begins at its end.
		w.history = "other"
		k = w.start(t, nil)
		w.happen("a", 30)
		time.Sleep(time.Minute)
		if got := w.of("a"); got[len(got)-1] != 30 || k.Stats().Sent != 1 {
			t.Errorf("told of %v", got)
		}
		stop(t, k)
	})
}

// TestOtherFiles: what can't be read is refused with the path and what to do.
func TestOtherFiles(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.dir, "notices.db"), []byte("no tree at all, but long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{Source: w, Hook: w, Dir: w.dir, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a file that is none was taken")
	}
}

// TestDamage: a file with pages that are lost is an error at the start or later, and never the end of the process.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		w.answer = func(string) int { return 0 }
		k := w.start(t, nil)
		for i := range 200 {
			w.happen(fmt.Sprint("room", i), i)
		}
		time.Sleep(time.Minute)
		stop(t, k)
	})
	whole, err := os.ReadFile(filepath.Join(w.dir, "notices.db"))
	if err != nil {
		t.Fatal(err)
	}
	page, refused := os.Getpagesize(), 0
	for at := 0; at < len(whole); at += page {
		for name, damaged := range map[string][]byte{
			"ones":  slices.Concat(whole[:at], bytes.Repeat([]byte{0xff}, page), whole[at+page:]),
			"short": whole[:at],
		} {
			w.dir = t.TempDir()
			if err := os.WriteFile(filepath.Join(w.dir, "notices.db"), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := Start(Config{Source: w, Hook: w, History: w.history, Dir: w.dir, Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				_, _ = k.DeadLetters(t.Context(), 0, 10)
				_ = k.Close() // it may find the damage
				continue
			}
			if refused++; !strings.Contains(err.Error(), w.dir) {
				t.Errorf("%s at %d: the error does not name the file: %v", name, at, err)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was found to be damaged")
	}
}

// TestAnApplicationThatTakesNothing: each notice is a dead letter, and the log has a line a second.
func TestAnApplicationThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(string) int { return 400 }
		var lines bytes.Buffer
		k := w.start(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
		for range 100 {
			w.happen("a", 0, 1, 2)
		}
		time.Sleep(500 * time.Millisecond)
		stop(t, k)
		if died, count := k.Stats().Died, strings.Count(lines.String(), "can't be delivered"); died != 300 || count != 1 {
			t.Errorf("%d notices died in no time, with %d lines", died, count)
		}
	})
}

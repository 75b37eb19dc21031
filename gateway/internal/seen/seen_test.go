package seen

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rookery/storage/mapped"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a log that any goroutine writes to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func open(t *testing.T, dir string, l *lines) *Seen {
	t.Helper()
	s, err := Open(Config{Dir: dir, Interval: time.Millisecond, Log: slog.New(slog.NewTextHandler(l, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// written waits until nothing waits to be written.
func written(t *testing.T, s *Seen) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		left := len(s.waiting) + len(s.writing)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d users are not written", left)
		}
	}
}

func TestSeen(t *testing.T) {
	dir, l := filepath.Join(t.TempDir(), "seen"), &lines{}
	s := open(t, dir, l)
	if at := s.At("ann"); at != 0 {
		t.Errorf("who never was there was seen at %d", at)
	}
	before := time.Now().UnixMilli()
	s.Note("ann")
	first := s.At("ann")
	if first < before || first > time.Now().UnixMilli() {
		t.Errorf("seen at %d, noted after %d", first, before)
	}
	written(t, s)
	if at := s.At("ann"); at != first {
		t.Errorf("written, the time is %d, it was %d", at, first)
	}
	// Many, from many goroutines, across transactions.
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 10_000 {
				s.Note(fmt.Sprint("user", w, " ", i))
			}
		})
	}
	writers.Wait()
	s.Close()
	s = open(t, dir, l)
	defer s.Close()
	for w := range 4 {
		for i := range 10_000 {
			if s.At(fmt.Sprint("user", w, " ", i)) < first {
				t.Fatalf("user%d %d is not in the file", w, i)
			}
		}
	}
	if at := s.At("ann"); at != first || l.String() != "" {
		t.Errorf("opened again, the time is %d, it was %d; logged\n%s", at, first, l)
	}
}

// TestFull: beyond the bound nothing new is noted, and what waits is brought up to date.
func TestFull(t *testing.T) {
	s := &Seen{waiting: map[string]int64{"ann": 1}, full: make(chan struct{}, 1)}
	for i := range maxWaiting + 10 {
		s.Note(fmt.Sprint(i))
	}
	s.Note("ann")
	if n := s.Unnoted(); n != 11 || len(s.waiting) != maxWaiting || s.waiting["ann"] == 1 {
		t.Errorf("%d are not noted, %d wait, ann at %d", n, len(s.waiting), s.waiting["ann"])
	}
	select {
	case <-s.full:
	default:
		t.Error("nobody is told that many wait")
	}
}

// TestDiskThatFails: what waits for it is tried again at intervals and not at each note, and is bounded however long that takes.
func TestDiskThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, l := t.TempDir(), &lines{}
		s, err := Open(Config{Dir: dir, Interval: time.Hour, Log: slog.New(slog.NewTextHandler(l, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sound := s.file
		broken, err := mapped.Open(filepath.Join(dir, "seen.db.broken"))
		if err != nil {
			t.Fatal(err)
		}
		broken.Close() // whatever it is asked to write it refuses
		use := func(file *mapped.File) {
			s.fileMu.Lock()
			defer s.fileMu.Unlock()
			s.file = file
		}
		waiting := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.waiting) + len(s.writing)
		}
		use(broken)
		for i := range 2 {
			for n := range maxWaiting {
				s.Note(fmt.Sprint(i, " ", n))
			}
			time.Sleep(100 * time.Minute) // never at the moment of a try
			if n := waiting(); n != maxWaiting {
				t.Fatalf("%d users wait for a disk that fails, want %d", n, maxWaiting)
			}
		}
		if n := s.Unnoted(); n != maxWaiting {
			t.Errorf("%d are not noted, want %d", n, maxWaiting)
		}
		// A note among many that wait does not have them tried at once: the disk is sound again, and nobody has seen that yet.
		use(sound)
		s.Note("0 0")
		synctest.Wait()
		if waiting() != maxWaiting {
			t.Error("a note has all that wait tried again")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := waiting(); n != 0 || strings.Count(l.String(), "level=ERROR") != 1 || !strings.Contains(l.String(), "written again") {
			t.Errorf("%d wait for a disk that is sound again; logged\n%s", n, l)
		}
	})
}

// TestDamage: a file that is no tree, and one whose pages go wrong later, are set aside; what waits is not lost.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"no tree": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<16), 0o600) },
		"cut off": func(path string) error { return os.Truncate(path, 5000) },
		"pages": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] = 0xff
			}
			return os.WriteFile(path, b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, l := t.TempDir(), &lines{}
			s := open(t, dir, l)
			for i := range 1000 {
				s.Note(fmt.Sprint("old ", i))
			}
			s.Close()
			if err := damage(filepath.Join(dir, "seen.db")); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, l)
			s.At("old 500")
			s.Note("ann")
			at := s.At("ann")
			written(t, s)
			s.Close()
			if s = open(t, dir, l); s.At("ann") != at || at == 0 {
				t.Errorf("what was noted after the damage is %d, want %d", s.At("ann"), at)
			}
			s.Close()
			if _, err := os.Stat(filepath.Join(dir, "seen.db.damaged")); err != nil || !strings.Contains(l.String(), "set aside") {
				t.Errorf("the damaged file: %v; logged\n%s", err, l)
			}
		})
	}
}

// TestNotDamaged: a file that can't be opened is left where it is, since nothing is known against it.
func TestNotDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "seen.db")
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		s.Close()
		t.Fatal("what can't be opened was opened")
	}
	if _, damaged := os.Lstat(path + ".damaged"); !strings.Contains(err.Error(), path) || damaged == nil {
		t.Errorf("refused with %v, set aside: %v", err, damaged == nil)
	}
}

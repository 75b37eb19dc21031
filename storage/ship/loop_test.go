package ship

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowTarget is a map whose calls take their time, fail while it is down, or hang.
type slowTarget struct {
	mu sync.Mutex

	// Guarded by mu.
	objects map[string][]byte
	takes   time.Duration
	down    bool
	hangs   bool // until the context ends
}

func newSlowTarget() *slowTarget { return &slowTarget{objects: map[string][]byte{}} }

func (s *slowTarget) set(takes time.Duration, down, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.down, s.hangs = takes, down, hangs
}

func (s *slowTarget) call(ctx context.Context, do func()) error {
	s.mu.Lock()
	takes, down, hangs := s.takes, s.down, s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	if down {
		return errInjected
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	return nil
}

func (s *slowTarget) Put(ctx context.Context, name string, content []byte) error {
	return s.call(ctx, func() { s.objects[name] = bytes.Clone(content) })
}

func (s *slowTarget) Get(ctx context.Context, name string) (content []byte, err error) {
	found := false
	err = s.call(ctx, func() { content, found = s.objects[name] })
	if err == nil && !found {
		err = fs.ErrNotExist
	}
	return content, err
}

func (s *slowTarget) List(ctx context.Context, folder string) (names []string, err error) {
	err = s.call(ctx, func() { names = slices.Collect(maps.Keys(s.objects)) })
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, folder+"/") }), err
}

func (s *slowTarget) Remove(ctx context.Context, name string) error {
	return s.call(ctx, func() { delete(s.objects, name) })
}

// lines counts the lines of a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}

func (l *lines) containing(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.all {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// startBubble starts a shipper in a bubble of fake time.
func startBubble(target Target) (*Shipper, *scriptedLog, *lines) {
	l, written := newScriptedLog(), &lines{}
	s := New(Config{Log: l, LogID: 1, Epoch: 2, Target: target, Every: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(written, nil))})
	s.Start()
	return s, l, written
}

// TestEveryIsKept commits at all moments of the time between two looks, with a target that takes its time: what was
// committed is in a manifest within Config.Every.
func TestEveryIsKept(t *testing.T) {
	for _, takes := range []time.Duration{0, 100 * time.Millisecond, 250 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			target := newSlowTarget()
			target.set(takes, false, false)
			s, l, _ := startBubble(target)
			time.Sleep(20 * time.Second)
			worst := time.Duration(0)
			for range 400 {
				l.append([]byte("x"))
				time.Sleep(170 * time.Millisecond)
				worst = max(worst, s.Stats().Behind)
			}
			if worst > 5*time.Second || worst < time.Second {
				t.Errorf("calls of %v: up to %v behind, want at most 5s and looks that are not made all the time", takes, worst)
			}
			l.append([]byte("x"))
			base, bytes := l.Committed()
			time.Sleep(5 * time.Second)
			target.set(0, false, false)
			if end := shippedEnd(t, target); end < base+bytes {
				t.Errorf("calls of %v: 5 s later the target ends at %d, %d was committed", takes, end, base+bytes)
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTargetDown: a target that is down costs tries, at most a minute apart, and two lines of the log; then all is there.
func TestTargetDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlowTarget()
		s, l, written := startBubble(target)
		time.Sleep(10 * time.Second)
		target.set(0, true, false)
		l.append([]byte("while it is down"))
		time.Sleep(30 * time.Minute)
		stats := s.Stats()
		if stats.Errors < 30 || stats.Errors > 60 {
			t.Errorf("%d tries in 30 minutes", stats.Errors)
		}
		if stats.Behind < 30*time.Minute || stats.Behind > 31*time.Minute {
			t.Errorf("behind by %v after 30 minutes", stats.Behind)
		}
		target.set(0, false, false)
		time.Sleep(time.Minute)
		base, bytes := l.Committed()
		if behind, end := s.Stats().Behind, shippedEnd(t, target); behind != 0 || end != base+bytes {
			t.Errorf("a minute after it is up: behind by %v, at %d of %d", behind, end, base+bytes)
		}
		for text, want := range map[string]int{"the log is shipped\"": 1, "can't be shipped": 1, "shipped again": 1} {
			if got := written.containing(text); got != want {
				t.Errorf("%d lines with %q, want %d", got, text, want)
			}
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowTargetIsCleaned: every look at a busy log takes longer than Config.Every. What is not needed any more
// is removed all the same, and what retention has rewritten gets its turn.
func TestSlowTargetIsCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlowTarget()
		target.set(1500*time.Millisecond, false, false)
		s, l, _ := startBubble(target)
		l.append([]byte("to be rewritten"))
		l.roll()
		for i := range 600 {
			if i == 300 {
				l.pack(0, 1, bytes.Repeat([]byte("rewritten"), 3<<20/9))
			}
			l.append([]byte("more"))
			time.Sleep(time.Second)
		}
		target.set(0, false, false)
		names, err := target.List(t.Context(), chunkFolder)
		if err != nil || len(names) > 60 {
			t.Errorf("%d chunks lie there after 10 minutes: %v", len(names), err)
		}
		if m := checkState(t, l, target); m.Files[0].Generation != 1 {
			t.Error("the rewritten file is not in the state 5 minutes later")
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestStop ships what is new, within the time it is given.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlowTarget()
		s, l, _ := startBubble(target)
		time.Sleep(10 * time.Second)
		l.append([]byte("the last words"))
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		base, bytes := l.Committed()
		if end := shippedEnd(t, target); end != base+bytes {
			t.Errorf("after Stop the target is at %d of %d", end, base+bytes)
		}
	})
	for name, hang := range map[string]bool{"while it hangs": true, "while it is down": false} {
		synctest.Test(t, func(t *testing.T) {
			target := newSlowTarget()
			s, l, _ := startBubble(target)
			time.Sleep(10 * time.Second)
			target.set(0, true, hang)
			l.append([]byte("more"))
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := s.Stop(ctx); err == nil || !strings.Contains(err.Error(), "lacks what was committed") {
				t.Errorf("Stop %s: %v", name, err)
			}
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("Stop %s took %v", name, took)
			}
		})
	}
}

// TestLongWayIsNotLost: while the first copy takes hours, states of whole files are put on the way, and a
// restart goes on from there.
func TestLongWayIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlowTarget()
		target.set(2*time.Second, false, false)
		l := newScriptedLog()
		for range 50 {
			l.append(bytes.Repeat([]byte("x"), 1000))
			l.roll()
		}
		config := Config{Log: l, LogID: 1, Epoch: 2, Target: target, Every: 5 * time.Second, Logger: quiet}
		s := New(config)
		s.Start()
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err == nil {
			t.Fatal("the copy was there in a minute, the test shows nothing")
		}
		end := shippedEnd(t, target)
		if base, bytes := l.Committed(); end < 10*1000 || end >= base+bytes {
			t.Fatalf("after a minute the target is at %d of %d", end, base+bytes)
		}
		counted := &flaky{Target: target}
		config.Target = counted
		again := New(config)
		mustLook(t, again)
		if total := int64(51 * 1064); counted.chunkBytes > total-end+1064 {
			t.Errorf("%d bytes were put by the second start, %d were there of %d", counted.chunkBytes, end, total)
		}
	})
}

// TestRestoreSurvivesAnOutage: a store that is down for some seconds does not end a restore, one that stays down does.
func TestRestoreSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlowTarget()
		s, _, _ := startBubble(target)
		time.Sleep(10 * time.Second)
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		source := &Source{Target: target}
		m, err := source.Manifest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, outage := range []time.Duration{5 * time.Second, time.Hour} {
			target.set(0, true, false)
			up := time.AfterFunc(outage, func() { target.set(0, false, false) })
			content, err := io.ReadAll(openFile(t, source, m.Files[0]))
			if short := outage < time.Minute; (err == nil) != short || short && int64(len(content)) != m.Files[0].Bytes {
				t.Errorf("down for %v: read %d bytes: %v", outage, len(content), err)
			}
			up.Stop()
		}
	})
}

// TestRemovalsMayFail: credentials that may not remove keep everything, and shipping goes on.
func TestRemovalsMayFail(t *testing.T) {
	_, directory := newDirectory(t)
	l := newScriptedLog()
	s := New(Config{Log: l, LogID: 1, Epoch: 2, Target: keeping{directory}, Logger: quiet})
	for range 3 * keptManifests {
		l.append([]byte("more"))
		mustLook(t, s)
	}
	checkState(t, l, directory)
	if manifests, err := listManifests(t.Context(), directory); err != nil || len(manifests) != 3*keptManifests {
		t.Errorf("%d manifests, %v", len(manifests), err)
	}
	if s.Stats().Errors == 0 {
		t.Error("nobody is told")
	}
}

type keeping struct{ Target }

func (keeping) Remove(context.Context, string) error { return errors.New("access denied") }

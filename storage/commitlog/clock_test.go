package commitlog

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// setClock is a clock that somebody sets. Safe from any goroutine.
type setClock struct {
	mu sync.Mutex

	// Guarded by mu.
	wall    time.Time
	running time.Duration
}

func (c *setClock) read() (time.Time, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall, c.running
}

// pass lets time go by, and steps the wall clock.
func (c *setClock) pass(d, step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running += d
	c.wall = c.wall.Add(d + step)
}

func TestAgeClock(t *testing.T) {
	start := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	type look struct {
		pass, step, want time.Duration // want is against the start
		jumped           bool
	}
	for name, c := range map[string]struct {
		newest time.Duration // against the start; 0: no record
		looks  []look
	}{
		"steady":           {0, []look{{time.Minute, 0, time.Minute, false}, {day, 0, day + time.Minute, false}}},
		"small steps":      {0, []look{{time.Minute, 50 * time.Second, 110 * time.Second, false}, {time.Minute, -30 * time.Second, 140 * time.Second, false}}},
		"ahead and back":   {0, []look{{time.Minute, day, time.Minute, true}, {time.Minute, 0, 2 * time.Minute, false}, {time.Minute, -day, 3 * time.Minute, false}, {day, 0, day + 3*time.Minute, false}}},
		"ahead for good":   {0, []look{{0, day, 0, true}, {59 * time.Minute, 0, 59 * time.Minute, false}, {time.Minute, 0, day + time.Hour, false}, {time.Minute, 0, day + 61*time.Minute, false}}},
		"ahead again":      {0, []look{{0, day, 0, true}, {59 * time.Minute, day, 59 * time.Minute, true}, {59 * time.Minute, 0, 118 * time.Minute, false}, {time.Minute, 0, 2*day + 119*time.Minute, false}}},
		"back":             {0, []look{{time.Minute, -day, time.Minute - day, false}, {time.Minute, 0, 2*time.Minute - day, false}}},
		"back and right":   {0, []look{{0, -day, -day, false}, {time.Minute, day, time.Minute - day, true}, {time.Hour, 0, 61 * time.Minute, false}}},
		"an old log":       {-day, []look{{59 * time.Minute, 0, 59*time.Minute - day, false}, {time.Minute, 0, time.Hour, false}}},
		"a young log":      {-time.Minute, []look{{0, 0, 0, false}}},
		"a log of after":   {day, []look{{time.Minute, 0, time.Minute, false}}},
		"ahead at a start": {-time.Minute, []look{{0, day, 0, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &setClock{wall: start, running: time.Nanosecond}
			newest := time.Time{}
			if c.newest != 0 {
				newest = start.Add(c.newest)
			}
			age := newAgeClock(clock.read, newest)
			for i, look := range c.looks {
				clock.pass(look.pass, look.step)
				jumps := age.jumps
				got := age.now().Sub(start)
				if jumped := age.jumps > jumps; got != look.want || jumped != look.jumped {
					t.Errorf("look %d: %v after the start, jumped %v, want %v, %v", i+1, got, jumped, look.want, look.jumped)
				}
			}
		})
	}
}

// TestAgeAndAClockThatJumps: messages are not dropped on the word of a clock that jumped, in the life of a log or while it was closed.
func TestAgeAndAClockThatJumps(t *testing.T) {
	const day = 24 * time.Hour
	clock := &setClock{wall: time.Now()}
	config := retentionConfig(vfs.NewMemory())
	config.clock = clock.read
	var lines strings.Builder
	config.Logger = slog.New(slog.NewTextHandler(&lines, nil))
	l := mustOpen(t, config)
	all := fill(t, l, 1, 300)["room-0"]
	keep := keepAll(storage.Retention{Age: 12 * time.Hour})
	kept := func(when string, n int, says string) {
		t.Helper()
		lines.Reset()
		retain(t, l, keep)
		checkRecords(t, when, readAll(t, l, "room-0"), all[len(all)-n:])
		if said := lines.String(); strings.Contains(said, "the clock is ahead") != (says != "") || !strings.Contains(said, says) {
			t.Errorf("%s it says %q, want %q", when, said, says)
		}
	}
	kept("at first", 300, "")
	clock.pass(0, day)
	kept("the clock is ahead", 300, "level=WARN")
	clock.pass(30*time.Minute, 0)
	kept("half an hour later", 300, "")
	clock.pass(time.Minute, -day)
	kept("it is right again", 300, "")
	mustClose(t, l)
	clock.pass(0, day)
	l = mustOpen(t, config)
	kept("opened a day later", 300, "level=INFO")
	clock.pass(time.Hour, 0)
	kept("and an hour", 0, "")
}

// TestSilentAndTheWallClock: a sync that takes a second is no hour because the clock was set, and an hour is one whatever the clock says.
func TestSilentAndTheWallClock(t *testing.T) {
	gate, clock := newGateFS(), &setClock{wall: time.Now(), running: 1}
	config := testConfig(gate)
	config.clock = clock.read
	go func() { // the header of the first segment
		<-gate.entered
		gate.leave <- nil
	}()
	l := mustOpen(t, config)
	t.Cleanup(func() { close(gate.open) }) // runs before the Close of mustOpen
	w := newWriter(l)
	w.mustAppend(t, "room", "m")
	<-gate.entered
	clock.pass(time.Second, time.Hour)
	if silent := l.Silent(); silent != time.Second {
		t.Errorf("silent for %v, want 1s", silent)
	}
	clock.pass(time.Hour, -2*time.Hour)
	if silent := l.Silent(); silent != time.Hour+time.Second {
		t.Errorf("silent for %v, want 1h0m1s", silent)
	}
	gate.leave <- nil
	w.mustCommit(t, 1)
}

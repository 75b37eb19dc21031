package commitlog

import (
	"log/slog"
	"math/rand/v2"
	"slices"
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
		doubt  time.Duration // of the life before
		looks  []look
	}{
		"steady":           {0, 0, []look{{time.Minute, 0, time.Minute, false}, {day, 0, day + time.Minute, false}}},
		"small steps":      {0, 0, []look{{time.Minute, 50 * time.Second, 110 * time.Second, false}, {time.Minute, -30 * time.Second, 140 * time.Second, false}}},
		"ahead and back":   {0, 0, []look{{time.Minute, day, time.Minute, true}, {time.Minute, 0, 2 * time.Minute, false}, {time.Minute, -day, 3 * time.Minute, false}, {day, 0, day + 3*time.Minute, false}}},
		"ahead for good":   {0, 0, []look{{0, day, 0, true}, {59 * time.Minute, 0, 59 * time.Minute, false}, {time.Minute, 0, day + time.Hour, false}, {time.Minute, 0, day + 61*time.Minute, false}}},
		"ahead again":      {0, 0, []look{{0, day, 0, true}, {59 * time.Minute, day, 59 * time.Minute, true}, {59 * time.Minute, 0, 118 * time.Minute, false}, {time.Minute, 0, 2*day + 119*time.Minute, false}}},
		"back":             {0, 0, []look{{time.Minute, -day, time.Minute - day, false}, {time.Minute, 0, 2*time.Minute - day, false}}},
		"back and right":   {0, 0, []look{{0, -day, -day, false}, {time.Minute, day, time.Minute - day, true}, {time.Hour, 0, 61 * time.Minute, false}}},
		"an old log":       {-day, 0, []look{{59 * time.Minute, 0, 59*time.Minute - day, false}, {time.Minute, 0, time.Hour, false}}},
		"a young log":      {-time.Minute, 0, []look{{0, 0, 0, false}}},
		"a log of after":   {day, 0, []look{{time.Minute, 0, time.Minute, false}}},
		"ahead before":     {-time.Minute, day, []look{{59 * time.Minute, 0, 59*time.Minute - day, false}, {time.Minute, 0, time.Hour, false}}},
		"ahead, and right": {day, day, []look{{time.Minute, -day, time.Minute - day, false}, {time.Minute, 0, 2*time.Minute - day, false}}},
		"ahead at a start": {-time.Minute, 0, []look{{0, day, 0, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &setClock{wall: start, running: time.Nanosecond}
			newest := time.Time{}
			if c.newest != 0 {
				newest = start.Add(c.newest)
			}
			age := newAgeClock(clock.read, newest, c.doubt)
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

// TestAgeAndAStartWithAWrongClock: a start, also one after a crash, goes on doubting a clock that jumped, though the newest messages were dated by it.
func TestAgeAndAStartWithAWrongClock(t *testing.T) {
	const day = 24 * time.Hour
	keep := keepAll(storage.Retention{Age: 12 * time.Hour})
	for _, crash := range []bool{false, true} {
		memory, clock := vfs.NewMemory(), &setClock{wall: time.Now()}
		config := retentionConfig(memory)
		config.clock = clock.read
		l := mustOpen(t, config)
		all := fill(t, l, 1, 300)["room-0"]
		retain(t, l, keep)
		for range 3 {
			clock.pass(time.Minute, day/3)
			retain(t, l, keep)
			w := newWriter(l)
			for i := range 50 { // some segments of them
				r := w.record("room-0", strings.Repeat("m", 100))
				now, _ := clock.read()
				r.At = now.UnixMilli()
				if err := w.append(r); err != nil {
					t.Fatal(err)
				}
				w.mustCommit(t, i+1)
				all = append(all, r)
			}
			if crash {
				config.FS = memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
				memory = config.FS.(*vfs.Memory)
			}
			mustClose(t, l)
			l = mustOpen(t, config)
			retain(t, l, keep)
			checkRecords(t, "doubted", readAll(t, l, "room-0"), all)
		}
		clock.pass(time.Hour, 0)
		retain(t, l, keep)
		if begin := l.Begin("room-0"); begin <= 300 {
			t.Errorf("the room begins at %d when the clock has gone on for an hour", begin)
		}
		if names, err := memory.List(testDir); err != nil || slices.Contains(names, doubtName) {
			t.Errorf("the doubt is over, there are %v, %v", names, err)
		}
		mustClose(t, l)
	}
}

// TestDamagedDoubt: what can't be read is no doubt, and no reason not to start.
func TestDamagedDoubt(t *testing.T) {
	memory := vfs.NewMemory()
	mustClose(t, mustOpen(t, testConfig(memory)))
	for content, want := range map[string]time.Duration{"": 0, "soon": 0, "-5\n": 0, "99999999999999999\n": 0, "86400000\n": 24 * time.Hour} {
		if err := vfs.RemoveIfExists(memory, testDir+"/"+doubtName); err != nil {
			t.Fatal(err)
		}
		file, err := memory.Create(testDir + "/" + doubtName)
		if err == nil {
			_, err = file.WriteAt([]byte(content), 0)
		}
		if err != nil || file.Close() != nil {
			t.Fatal(err)
		}
		if doubt, err := readDoubt(memory, testDir); doubt != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v, %v", content, doubt, err)
		}
		mustClose(t, mustOpen(t, testConfig(memory)))
	}
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

package gateway

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"testing"
)

func TestGrowthOfTheHeap(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, fastGrowth}, {1 << 20, fastGrowth}, {4 << 20, 200}, {16 << 20, 50}, {32 << 20, heapGrowth}, {1 << 30, heapGrowth},
	} {
		if got := growthFor(c.live); got != c.want {
			t.Errorf("a heap of %d bytes may grow by %d%%, want %d%%", c.live, got, c.want)
		}
	}
}

// TestGrowthInAStorm: while collections take much of the processors the heap may grow more, and afterwards no more than it must.
func TestGrowthInAStorm(t *testing.T) {
	var g growth
	collecting, passed := 0.0, 0.0
	turn := func(live uint64, share float64) int {
		passed += 2
		collecting += 2 * share
		g.turn(live, collecting, passed)
		return g.percent
	}
	if got := turn(1<<30, 0); got != heapGrowth {
		t.Errorf("a large heap at rest may grow by %d%%", got)
	}
	for range 3 {
		turn(1<<30, 0.3)
	}
	if got := turn(1<<30, 0.3); got != fastGrowth {
		t.Errorf("in a storm it may grow by %d%%", got)
	}
	if got := turn(1<<30, 0.03); got != fastGrowth {
		t.Errorf("when that helps it may grow by %d%%", got)
	}
	for range 4 {
		g.turn(1<<30, collecting, passed) // nothing is collected any more
	}
	if g.percent != heapGrowth {
		t.Errorf("after the storm it may grow by %d%%", g.percent)
	}
}

// TestTide: memory is given back once for a wave that has come and once when it has left, and not for those who come and go.
func TestTide(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(turn int) int
		want []int // turns
	}{
		{"a wave", func(turn int) int {
			if turn < 20 {
				return 15000
			}
			return 2000
		}, []int{10, 30}},
		{"a wave that comes and leaves by and by", func(turn int) int { return max(1000, 50000-1000*max(turn-30, 30-turn)) }, []int{89}},
		{"a slow wave", func(turn int) int { return 10000 + 80*min(turn, 60) }, []int{70}},
		{"a few", func(turn int) int { return 900 - turn }, nil},
		{"less than a tenth", func(turn int) int { return 100000 - 90*turn }, []int{10}},
		{"back and forth", func(turn int) int { return 10000 + 400*(turn%3) }, nil},
		{"a storm that comes back at once", func(turn int) int {
			if turn >= 20 && turn < 25 {
				return 0
			}
			return 15000
		}, []int{10, 35}}, // everybody has come anew
	} {
		var tide tide
		var at []int
		for turn := range 100 {
			if tide.turned(c.open(turn)) {
				at = append(at, turn)
			}
		}
		if !slices.Equal(at, c.want) {
			t.Errorf("%s: given back in turns %v, want %v", c.name, at, c.want)
		}
	}
}

// TestCollectionsAreHeldForATakeoverOnly: when the process does not manage its memory any more, to drain, the heap is collected as ever.
func TestCollectionsAreHeldForATakeoverOnly(t *testing.T) {
	t.Setenv("GOGC", "") // set, and nobody's choice
	const before = 100
	was := debug.SetGCPercent(before)
	defer debug.SetGCPercent(was)
	HoldCollections()
	if held := debug.SetGCPercent(-1); held != -1 {
		t.Fatalf("behind HoldCollections the heap may grow by %d%%", held)
	}
	s := &Server{log: slog.New(slog.DiscardHandler), hears: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.ManageMemory(ctx)
	if left := debug.SetGCPercent(before); left != before {
		t.Errorf("the heap may grow by %d%% afterwards, want %d%%", left, before)
	}
}

// TestTheLimitWhileCollectionsAreHeld: a heap that is not collected has half of what its cgroup leaves it, for the process that gives is there, too; when
// that has given, all of it.
func TestTheLimitWhileCollectionsAreHeld(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "") // so that it is put back
	os.Unsetenv("GOMEMLIMIT")
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}()
	const memory = 64 << 30
	cgroup := func() (uint64, error) { return memory, nil }
	holdCollections(cgroup)
	if got := debug.SetMemoryLimit(-1); got < memory*44/100 || got > memory*46/100 {
		t.Errorf("of %d bytes the heap may have %d while collections are held, want 45%%", memory, got)
	}
	s := &Server{log: slog.New(slog.DiscardHandler), hears: make(chan struct{})}
	close(s.hears)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.manageMemory(ctx, cgroup)
	if got := debug.SetMemoryLimit(-1); got < memory*89/100 || got > memory*91/100 {
		t.Errorf("of %d bytes the heap may have %d afterwards, want 90%%", memory, got)
	}
}

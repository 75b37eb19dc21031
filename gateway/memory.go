package gateway

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// How much memory the process holds beyond what it needs is the garbage collector's choice. Its default lets the heap
// double between collections: at a million idle connections most of a gigabyte of nothing. So it is told to let it grow
// by a quarter, which costs little where little is allocated. A small heap may grow by as much as a
// collection is worth. GOGC and GOMEMLIMIT, where set, hold instead.
const (
	heapGrowth  = 25      // percent, at least
	heapSpare   = 8 << 20 // bytes, at least
	fastGrowth  = 400     // percent, at most
	limitShare  = 0.9     // of the cgroup's memory: the rest is for what is no heap
	memoryEvery = time.Second
)

// A wave of connections that has left is noticed when this share of the most there were is gone and no more leave.
const (
	ebbShare  = 0.1
	ebbLeast  = 1000
	ebbSteady = 10 // turns of memoryEvery
)

// ManageMemory sets how the process uses memory until ctx is done: the limit of its cgroup, when the heap is collected, and
// that what a wave of connections needed goes back to the system when it has left. It is of the whole process:
// for one that is nothing but this server.
func (s *Server) ManageMemory(ctx context.Context) {
	if limit, err := memlimit.SetGoMemLimitWithOpts(
		memlimit.WithRatio(limitShare), memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithLogger(slog.New(slog.DiscardHandler)),
	); err == nil && limit > 0 {
		s.log.Info("memory is limited", "heap", limit)
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		defer debug.SetGCPercent(debug.SetGCPercent(fastGrowth))
	}
	tide, growth, shrunk := tide{}, fastGrowth, false
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	turn := time.NewTicker(memoryEvery)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		runtimemetrics.Read(live)
		if _, set := os.LookupEnv("GOGC"); !set {
			// Each change stops the world for a moment: small ones are not worth it.
			if wanted := growthFor(live[0].Value.Uint64()); wanted < growth*4/5 || wanted > growth*5/4 {
				growth = wanted
				debug.SetGCPercent(growth)
			}
		}
		if shrunk {
			debug.FreeOSMemory()
			s.log.Debug("gave back the memory of connections that have left", "open", s.engine.Open())
		}
		if shrunk = tide.ebbed(s.engine.Open()); shrunk {
			s.engine.Shrink() // the loops have done it a turn later
		}
	}
}

// growthFor is by how many percent a heap of that many live bytes may grow before it is collected.
func growthFor(live uint64) int {
	return int(min(fastGrowth, max(heapGrowth, heapSpare*100/max(1, live))))
}

// tide watches the number of connections.
type tide struct {
	most   int // since memory was last given back
	last   int
	steady int // turns for which it did not fall
}

// ebbed is told the number once a turn and reports that a wave has left.
func (t *tide) ebbed(open int) bool {
	t.most = max(t.most, open)
	if t.steady++; open < t.last-t.most/100 {
		t.steady = 0
	}
	t.last = open
	if gone := t.most - open; gone < ebbLeast || float64(gone) < ebbShare*float64(t.most) || t.steady < ebbSteady {
		return false
	}
	t.most, t.steady = open, 0
	return true
}

package gateway

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// How much memory the process holds beyond what it needs is the garbage collector's choice. Its default lets the heap
// double between collections: at a million idle connections most of a gigabyte of nothing. So it is told to let it grow
// by a quarter, which costs little where little is allocated, and a small heap by as much as a collection is worth. Where much is
// allocated, in a storm of connections, that would be a collection for every few thousand of them: so it may grow more while
// collections take a notable share of the processors. GOGC and GOMEMLIMIT, where set, hold instead.
const (
	heapGrowth  = 25      // percent, at least
	heapSpare   = 8 << 20 // bytes, at least
	fastGrowth  = 200     // percent, at most
	muchShare   = 0.05    // of the processors' time for collections: the heap may grow more
	littleShare = 0.01    // and below this less again
	limitShare  = 0.9     // of the cgroup's memory: the rest is for what is no heap
	memoryEvery = time.Second
)

// A wave of connections has come or left when this share of the most there were is new or gone, and the number is steady.
const (
	waveShare  = 0.1
	waveLeast  = 1000
	waveSteady = 10 // turns of memoryEvery
)

// ManageMemory sets how the process uses memory until ctx is done: the limit of its cgroup, when the heap is collected, and
// that what a wave of connections needed goes back to the system when it has come or left. It is of the whole process:
// for one that is nothing but this server.
func (s *Server) ManageMemory(ctx context.Context) { s.manageMemory(ctx, memlimit.FromCgroup) }

func (s *Server) manageMemory(ctx context.Context, cgroup memlimit.Provider) {
	kept := ownersCollections()
	select {
	case <-ctx.Done():
	case <-s.hears: // see HoldCollections
	}
	if limit, err := limitHeap(limitShare, cgroup); err == nil && limit > 0 {
		s.log.Info("memory is limited", "heap", limit)
	}
	if !kept {
		before := debug.SetGCPercent(fastGrowth)
		if before < 0 {
			before = 100 // as it was before HoldCollections
		}
		defer debug.SetGCPercent(before)
	}
	var tide tide
	var growth growth
	shrunk := false // a turn ago
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}}
	turn := time.NewTicker(memoryEvery)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		if !kept {
			runtimemetrics.Read(samples)
			live, before := samples[0].Value.Uint64(), growth.percent
			passed := samples[2].Value.Float64() * float64(realProcessors()) / float64(runtime.GOMAXPROCS(0))
			if growth.turn(live, samples[1].Value.Float64(), passed); growth.percent != before {
				debug.SetGCPercent(growth.percent)
			}
		}
		if shrunk {
			debug.FreeOSMemory()
			s.log.Debug("gave back memory that is not needed any more", "open", s.current().engine.Open())
		}
		if shrunk = tide.turned(s.current().engine.Open()); shrunk {
			s.current().engine.Shrink() // the loops have done it a turn later
		}
	}
}

// HoldCollections has nothing be collected until a second after the server reads what clients send, when ManageMemory begins: for a process that takes over, whose heap grows
// from nothing to all its sessions while their clients wait, and holds next to no garbage. The limit of its cgroup holds, of which the other process has its part.
// GOGC, where set, holds instead.
func HoldCollections() { holdCollections(memlimit.FromCgroup) }

func holdCollections(cgroup memlimit.Provider) {
	_, _ = limitHeap(limitShare/2, cgroup) // an error comes again, and is none: there may be no cgroup
	if !ownersCollections() {
		debug.SetGCPercent(-1)
	}
}

// limitHeap limits the heap to a share of what the cgroup has, and gives the limit; 0 where there is none. GOMEMLIMIT, where set, holds instead.
func limitHeap(share float64, cgroup memlimit.Provider) (int64, error) {
	return memlimit.SetGoMemLimitWithOpts(
		memlimit.WithRatio(share), memlimit.WithProvider(cgroup), memlimit.WithLogger(slog.New(slog.DiscardHandler)))
}

// ownersCollections reports whether the collector is its owner's. To Go an empty GOGC is none.
func ownersCollections() bool { return os.Getenv("GOGC") != "" }

// growth is by how many percent the heap may grow now.
type growth struct {
	percent            int
	collecting, passed float64 // the processors' seconds so far, of collections and in all
}

// turn is told the live bytes and the processors' seconds. Each change stops the world for a moment: small ones are not made.
func (g *growth) turn(live uint64, collecting, passed float64) {
	share := (collecting - g.collecting) / max(1e-9, passed-g.passed)
	if passed == g.passed {
		share = 0 // nothing was collected: the runtime counts when it does
	}
	g.collecting, g.passed = collecting, passed
	least, wanted := growthFor(live), g.percent
	switch {
	case share > muchShare:
		wanted *= 2
	case share < littleShare:
		wanted /= 2
	}
	if wanted = min(fastGrowth, max(least, wanted)); wanted < g.percent*4/5 || wanted > g.percent*5/4 {
		g.percent = wanted
	}
}

// growthFor is by how many percent a heap of that many live bytes may grow before it is collected, where nothing else is known.
func growthFor(live uint64) int {
	return int(min(fastGrowth, max(heapGrowth, heapSpare*100/max(1, live))))
}

// tide watches the number of connections.
type tide struct {
	most, least int // since memory was last given back
	before      int // what it was when it began to be steady
	steady      int // turns since, in which it was never far from that
}

// turned is told the number once a turn and reports that a wave has come or left.
func (t *tide) turned(open int) bool {
	t.most, t.least = max(t.most, open), min(t.least, open)
	if t.steady++; max(open-t.before, t.before-open) > t.most/100 {
		t.before, t.steady = open, 0 // a slow wave goes on, too
	}
	moved := max(t.most-open, open-t.least)
	if moved < waveLeast || float64(moved) < waveShare*float64(t.most) || t.steady < waveSteady {
		return false
	}
	t.most, t.least, t.steady = open, open, 0
	return true
}

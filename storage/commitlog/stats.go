package commitlog

import (
	"math"
	"sync/atomic"
	"time"
)

// Histogram counts observations. Counts[i] is how many were at most Bounds[i], the last
// bound being +Inf, so the counts are cumulative, as Prometheus has them.
type Histogram struct {
	Bounds []float64 // shared: don't change
	Counts []uint64  // owned by the caller
	Sum    float64
}

// Stats is a look at the counters. They are read one by one, so those of a commit in progress
// may be in one and not yet in another.
type Stats struct {
	Segments   int   // files
	OpenFiles  int   // descriptors of segments held now, see Config.OpenSegments
	Bytes      int64 // committed, of all segments
	DeadBytes  int64 // of them, about: of records that retention has taken
	Rooms      int
	QueueBytes int // of records that wait or are being committed

	// Since Open.
	Records uint64 // committed
	Batches uint64
	Syncs   uint64
	Damage  uint64 // places that were found damaged when the log was opened

	DroppedRecords    uint64 // taken by retention or Trim
	FreedBytes        int64  // given back by rewriting files without them
	Rewrites          uint64 // of runs of segments
	RetentionFailures uint64 // steps that did not finish

	SyncSeconds  Histogram // bounds 0.0001 to 3.2768, each twice the one before
	BatchRecords Histogram // bounds 1 to 65536, each twice the one before
}

var (
	syncSecondsBounds  = doublingBounds(0.0001, 16)
	batchRecordsBounds = doublingBounds(1, 17)
)

func doublingBounds(first float64, n int) []float64 {
	bounds := make([]float64, 0, n+1)
	for range n {
		bounds = append(bounds, first)
		first *= 2
	}
	return append(bounds, math.Inf(1))
}

// counters are written by the committer and read from any goroutine.
type counters struct {
	records      atomic.Uint64
	damage       atomic.Uint64
	syncSeconds  histogram
	batchRecords histogram
}

func newCounters() *counters {
	return &counters{
		syncSeconds:  histogram{bounds: syncSecondsBounds, counts: make([]atomic.Uint64, len(syncSecondsBounds))},
		batchRecords: histogram{bounds: batchRecordsBounds, counts: make([]atomic.Uint64, len(batchRecordsBounds))},
	}
}

// histogram has one writer, so a load and a store are enough for the sum.
type histogram struct {
	bounds []float64
	counts []atomic.Uint64 // not cumulative
	sum    atomic.Uint64   // bits of a float64
}

func (h *histogram) observe(value float64) {
	i := 0
	for value > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Store(math.Float64bits(math.Float64frombits(h.sum.Load()) + value))
}

func (h *histogram) read() (Histogram, uint64) {
	result := Histogram{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: math.Float64frombits(h.sum.Load())}
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		result.Counts[i] = total
	}
	return result, total
}

// Silent gives for how long the committer has been at one batch or one sync: seconds mean that the disk does not answer. Safe from
// any goroutine.
func (l *Log) Silent() time.Duration {
	began := l.turnedAt.Load()
	if began == 0 {
		return 0
	}
	return time.Duration(l.running() - began)
}

// running is 1 or more. It is not the wall clock: one that is set would seem to be a disk that does not answer.
func (l *Log) running() int64 {
	_, running := l.config.clock()
	return max(1, int64(running))
}

// Stats is safe from any goroutine, also after Close.
func (l *Log) Stats() Stats {
	segments := l.segments.load()
	stats := Stats{
		Segments:   len(segments),
		OpenFiles:  l.files.count(),
		Rooms:      l.table.len(),
		QueueBytes: int(l.queue.bytes.Load()),
		Records:    l.counters.records.Load(),
		Damage:     l.counters.damage.Load(),
	}
	for _, g := range segments {
		if !g.lost {
			stats.Bytes += g.size()
			stats.DeadBytes += g.dead.Load()
		}
	}
	r := l.retention
	stats.DroppedRecords, stats.FreedBytes = r.droppedRecords.Load(), r.freedBytes.Load()
	stats.Rewrites, stats.RetentionFailures = r.rewrites.Load(), r.failures.Load()
	stats.SyncSeconds, stats.Syncs = l.counters.syncSeconds.read()
	stats.BatchRecords, stats.Batches = l.counters.batchRecords.read()
	return stats
}

package room

import (
	"math"
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets, each twice the one before.
var latencyBounds = func() (bounds [17]time.Duration) {
	for i := range bounds {
		bounds[i] = 100 * time.Microsecond << i
	}
	return bounds
}()

// latency counts how long publishes took from their place in the room to their acknowledgement. Written by its shard, read by anyone.
type latency struct {
	counts [len(latencyBounds) + 1]atomic.Uint64 // not cumulative; the last is of what took longer
	sum    atomic.Int64                          // nanoseconds
}

func (l *latency) observe(took time.Duration) {
	i := 0
	for i < len(latencyBounds) && took > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(1)
	l.sum.Add(int64(max(0, took)))
}

// Latency is how many publishes took at most Bounds[i] seconds, the last bound being +Inf; and the sum of all their seconds.
type Latency struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// latency sums the shards.
func (rs *Rooms) latency() Latency {
	sum := Latency{Bounds: make([]float64, 0, len(latencyBounds)+1), Counts: make([]uint64, len(latencyBounds)+1)}
	for _, bound := range latencyBounds {
		sum.Bounds = append(sum.Bounds, bound.Seconds())
	}
	sum.Bounds = append(sum.Bounds, math.Inf(1))
	for _, s := range rs.shards {
		total := uint64(0)
		for i := range s.latency.counts {
			total += s.latency.counts[i].Load()
			sum.Counts[i] += total
		}
		sum.Sum += time.Duration(s.latency.sum.Load()).Seconds()
	}
	return sum
}

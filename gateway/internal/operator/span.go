package operator

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Rates are per second, over the last seconds.
type Rates struct {
	Seconds    float64 `json:"seconds"` // 0: there is only one reading yet
	Opened     float64 `json:"opened"`
	Requests   float64 `json:"requests"`
	Published  float64 `json:"published"`
	Ephemeral  float64 `json:"ephemeral"`
	Deliveries float64 `json:"deliveries"`
	Recent     float64 `json:"recentDeliveries"`
	Pages      float64 `json:"pages"`
	BytesIn    float64 `json:"bytesIn"`
	BytesOut   float64 `json:"bytesOut"`
	Batches    float64 `json:"commits"`
	Refused    float64 `json:"publishesRefused"`
}

func ratesOf(now, then Counts, seconds float64) Rates {
	return Rates{
		Seconds: seconds, Opened: per(now.Opened, then.Opened, seconds), Requests: per(now.Requests, then.Requests, seconds),
		Published: per(now.Published, then.Published, seconds), Ephemeral: per(now.Ephemeral, then.Ephemeral, seconds),
		Deliveries: per(now.Deliveries, then.Deliveries, seconds), BytesIn: per(now.BytesIn, then.BytesIn, seconds),
		BytesOut: per(now.BytesOut, then.BytesOut, seconds), Batches: per(now.Batches, then.Batches, seconds),
		Refused: per(now.Refused, then.Refused, seconds), Recent: per(now.Recent, then.Recent, seconds), Pages: per(now.Pages, then.Pages, seconds),
	}
}

func per(now, then int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(now-then) / seconds
}

// hit are the counts that are not 0, the largest first. Both lists have the same names in the same order.
func hit(now, then []Named, seconds float64) []Named {
	all := []Named{}
	for i, n := range now {
		if n.Count > 0 {
			all = append(all, Named{n.Name, n.Count, per(n.Count, then[i].Count, seconds)})
		}
	}
	slices.SortStableFunc(all, func(a, b Named) int { return cmp.Or(cmp.Compare(b.Second, a.Second), cmp.Compare(b.Count, a.Count)) })
	return all
}

// Histogram counts observations: Counts[i] were at most Bounds[i] seconds, the last bound being +Inf.
type Histogram struct {
	Bounds []float64
	Counts []uint64
}

// Latency are quantiles in seconds. 0 where nothing was observed.
type Latency struct {
	Count  uint64  `json:"count"`
	Over   float64 `json:"overSeconds"` // the time in which that was
	Median float64 `json:"p50"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p999"`
}

// latencyOf is of what was observed between two readings, or since the start where there is only one.
func latencyOf(now, then Histogram, over time.Duration, uptime float64) Latency {
	l := Latency{Over: over.Seconds()}
	counts := slices.Clone(now.Counts)
	if over > 0 {
		for i := range counts {
			counts[i] -= min(counts[i], then.Counts[i])
		}
	} else {
		l.Over = uptime
	}
	if len(counts) == 0 || counts[len(counts)-1] == 0 {
		return l
	}
	l.Count = counts[len(counts)-1]
	l.Median, l.P99, l.P999 = quantile(now.Bounds, counts, 0.5), quantile(now.Bounds, counts, 0.99), quantile(now.Bounds, counts, 0.999)
	return l
}

// quantile takes observations of a bucket to be spread evenly in it. Of those beyond the last bound nothing more is known.
func quantile(bounds []float64, counts []uint64, q float64) float64 {
	rank := q * float64(counts[len(counts)-1])
	i := 0
	for float64(counts[i]) < rank {
		i++
	}
	if math.IsInf(bounds[i], 1) {
		return bounds[i-1]
	}
	low, below := 0.0, uint64(0)
	if i > 0 {
		low, below = bounds[i-1], counts[i-1]
	}
	return low + (bounds[i]-low)*(rank-float64(below))/float64(counts[i]-below)
}

package main

import (
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// percentiles of what was measured, in milliseconds.
type percentiles struct {
	Count  int     `json:"count"`
	Median float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// percentilesOf sorts samples. Every one is kept, so these are not estimates.
func percentilesOf(samples []time.Duration) percentiles {
	if len(samples) == 0 {
		return percentiles{}
	}
	slices.Sort(samples)
	at := func(percent int) float64 {
		return milliseconds(samples[(len(samples)-1)*percent/100])
	}
	return percentiles{Count: len(samples), Median: at(50), P99: at(99), Max: at(100)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// growth is what a histogram of the server counted between two scrapes.
type growth struct {
	count  uint64
	sum    float64
	bounds []float64
	counts []uint64 // cumulative, by bound
}

func grown(before, after *dto.Histogram) growth {
	g := growth{count: after.GetSampleCount() - before.GetSampleCount(), sum: after.GetSampleSum() - before.GetSampleSum()}
	earlier := map[float64]uint64{}
	for _, b := range before.GetBucket() {
		earlier[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	for _, b := range after.GetBucket() {
		g.bounds = append(g.bounds, b.GetUpperBound())
		g.counts = append(g.counts, b.GetCumulativeCount()-earlier[b.GetUpperBound()])
	}
	return g
}

// atMost returns the bound under which so many percent of the values lie: all that buckets
// can say. It is 0 when the values are beyond the last bound or there are none.
func (g growth) atMost(percent uint64) float64 {
	for i, n := range g.counts {
		if g.count > 0 && n*100 >= g.count*percent {
			return g.bounds[i]
		}
	}
	return 0
}

func (g growth) mean() float64 {
	if g.count == 0 {
		return 0
	}
	return g.sum / float64(g.count)
}

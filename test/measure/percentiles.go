package measure

import (
	"slices"
	"time"
)

// Percentiles of what was measured, in milliseconds.
type Percentiles struct {
	Count  int     `json:"count"`
	Median float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// PercentilesOf sorts samples. Every one is kept, so these are not estimates.
func PercentilesOf(samples []time.Duration) Percentiles {
	if len(samples) == 0 {
		return Percentiles{}
	}
	slices.Sort(samples)
	at := func(percent int) float64 {
		return float64(samples[(len(samples)-1)*percent/100]) / float64(time.Millisecond)
	}
	return Percentiles{Count: len(samples), Median: at(50), P99: at(99), Max: at(100)}
}

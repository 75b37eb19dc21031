package main

import dto "github.com/prometheus/client_model/go"

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

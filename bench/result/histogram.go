package result

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// longestMicros is the largest latency that is kept; what is longer counts as this.
	longestMicros = int64(10 * time.Minute / time.Microsecond)
	// digits is the precision: a value is off by under 1%.
	digits = 2
)

// Histogram is a distribution of latencies from 1 microsecond to 10 minutes, each within 1% (HdrHistogram with
// two significant digits). It is not safe for concurrent use. As JSON it is a list of pairs, the
// middle of a bucket in microseconds and its count, ascending.
type Histogram struct {
	h   *hdrhistogram.Histogram
	sum float64 // microseconds, of all that was recorded as it was
}

// NewHistogram takes about 30 KB.
func NewHistogram() *Histogram {
	return &Histogram{h: hdrhistogram.New(1, longestMicros, digits)}
}

// Record counts a latency; one under a microsecond, or negative by an error of clocks, as one microsecond.
func (h *Histogram) Record(d time.Duration) { h.RecordN(d, 1) }

// RecordN counts a latency n times.
func (h *Histogram) RecordN(d time.Duration, n int64) {
	us := min(max(int64(d/time.Microsecond), 1), longestMicros)
	h.sum += float64(us) * float64(n)
	h.h.RecordValues(us, n) // never fails inside of its bounds
}

// Add adds another's counts.
func (h *Histogram) Add(other *Histogram) {
	if other != nil {
		h.h.Merge(other.h)
		h.sum += other.sum
	}
}

// Reset forgets everything.
func (h *Histogram) Reset() {
	h.h.Reset()
	h.sum = 0
}

// Count is how many latencies were recorded.
func (h *Histogram) Count() int64 {
	if h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Mean is the mean.
func (h *Histogram) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.Count()) * float64(time.Microsecond))
}

// Quantile gives the latency that a share q (0 to 1) of all did not exceed, 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	if q <= 0 {
		return time.Duration(h.h.Min()) * time.Microsecond
	}
	return time.Duration(h.h.ValueAtQuantile(q*100)) * time.Microsecond
}

// Summary gives the few numbers that tables show.
func (h *Histogram) Summary() Summary {
	if h.Count() == 0 {
		return Summary{}
	}
	ms := func(q float64) float64 { return float64(h.Quantile(q)) / float64(time.Millisecond) }
	return Summary{Count: h.Count(), P50: ms(.5), P90: ms(.9), P99: ms(.99), P999: ms(.999), Max: ms(1)}
}

// Bucket is a part of a histogram that is not empty.
type Bucket struct {
	From, To time.Duration // [From, To)
	Count    int64
}

// Buckets lists what is not empty, ascending.
func (h *Histogram) Buckets() []Bucket {
	if h == nil {
		return nil
	}
	var buckets []Bucket
	for _, bar := range h.h.Distribution() {
		if bar.Count > 0 {
			buckets = append(buckets, Bucket{
				From: time.Duration(bar.From) * time.Microsecond, To: time.Duration(bar.To+1) * time.Microsecond, Count: bar.Count,
			})
		}
	}
	return buckets
}

// histogramJSON is the form in a file.
type histogramJSON struct {
	SumMicros float64    `json:"sum_us"`
	Buckets   [][2]int64 `json:"buckets"`
}

func (h *Histogram) MarshalJSON() ([]byte, error) {
	form := histogramJSON{SumMicros: h.sum, Buckets: [][2]int64{}}
	for _, b := range h.Buckets() {
		middle := min(int64((b.From+b.To)/2/time.Microsecond), longestMicros) // the last bucket reaches beyond it
		form.Buckets = append(form.Buckets, [2]int64{middle, b.Count})
	}
	return json.Marshal(form)
}

func (h *Histogram) UnmarshalJSON(data []byte) error {
	var form histogramJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	read := NewHistogram()
	for _, b := range form.Buckets {
		if b[0] < 0 || b[0] > longestMicros || b[1] < 0 {
			return fmt.Errorf("histogram has a bucket of %d microseconds with count %d", b[0], b[1])
		}
		read.RecordN(time.Duration(b[0])*time.Microsecond, b[1])
	}
	read.sum = form.SumMicros
	*h = *read
	return nil
}

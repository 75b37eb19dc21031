package result

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

func TestEveryCountIsAdded(t *testing.T) {
	var one, sum Counts
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(int64(i + 1))
	}
	sum.Add(one)
	if sum != one {
		t.Errorf("the sum with nothing is %+v, want %+v", sum, one)
	}
	sum.Add(one)
	sum.Sub(one)
	if sum != one {
		t.Errorf("added and taken away: %+v, want %+v", sum, one)
	}
}

func TestClientsAreAddedAndTheBusiestLoopIsKept(t *testing.T) {
	sum := Client{CPUSeconds: 1, BusiestLoop: .5, HandshakesWaited: .5, RunDelaySeconds: .25, MemoryBytes: 10}
	sum.Add(Client{CPUSeconds: 2, BusiestLoop: .75, HandshakesWaited: .25, RunDelaySeconds: .5, MemoryBytes: 30})
	sum.Add(Client{BusiestLoop: .25})
	if want := (Client{CPUSeconds: 3, BusiestLoop: .75, HandshakesWaited: .5, RunDelaySeconds: .75, MemoryBytes: 40}); sum != want {
		t.Errorf("the sum is %+v, want %+v", sum, want)
	}
}

func TestHistogramKeepsEachLatencyWithinOnePercent(t *testing.T) {
	for _, want := range []time.Duration{time.Microsecond, 99 * time.Microsecond, 1234 * time.Microsecond, 777 * time.Millisecond, 9 * time.Minute} {
		h := NewHistogram()
		h.Record(want)
		for _, q := range []float64{0, .5, 1} {
			if got := h.Quantile(q); math.Abs(float64(got-want)) > float64(want)/100 {
				t.Errorf("the %v quantile of %v is %v", q, want, got)
			}
		}
		if h.Mean() != want {
			t.Errorf("the mean of %v is %v", want, h.Mean())
		}
	}
}

func TestHistogramBounds(t *testing.T) {
	h := NewHistogram()
	h.Record(-time.Second)
	h.Record(time.Hour)
	if h.Count() != 2 || h.Quantile(0) > 2*time.Microsecond || h.Quantile(1) < 9*time.Minute {
		t.Errorf("count %d from %v to %v, want 2 from 1 microsecond to 10 minutes", h.Count(), h.Quantile(0), h.Quantile(1))
	}
}

func TestHistogramSurvivesItsFile(t *testing.T) {
	h := NewHistogram()
	for i := range 10_000 {
		h.Record(time.Duration(i*i) * time.Microsecond)
	}
	h.Record(time.Hour)
	data, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	read := &Histogram{}
	if err := json.Unmarshal(data, read); err != nil {
		t.Fatal(err)
	}
	if got, want := read.Summary(), h.Summary(); got != want {
		t.Errorf("read back: %+v, want %+v", got, want)
	}
	if !reflect.DeepEqual(read.Buckets(), h.Buckets()) {
		t.Error("the buckets differ")
	}
	if read.Mean() != h.Mean() {
		t.Errorf("the mean is %v, want %v", read.Mean(), h.Mean())
	}
}

func TestHistogramRefusesWhatIsNone(t *testing.T) {
	for _, bad := range []string{`{"buckets":[[-1,2]]}`, `{"buckets":[[1,-2]]}`, `{"buckets":[[9999999999,1]]}`, `7`} {
		if err := json.Unmarshal([]byte(bad), &Histogram{}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestNoHistogramIsEmpty(t *testing.T) {
	var h *Histogram
	if h.Count() != 0 || h.Quantile(.5) != 0 || h.Mean() != 0 || h.Buckets() != nil || h.Summary() != (Summary{}) {
		t.Error("a nil histogram has something in it")
	}
}

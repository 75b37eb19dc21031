package main

import (
	"math"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"rookery/bench/result"
)

// TestQuantile: between two looks, within a bucket in proportion.
func TestQuantile(t *testing.T) {
	histogram := func(counts ...uint64) *dto.Histogram {
		h := &dto.Histogram{SampleCount: new(uint64)}
		bound := 0.001
		for _, n := range counts {
			*h.SampleCount += n
			cumulative, upper := *h.SampleCount, bound
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: &cumulative, UpperBound: &upper})
			bound *= 2
		}
		return h
	}
	before, after := histogram(100, 0, 0), histogram(100, 50, 50)
	for _, c := range []struct{ q, want float64 }{{0.25, 0.0015}, {0.5, 0.002}, {0.99, 0.00396}, {1, 0.004}} {
		if got := quantile(before, after, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
}

// TestDoubt: a figure of a run that lost something or tells of the load tester says so, whether it meets its target or not.
func TestDoubt(t *testing.T) {
	var r result.Result
	r.Verdict.Valid = true
	if d := doubt(r); d != "" {
		t.Errorf("a run in good order is doubted: %s", d)
	}
	r.Verdict.Valid = false
	if v := (figure{value: 1, target: most(2), doubt: doubt(r)}).verdict(); v != "met (load tester at its limit)" {
		t.Errorf("the verdict is %q", v)
	}
	r.Counts.Lost = 3
	if v := (figure{value: 3, target: most(2), doubt: doubt(r)}).verdict(); v != "MISSED (3 did not come, 0 twice, 0 reordered)" {
		t.Errorf("the verdict is %q", v)
	}
}

// TestLoadIsCounted: what a delivery costs is of the load's own seconds.
func TestLoadIsCounted(t *testing.T) {
	second := func(cpu float64, delivered int64) result.Second {
		return result.Second{Server: result.Process{CPUSeconds: cpu}, Counts: result.Counts{Delivered: delivered}}
	}
	r := result.Result{Seconds: []result.Second{second(5, 0), second(0.2, 100), second(0.4, 200), second(9, 10)}, LoadFrom: 1, LoadTo: 3}
	if got := perDelivery(r); math.Abs(got-0.002) > 1e-9 {
		t.Errorf("a delivery costs %v s", got)
	}
	if got := deliveriesPerSecond(r); got != 150 {
		t.Errorf("%v deliveries a second", got)
	}
	if got := perDelivery(result.Result{}); got != 0 {
		t.Errorf("nothing costs %v s", got)
	}
}

// TestComingBesideALoad: the longest of the loads counts, who had not come is told, and a load that was not timed in the other is none.
func TestComingBesideALoad(t *testing.T) {
	of := func(connections int, came int64, seconds float64) result.Result {
		r := result.Result{LoadTo: 10, Latencies: result.NewLatencies(), Connect: result.Phase{Count: came, Seconds: seconds}}
		r.Plan.Clients.Connections, r.Verdict.Valid = connections, true
		return r
	}
	crowd := of(10000, 10000, 1)
	o := newOverloaded()
	for _, seconds := range []float64{2.5, 0.5} {
		if err := o.add(crowd, of(100, 100, seconds)); err != nil {
			t.Fatal(err)
		}
	}
	if f := o.coming("x"); f.value != 2500 || f.verdict() != "" {
		t.Errorf("all came in 2.5 s at most, and the figure is %+v", f)
	}
	if err := o.add(crowd, of(100, 97, 1)); err != nil {
		t.Fatal(err)
	}
	if f := o.coming("x"); f.verdict() != "3 had not come when the load began" {
		t.Errorf("three are away, and the figure is %+v", f)
	}
	late := of(100, 100, 1)
	late.LoadTo = 11
	if err := o.add(crowd, late); err == nil {
		t.Error("a load that went on after the other one is a figure")
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("the median of %v is %v", c.values, got)
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSmallRun measures a real server, too little to be a figure but all the way.
func TestSmallRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "rookery")
	if out, err := exec.Command("go", "build", "-o", binary, "rookery/cmd/rookery").CombinedOutput(); err != nil {
		t.Fatalf("go build of the server: %v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	var out, progress strings.Builder
	err := run(ctx, []string{"--binary", binary, "--connections", "300", "--seconds", "1", "--json", file}, &out, &progress)
	if err != nil {
		t.Fatalf("%v, after %s", err, progress.String())
	}
	for _, want := range []string{"| What | Figure |", "300 connections", "2000 deliveries", "0 lost", "100 publishers with 16 in flight", "rookery "} {
		if !strings.Contains(out.String(), strings.ReplaceAll(want, "2000 deliveries", "2000 deliveries")) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}

	var r report
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case r.Density.Connections != 300 || r.Density.Idle.ResidentBytes <= r.Density.Before.AnonymousBytes:
		t.Errorf("density: %+v", r.Density)
	case r.Latency.Deliveries.Median <= 0 || r.Latency.Deliveries.Max < r.Latency.Deliveries.P99 || r.Latency.Lost != 0:
		t.Errorf("latency: %+v", r.Latency)
	}
	for _, d := range r.Durable {
		// A sync commits at most what is in flight.
		if d.PerSecond <= 0 || d.Syncs == 0 || d.Batch < 1 || d.Batch > float64(d.Publishers*d.InFlight) || d.SyncP99 < d.SyncMedian {
			t.Errorf("durable: %+v", d)
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--connections 5", "--connections is 5"},
		{"--connections 100000", "--connections is 100000"},
		{"--seconds 0", "--seconds is 0"},
		{"more", `unknown argument "more"`},
		{"--binary /does/not/exist", "build it with"},
	} {
		err := run(t.Context(), strings.Fields(c.args), &strings.Builder{}, &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestGrowthOfAHistogram(t *testing.T) {
	histogram := func(sum float64, counts ...uint64) *dto.Histogram {
		h := &dto.Histogram{SampleSum: &sum, SampleCount: &counts[len(counts)-1]}
		for i, bound := range []float64{0.001, 0.01, 0.1} {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &counts[i]})
		}
		return h
	}
	g := grown(histogram(1, 5, 5, 10, 10), histogram(3, 65, 103, 110, 110))
	if g.count != 100 || g.mean() != 0.02 || !slices.Equal(g.counts, []uint64{60, 98, 100}) {
		t.Errorf("it grew by %+v", g)
	}
	for percent, want := range map[uint64]float64{50: 0.001, 98: 0.01, 99: 0.1} {
		if got := g.atMost(percent); got != want {
			t.Errorf("%d%% are at most %v, want %v", percent, got, want)
		}
	}
	if beyond := grown(histogram(0, 0, 0, 0, 0), histogram(9, 0, 0, 1, 10)); beyond.atMost(50) != 0 {
		t.Errorf("beyond the last bound it gives %v", beyond.atMost(50))
	}
}

package report

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestStudentQuantile compares with printed tables of the 97.5% point.
func TestStudentQuantile(t *testing.T) {
	for freedom, want := range map[float64]float64{
		1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 10: 2.22814, 20: 2.08596, 30: 2.04227, 60: 2.00030, 120: 1.97993, 1000: 1.96234,
	} {
		if got := studentQuantile(0.975, freedom); math.Abs(got-want) > 5e-5*want {
			t.Errorf("with %v degrees of freedom it is %.5f, want %.5f", freedom, got, want)
		}
	}
	// With one degree of freedom it is the Cauchy distribution, with two there is a closed form.
	for _, p := range []float64{0.6, 0.9, 0.99} {
		if got, want := studentQuantile(p, 1), math.Tan(math.Pi*(p-0.5)); math.Abs(got-want) > 1e-9*want {
			t.Errorf("the %v point of Cauchy is %v, want %v", p, got, want)
		}
		if got, want := studentQuantile(p, 2), (2*p-1)/math.Sqrt(2*p*(1-p)); math.Abs(got-want) > 1e-9*want {
			t.Errorf("the %v point with two degrees is %v, want %v", p, got, want)
		}
	}
}

// TestWelch compares with a calculation by hand: variances 2.5 and 40 over 5 each give a standard error of the root of 8.5 and
// 8.5² / (0.25/4 + 64/4) = 4.4981 degrees of freedom, for which the 97.5% point lies between 2.77645 (4) and 2.57058 (5).
func TestWelch(t *testing.T) {
	before, after := sampleOf([]float64{1, 2, 3, 4, 5}), sampleOf([]float64{2, 6, 10, 14, 18})
	if before.mean != 3 || before.variance != 2.5 || after.mean != 10 || after.variance != 40 {
		t.Fatalf("samples are %+v and %+v", before, after)
	}
	got := welch(before, after, 0)
	half := (got.To - got.From) / 2
	if middle := (got.From + got.To) / 2; math.Abs(middle-7) > 1e-9 {
		t.Errorf("the middle is %v, want 7", middle)
	}
	if point := half / math.Sqrt(8.5); point < 2.57058 || point > 2.77645 || math.Abs(point-studentQuantile(.975, 72.25/16.0625)) > 1e-9 {
		t.Errorf("the interval is %v standard errors wide on each side", point)
	}
	// Alike variances and sizes are Student's own test with 2n-2 degrees of freedom.
	same := welch(before, sampleOf([]float64{11, 12, 13, 14, 15}), 0)
	if want := 2.306004; math.Abs((same.To-10)-want) > 1e-5 {
		t.Errorf("the half width is %v, want %v", same.To-10, want)
	}
}

// TestWelchCoversTheTruth: of intervals with 95% one in twenty misses, also where both sides vary and count differently.
func TestWelchCoversTheTruth(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	draw := func(n int, mean, deviation float64) sample {
		values := make([]float64, n)
		for i := range values {
			values[i] = mean + deviation*rng.NormFloat64()
		}
		return sampleOf(values)
	}
	const rounds = 4000
	covered := 0
	for range rounds {
		if i := welch(draw(4, 10, 1), draw(7, 12, 3), 0); i.From <= 2 && i.To >= 2 {
			covered++
		}
	}
	if share := float64(covered) / rounds; share < 0.935 || share > 0.965 {
		t.Errorf("%.1f%% of the intervals hold the truth, want 95%%", 100*share)
	}
}

func TestEqualValuesHaveNoVariance(t *testing.T) {
	if s := sampleOf([]float64{0.1, 0.1, 0.1}); s.mean != 0.1 || s.variance != 0 {
		t.Errorf("three times 0.1 are %+v", s)
	}
}

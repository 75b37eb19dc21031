package report

import "math"

// sample is a figure over the rounds of one side.
type sample struct {
	n        int
	mean     float64
	variance float64 // of the values, with n-1; 0 for one value
}

// sampleOf needs one value at least.
func sampleOf(values []float64) sample {
	// By the distance from the first, so that equal values have exactly their mean and no variance.
	s := sample{n: len(values), mean: values[0]}
	for _, v := range values {
		s.mean += (v - values[0]) / float64(s.n)
	}
	for _, v := range values {
		s.variance += (v - s.mean) * (v - s.mean) / float64(max(s.n-1, 1))
	}
	return s
}

// Interval is what a difference is with a confidence of 95%.
type Interval struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// confidence of every interval.
const confidence = 0.95

// welch gives the interval of the difference of two means, after minus before, without the assumption that both sides vary
// alike: B. L. Welch, "The generalization of 'Student's' problem when several different population variances
// are involved", Biometrika 34 (1947), with the degrees of freedom after F. E. Satterthwaite,
// "An approximate distribution of estimates of variance components", Biometrics Bulletin 2 (1946).
// Both sides need two values at least.
//
// Values that were rounded to steps can agree by accident, and no variance is seen where there is some. The variance of
// rounding, step²/12 (W. F. Sheppard, 1898), is therefore added to each side's. A step is the given share of the
// mean, 0 for exact values.
//
// It assumes that rounds are independent and their means about normal. Rounds that ran in blocks, all
// of one side and then all of the other, are not: a machine's slow hour is then taken for a change.
func welch(before, after sample, step float64) Interval {
	squaredError := func(s sample) float64 {
		rounding := step * s.mean * step * s.mean / 12
		return (s.variance + rounding) / float64(s.n)
	}
	b, a := squaredError(before), squaredError(after)
	difference := after.mean - before.mean
	if a+b == 0 {
		return Interval{From: difference, To: difference}
	}
	freedom := (a + b) * (a + b) / (b*b/float64(before.n-1) + a*a/float64(after.n-1))
	half := studentQuantile((1+confidence)/2, freedom) * math.Sqrt(a+b)
	return Interval{From: difference - half, To: difference + half}
}

// studentQuantile inverts the distribution of Student's t by bisection, for p over one half.
func studentQuantile(p, freedom float64) float64 {
	low, high := 0.0, 2.0
	for studentCumulative(high, freedom) < p {
		high *= 2
	}
	for range 100 {
		if middle := (low + high) / 2; studentCumulative(middle, freedom) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// studentCumulative is the probability of less than t, for t of 0 or more (Abramowitz and Stegun 26.7.1, by the incomplete beta
// function).
func studentCumulative(t, freedom float64) float64 {
	return 1 - incompleteBeta(freedom/(freedom+t*t), freedom/2, 0.5)/2
}

// incompleteBeta is the regularized incomplete beta function by its continued fraction (DLMF 8.17.22), which converges
// quickly for x < (a+1)/(a+b+2); the other half is the same one mirrored (DLMF 8.17.4).
func incompleteBeta(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2):
		return 1 - incompleteBeta(1-x, b, a)
	}
	lgammaOf := func(v float64) float64 {
		l, _ := math.Lgamma(v)
		return l
	}
	front := math.Exp(lgammaOf(a+b) - lgammaOf(a) - lgammaOf(b) + a*math.Log(x) + b*math.Log1p(-x))
	// From the innermost term outwards: no guard against a denominator of 0 is needed, since all partial ones are positive here.
	fraction := 1.0
	for m := 200; m >= 1; m-- {
		k := float64(m / 2)
		term := k * (b - k) * x / ((a + 2*k - 1) * (a + 2*k))
		if m%2 == 1 {
			term = -(a + k) * (a + b + k) * x / ((a + 2*k) * (a + 2*k + 1))
		}
		fraction = 1 + term/fraction
	}
	return front / a / fraction
}

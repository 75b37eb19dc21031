package report

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"rookery/bench/result"
)

// barWidth is the length of the longest bar; with its labels a line stays within 72 columns.
const barWidth = 40

// writeStepPlot draws the p99 of each step as a bar, on a logarithmic scale: near the knee it grows by powers of ten.
func writeStepPlot(b *bytes.Buffer, r *result.Result) {
	low, high := math.Inf(1), 0.0
	for _, step := range r.Steps {
		if v := step.Delivery.P99; v > 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	if high == 0 {
		return
	}
	width := utf8.RuneCountInString(raised(r))
	for _, step := range r.Steps {
		width = max(width, len(formatCount(step.Value)))
	}
	low = math.Pow(10, math.Floor(math.Log10(low)))
	fmt.Fprintf(b, "  %*s  delivery p99, logarithmic from %s\n", width, raised(r), formatSeconds(seconds(low)))
	for i, step := range r.Steps {
		length, value := 0, "-"
		if v := step.Delivery.P99; v > 0 {
			length = 1 + int(math.Round((barWidth-1)*math.Log(v/low)/max(math.Log(high/low), 1e-9)))
			value = formatSeconds(seconds(v))
		}
		mark, note := "#", ""
		switch {
		case i == r.Knee && hasKnee(r):
			note = "  <- knee"
		case !step.Holds:
			mark = "."
		}
		fmt.Fprintf(b, "  %*s |%s %s%s\n", width, formatCount(step.Value), strings.Repeat(mark, length), value, note)
	}
}

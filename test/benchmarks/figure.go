package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// row is one measurement, which gives some figures that belong together. It has a name of its own for --row.
type row struct {
	name string
	what string // one line
	// limit is when it has failed.
	limit   time.Duration
	measure func(ctx context.Context) ([]figure, error)
}

// figure is a number that was measured.
type figure struct {
	what   string
	value  float64
	unit   unit
	target target
	// emulated: a time of an emulated processor, which is told and not judged.
	emulated bool
	// doubt is what must be known of the run that it is from, empty if nothing.
	doubt string
}

// unit is what a figure's value is of.
type unit int

const (
	number       unit = iota
	byteSize          // in bytes
	milliseconds      // in milliseconds
	percent           // in hundredths
	microseconds      // in microseconds
	times             // a multiple
)

func (u unit) format(v float64) string {
	switch u {
	case byteSize:
		for _, larger := range []struct {
			size float64
			name string
		}{{1e9, "GB"}, {1e6, "MB"}} {
			if math.Abs(v) >= larger.size {
				return fmt.Sprintf("%.2f %s", v/larger.size, larger.name)
			}
		}
		if math.Abs(v) >= 100 {
			return grouped(v) + " B"
		}
		return fmt.Sprintf("%.1f B", v)
	case milliseconds:
		return fmt.Sprintf("%.1f ms", v)
	case microseconds:
		return fmt.Sprintf("%.1f µs", v)
	case times:
		return fmt.Sprintf("%.2f times", v)
	case percent:
		return fmt.Sprintf("%.1f%%", v)
	}
	return grouped(v)
}

// grouped is a whole number like 1,234,567.
func grouped(v float64) string {
	digits := strconv.FormatFloat(math.Abs(v), 'f', 0, 64)
	var b strings.Builder
	if v < 0 && digits != "0" {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// target is what a figure should be. The zero one is none.
type target struct {
	bound float64
	kind  targetKind
}

type targetKind int

const (
	noTarget targetKind = iota
	atMost
	atLeast
)

func most(bound float64) target  { return target{bound, atMost} }
func least(bound float64) target { return target{bound, atLeast} }

// text is the target in words, empty if there is none.
func (f figure) targetText() string {
	switch f.target.kind {
	case atMost:
		return "at most " + f.unit.format(f.target.bound)
	case atLeast:
		return "at least " + f.unit.format(f.target.bound)
	}
	return ""
}

// verdict says whether the target is met.
func (f figure) verdict() string {
	met := f.target.kind == atMost && f.value <= f.target.bound || f.target.kind == atLeast && f.value >= f.target.bound
	switch {
	case f.emulated:
		return "emulated"
	case f.target.kind == noTarget:
		return f.doubt
	}
	verdict := "MISSED"
	if met {
		verdict = "met"
	}
	if f.doubt != "" {
		verdict += " (" + f.doubt + ")"
	}
	return verdict
}

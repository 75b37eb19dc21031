package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// collections are those of a Go program, read from the lines that it writes with GODEBUG=gctrace=1.
type collections struct {
	mu     sync.Mutex // held for memory work only
	all    []collection
	faults error // the first line that could not be read
}

// collection is one of garbage.
type collection struct {
	stop time.Duration // the longer of its two stops of the world
	cpu  time.Duration // of all its parts, also on processors that had nothing else to do
}

// hear takes a line of the program.
func (c *collections) hear(line string) {
	if !strings.HasPrefix(line, "gc ") {
		return
	}
	one, err := parseCollection(line)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.faults == nil {
			c.faults = fmt.Errorf("the server's runtime said %q: %w", line, err)
		}
		return
	}
	c.all = append(c.all, one)
}

// so far there were so many.
func (c *collections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}

// since sums those after the first n.
func (c *collections) since(n int) (number int, longest, cpu time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.all[n:] {
		longest = max(longest, one.stop)
		cpu += one.cpu
	}
	return len(c.all) - n, longest, cpu, c.faults
}

// parseCollection reads a line like
//
//	gc 24 @27.611s 2%: 1.0+144+4.0 ms clock, 2.0+6.5/75/74+8.0 ms cpu, 27->27->15 MB, …
//
// The world stands in the first and the last part.
func parseCollection(line string) (c collection, err error) {
	_, parts, found := strings.Cut(line, "%: ")
	clock, rest, foundClock := strings.Cut(parts, " ms clock, ")
	cpu, _, foundCPU := strings.Cut(rest, " ms cpu")
	if !found || !foundClock || !foundCPU {
		return c, fmt.Errorf("it is no line of a collection")
	}
	times, err := sumsOf(clock)
	if err != nil {
		return c, err
	}
	if len(times) != 3 {
		return c, fmt.Errorf("it has %d parts, want 3", len(times))
	}
	c.stop = max(times[0], times[2])
	if times, err = sumsOf(cpu); err != nil {
		return c, err
	}
	for _, t := range times {
		c.cpu += t
	}
	return c, nil
}

// sumsOf gives the parts of "2.0+6.5/75/74+8.0", in milliseconds; slashes divide what is of one part.
func sumsOf(text string) ([]time.Duration, error) {
	var parts []time.Duration
	for part := range strings.SplitSeq(text, "+") {
		var sum time.Duration
		for value := range strings.SplitSeq(part, "/") {
			ms, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return nil, err
			}
			sum += time.Duration(ms * float64(time.Millisecond))
		}
		parts = append(parts, sum)
	}
	return parts, nil
}

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"rookery/bench/watch"
	"rookery/test/measure"
)

// report is everything that was measured and on what.
type report struct {
	When    time.Time
	Command string
	Version string
	Machine watch.Machine
	made

	Filled       filled // zero if the log was there
	Empty        opened // a log with nothing in it
	Open         []opened
	OpenCold     opened // with nothing in the page cache
	WrittenBytes int64  // by a writer, before it was killed
	Killed       []opened
	Serve        []served
	ServeKilled  []served
	Pages        pages
	CatchUp      catchUps
}

// perRoom and perMessage give what a log takes more than an empty one. Each is what it would be if the
// other one took nothing, so neither is too low.
func (r *report) perRoom() (heap, resident float64) {
	o := r.Open[0]
	return float64(o.HeapBytes-r.Empty.HeapBytes) / float64(o.Rooms), float64(o.ResidentBytes-r.Empty.ResidentBytes) / float64(o.Rooms)
}

func (r *report) perMessage() (heap, resident float64) {
	heap, resident = r.perRoom()
	ratio := float64(r.Open[0].Rooms) / float64(r.Messages)
	return heap * ratio, resident * ratio
}

func (r report) writeMarkdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %v, by `%s`\nwith %s.\n\n", r.When.Format(time.DateOnly), r.Machine, r.Command, r.Version)
	row := func(what, figure, asked string) { fmt.Fprintf(&b, "| %s | %s | %s |\n", what, figure, asked) }
	row("What", "Figure", "Asked")
	row("---", "---", "---")

	o := r.Open[0]
	row("The log", fmt.Sprintf("%d messages in %d rooms, %s in %d segments", r.Messages, o.Rooms, gigabytes(o.Bytes), o.Segments), "50 million in 100,000")
	if r.Filled.Took > 0 {
		row("Made, `sync: never`", fmt.Sprintf("in %.0f s, %.0f messages/s", r.Filled.Took.Seconds(), float64(r.Messages)/r.Filled.Took.Seconds()), "")
	}
	row("Open after a clean stop", slowest(r.Open, opened.took), "under 2 s")
	row("The same with nothing in the page cache", seconds(r.OpenCold.Took), "")
	row(fmt.Sprintf("Open after kill -9, %s written since the last checkpoint", gigabytes(r.WrittenBytes)), slowest(r.Killed, opened.took), "under 5 s")
	heap, resident := r.perRoom()
	row("Memory above that of an empty log, for each room", fmt.Sprintf("**%.1f bytes** of heap, %.1f resident", heap, resident), "at most 64")
	heap, resident = r.perMessage()
	row("The same, for each message", fmt.Sprintf("**%.3f bytes** of heap, %.3f resident", heap, resident), "at most 1")

	p := r.Pages
	row(fmt.Sprintf("Newest %d messages of a random room, page cache warm; %d reads", pageRecords, p.Quiet.Count), milliseconds(p.Quiet), "p99 under 5 ms")
	row(fmt.Sprintf("The same while %.0f messages/s are committed, a sync %.2f ms", p.PerSecond, p.SyncMillis), milliseconds(p.Busy), "p99 under 5 ms")

	c := r.CatchUp
	row("Catch-up of the busiest room, one reader", fmt.Sprintf("%.0f messages/s, %d read", c.Hot.perSecond(), c.Hot.Messages), "")
	row(fmt.Sprintf("Catch-up of %d random rooms, one reader", catchUpRooms), fmt.Sprintf("%.0f messages/s, %d read", c.Cold.perSecond(), c.Cold.Messages), "")
	row("Resident before the catch-ups, and at most during them", fmt.Sprintf("%.1f and %.1f MB", megabytes(c.ResidentBytes), megabytes(c.PeakBytes)), "bounded")

	row("`rookery serve`, from its start until it serves, after a clean stop", slowest(r.Serve, served.took), "")
	row("The same after kill -9, the log's end full of retry keys", slowest(r.ServeKilled, served.took), "")
	row("Resident memory of that server, with these keys", fmt.Sprintf("%.0f MB", megabytes(r.ServeKilled[0].ResidentBytes)), "")
	_, err := io.WriteString(out, b.String())
	return err
}

func (o opened) took() time.Duration { return o.Took }
func (s served) took() time.Duration { return s.Took }

// slowest gives the worst of some rounds, and the others behind it.
func slowest[T any](rounds []T, took func(T) time.Duration) string {
	all := make([]time.Duration, len(rounds))
	for i, round := range rounds {
		all[i] = took(round)
	}
	slices.Sort(all)
	slices.Reverse(all)
	others := make([]string, 0, len(all))
	for _, d := range all[1:] {
		others = append(others, fmt.Sprintf("%.3f", d.Seconds()))
	}
	return fmt.Sprintf("%s, others %s", seconds(all[0]), strings.Join(others, " "))
}

func seconds(d time.Duration) string { return fmt.Sprintf("**%.3f s**", d.Seconds()) }

func milliseconds(p measure.Percentiles) string {
	return fmt.Sprintf("%.2f ms p50, **%.2f ms** p99, %.2f ms max", p.Median, p.P99, p.Max)
}

func gigabytes(n int64) string  { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }
func megabytes(n int64) float64 { return float64(n) / 1e6 }

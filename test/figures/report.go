package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"rookery/bench/watch"
)

// report is everything that was measured and on what.
type report struct {
	When    time.Time     `json:"when"`
	Command string        `json:"command"`
	Version string        `json:"version"`
	Machine watch.Machine `json:"machine"`
	Density density       `json:"density"`
	Latency latency       `json:"latency"`
	Durable []durable     `json:"durable"`
}

func (r report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func (r report) writeMarkdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %v, by `%s`\nwith %s.\n\n", r.When.Format(time.DateOnly), r.Machine, r.Command, r.Version)
	row := func(what, figure string) { fmt.Fprintf(&b, "| %s | %s |\n", what, figure) }
	row("What", "Figure")
	row("---", "---")

	d := r.Density
	row(fmt.Sprintf("Memory of an idle WebSocket, authenticated, in a room of %d; %d connections", roomSize, d.Connections),
		fmt.Sprintf("**%.0f bytes** resident, %.0f bytes of live heap and stacks", d.PerConn, d.HeapPerConn))
	row("The same, whole process: resident before and after", fmt.Sprintf("%s and %s", mebibytes(d.Before.ResidentBytes), mebibytes(d.Idle.ResidentBytes)))
	row("Connect, log in and join them all", fmt.Sprintf("%.1f s", d.Opened.Seconds()))

	l := r.Latency
	row(fmt.Sprintf("Publish to delivery, synced before; %d rooms of %d, %d messages/s, from the intended moment; %d deliveries",
		l.Rooms, l.Members, l.Rate, l.Deliveries.Count),
		fmt.Sprintf("**%.2f ms** p50, **%.2f ms** p99, %.2f ms max, %d lost", l.Deliveries.Median, l.Deliveries.P99, l.Deliveries.Max, l.Lost))

	for _, d := range r.Durable {
		row(fmt.Sprintf("Durable messages of %d bytes, `log.sync: always`, %d publishers with %d in flight", d.Bytes, d.Publishers, d.InFlight),
			fmt.Sprintf("**%.0f/s**, reply after %.2f ms p50, %.2f ms p99", d.PerSecond, d.Replies.Median, d.Replies.P99))
		row("The same, syncs", fmt.Sprintf("%d, %.1f messages each; %.2f ms mean, p50 at most %g ms, p99 at most %g ms",
			d.Syncs, d.Batch, d.SyncMean, d.SyncMedian, d.SyncP99))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

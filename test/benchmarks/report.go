package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run of the program has measured, and on what.
type report struct {
	section string // of the page
	when    time.Time
	command string
	version string // of the program that was measured
	machine string
	notes   []string // what a reader of the figures must know
	results []measured
}

// measured is a row with its figures.
type measured struct {
	row     row
	figures []figure
	took    time.Duration
}

// write prints the table for a terminal.
func (r report) write(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %s\n%s\n", r.when.Format(time.DateOnly), r.machine, r.version)
	for _, note := range r.notes {
		fmt.Fprintln(&b, note)
	}
	for _, res := range r.results {
		fmt.Fprintf(&b, "\n%s: %s (%v)\n", res.row.name, res.row.what, res.took.Round(time.Second))
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, f := range res.figures {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", f.what, f.unit.format(f.value), f.targetText(), f.verdict())
		}
		table.Flush()
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// blocks are the parts of a section of the page, by the names of their rows. Each says by itself how it came about, since the rows
// of a section need not be of one run.
func (r report) blocks() map[string]string {
	blocks := map[string]string{}
	for _, res := range r.results {
		var b strings.Builder
		fmt.Fprintf(&b, "%s.\n\n| figure | measured | target | |\n|---|---|---|---|\n", res.row.what)
		for _, f := range res.figures {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.what, f.unit.format(f.value), f.targetText(), f.verdict())
		}
		fmt.Fprintf(&b, "\nMeasured %s with %s, by `%s`, on %s.", r.when.Format(time.DateOnly), r.version, r.command, r.machine)
		for _, note := range r.notes {
			b.WriteString(" " + note)
		}
		b.WriteString("\n")
		blocks[res.row.name] = b.String()
	}
	return blocks
}

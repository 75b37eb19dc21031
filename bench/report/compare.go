package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"rookery/bench/result"
)

// Comparison is what changed between the rounds of two sides.
type Comparison struct {
	Before []string `json:"before"` // each round's start
	After  []string `json:"after"`
	Rows   []Change `json:"rows"`
	// Warnings say what else is different between the rounds.
	Warnings []string `json:"warnings,omitempty"`
	// Invalid names the rounds whose load generator could not do its work.
	Invalid []string `json:"invalid,omitempty"`
}

// Change is one figure on both sides, in its base unit: seconds, bytes, cores or a number.
type Change struct {
	Figure string  `json:"figure"`
	Before float64 `json:"before"` // mean
	After  float64 `json:"after"`
	// Percent of Before; absent where that is 0.
	Percent *float64 `json:"percent,omitempty"`
	// Interval holds the difference with a confidence of 95%; absent with one round on a side.
	Interval *Interval `json:"interval,omitempty"`
	Outcome  Outcome   `json:"outcome"`
}

// Outcome says what a change is worth.
type Outcome string

const (
	Better  Outcome = "better"
	Worse   Outcome = "worse"
	Equal   Outcome = "equal"
	Noise   Outcome = "noise"   // no more than the rounds differ by themselves
	Unknown Outcome = "unknown" // one round on a side says nothing about noise
)

// latencyStep is how finely latencies are kept: histograms round them by up to 1% in each direction.
const latencyStep = 0.02

// Compare compares rounds. A figure that is missing on a side is left out, one that is missing in some rounds is of
// the others. Ask Refusal before the figures are believed.
func Compare(before, after []*result.Result) Comparison {
	c := Comparison{Before: starts(before), After: starts(after)}
	c.Warnings = append(differences(before, after), disagreements(before, after)...)
	c.Invalid = append(invalidRounds("before", before), invalidRounds("after", after)...)
	was, is := subjectsOf(before), subjectsOf(after)
	for i := range figures {
		f := &figures[i]
		b, a := values(f, was), values(f, is)
		switch {
		case !f.compared || len(a) == 0 && len(b) == 0:
		case len(b) == 0 || len(a) == 0:
			side := "before"
			if len(a) == 0 {
				side = "after"
			}
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s was not measured %s: %s", f.name, side, f.absent))
		case f.quiet && slices.Max(b) == 0 && slices.Max(a) == 0:
		default:
			c.Rows = append(c.Rows, changeOf(f, sampleOf(b), sampleOf(a)))
		}
	}
	return c
}

// Refusal is why the comparison says nothing, nil if it does.
func (c Comparison) Refusal() error {
	switch {
	case len(c.Before) == 0 || len(c.After) == 0:
		return errors.New("a comparison needs a result on each side")
	case len(c.Invalid) > 0:
		return fmt.Errorf("results that are invalid can't be compared: %s", strings.Join(c.Invalid, "; "))
	}
	return nil
}

func changeOf(f *figure, before, after sample) Change {
	change := Change{Figure: f.name, Before: before.mean, After: after.mean}
	difference := after.mean - before.mean
	if before.mean != 0 {
		percent := 100 * difference / before.mean
		change.Percent = &percent
	}
	step := 0.0
	if f.group == groupLatency {
		step = latencyStep
	}
	better := (difference < 0) == (f.better == lower)
	switch {
	case before.n < 2 || after.n < 2:
		change.Outcome = Unknown
		return change
	case difference == 0 && before.variance+after.variance == 0:
		change.Outcome = Equal
	}
	interval := welch(before, after, step)
	change.Interval = &interval
	switch {
	case change.Outcome == Equal:
	case interval.From <= 0 && interval.To >= 0:
		change.Outcome = Noise
	case better:
		change.Outcome = Better
	default:
		change.Outcome = Worse
	}
	return change
}

func subjectsOf(rounds []*result.Result) []*subject {
	var all []*subject
	for _, r := range rounds {
		all = append(all, subjectOf(r))
	}
	return all
}

func values(f *figure, rounds []*subject) []float64 {
	var all []float64
	for _, s := range rounds {
		if v, measured := f.value(s); measured {
			all = append(all, v)
		}
	}
	return all
}

func starts(rounds []*result.Result) []string {
	var all []string
	for _, r := range rounds {
		all = append(all, r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return all
}

func invalidRounds(side string, rounds []*result.Result) []string {
	var all []string
	for i, r := range rounds {
		if !r.Verdict.Valid {
			text := fmt.Sprintf("round %d %s", i+1, side)
			if r.Verdict.Cause != "" {
				text += " (" + r.Verdict.Cause + ")"
			}
			all = append(all, text)
		}
	}
	return all
}

// incidental are the parts of a plan that may differ between rounds that are compared.
var incidental = []string{"scenario", "server.targets", "server.metrics", "server.pid", "rooms.prefix", "assert", "clients.hosts"}

// settings is what a round was made with, by name: all of its plan but what is incidental, the machines and the tool.
func settings(r *result.Result) map[string]string {
	all := map[string]string{"rookery": r.Rookery, "transport": transportsOf(r)} // targets may differ, but not in that
	if data, err := json.Marshal(r.Plan); err == nil {
		var tree map[string]any
		if json.Unmarshal(data, &tree) == nil {
			flatten(all, "", tree)
		}
	}
	for _, name := range incidental {
		delete(all, name)
	}
	for i, host := range r.Hosts {
		name := fmt.Sprintf("load host %d", i+1)
		all[name] = fmt.Sprintf("%d × %s, %s", host.Cores, host.CPU, host.Kernel)
		all[name+" workers"] = fmt.Sprint(host.Workers)
	}
	return all
}

func flatten(into map[string]string, prefix string, tree map[string]any) {
	for name, value := range tree {
		if branch, isBranch := value.(map[string]any); isBranch {
			flatten(into, prefix+name+".", branch)
		} else if text, err := json.Marshal(value); err == nil {
			into[prefix+name] = string(text)
		}
	}
}

// differences compares each side's first round with the other's.
func differences(before, after []*result.Result) []string {
	if len(before) == 0 || len(after) == 0 {
		return nil
	}
	return differ("%s was %s before and is %s after", settings(before[0]), settings(after[0]))
}

// disagreements compares the rounds of a side among themselves.
func disagreements(before, after []*result.Result) []string {
	var all []string
	for _, side := range []struct {
		name   string
		rounds []*result.Result
	}{{"before", before}, {"after", after}} {
		for i := 1; i < len(side.rounds); i++ {
			format := "%s is %s in round 1 " + side.name + " and %s in round " + fmt.Sprint(i+1)
			all = append(all, differ(format, settings(side.rounds[0]), settings(side.rounds[i]))...)
		}
	}
	return all
}

func differ(format string, one, other map[string]string) []string {
	var names []string
	for name := range one {
		if one[name] != other[name] {
			names = append(names, name)
		}
	}
	for name := range other {
		if _, both := one[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf(format, name, orNone(one[name]), orNone(other[name])))
	}
	return all
}

func orNone(text string) string {
	if text == "" {
		return "not set"
	}
	return text
}

// Write writes the comparison as a table.
func (c Comparison) Write(w io.Writer) error {
	var b bytes.Buffer
	for _, name := range c.Invalid {
		fmt.Fprintf(&b, "INVALID: %s: its figures tell of the load generator, not of the server\n", plain(name))
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", plain(warning))
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	sec := section{
		title:   fmt.Sprintf("%d %s before, %d after", len(c.Before), plural(len(c.Before), "round", "rounds"), len(c.After)),
		columns: []string{"mean of", "before", "after", "change", "95% interval", "outcome"},
	}
	for _, row := range c.Rows {
		sec.rows = append(sec.rows, row.cells())
	}
	writeSection(&b, sec)
	if len(c.Before) < 2 || len(c.After) < 2 {
		b.WriteString("\nWith one round on a side nothing can be said about noise: run each side several times, in turn.\n")
	} else {
		fmt.Fprintf(&b, "\nOf %d figures one in twenty leaves its interval by chance. Rounds of both sides should run in turn.\n", len(c.Rows))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (c Change) cells() []string {
	f := figureNamed(c.Figure)
	cells := []string{f.name, f.unit.format(c.Before), f.unit.format(c.After)}
	if c.Percent != nil {
		cells = append(cells, fmt.Sprintf("%+.1f%%", *c.Percent))
	} else {
		cells = append(cells, signed(f.unit, c.After-c.Before))
	}
	switch {
	case c.Interval == nil:
		cells = append(cells, "")
	case c.Percent != nil:
		cells = append(cells, fmt.Sprintf("%+.1f%% to %+.1f%%", 100*c.Interval.From/c.Before, 100*c.Interval.To/c.Before))
	default:
		cells = append(cells, signed(f.unit, c.Interval.From)+" to "+signed(f.unit, c.Interval.To))
	}
	return append(cells, string(c.Outcome))
}

func signed(u unit, v float64) string {
	text := u.format(v)
	if v > 0 {
		return "+" + text
	}
	return text
}

// WriteFile writes the comparison as JSON.
func (c Comparison) WriteFile(path string) error {
	data, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return fmt.Errorf("write comparison %s: %w", path, err)
	}
	return replace(path, append(data, '\n'))
}

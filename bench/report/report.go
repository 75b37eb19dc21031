// Package report shows what a load run gave. Everything is made of a result.Result, or of its seconds while they
// come, and nothing here knows how load is made. What was not measured is left out or named as such: a zero
// is always one that was counted.
//
//	subject.go     the run, or a step of a search, in the numbers that figures are read from
//	figure.go      the table of figures: name, unit, direction, how to read it
//	unit.go        values in words, and words as values
//	assert.go      conditions on figures
//	section.go     what the table and the page both show
//	table.go       the final table; textplot.go its plot of a search
//	json.go        the result as a file; csv.go one row for each second
//	html.go        the page; chart.go and svg.go its plots
//	compare.go     rounds against rounds; welch.go when a change is more than noise
//	live.go        progress; prometheus.go the same for a scraper
package report

import (
	"fmt"

	"rookery/bench/result"
)

// state is what the verdict's first line is about, the worst first.
type state string

const (
	stateInvalid state = "invalid" // the figures tell of the generator
	stateFailed  state = "failed"  // a condition does not hold
	stateFaulty  state = "faulty"  // something was lost, doubled or in the wrong order, and no condition was about it
	stateLate    state = "late"    // nothing of that, but not all had come when the wait for it was over, and no condition was about it
	stateValid   state = "valid"
)

// headline is the verdict in one line.
func headline(r *result.Result) (state, string) {
	failed := 0
	for _, check := range r.Asserts {
		if !check.Holds {
			failed++
		}
	}
	switch faults, c := misdelivered(r.Counts), r.Counts; {
	case !r.Verdict.Valid:
		return stateInvalid, "INVALID: the load generator could not do what the plan says. " +
			"The figures tell of the generator, not of the server."
	case failed > 0:
		return stateFailed, fmt.Sprintf("FAILED: %d of %d conditions %s", failed, len(r.Asserts), plural(failed, "does not hold", "do not hold"))
	case c.Missing > 0 && c.Missing == wrong(c):
		return stateLate, fmt.Sprintf("LATE: %s of %s deliveries owed had not come when the wait for them was over", commas(c.Missing), commas(c.Expected))
	case faults != "":
		return stateFaulty, "FAULTY: " + faults
	case limitText(r) == "":
		return stateValid, "VALID: nothing limited this run"
	default:
		return stateValid, "VALID: " + limitText(r)
	}
}

// limitText says what limited the run, "" if nothing did.
func limitText(r *result.Result) string {
	if r.Verdict.Limit == "" || r.Verdict.Limit == "none" {
		return ""
	}
	return "limited by the " + r.Verdict.Limit
}

// wrong is how many deliveries were not as they should be.
func wrong(c result.Counts) int64 { return c.Undelivered() + c.Duplicated + c.Reordered + c.Foreign }

// misdelivered says in words which deliveries were wrong, "" if all were right.
func misdelivered(c result.Counts) string {
	words := ""
	for _, fault := range []struct {
		count int64
		word  string
	}{{c.Lost, "lost"}, {c.Missing, "missing in the end"}, {c.Duplicated, "duplicated"}, {c.Reordered, "reordered"}, {c.Foreign, "foreign"}} {
		if fault.count > 0 {
			if words != "" {
				words += ", "
			}
			words += fmt.Sprintf("%s %s", commas(fault.count), fault.word)
		}
	}
	if words == "" {
		return ""
	}
	return words + fmt.Sprintf(", of %s deliveries owed", commas(c.Expected))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

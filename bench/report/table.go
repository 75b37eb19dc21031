package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"rookery/bench/result"
)

// Write writes the final table, for a terminal as for a file: no colours, the verdict last, where the eye is.
func Write(w io.Writer, r *result.Result) error {
	var b bytes.Buffer
	for _, section := range sections(r) {
		writeSection(&b, section)
		if section.title == "Search" {
			b.WriteString("\n")
			writeStepPlot(&b, r)
			fmt.Fprintf(&b, "\n  %s\n", kneeText(r))
		}
		b.WriteString("\n")
	}
	_, line := headline(r)
	fmt.Fprintf(&b, "%s\n", line)
	for _, reason := range verdictLines(r) {
		fmt.Fprintf(&b, "  %s\n", plain(reason))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// verdictLines is what stands below the headline: what failed, the limit, and what led to it.
func verdictLines(r *result.Result) []string {
	var lines []string
	for _, check := range r.Asserts {
		if !check.Holds {
			lines = append(lines, fmt.Sprintf("%s does not hold: %s", check.Condition, found(check)))
		}
	}
	is, _ := headline(r)
	if faults := misdelivered(r.Counts); faults != "" && is != stateFaulty && is != stateLate {
		lines = append(lines, faults)
	}
	switch limited := limitText(r); {
	case limited == "":
	case is == stateValid && r.Verdict.Cause != "": // the headline has said what
		lines = append(lines, r.Verdict.Cause)
	case r.Verdict.Cause != "":
		lines = append(lines, limited+": "+r.Verdict.Cause)
	case is != stateValid:
		lines = append(lines, limited)
	}
	return append(lines, r.Verdict.Reasons...)
}

// writeSection aligns names to the left and numbers to the right.
func writeSection(b *bytes.Buffer, s section) {
	fmt.Fprintf(b, "%s\n", s.title)
	rows := s.rows
	if s.columns != nil {
		rows = append([][]string{s.columns}, rows...)
	}
	widths := columnWidths(rows)
	for _, row := range rows {
		line := " "
		for i, cell := range row {
			cell = plain(cell)
			gap := strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(cell), 0))
			left := i == 0 || s.words || i == len(row)-1 && i >= 6 // the last one of a search is a remark
			if left {
				line += " " + cell + gap
			} else {
				line += " " + gap + cell
			}
			line += " "
		}
		fmt.Fprintf(b, "%s\n", strings.TrimRight(line, " "))
	}
}

func columnWidths(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(plain(cell)))
		}
	}
	return widths
}

// plain makes a text that came from a server or a file harmless for a terminal: one line, no escape sequences.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError {
			return '?'
		}
		return c
	}, text)
}

package tuning

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// lineWidth is where lines of a report are broken.
const lineWidth = 110

var headings = map[Severity]string{
	Stops:   "What stops %s connections, in the order in which it is met:",
	Hurts:   "What makes connections or messages late or lost under load:",
	Advice:  "What could be better:",
	Unknown: "What is not known:",
}

// Write shows a report as text.
func (r Report) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "machine   %s\ngateway   %s\ntarget    %s\n", r.Machine, r.Gateway, r.Target)
	if r.Worst() == Fine {
		fmt.Fprint(out, "\nNothing limits it.\n")
	}
	number := 0
	for _, severity := range severities {
		var fine []string
		first := true
		for _, f := range r.Findings {
			if f.Severity != severity {
				continue
			}
			if severity == Fine {
				fine = append(fine, f.Key)
				continue
			}
			if first {
				fmt.Fprintf(out, "\n%s\n\n", fillHeading(headings[severity], r.Target))
			}
			first = false
			if severity == Unknown {
				fmt.Fprintf(out, "  %s: %s\n", f.Key, f.Says)
				continue
			}
			number++
			f.write(out, number)
		}
		if len(fine) > 0 {
			fmt.Fprintf(out, "\nFine (--all shows them):\n")
			wrap(out, "  ", "  ", strings.Join(fine, ", "))
		}
	}
	return out.Flush()
}

// WriteAll shows everything of each finding, also of those that are fine.
func (r Report) WriteAll(w io.Writer) error {
	if err := r.Write(w); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintln(out)
	for _, f := range r.Findings {
		if f.Severity == Fine {
			wrap(out, "", "  ", f.line())
			f.writeRest(out)
		}
	}
	return out.Flush()
}

func fillHeading(heading string, t Target) string {
	if strings.Contains(heading, "%s") {
		return fmt.Sprintf(heading, number(t.Connections))
	}
	return heading
}

func (f Finding) write(w io.Writer, n int) {
	wrap(w, fmt.Sprintf("%2d. ", n), "    ", f.line())
	f.writeRest(w)
}

// line says what is seen.
func (f Finding) line() string {
	line := fmt.Sprintf("%s is %s", f.Key, f.Current)
	if f.Says != "" {
		line += ": " + f.Says
	}
	return line
}

func (f Finding) writeRest(w io.Writer) {
	for _, part := range []struct{ name, text string }{
		{"from", f.From}, {"wanted", f.Wanted}, {"why", f.Reason}, {"cost", f.Cost}, {"do", f.Do}, {"source", f.Source},
	} {
		if part.text != "" {
			wrap(w, fmt.Sprintf("      %-7s ", part.name), strings.Repeat(" ", 14), part.text)
		}
	}
}

// wrap breaks a text into lines; first stands before the first one, rest before the others.
func wrap(w io.Writer, first, rest, text string) {
	line := first
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && len(line)+1+len(word) > lineWidth {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

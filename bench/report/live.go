package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"rookery/bench/result"
)

// Phase is a part of a run.
type Phase string

const (
	Filling    Phase = "filling rooms"
	Connecting Phase = "connecting"
	WarmUp     Phase = "warm-up"
	Load       Phase = "load"
	Draining   Phase = "draining"
)

// Progress is a run after one more second.
type Progress struct {
	// Step names the step of a search, like "20,000 messages/s". Empty: it is no search.
	Step  string
	Phase Phase
	// Connections is how many there are to be.
	Connections int64
	// Elapsed is the time since the phase began, Length how long it is planned to take, 0: until it is done.
	Elapsed, Length time.Duration
	Second          result.Second
}

const (
	barLength = 24 // with its brackets and percentage it fits into 40 columns
	// plainEach and plainFirst: where it is no terminal a line a second, and after the first ones fewer, for a log that is kept.
	plainFirst = 10
	plainEach  = 10
)

// Live shows the progress of a run. It is used by one goroutine.
type Live struct {
	// Set at construction.
	out   io.Writer
	width func() int // nil: no terminal

	totals  result.Counts
	shown   int // lines of the block that are on the screen
	seconds int // of this phase
	phase   Phase
}

// NewLive shows a block that is drawn again where out is a terminal, and lines otherwise, or if NO_COLOR or TERM=dumb
// is in the environment.
func NewLive(out io.Writer, environ []string) *Live {
	file, isFile := out.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) || isPlain(environ) {
		return &Live{out: out}
	}
	return &Live{out: out, width: func() int {
		width, _, err := term.GetSize(int(file.Fd()))
		if err != nil || width <= 0 {
			return 80
		}
		return width
	}}
}

// isPlain says whether the environment asks for lines without escape sequences.
func isPlain(environ []string) bool {
	return slices.ContainsFunc(environ, func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		return name == "NO_COLOR" && value != "" || name == "TERM" && value == "dumb"
	})
}

// Show shows one more second.
func (l *Live) Show(p Progress) {
	l.totals.Add(p.Second.Counts)
	if p.Phase != l.phase {
		l.phase, l.seconds = p.Phase, 0
	}
	l.seconds++
	if l.width == nil {
		if l.seconds <= plainFirst || l.seconds%plainEach == 0 {
			fmt.Fprintln(l.out, l.line(p))
		}
		return
	}
	width := l.width()
	l.draw(l.block(p, width), width)
}

// End leaves the last lines where they are; the terminal's next line is free.
func (l *Live) End() { l.shown = 0 }

// line is a second for a log.
func (l *Live) line(p Progress) string {
	parts := []string{fmt.Sprintf("%-10s %4s", p.Phase, formatDuration(p.Elapsed.Round(time.Second)))}
	if p.Step != "" {
		parts = append(parts, "at "+p.Step)
	}
	parts = append(parts, fmt.Sprintf("open %s of %s", commas(p.Second.Open), commas(p.Connections)))
	if p.Phase != Connecting {
		parts = append(parts, fmt.Sprintf("sent %s/s", commas(p.Second.Counts.Sent)), fmt.Sprintf("delivered %s/s", commas(p.Second.Counts.Delivered)))
	}
	if d := p.Second.Delivery; d.Count > 0 {
		parts = append(parts, fmt.Sprintf("p50 %s p99 %s max %s", milliseconds(d.P50), milliseconds(d.P99), milliseconds(d.Max)))
	}
	parts = append(parts, fmt.Sprintf("client busy %.0f%%", 100*p.Second.Client.BusiestLoop))
	if faults := l.faults(commas); len(faults) > 0 {
		parts = append(parts, strings.Join(faults, ", "))
	}
	return strings.Join(parts, "  ")
}

// block is what a terminal shows. Its lines fit into 40 columns, except for long names.
func (l *Live) block(p Progress, width int) []string {
	s := p.Second
	lines := []string{fmt.Sprintf("%s %s", p.Phase, formatDuration(p.Elapsed.Round(time.Second)))}
	if p.Length > 0 {
		lines[0] += " of " + formatDuration(p.Length)
	}
	if p.Step != "" {
		lines = append(lines, "at "+p.Step)
	}
	switch {
	case p.Phase == Connecting:
		lines = append(lines, bar(float64(s.Open), float64(p.Connections)))
	case p.Length > 0:
		lines = append(lines, bar(p.Elapsed.Seconds(), p.Length.Seconds()))
	}
	lines = append(lines, fmt.Sprintf("open       %s of %s", commas(s.Open), commas(p.Connections)))
	if p.Phase != Connecting {
		lines = append(lines,
			fmt.Sprintf("sent       %s/s", commas(s.Counts.Sent)),
			fmt.Sprintf("delivered  %s/s", commas(s.Counts.Delivered)))
	}
	if d := s.Delivery; d.Count > 0 {
		lines = append(lines,
			fmt.Sprintf("p50 %s  p90 %s", milliseconds(d.P50), milliseconds(d.P90)),
			fmt.Sprintf("p99 %s  p99.9 %s  max %s", milliseconds(d.P99), milliseconds(d.P999), milliseconds(d.Max)))
	}
	lines = append(lines, fmt.Sprintf("client     %.0f%% busy, %s", 100*s.Client.BusiestLoop, unitBytes.format(float64(s.Client.MemoryBytes))))
	if s.Server.Seen {
		lines = append(lines, fmt.Sprintf("server     %s cores, %s", digits(s.Server.CPUSeconds), unitBytes.format(float64(s.Server.MemoryBytes))))
	}
	faults := l.faults(func(n int64) string { return short(float64(n)) })
	if len(faults) == 0 {
		return append(lines, "no faults")
	}
	return append(lines, wrapped(faults, width)...)
}

// wrapped puts parts into lines of at most width columns, if each of them fits.
func wrapped(parts []string, width int) []string {
	lines := parts[:1:1]
	for _, part := range parts[1:] {
		last := &lines[len(lines)-1]
		if longer := *last + ", " + part; utf8.RuneCountInString(longer) <= width {
			*last = longer
		} else {
			lines = append(lines, part)
		}
	}
	return lines
}

// faults says what went wrong until now, nil if nothing did.
func (l *Live) faults(format func(int64) string) []string {
	var parts []string
	for _, fault := range []struct {
		count int64
		word  string
	}{
		{l.totals.Lost, "lost"}, {l.totals.Missing, "missing"}, {l.totals.ConnectsFailed, "failed"}, {l.totals.Disconnected, "cut"}, {l.totals.Refused, "refused"},
		{l.totals.Unsent, "unsent"}, {l.totals.Duplicated, "doubled"}, {l.totals.Reordered, "reordered"}, {l.totals.Foreign, "foreign"},
	} {
		if fault.count > 0 {
			parts = append(parts, format(fault.count)+" "+fault.word)
		}
	}
	return parts
}

func milliseconds(ms float64) string { return formatSeconds(seconds(ms)) }

// bar shows a share, "[######      ]  52%".
func bar(done, all float64) string {
	share := 0.0
	if all > 0 {
		share = min(max(done/all, 0), 1)
	}
	filled := int(share * barLength)
	return fmt.Sprintf("[%s%s] %3.0f%%", strings.Repeat("#", filled), strings.Repeat(" ", barLength-filled), 100*share)
}

// draw replaces the block. A line that the window would wrap is cut: the count of lines to go up would be wrong.
func (l *Live) draw(lines []string, width int) {
	var b bytes.Buffer
	if l.shown > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.shown)
	}
	b.WriteString("\r\x1b[J")
	for _, line := range lines {
		b.WriteString(cut(line, width))
		b.WriteByte('\n')
	}
	l.shown = len(lines)
	l.out.Write(b.Bytes()) // progress that can't be written is no reason to end a run
}

// cut leaves the first columns; every character here is one wide.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// figures are what are told of a run.
type figures struct {
	Before                      []met // in the order in which they were met
	After                       load
	BurstBefore, BurstAfter     burst
	SteeredBefore, SteeredAfter int64 // packets that RPS gave to another processor
	Compared                    int   // files
	Kernel, Stage               string
	Queue                       string // length of accept queues after
	Connections                 int
}

// met is a limit that check named, and what was held under it.
type met struct {
	Key, Current string
	At           int
	Load         load
}

func figuresFile(work string) string { return filepath.Join(work, "figures.json") }

func (f figures) save(work string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(figuresFile(work), b, 0o600)
}

func readFigures(work string) (f figures, err error) {
	b, err := os.ReadFile(figuresFile(work))
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(b, &f)
}

// text is the table of a run, for a page.
func (f figures) text() string {
	var b strings.Builder
	columns := append(slices.Clone(f.Before), met{Load: f.After})
	fmt.Fprintf(&b, "\n| for %s connections |", thousands(int64(f.Connections)))
	for i := range f.Before {
		b.WriteString([]string{" before |", " before, the first limit raised by hand |"}[min(i, 1)])
	}
	b.WriteString(" after |\n|" + strings.Repeat("---|", len(columns)+1) + "\n")
	row := func(name string, value func(met) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, column := range columns {
			fmt.Fprintf(&b, " %s |", value(column))
		}
		b.WriteString("\n")
	}
	row("`check` names first", func(m met) string {
		if m.Key == "" {
			return "nothing that stops them"
		}
		return fmt.Sprintf("%s, which is %s", m.Key, m.Current)
	})
	row("and says that it holds", func(m met) string {
		if m.Key == "" {
			return ""
		}
		return thousands(int64(m.At))
	})
	row("connections asked for", func(m met) string { return thousands(m.Load.Asked) })
	row("connections held", func(m met) string { return thousands(m.Load.Held) })
	row("connects that were refused or failed", func(m met) string { return thousands(m.Load.Failed) })
	row("limit of open files of the gateway", func(m met) string { return thousands(m.Load.Files) })
	row("resident memory of the gateway, most", func(m met) string { return fmt.Sprintf("%.1f MB", float64(m.Load.Process)/1e6) })
	fmt.Fprintf(&b, "\n| %s connections come while the gateway has no processor | before | after |\n|---|---|---|\n", thousands(burstSize))
	fmt.Fprintf(&b, "| length of accept queues | %s | %s |\n", untunedQueue, f.Queue)
	fmt.Fprintf(&b, "| connections made at once | %s | %s |\n", thousands(int64(f.BurstBefore.Made)), thousands(int64(f.BurstAfter.Made)))
	fmt.Fprintf(&b, "| times that an accept queue was full | %s | %s |\n", thousands(f.BurstBefore.Overflows), thousands(f.BurstAfter.Overflows))
	if f.SteeredAfter > 0 {
		fmt.Fprintf(&b, "\nPackets of the network card that another processor than the interrupted one handled: %s before, %s after (RPS, set by the udev rule at boot).\n",
			thousands(f.SteeredBefore), thousands(f.SteeredAfter))
	}
	fmt.Fprintf(&b, "\nAfter `rollback` %s files of /proc/sys, /sys/class/net and /etc were as before everything. On %s, Linux %s; times are not told, since the machine was busy or emulated.\n\n",
		thousands(int64(f.Compared)), f.Stage, f.Kernel)
	return b.String()
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// writePage puts the table into the page, between the two lines of its section.
func writePage(page, section, text string) error {
	begin, end := "<!-- "+section+": begin -->\n", "<!-- "+section+": end -->\n"
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(b), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q", page, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(page, []byte(before+begin+text+end+after), 0o644)
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// figures are what is told of a run.
type figures struct {
	First         string // key that check named first
	At            int    // connections that it said
	Before, After load
	Compared      int // files
	Kernel        string
	Connections   int
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
	fmt.Fprintf(&b, "\n| for %s connections | before | after |\n|---|---|---|\n", thousands(int64(f.Connections)))
	row := func(name string, value func(load) string) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, value(f.Before), value(f.After))
	}
	row("connections asked for", func(l load) string { return thousands(l.Asked) })
	row("connections held", func(l load) string { return thousands(l.Held) })
	row("connects that were refused or failed, with repetitions", func(l load) string { return thousands(l.Failed) })
	row("times that an accept queue was full", func(l load) string { return thousands(l.Overflows) })
	row("limit of open files of the gateway", func(l load) string { return thousands(l.Files) })
	row("resident memory of the gateway, most", func(l load) string { return fmt.Sprintf("%.1f MB", float64(l.Process)/1e6) })
	fmt.Fprintf(&b, "\nBefore, `check` named %s first and said that it holds %s connections. After `rollback` %s files of /proc/sys and /etc were as before everything. "+
		"On Linux %s; times are not told, since the machine was busy or emulated.\n\n", f.First, thousands(int64(f.At)), thousands(int64(f.Compared)), f.Kernel)
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

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rookery/test/measure"
)

// table is what docs/tls.md shows.
func (e *equipment) table(ctx context.Context, figures []figure, instructions []float64, listeners int) (string, error) {
	version, err := measure.Version(ctx, filepath.Join(e.work, server))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "`make ktls-vm`, %s, %s, Linux %s, connections of raw TCP with a session; memory is what each took of %d that came to %d, when the server had given back what it needed for their coming; a delivery, of %d bytes to one of %d in a room, is counted in instructions of the server and of the kernel for it:\n\n",
		version, time.Now().Format(time.DateOnly), e.kernel.Release, figures[0].Many-figures[0].Few, figures[0].Few, textBytes, listeners)
	b.WriteString("| | live memory of the process | its resident memory, without the program's pages | slabs of the kernel, with the client's end | instructions for a delivery | to plain |\n|---|---|---|---|---|---|\n")
	for i, f := range figures {
		fmt.Fprintf(&b, "| %s | %.0f B | %.0f B | %.1f KB | %.0f | %.2f |\n", f.Setting, f.Heap, f.Resident, f.Slab/1000, instructions[i], instructions[i]/instructions[0])
	}
	return b.String(), nil
}

// writePage puts a text between the lines of a page that are there for it.
func writePage(page, text string) error {
	const begin, end = "<!-- kernel: begin -->\n", "<!-- kernel: end -->\n"
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

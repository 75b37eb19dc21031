package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowReader takes nothing until it is let.
type slowReader struct {
	bytes.Buffer
	asked chan struct{} // has one when a write has begun
	takes chan struct{} // closed when it does
}

func (r *slowReader) Write(b []byte) (int, error) {
	select {
	case r.asked <- struct{}{}:
	default:
	}
	<-r.takes
	return r.Buffer.Write(b)
}

// TestTheLogWaitsForNobody: what its reader does not take waits, up to a bound, in its order; how much was dropped is told behind it.
func TestTheLogWaitsForNobody(t *testing.T) {
	r := &slowReader{asked: make(chan struct{}, 1), takes: make(chan struct{})}
	lines := newLogLines(r, func(missed int) { fmt.Fprintf(r, "missed %d\n", missed) })
	line := func(n int) string { return fmt.Sprintf("%d %s\n", n, strings.Repeat("x", 1000)) }
	const many = 3 * logWaiting / 1000
	for n := range many {
		if fmt.Fprint(lines, line(n)); n == 0 {
			<-r.asked // from here on nothing is taken out of what waits
		}
	}
	lines.close(time.Millisecond) // nothing is taken, and it comes back
	close(r.takes)
	lines.close(patience)
	said := r.String()
	before, missed, told := strings.Cut(said, "missed ")
	kept := strings.Count(before, "\n")
	if want := fmt.Sprintf("%d\n", many-kept); !told || missed != want || kept < logWaiting/len(line(many)) {
		t.Errorf("of %d lines %d are there, and %q are told to be missing", many, kept, missed)
	}
	for n := range kept {
		var ok bool
		if before, ok = strings.CutPrefix(before, line(n)); !ok {
			t.Fatalf("line %d is not where it belongs", n)
		}
	}
}

// pieces is what is written, each time.
type pieces []string

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, string(b))
	return len(b), nil
}

// TestLinesOfTheLogStayWhole among those of another process with the same pipe: each write is one that the kernel does not break, or a line that is too long.
func TestLinesOfTheLogStayWhole(t *testing.T) {
	var written pieces
	lines := newLogLines(&written, func(int) {})
	said := ""
	for n := range 20 {
		said += strings.Repeat("x", 200*n) + "\n" + strings.Repeat("y", unmixed-1) + "\n" + strings.Repeat("z", unmixed) + "\n"
	}
	fmt.Fprint(lines, said) // at once, as if they had waited
	lines.close(patience)
	if got := strings.Join(written, ""); got != said {
		t.Fatalf("%d bytes are written of %d", len(got), len(said))
	}
	for _, piece := range written {
		if !strings.HasSuffix(piece, "\n") || len(piece) > unmixed && strings.Count(piece, "\n") > 1 {
			t.Errorf("%d bytes with %d lines are written at once", len(piece), strings.Count(piece, "\n"))
		}
	}
}

// TestServesThoughItsLogIsNotTaken: of a pipe that is full, and it ends too.
func TestServesThoughItsLogIsNotTaken(t *testing.T) {
	reads, writes, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reads.Close()
	size, err := unix.FcntlInt(writes.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "audit.log")
	server := serveCommand(t, nil, "--audit-file", file, "--drain.window", "0s")
	server.Stderr = writes
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	writes.Close()
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		server.Process.Kill()
		ended <- <-ended
	})
	// The file is there again when a reload comes to it; each logs a line when it is done.
	const line = len("level=INFO msg=\"reloaded the configuration\"\n")
	reloads := size / line
	for n := range reloads {
		if !appears(t, file, ended) {
			t.Fatalf("it has not come to reload %d of %d", n, reloads)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := server.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	endsWell(t, server, ended)
	said, err := io.ReadAll(reads)
	if err != nil || !strings.Contains(string(said), "reloaded the configuration") {
		t.Errorf("what was taken is %q, %v", said, err)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressEvery is the time between two states of a progress line.
const progressEvery = 200 * time.Millisecond

// progress is a line on the standard error that changes while a command works, if that is a
// terminal. It belongs to one goroutine.
type progress struct {
	out  io.Writer // nil: nobody looks
	last time.Time
}

// newProgress shows nothing where the standard output is a terminal too and gets the result, which
// would be torn apart.
func newProgress(p process, elsewhere bool) *progress {
	if !isTerminal(p.stderr) || !elsewhere && isTerminal(p.stdout) {
		return &progress{}
	}
	return &progress{out: p.stderr, last: time.Now()}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// line replaces the line, unless the last one is too new.
func (s *progress) line(format string, values ...any) {
	if s.out == nil || time.Since(s.last) < progressEvery {
		return
	}
	s.last = time.Now()
	fmt.Fprintf(s.out, "\r\x1b[K"+format, values...)
}

// end clears the line.
func (s *progress) end() {
	if s.out != nil {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}

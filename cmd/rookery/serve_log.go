package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// logWaiting is how much of the log may wait for its reader.
	logWaiting = 1 << 20
	// lastLines is how long the end of the process waits for its last lines to be taken.
	lastLines = 2 * time.Second
	// unmixed is how much the kernel writes to a pipe in one piece (PIPE_BUF). Of more, what another process writes may come in the middle.
	unmixed = 4096
)

// logLines is a Writer of whole lines that never waits for their reader, since event loops log too: a pager at the other end of a pipe, or a terminal on which
// somebody has stopped the output, takes nothing for as long as it likes. What finds no room is dropped, and told when there is some again. To ask the kernel first whether a write would wait
// is no way: another process, that takes over, may write to the same pipe in between.
//
// The price is that a line of the moment in which the process panics may be missing, since a goroutine has to write it. What Go says of a panic is written by itself.
type logLines struct {
	// Set at construction.
	to     io.Writer
	missed func(lines int) // says at to that so many are missing; called by writeLoop only
	wake   chan struct{}   // holds one
	ended  chan struct{}   // closed when all is written

	mu      sync.Mutex // guards all below, held for memory work only
	waiting []byte
	dropped int // that found no room since waiting was taken last
	closed  bool
}

func newLogLines(to io.Writer, missed func(lines int)) *logLines {
	l := &logLines{to: to, missed: missed, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.writeLoop()
	return l
}

// Write takes a line, or drops it. It never fails: there is nobody to tell. Safe for concurrent use.
func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	if len(l.waiting)+len(line) <= logWaiting {
		l.waiting = append(l.waiting, line...)
	} else {
		l.dropped++
	}
	l.mu.Unlock()
	l.stir()
	return len(line), nil
}

func (l *logLines) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take gives what waits, and how many lines were dropped behind it. Nothing comes after last.
func (l *logLines) take() (lines []byte, dropped int, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, dropped = l.waiting, l.dropped
	l.waiting, l.dropped = nil, 0
	return lines, dropped, l.closed
}

// writeLoop writes what waits. Started by newLogLines, ended by close, if the reader lets it.
func (l *logLines) writeLoop() {
	defer close(l.ended)
	for range l.wake {
		lines, dropped, last := l.take()
		for len(lines) > 0 {
			n := unbroken(lines)
			_, _ = l.to.Write(lines[:n]) // an error is that nobody reads any more
			lines = lines[n:]
		}
		if dropped > 0 {
			l.missed(dropped)
		}
		if last {
			return
		}
	}
}

// unbroken is how many bytes of lines are written at once: whole lines, since a process that takes over writes its own to the same pipe.
func unbroken(lines []byte) int {
	if len(lines) <= unmixed {
		return len(lines)
	}
	if n := bytes.LastIndexByte(lines[:unmixed], '\n') + 1; n > 0 {
		return n
	}
	if n := bytes.IndexByte(lines, '\n') + 1; n > 0 {
		return n // a line that is longer
	}
	return len(lines)
}

// close returns when all lines are written, and after limit at the latest. What is written behind it may not be.
func (l *logLines) close(limit time.Duration) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stir()
	select {
	case <-l.ended:
	case <-time.After(limit):
	}
}

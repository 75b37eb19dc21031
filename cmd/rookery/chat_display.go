package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"

	client "rookery/client/go"
)

// display is where a conversation is read and written. Safe for concurrent use.
type display interface {
	// lines gives what the user types, and is closed at the end of it, when ended has the
	// reason, nil for an ordinary end.
	lines(ctx context.Context) (lines <-chan string, ended <-chan error)
	// message shows a message of the room.
	message(m client.Message)
	// note shows a line of the program itself.
	note(text string)
	// place says which room the user is in, and whether the gateway can be reached.
	place(room string, online bool)
}

// plain is a display for pipes and files: messages to the standard output, everything
// else to the standard error.
type plain struct{ process process }

func (d *plain) lines(ctx context.Context) (<-chan string, <-chan error) {
	return readLines(ctx, d.process.stdin)
}

func (d *plain) message(m client.Message) {
	fmt.Fprintln(d.process.stdout, chatLine(m, time.Now()))
}

func (d *plain) note(text string) { fmt.Fprintf(d.process.stderr, "rookery chat: %s\n", text) }

func (d *plain) place(string, bool) {}

// screen is a display for a terminal: what comes in is written above the line that is being
// typed.
type screen struct {
	// Set at construction.
	terminal *term.Terminal
	size     func() (width, height int, err error)

	mu sync.Mutex // keeps what is written by several whole
}

func newScreen(terminal io.ReadWriter, size func() (width, height int, err error)) *screen {
	return &screen{terminal: term.NewTerminal(terminal, "> "), size: size}
}

// lines reads in the background, because nothing can interrupt a read of a terminal: the
// goroutine ends with Ctrl-C, Ctrl-D, the terminal's end or the first line after ctx.
func (d *screen) lines(ctx context.Context) (lines <-chan string, ended <-chan error) {
	out, end := make(chan string), make(chan error, 1)
	go func() {
		defer close(out)
		for {
			line, err := d.terminal.ReadLine()
			if err != nil {
				// Ctrl-C and Ctrl-D are io.EOF; a terminal that is gone is no reason to complain
				// to it.
				end <- nil
				return
			}
			select {
			case out <- line:
			case <-ctx.Done():
				end <- nil
				return
			}
		}
	}()
	return out, end
}

func (d *screen) message(m client.Message) { d.write("", chatLine(m, time.Now())) }

func (d *screen) note(text string) {
	d.write(string(d.terminal.Escape.Yellow), "* "+text)
}

func (d *screen) write(color, line string) {
	if color != "" {
		line = color + line + string(d.terminal.Escape.Reset)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Asked every time instead of waiting for a signal that the window was resized, which
	// not every system has.
	if width, height, err := d.size(); err == nil {
		d.terminal.SetSize(width, height)
	}
	io.WriteString(d.terminal, line+"\n")
}

func (d *screen) place(room string, online bool) {
	prompt := safe(room)
	if !online {
		prompt += " (offline)"
	}
	d.terminal.SetPrompt(prompt + "> ")
}

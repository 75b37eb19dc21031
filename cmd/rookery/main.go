// Rookery is a real-time chat gateway in one binary: the server and the tools around it,
// each a command.
//
//	rookery serve --dev          run the server, here without tokens
//	rookery chat lobby           talk in a room
//	rookery token --user alice   make a token that the server takes
//	rookery help                 list the commands
//
// A command exits with 0 when it did what was asked, with 1 when it failed, and with 2
// when it refused what it was told: an unknown command, a wrong flag, a wrong setting.
// Results go to the standard output, everything else to the standard error.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

const (
	exitOK      = 0
	exitFailed  = 1
	exitRefused = 2
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], process{
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		environ: os.Environ(),
	}))
}

// A process is what a command has of the world around it. Commands touch no other part of
// it, so that a test can run one.
type process struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string
}

// refuse says on the standard error why a command can't be run as it was asked, and
// returns its exit status.
func (p process) refuse(command, format string, values ...any) int {
	fmt.Fprintf(p.stderr, "rookery %s: %s\n", command, fmt.Sprintf(format, values...))
	return exitRefused
}

// fail says on the standard error why a command ended early, and returns its exit status.
func (p process) fail(command string, err error) int {
	fmt.Fprintf(p.stderr, "rookery %s: %v\n", command, err)
	return exitFailed
}

// A command is one word behind rookery. Its run gets the arguments behind that word and
// returns the exit status.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, p process) int
}

// commands lists the commands in the order in which help shows them: the server, what
// works on it, the rest.
func commands() []command {
	return []command{
		{"serve", "run the server", serve},
		{"chat", "talk in a room", chat},
		{"publish", "put messages into a room", publish},
		{"tail", "print a room as it goes", tail},
		{"token", "make a signed token for a user", token},
		{"backup", "copy the log while the server runs", backUp},
		{"restore", "make a log of a backup", restore},
		{"log", "verify, dump or sum up the log", logTools},
		{"export", "write the log as lines of JSON", export},
		{"import", "make a log of an export", importLog},
		{"bench", "put a server under load", benchCommand},
		{"tune", "find what limits this machine, and set it", tune},
		{"health", "ask a server how it is", healthy},
		{"version", "print the version of this binary", version},
	}
}

func run(ctx context.Context, args []string, p process) int {
	if len(args) == 0 {
		usage(p.stderr)
		return exitRefused
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		// "rookery help token" and "rookery token --help" are the same question.
		if len(rest) == 0 {
			usage(p.stdout)
			return exitOK
		}
		name, rest = rest[0], []string{"--help"}
	case "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, rest, p)
		}
	}
	return p.refuse(name, "there is no such command; rookery help lists them")
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Rookery is a real-time chat gateway.\n\nUsage: rookery COMMAND [FLAGS]\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(table, "  %s\t%s\n", c.name, c.summary)
	}
	table.Flush()
	fmt.Fprint(w, "\nrookery help COMMAND says more about one.\n")
}

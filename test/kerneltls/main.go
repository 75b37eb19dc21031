//go:build linux

// Kerneltls shows on a kernel with the module tls that connections whose records are the kernel's are as good as others, and measures what they
// cost. It boots a virtual machine, since a host may have no such module, and runs there the tests of TLS as they are:
// the same ones that run everywhere, which find the records in the kernel here and are told that they have to.
//
//	make ktls-vm
//	go run ./test/kerneltls [--tests PATTERNS] [--rounds N] [--connections N] [--listeners N] [--write]
//
//	main.go     flags, and the order of things
//	machine.go  the machine and what is in it, from here
//	guest.go    and from within
//	measure.go  servers in three settings, one after the other, and their crowds
//	report.go   the table for docs/tls.md
//
// The processor is emulated: memory is that of a real kernel, times say nothing. So what a delivery costs is counted in instructions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

type options struct {
	tests       string
	rounds      int
	connections int
	listeners   int
	write       bool
}

func main() {
	if os.Getpid() == 1 {
		live()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "kerneltls:", err)
		os.Exit(1)
	}
}

// ofTLS are the tests of the gateway that speak TLS, and of those that speak plain TCP, too, the part with TLS.
const ofTLS = "TLS|Record|Resumed|LeastVersion|Pieces|KeyUpdate|Alerts|TakeoverOf,TestConformance/tls"

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o := options{}
	set := flag.NewFlagSet("kerneltls", flag.ContinueOnError)
	set.SetOutput(progress)
	set.StringVar(&o.tests, "tests", ofTLS, "which tests of the gateway run in the machine, `patterns` of go test with commas between; empty for none")
	set.IntVar(&o.rounds, "rounds", 5, "how often the server is killed while clients speak with it over TLS; 0 for not at all")
	set.IntVar(&o.connections, "connections", 5000, "up to how many connections are measured, from a fifth of them on; 0 for none")
	set.IntVar(&o.listeners, "listeners", 500, "to how many a message is delivered, where instructions are counted; 0 for not at all")
	set.BoolVar(&o.write, "write", false, "put the figures into docs/tls.md")
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	work, err := os.MkdirTemp("", "rookery-kerneltls-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	e, err := provide(ctx, filepath.Join("bin", "vm"), work, progress)
	if err != nil {
		return err
	}
	var answer said
	if first := (order{Tests: o.tests, Rounds: o.rounds, Connections: o.connections}); first != (order{}) {
		if answer, err = e.give(ctx, first, progress); err != nil {
			return err
		}
	}
	if o.listeners == 0 {
		return nil
	}
	// In a machine of its own, since one whose clock counts takes long for everything else.
	counted, err := e.give(ctx, order{Listeners: o.listeners}, progress)
	if err != nil || o.connections == 0 {
		return err
	}
	text, err := e.table(ctx, answer.Figures, counted.Counted, o.listeners)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, text); err != nil || !o.write {
		return err
	}
	return writePage(filepath.Join("docs", "tls.md"), text)
}

// Benchmarks measures what docs/benchmarks.md says of rookery and prints each figure beside its target.
//
//	make bench
//	make bench-vm
//	go run ./test/benchmarks [--vm] [--row NAME]... [--write] [--scale 0.02] [--profile DIR]
//
// Without --vm server and load tester are two programs of this machine and share its processors. With --vm the rows are those that need more descriptors, or kernel settings, than a host may grant: server and load
// tester run in a virtual machine without a network, or in one each with nothing but a cable between, as root of it. What memory costs there is what it costs elsewhere.
// Times are not, since the processor is emulated: they are told and marked.
//
//	main.go            flags, the rows one after the other, the end
//	figure.go          a row, a figure, a target
//	report.go          tables
//	section.go         the page
//	host.go            the rows of this machine, and how a load is put on
//	host_server.go     the server under it
//	host_bare.go       one that only reads and writes, to compare
//	host_connect.go    who comes and goes
//	host_tls.go        what TLS costs beside none
//	host_delivery.go   messages
//	host_crowd.go      who is slow, who comes back, who is too many
//	host_people.go     receipts and presence
//	vm.go              the rows that need the machine, and what it is made of
//	vm_machine.go      programs in it
//	vm_server.go       the server
//	vm_crowd.go        connections to it
//	vm_takeover.go     another server in the place of the first
//	vm_rented.go       a server in a machine as it is rented, and its clients in another one
//	vm_kernel.go       what the kernel says of memory
//	vm_collections.go  what the server's runtime says of its collections of garbage
//	row_*.go           a row, or two of one kind
//
// Beside it: bare is that server, guest is the first process of the machine, control is what guest and host say.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"rookery/test/benchmarks/collecting"
)

// page has a section for each kind of row.
const page = "docs/benchmarks.md"

type options struct {
	vm      bool
	rows    []string // empty: all
	scale   float64
	write   bool
	profile string
	cache   string
}

func main() {
	if collecting.Asked(os.Args) {
		collecting.Main(os.Stdout, os.Stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "benchmarks:", err)
		}
		os.Exit(1)
	}
}

// place is where rows are measured.
type place interface {
	describe(ctx context.Context, r *report) error
	rows() []row
	close()
}

// run measures the rows and writes the table to out; what it is doing goes to progress. An error says which rows
// have no figures. That a target is missed is no error.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	r := report{when: time.Now().UTC(), section: "host", command: strings.Join(append([]string{"go run ./test/benchmarks"}, args...), " ")}
	var p place
	if o.vm {
		r.section = "vm"
		p, err = provide(ctx, o, progress)
	} else {
		p, err = newHost(ctx, o, progress)
	}
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.describe(ctx, &r); err != nil {
		return err
	}
	all := p.rows()
	rows, err := choose(all, o.rows)
	if err != nil {
		return err
	}
	err = r.measure(ctx, rows, progress)
	if len(r.results) == 0 {
		return err
	}
	err = errors.Join(err, r.write(out))
	if o.write {
		err = errors.Join(err, writeSection(page, r.section, names(all), r.blocks()))
	}
	return err
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.BoolVar(&o.vm, "vm", false, "measure the rows that need a virtual machine")
	flags.Func("row", "measure this `row` only; may be repeated", func(name string) error {
		o.rows = append(o.rows, name)
		return nil
	})
	flags.Float64Var(&o.scale, "scale", 1, "this `share` of the connections of each row, to see that it works")
	flags.BoolVar(&o.write, "write", false, "write the figures to "+page)
	flags.StringVar(&o.profile, "profile", "", "write CPU profiles of the server, taken while everybody connects, to this `directory`")
	flags.StringVar(&o.cache, "cache", filepath.Join("bin", "vm"), "`directory` of the machine's kernel and programs")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; --help lists the flags", flags.Arg(0))
	case !o.vm && (o.scale != 1 || o.profile != ""):
		return o, errors.New("--scale and --profile are for --vm")
	case !(o.scale > 0 && o.scale <= 1):
		return o, fmt.Errorf("--scale is %v: use more than 0 and at most 1", o.scale)
	case o.write && o.scale < 1:
		return o, errors.New("--write takes no figures of a part of the connections: leave --scale out")
	}
	return o, nil
}

// choose gives the rows of the names, all if there are none.
func choose(all []row, chosen []string) ([]row, error) {
	if len(chosen) == 0 {
		return all, nil
	}
	var rows []row
	for _, name := range chosen {
		i := slices.Index(names(all), name)
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q: use %s", name, strings.Join(names(all), ", "))
		}
		rows = append(rows, all[i])
	}
	return rows, nil
}

func names(rows []row) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.name)
	}
	return all
}

// measure goes through the rows. One that fails has no figures, and the others are measured all the same: it may be hours until
// somebody looks.
func (r *report) measure(ctx context.Context, rows []row, progress io.Writer) error {
	var failed error
	for _, row := range rows {
		fmt.Fprintf(progress, "%s: %s\n", row.name, row.what)
		begun := time.Now()
		limited, end := context.WithTimeoutCause(ctx, row.limit, fmt.Errorf("it took longer than its limit of %v", row.limit))
		figures, err := row.measure(limited)
		end()
		if err != nil {
			err = fmt.Errorf("row %s: %w", row.name, err)
			fmt.Fprintln(progress, err)
			failed = errors.Join(failed, err)
		} else {
			r.results = append(r.results, measured{row, figures, time.Since(begun)})
		}
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

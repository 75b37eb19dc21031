// Figures measures a rookery binary on the machine it is run on and prints the table that
// the README shows, with what is needed to judge and repeat it.
//
//	make figures
//	go run ./test/figures --binary bin/rookery [--connections N] [--seconds S] [--json FILE]
//
// What is measured, each with a server of its own in development mode and default limits, on
// the loopback address, by clients in this process:
//
//	density.go   memory of the server's process for each idle joined WebSocket
//	latency.go   publish to delivery in rooms of 10, at a steady rate
//	durable.go   messages acknowledged as synced, from 100 publishers
//
// Server and clients share the machine, so rates and latencies are those of both together;
// memory is the server's alone, without what the kernel holds for its sockets. Nothing here
// is chosen to be as large as the machine can bear: a run takes about a minute and ends by
// itself.
//
//	main.go        flags, order, end
//	server.go      the process under test
//	connection.go  a WebSocket client
//	growth.go      histograms of the server
//	report.go      Markdown and JSON
//
// What it was measured on and percentiles are of test/measure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"rookery/bench/watch"
	"rookery/test/measure"
)

// longest ends a run that hangs.
const longest = 2 * time.Minute

// options say how much is measured.
type options struct {
	binary      string
	connections int           // idle ones
	period      time.Duration // of each measurement that takes time
	json        string        // file for the report, empty: none
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "figures:", err)
		}
		os.Exit(1)
	}
}

// run measures and writes the report to out; what it is doing goes to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	r := report{
		When:    time.Now().UTC().Truncate(time.Second),
		Command: strings.Join(append([]string{"figures"}, args...), " "),
	}
	if r.Machine, err = watch.LookAtMachine(); err != nil {
		return err
	}
	if r.Version, err = measure.Version(ctx, o.binary); err != nil {
		return err
	}
	fmt.Fprintf(progress, "%d idle connections\n", o.connections)
	if r.Density, err = measureDensity(ctx, o); err != nil {
		return fmt.Errorf("memory of idle connections: %w", err)
	}
	fmt.Fprintf(progress, "latency, %v\n", o.period)
	if r.Latency, err = measureLatency(ctx, o); err != nil {
		return fmt.Errorf("latency: %w", err)
	}
	for _, inFlight := range []int{1, 16} {
		fmt.Fprintf(progress, "durable messages, %d in flight, %v\n", inFlight, o.period)
		d, err := measureDurable(ctx, o, inFlight)
		if err != nil {
			return fmt.Errorf("durable messages with %d in flight: %w", inFlight, err)
		}
		r.Durable = append(r.Durable, d)
	}
	if o.json != "" {
		if err := r.writeJSON(o.json); err != nil {
			return err
		}
	}
	return r.writeMarkdown(out)
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{}
	seconds := 0
	flags := flag.NewFlagSet("figures", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.binary, "binary", "bin/rookery", "the server to measure")
	flags.IntVar(&o.connections, "connections", 15_000, "idle connections; each takes a descriptor here and in the server")
	flags.IntVar(&seconds, "seconds", 10, "how long latency and rates are measured")
	flags.StringVar(&o.json, "json", "", "write the report to this file as JSON, too")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.period = time.Duration(seconds) * time.Second
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; --help lists the flags", flags.Arg(0))
	case o.connections < roomSize || o.connections > maxConnections:
		return o, fmt.Errorf("--connections is %d: use %d to %d", o.connections, roomSize, maxConnections)
	case seconds < 1 || seconds > 20:
		return o, fmt.Errorf("--seconds is %d: use 1 to 20", seconds)
	}
	return o, nil
}

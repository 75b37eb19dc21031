package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"

	"rookery/test/vm"
)

const (
	// machineMiB is what the machine needs without connections, and connectionBytes what both ends of one take: the gateway's, the load
	// tester's, and an entry of the connection tracker.
	machineMiB      = 1536
	connectionBytes = 13 << 10
	// emulatedRate is how many connections a second an emulated processor makes beside a gateway that takes them. It is 300 where
	// nothing else runs on the host.
	emulatedRate = 200
	// diskBytes is the size of a machine's disk, most of which is never written.
	diskBytes = 4 << 30
	// suite is the Debian that the play is given on.
	suite = "bookworm"
)

var cache = filepath.Join("bin", "vm")

// machine is a Debian with our programs, that is turned off.
func machine(ctx context.Context, suite, work string, more map[string]string, progress io.Writer) (c vm.Config, err error) {
	debian, err := vm.ProvideDebian(ctx, cache, suite, progress)
	if err != nil {
		return c, err
	}
	files, err := filesOfMachine(work)
	if err != nil {
		return c, err
	}
	maps.Copy(files, more)
	files["usr/local/bin/play"], files["usr/local/bin/rookery"] = filepath.Join(work, "play"), filepath.Join(work, "rookery")
	if err := errors.Join(vm.Build(ctx, files["usr/local/bin/play"], "./test/tuning"), vm.Build(ctx, files["usr/local/bin/rookery"], "./cmd/rookery")); err != nil {
		return c, err
	}
	c, err = debian.Disk(ctx, work, files, diskBytes)
	c.Processors, c.Port = 2, 8080
	return c, err
}

// playInMachine gives the play in a virtual machine of its own, which boots once on the way.
func playInMachine(ctx context.Context, o options, work string, progress io.Writer) (f figures, err error) {
	c, err := machine(ctx, suite, work, nil, progress)
	if err != nil {
		return f, err
	}
	c.MemoryMiB = machineMiB + o.connections*connectionBytes>>20
	// On a busy host the kernel finds a wrong frequency for the processor's clock, and then all times of the load are wrong. This clock is
	// slow to read, and right.
	c.Parameters = append(c.Parameters, "tsc=unstable", "clocksource=acpi_pm")
	for {
		answer, err := tellMachine(ctx, c, order{Connections: o.connections, Rate: emulatedRate}, progress)
		if err != nil {
			return f, err
		}
		if answer.Figures != nil {
			return *answer.Figures, nil
		}
		fmt.Fprintln(progress, "the machine boots")
	}
}

// tellMachine boots a machine, gives it an order, waits until it has done it, and turns it off.
func tellMachine(ctx context.Context, c vm.Config, o order, progress io.Writer) (s said, err error) {
	booted, _, err := vm.Boot(ctx, c)
	if err != nil {
		return s, err
	}
	defer booted.Off()
	if err := booted.Guest.Send(o); err != nil {
		return s, err
	}
	for s.Line != "" || s.Figures == nil && s.Tree == nil && !s.Boots && s.Fault == "" {
		if s.Line != "" {
			fmt.Fprintln(progress, s.Line)
		}
		s = said{}
		if err := booted.Guest.Receive(&s); err != nil {
			return s, fmt.Errorf("the machine is gone: %w; its console said:\n%s", err, vm.LastWords(booted.Console))
		}
	}
	if s.Fault != "" {
		return s, errors.New(s.Fault)
	}
	if s.Boots {
		booted.Wait() // what it has written is on its disk then
	}
	return s, nil
}

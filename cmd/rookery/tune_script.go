package main

import (
	"fmt"

	"rookery/tuning"
	"rookery/tuning/host"
	"rookery/tuning/script"
)

const tuneScriptUsage = `Usage: rookery tune script [FLAGS] > tune.sh

Writes what rookery tune plan shows as one POSIX shell script, with check, apply and rollback, for who does not run
a binary as root. With --memory and --cores it is for another machine of that size; without, for this one. On the machine
where it runs it leaves alone what is good enough there.

tuning/profiles in the source has ready ones.

`

func tuneScript(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune script", p)
	f.declareTarget(set)
	f.declareMachine(set)
	f.declareSize(set)
	rest, status, done := parse(set, tuneScriptUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune script", "argument %q: everything is a flag", rest[0])
	case (f.memory > 0) != (f.cores > 0):
		return p.refuse("tune script", "another machine needs both --memory and --cores")
	}
	h, err := f.open()
	if err != nil {
		return p.refuse("tune script", "%v", err)
	}
	if f.memory > 0 {
		if h, err = host.Typical(int64(f.memory), f.cores); err != nil {
			return p.fail("tune script", err)
		}
	}
	plan := tuning.Make(h, f.target, nil)
	for _, line := range plan.Misfits {
		fmt.Fprintf(p.stderr, "rookery tune script: the target does not fit: %s\n", line)
	}
	if _, err := fmt.Fprint(p.stdout, script.Make(plan)); err != nil {
		return p.fail("tune script", err)
	}
	if !plan.Fits() {
		return exitFailed
	}
	return exitOK
}

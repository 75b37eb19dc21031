package main

import (
	"rookery/tuning"
)

const tunePlanUsage = `Usage: rookery tune plan [FLAGS]

Computes what this machine should have set for a target, and shows it: a table of values, and the difference of the files that
rookery tune apply would write. Says when the target does not fit, and what would. Nothing is changed.

The exit status is 0, or 1 if the target does not fit this machine.

`

func tunePlan(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune plan", p)
	f.declareTarget(set)
	f.declareMachine(set)
	f.declareSize(set)
	rest, status, done := parse(set, tunePlanUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune plan", "argument %q: everything is a flag", rest[0])
	}
	h, err := f.open()
	if err != nil {
		return p.refuse("tune plan", "%v", err)
	}
	plan := tuning.Make(h, f.target, nil)
	if err := plan.Write(p.stdout); err != nil {
		return p.fail("tune plan", err)
	}
	if !plan.Fits() {
		return exitFailed
	}
	return exitOK
}

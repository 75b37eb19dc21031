package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"rookery/tuning"
	"rookery/tuning/apply"
)

const tunePlanUsage = `Usage: rookery tune plan [FLAGS]

Computes what this machine should have set for a target, and shows it: a table of values, and the difference of the files that
rookery tune apply would write. Says when the target does not fit, and what would. Nothing is changed.

The exit status is 0, or 1 if the target does not fit this machine.

`

// declareState makes the flag of where is kept what was there before.
func (f *tuneFlags) declareState(set *flag.FlagSet) {
	set.StringVar(&f.state, "state", apply.Directory, "`directory` in which is kept what was there before apply")
}

// plan computes the plan for this machine as it was before anything was applied.
func (f *tuneFlags) plan() (tuning.Plan, error) {
	h, err := f.open()
	if err != nil {
		return tuning.Plan{}, err
	}
	state, err := apply.Load(f.machine(), f.state)
	if errors.Is(err, fs.ErrPermission) {
		return tuning.Plan{}, fmt.Errorf("%w; a plan follows from what was there before apply, which only root may read", err)
	}
	if err != nil {
		return tuning.Plan{}, err
	}
	return tuning.Make(h, f.target, state.Originals()), nil
}

func (f *tuneFlags) machine() apply.Disk { return apply.Disk{Root: f.root} }

func tunePlan(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune plan", p)
	f.declareTarget(set)
	f.declareMachine(set)
	f.declareSize(set)
	f.declareState(set)
	rest, status, done := parse(set, tunePlanUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune plan", "argument %q: everything is a flag", rest[0])
	}
	plan, err := f.plan()
	if err != nil {
		return p.refuse("tune plan", "%v", err)
	}
	if err := plan.Write(p.stdout); err != nil {
		return p.fail("tune plan", err)
	}
	if !plan.Fits() {
		return exitFailed
	}
	return exitOK
}

const tuneApplyUsage = `Usage: rookery tune apply [FLAGS]

Puts into force what rookery tune plan shows: saves what is there, writes files of its own, sets the values, and
reads each of them again. Other files are not touched. Once more with the same flags it changes nothing. If something
fails, all of it is undone.

Runs as root. The exit status is 0, or 1 if it failed or a value did not take.

`

func tuneApply(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune apply", p)
	f.declareTarget(set)
	f.declareMachine(set)
	f.declareState(set)
	dryRun := set.Bool("dry-run", false, "show the plan and change nothing")
	anyway := set.Bool("anyway", false, "apply it even if the target does not fit this machine")
	rest, status, done := parse(set, tuneApplyUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune apply", "argument %q: everything is a flag", rest[0])
	case !*dryRun && f.root == "/" && os.Geteuid() != 0:
		return p.refuse("tune apply", "only root can do this: sudo rookery tune apply; --dry-run shows what it would do")
	}
	if !*dryRun {
		unlock, err := f.machine().Lock() // before the plan, which follows from what an earlier one has saved
		if err != nil {
			return p.fail("tune apply", err)
		}
		defer unlock()
	}
	plan, err := f.plan()
	if err != nil {
		return p.refuse("tune apply", "%v", err)
	}
	if *dryRun {
		if err := plan.Write(p.stdout); err != nil {
			return p.fail("tune apply", err)
		}
		return exitOK
	}
	if !plan.Fits() && !*anyway {
		return p.fail("tune apply", fmt.Errorf("the target does not fit, and nothing was changed; --anyway applies it\n  %s", strings.Join(plan.Misfits, "\n  ")))
	}
	changed, err := apply.Apply(f.machine(), f.state, plan, time.Now())
	if err != nil {
		return p.fail("tune apply", withAdvice(err))
	}
	return tellDone("tune apply", changed, append(plan.Left, plan.Notes...), p)
}

// withAdvice says what to do when somebody has changed what was applied.
func withAdvice(err error) error {
	if changed := (*apply.ChangedError)(nil); errors.As(err, &changed) {
		return fmt.Errorf("%w\nNothing was done. Put it back as it was, or leave what was changed as it is: rookery tune rollback --keep-changed", err)
	}
	return err
}

// tellDone lists what was changed, and gives the exit status.
func tellDone(command string, done apply.Done, notes []string, p process) int {
	if done.Nothing() {
		fmt.Fprintln(p.stdout, "Nothing had to be changed.")
	}
	for _, file := range done.Files {
		fmt.Fprintf(p.stdout, "file   %s\n", file)
	}
	for _, value := range done.Values {
		fmt.Fprintf(p.stdout, "value  %s\n", value)
	}
	for _, note := range notes {
		fmt.Fprintf(p.stdout, "note   %s\n", note)
	}
	for _, value := range done.NotTaken {
		fmt.Fprintf(p.stderr, "rookery %s: did not take: %s\n", command, value)
	}
	if len(done.NotTaken) > 0 {
		return exitFailed
	}
	return exitOK
}

const tuneRollbackUsage = `Usage: rookery tune rollback [FLAGS]

Puts back what was there before the first rookery tune apply: files byte for byte, and values. Where somebody has
changed since what apply wrote, it refuses and says where.

Runs as root.

`

func tuneRollback(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune rollback", p)
	set.StringVar(&f.root, "root", "/", "`directory` that stands for /")
	f.declareState(set)
	keep := set.Bool("keep-changed", false, "put back all but what somebody has changed since, which stays as it is")
	rest, status, done := parse(set, tuneRollbackUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune rollback", "argument %q: everything is a flag", rest[0])
	case f.root == "/" && os.Geteuid() != 0:
		return p.refuse("tune rollback", "only root can do this: sudo rookery tune rollback")
	}
	unlock, err := f.machine().Lock()
	if err != nil {
		return p.fail("tune rollback", err)
	}
	defer unlock()
	changed, kept, err := apply.Rollback(f.machine(), f.state, *keep)
	if err != nil {
		return p.fail("tune rollback", withAdvice(err))
	}
	for i := range kept {
		kept[i] = "left as it is: " + kept[i]
	}
	return tellDone("tune rollback", changed, kept, p)
}

// Powercut runs the real server on a real kernel and a real file system, in a virtual machine whose
// power it cuts at random moments, and holds what was acknowledged against what is there after the
// next boot. README.md says what it needs and what its figures mean.
//
//	make crash-vm
//	go run ./test/powercut [--rounds N] [--seed N] [--expect-loss lying-disk|sync-never]
//
//	main.go        flags, the order of disks and rounds, the end
//	equipment.go   what has to be there: programs of file systems, a kernel
//	machine.go     one boot, up to the cut, by package vm; the disk is package disk
//	life.go        what one disk goes through
//	round.go       a boot, what happens in it, and when the power goes
//	clients.go     publishers, a watcher and an auditor; package ledger judges what they were told
//	connection.go  how they speak
//	said.go        what the log lines of server and kernel mean
//	report.go      the end of a run
//
// Beside it: guest is the first process of the machine, control is what guest and host say.
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
	"time"
)

// What a run can be asked to lose messages by, to show that it would notice.
const (
	lyingDisk = "lying-disk"
	syncNever = "sync-never"
)

type options struct {
	rounds     int
	seed       uint64
	expectLoss string
	cache      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(start(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// start is 0 if the run shows what it was to show, 1 if it does not, 2 if it can't run.
func start(ctx context.Context, args []string, out, progress io.Writer) int {
	o, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var r *run
	if err == nil {
		r, err = newRun(ctx, o, out, progress)
	}
	if err != nil {
		fmt.Fprintln(progress, "powercut:", err)
		return 2
	}
	defer os.RemoveAll(r.work)
	err = r.play(ctx)
	r.report.write(out)
	if err != nil {
		fmt.Fprintln(progress, "powercut:", err)
		if len(r.report.faults) == 0 {
			os.RemoveAll(r.kept)
		}
		return 2
	}
	return r.verdict()
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("powercut", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.IntVar(&o.rounds, "rounds", 20, "power cuts")
	flags.Uint64Var(&o.seed, "seed", 0, "repeats the decisions of a run; the moments of the machine it can't repeat. 0: a new one")
	flags.StringVar(&o.expectLoss, "expect-loss", "", "make the disk or the server lose messages, and succeed when that is noticed: lying-disk or sync-never")
	flags.StringVar(&o.cache, "cache", filepath.Join("bin", "powercut"), "directory of the kernel, and of what is left of a run that failed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; --help lists the flags", flags.Arg(0))
	case o.rounds < 1:
		return o, fmt.Errorf("--rounds is %d: use 1 or more", o.rounds)
	case o.expectLoss != "" && o.expectLoss != lyingDisk && o.expectLoss != syncNever:
		return o, fmt.Errorf("--expect-loss is %q: use %s or %s", o.expectLoss, lyingDisk, syncNever)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	return o, nil
}

// run is a number of disks, one after the other.
type run struct {
	options   options
	equipment *equipment
	out       io.Writer
	report    *report
	work      string // directory for what is needed while it runs
	kept      string // directory for what is left of a failure
}

func newRun(ctx context.Context, o options, out, progress io.Writer) (*run, error) {
	e, err := provide(ctx, o.cache, progress)
	if err != nil {
		return nil, err
	}
	r := &run{options: o, equipment: e, out: out, report: newReport(), kept: filepath.Join(o.cache, fmt.Sprintf("seed-%d", o.seed))}
	if err := os.MkdirAll(r.kept, 0o755); err != nil {
		return nil, err
	}
	r.work, err = os.MkdirTemp("", "powercut-")
	return r, err
}

func (r *run) keptImage() string { return filepath.Join(r.kept, "disk.image") }

// play cuts as often as it was asked to, or until something is wrong.
func (r *run) play(ctx context.Context) error {
	fmt.Fprintf(r.out, "SEED=%d ROUNDS=%d, Linux %s\n", r.options.seed, r.options.rounds, r.equipment.kernel.Release)
	for number := 1; r.report.rounds() < r.options.rounds; number++ {
		l, err := newLife(ctx, r, number)
		if err != nil {
			return fmt.Errorf("disk %d: %w", number, err)
		}
		fmt.Fprintln(r.out, l)
		err = r.live(ctx, l)
		r.report.life(l)
		os.RemoveAll(l.dir)
		if err != nil {
			return fmt.Errorf("disk %d: %w", number, err)
		}
		if r.over() {
			return nil
		}
	}
	return os.RemoveAll(r.kept)
}

// over ends a run before its last round. A run that has to lose goes on until it does: a server that
// does not flush begins another epoch after a cut, which would be a fault, before a loss is found.
func (r *run) over() bool {
	if r.options.expectLoss != "" {
		return r.report.lost > 0
	}
	return len(r.report.faults) > 0
}

// live goes through the life of a disk. Its last round reads everything and ends in order, so that the
// file system can be checked.
func (r *run) live(ctx context.Context, l *life) error {
	for last := false; !last; {
		d := l.decide()
		if last = l.over() || r.report.rounds() == r.options.rounds-1; last && r.options.expectLoss == "" {
			d.phase, d.writes, d.auditFirst, d.auditAll = left, 0, true, true
		}
		o, err := l.play(ctx, d)
		if err != nil {
			return fmt.Errorf("round %d: %w", r.report.rounds()+1, err)
		}
		l.rounds++
		r.report.round(l, o)
		fmt.Fprintf(r.out, "%4d  %-22s kept %-9v %4d writes %6d sectors %6d changed  %7d acknowledged  %4.1f s\n",
			r.report.rounds(), o.phase, o.cut.Policy, o.cut.Writes, o.cut.Sectors, o.cut.Changed, l.ledger.Totals().Acknowledged, o.took.Seconds())
		if r.over() {
			return nil
		}
	}
	if r.options.expectLoss != "" {
		return nil
	}
	if err := l.check(ctx); err != nil {
		r.report.faults = append(r.report.faults, fmt.Sprintf("file system of disk %d: %v", l.number, err))
		return nil
	}
	r.report.checked++
	return nil
}

func (r *run) verdict() int {
	lost, faults := r.report.lost > 0, len(r.report.faults) > 0
	switch {
	case r.options.expectLoss != "" && lost:
		fmt.Fprintf(r.out, "PASS: the loss was noticed, as it had to be (%s)\n", r.options.expectLoss)
		os.RemoveAll(r.kept)
		return 0
	case r.options.expectLoss != "":
		fmt.Fprintf(r.out, "FAIL: nothing was found to be lost (%s): this check can't fail\n", r.options.expectLoss)
		return 1
	case faults:
		fmt.Fprintf(r.out, "FAIL: SEED=%d; the disk as it was before the last boot, and what was said, are in %s\n", r.options.seed, r.kept)
		return 1
	}
	fmt.Fprintln(r.out, "PASS: nothing that was acknowledged or shown is lost, no place has two contents, no room a gap")
	return 0
}

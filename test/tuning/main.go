// Tuning shows on a real kernel that what rookery tune says and does is so: an untuned gateway stops at the number of connections that
// check had named first; after apply it holds the target; the files give the same values when they are loaded at boot; rollback
// leaves not one byte or value changed, over /proc/sys, /etc and the queues of network cards. The same for the script, in dash and busybox.
//
//	make tune-kernel
//	make tune-vm
//	go run ./test/tuning [--vm] [--connections N] [--write]
//	go run ./test/tuning --record COMMENT          # prints what the tuner reads of this machine
//	go run ./test/tuning --vm --record all|NAMES   # writes the trees of virtual machines anew
//
//	main.go        flags, and the namespaces in which it happens
//	play.go        the play, from the untuned machine to the rolled-back one
//	gateway.go     the load, and the burst
//	compare.go     what is compared
//	report.go      before and after, for docs/tuning.md
//	namespaces.go  the stage on this machine
//	debian.go      the stage in a virtual machine
//	vm.go          that machine, from here
//	guest.go       and from within
//	record.go      a tree of what the tuner reads of a machine
//	machines.go    the virtual machines whose trees tuning/hosttest has
//
// It runs as root in namespaces of its own for the network, the mounts and the processes: /etc and /var/lib are copies, settings of
// the network are those of a new network, and a plan that would set anything else is refused. So it changes nothing of the machine
// it runs on. Settings that all networks of a kernel share, tcp_mem for example, are not shown there, and so not set.
//
// With --vm it runs on a Debian with systemd in a virtual machine, which boots on the way: there everything is set that a plan may set,
// and as many connections are held as memory is given. Its processor is emulated, and takes its time. On a busy host that is
// too long for a gateway to be judged: let it run alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

// inside is the word by which this program knows that it is in the namespaces.
const inside = "inside"

type options struct {
	connections int
	vm          bool
	write       bool
	record      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "tuning:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 4 && args[0] == inside {
		connections, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		p := &play{stage: namespaces{}, binary: args[1], work: args[2], connections: connections, out: progress}
		if err := p.run(ctx); err != nil {
			return err
		}
		return p.memory.Figures.save(p.work)
	}
	if len(args) == 1 && args[0] == guestWord {
		return serveHost(ctx)
	}
	o := options{}
	set := flag.NewFlagSet("tuning", flag.ContinueOnError)
	set.SetOutput(progress)
	set.IntVar(&o.connections, "connections", 15000, "how many the tuned gateway has to hold; a thousand more files than that must be allowed here")
	set.BoolVar(&o.vm, "vm", false, "in a virtual machine, whose limits are its own: 3 GB of memory for 100,000 connections")
	set.BoolVar(&o.write, "write", false, "put the figures into docs/tuning.md")
	set.StringVar(&o.record, "record", "", "print what rookery tune reads of this machine, as a tree of tuning/hosttest, with this `comment`; with --vm `names` of machines, or all, whose trees are written anew")
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case o.record != "" && !o.vm:
		return record(os.DirFS("/"), o.record, out)
	case os.Geteuid() != 0:
		return errors.New("namespaces need root")
	case o.connections < 2000:
		return errors.New("--connections: at least 2,000, or the untuned gateway holds them too")
	}
	work, err := os.MkdirTemp("", "rookery-tuning-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if o.record != "" {
		return recordMachines(ctx, filepath.Join("tuning", "hosttest", "testdata", "recorded"), o.record, work, progress)
	}
	f, err := playIn(ctx, o, work, progress)
	if err != nil {
		return err
	}
	text := f.text()
	if _, err := io.WriteString(out, text); err != nil || !o.write {
		return err
	}
	section := "kernel"
	if o.vm {
		section = "vm"
	}
	return writePage("docs/tuning.md", section, text)
}

// playIn gives the play in the namespaces or in a virtual machine.
func playIn(ctx context.Context, o options, work string, progress io.Writer) (figures, error) {
	if o.vm {
		return playInMachine(ctx, o, work, progress)
	}
	binary := filepath.Join(work, "rookery")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/rookery")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return figures{}, fmt.Errorf("build rookery: %w\n%s", err, said)
	}
	self, err := os.Executable()
	if err != nil {
		return figures{}, err
	}
	command := exec.CommandContext(ctx, self, inside, binary, work, strconv.Itoa(o.connections))
	command.Stderr = progress
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // and with it everything in the namespaces
	}
	if err := command.Run(); err != nil {
		return figures{}, fmt.Errorf("in the namespaces: %w", err)
	}
	return readFigures(work)
}

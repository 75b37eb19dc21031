package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// takeoverFlag has serve take over from the server that runs.
const takeoverFlag = "--takeover"

// startHeirLoop starts this program anew, as it is on the disk now and with the same arguments, each time that somebody asks, until ctx
// is done. The new process takes over by itself. Started by serve.
func startHeirLoop(ctx context.Context, asked <-chan os.Signal, args []string, p process, log *slog.Logger) {
	// By its name, for what /proc/self/exe is stays the old file when another one has taken its place.
	program, err := exec.LookPath(os.Args[0])
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		switch {
		case err != nil:
			log.Error("no process can be started that takes over", "err", err)
			continue
		case os.Getpid() == 1:
			log.Error("process 1 can't leave: a container would end with it. Replace the container")
			continue
		}
		args := slices.DeleteFunc(slices.Clone(args), isTakeover)
		heir := exec.Command(program, append([]string{"serve", takeoverFlag}, args...)...)
		heir.Stdout, heir.Stderr, heir.Env = p.stdout, p.stderr, slices.DeleteFunc(slices.Clone(p.environ), isWatchdogPID)
		// A child of this one's parent: a service manager does not wait for a main process that is none of its children, and kills it where it was to end.
		heir.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}
		if err := heir.Start(); err != nil {
			log.Error("no process can be started that takes over", "program", program, "err", err)
			continue
		}
		log.Info("started a process that takes over", "program", program, "process", heir.Process.Pid)
		// It outlives this process, or it fails, and has said why. A second one that is asked for waits.
		if err := awaitEnd(heir.Process.Pid); err != nil {
			log.Error("the process that takes over can't be waited for", "process", heir.Process.Pid, "err", err)
			continue
		}
		log.Error("the process that was to take over has ended", "process", heir.Process.Pid)
	}
}

// awaitEnd waits for the end of a process that is no child of this one. An error is why it can't.
func awaitEnd(process int) error {
	handle, err := unix.PidfdOpen(process, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended already
	}
	if err != nil {
		return err
	}
	defer unix.Close(handle)
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// sinceBoot is the time by the clock that the kernel notes with when a process begins.
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // it never fails
	return time.Duration(now.Nano())
}

// startResolution is how exactly the kernel says when a process began, on all machines that Go is for.
const startResolution = 10 * time.Millisecond

// hasBegun says whether a process had begun at a moment, by sinceBoot, or a startResolution later. It had, if the kernel does not say.
func hasBegun(process int, then time.Duration) bool {
	proc, err := procfs.NewProc(process)
	if err != nil {
		return true
	}
	stat, err := proc.Stat()
	return err != nil || time.Duration(stat.Starttime)*startResolution <= then
}

func isTakeover(arg string) bool { return arg == takeoverFlag || arg == takeoverFlag[1:] }

// isWatchdogPID is the variable by which a service manager says that only this process answers its watchdog: the heir will.
func isWatchdogPID(variable string) bool { return strings.HasPrefix(variable, "WATCHDOG_PID=") }

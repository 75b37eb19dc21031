package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
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
			log.Error("process 1 can't leave: a container would end with it. Run an init in it, or replace the container")
			continue
		}
		args := slices.DeleteFunc(slices.Clone(args), isTakeover)
		heir := exec.Command(program, append([]string{"serve", takeoverFlag}, args...)...)
		heir.Stdout, heir.Stderr, heir.Env = p.stdout, p.stderr, p.environ
		if err := heir.Start(); err != nil {
			log.Error("no process can be started that takes over", "program", program, "err", err)
			continue
		}
		log.Info("started a process that takes over", "program", program, "process", heir.Process.Pid)
		// It outlives this process, or it fails, and has said why. A second one that is asked for waits.
		if err := heir.Wait(); err != nil {
			log.Error("the process that was to take over has ended", "process", heir.Process.Pid, "err", err)
		}
	}
}

func isTakeover(arg string) bool { return arg == takeoverFlag || arg == takeoverFlag[1:] }

// notify tells systemd, or whoever has set NOTIFY_SOCKET, see sd_notify(3). Without it nobody is told.
func notify(environ []string, state string) error {
	name := ""
	for _, v := range environ {
		if value, is := strings.CutPrefix(v, "NOTIFY_SOCKET="); is {
			name = value
		}
	}
	if name == "" {
		return nil
	}
	socket, err := net.Dial("unixgram", name) // a first @ is an abstract name, here too
	if err != nil {
		return fmt.Errorf("tell the service manager (NOTIFY_SOCKET): %w", err)
	}
	defer socket.Close()
	if _, err := socket.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager (NOTIFY_SOCKET): %w", err)
	}
	return nil
}

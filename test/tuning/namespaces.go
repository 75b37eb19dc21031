package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"rookery/tuning"
)

// stage is where the play is given.
type stage interface {
	name() string
	// settle makes it ready, with copies of what the play changes.
	settle(work string) error
	// untune gives it limits under the target that rented machines have, and lift raises one of them by hand.
	untune(connections int) error
	lift(key string, connections int) error
	// start starts the gateway.
	start(ctx context.Context, p *play) (stop func() error, err error)
	// verify has the programs of the system look at what apply has written.
	verify(ctx context.Context, p *play) error
	// boot loads the files as they are loaded at boot. It is over with errBoots if the machine boots indeed.
	boot(ctx context.Context, p *play) error
	// owns says whether a file of the kernel is the stage's alone.
	owns(name string) bool
}

// loginLimit gives logins a limit of open files, as an untuned machine has it. It is done by a file of PAM, since a process that
// has lowered its own limit may not be able to raise it again.
func loginLimit(n int) error {
	return os.WriteFile("/etc/security/limits.d/10-untuned.conf", fmt.Appendf(nil, "*    - nofile %d\nroot - nofile %[1]d\n", n), 0o644)
}

// namespaces of this machine: the network, the mounts and the processes are their own, the kernel is not.
type namespaces struct{}

// settle makes them a machine: /etc and /var/lib are copies, /proc and /sys those of the namespaces, and there is loopback.
func (namespaces) settle(work string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part the mounts from the machine's: %w", err)
	}
	etc, lib := filepath.Join(work, "etc"), filepath.Join(work, "lib")
	if said, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w\n%s", err, said)
	}
	if err := os.Mkdir(lib, 0o755); err != nil {
		return err
	}
	for _, m := range []struct {
		from, at, kind string
		flags          uintptr
	}{{etc, "/etc", "", unix.MS_BIND}, {lib, "/var/lib", "", unix.MS_BIND}, {"proc", "/proc", "proc", 0}, {"sysfs", "/sys", "sysfs", 0}} {
		if err := unix.Mount(m.from, m.at, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return bringUp("lo")
}

func bringUp(name string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

func (namespaces) name() string { return "namespaces of a machine" }

// untunedFiles is what a login has on many machines.
const untunedFiles = 1024

func (namespaces) untune(int) error { return loginLimit(untunedFiles) }

func (namespaces) lift(key string, _ int) error { return fmt.Errorf("%s is not met here", key) }

// start starts it from a login, so that PAM gives it its limits.
func (namespaces) start(ctx context.Context, p *play) (stop func() error, err error) {
	data, err := os.MkdirTemp(p.work, "data-")
	if err != nil {
		return nil, err
	}
	gateway := exec.CommandContext(ctx, "su", "root", "-c", fmt.Sprintf("exec %s serve --dev --listen %s --data %s", p.binary, address, filepath.Join(data, "log")))
	if err := gateway.Start(); err != nil {
		return nil, err
	}
	return func() error {
		process, err := gatewayProcess()
		if err != nil {
			return err
		}
		if err := syscall.Kill(process, syscall.SIGTERM); err != nil {
			return err
		}
		// su stops when its child is stopped, as in a burst, and would wait for ever for somebody to let it go on.
		if err := gateway.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		gateway.Wait() // its status is that of a process that was told to end
		return nil
	}, nil
}

func (namespaces) verify(context.Context, *play) error { return nil }

func (namespaces) boot(ctx context.Context, p *play) error {
	if err := p.restore(p.memory.Original); err != nil {
		return err
	}
	load := exec.CommandContext(ctx, "/usr/lib/systemd/systemd-sysctl", "/"+tuning.SysctlFile)
	if _, err := os.Stat(load.Path); err != nil {
		load = exec.CommandContext(ctx, "sysctl", "-p", "/"+tuning.SysctlFile)
	}
	return all(load)
}

func (namespaces) owns(name string) bool { return strings.HasPrefix(name, "/proc/sys/net/") }

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"rookery/test/vm/channel"
	"rookery/test/vm/guest"
	"rookery/tuning/host"
)

// order is what the host tells the machine.
type order struct{ Connections, Rate int }

// said is what the machine tells the host: lines, and in the end the figures or a fault.
type said struct {
	Line    string   `json:",omitempty"`
	Figures *figures `json:",omitempty"`
	Fault   string   `json:",omitempty"`
}

// isGuest says whether this program is the first process of a virtual machine.
func isGuest() bool { return os.Getpid() == 1 && os.Getenv(channel.AddressVariable) != "" }

// live gives the play in the machine.
func live(host *channel.Connection) error {
	var o order
	if err := host.Receive(&o); err != nil {
		return err
	}
	p := &play{stage: machine{}, binary: "/rookery", work: "/tmp", connections: o.Connections, rate: o.Rate, out: lines{host}}
	if err := p.run(context.Background()); err != nil {
		return host.Send(said{Fault: err.Error()})
	}
	if err := host.Send(said{Figures: &p.figures}); err != nil {
		return err
	}
	var never order
	return host.Receive(&never) // until the host turns the machine off
}

// lines sends what is written.
type lines struct{ host *channel.Connection }

func (l lines) Write(b []byte) (int, error) {
	return len(b), l.host.Send(said{Line: strings.TrimSuffix(string(b), "\n")})
}

var _ io.Writer = lines{}

// machine is a virtual machine, which is the play's alone. It has no systemd, no PAM and no programs but ours and busybox, so it does
// itself what those would: give a login the limits of the files, and load settings at boot.
type machine struct{}

// moreFiles is what this process and the load tester may open.
const moreFiles = 1 << 20

func (machine) settle(string) error {
	for _, dir := range []string{"/etc/sysctl.d", "/etc/security/limits.d", "/var/lib", "/bin"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, program := range []string{"cat", "cmp", "cp", "dirname", "id", "mkdir", "mv", "rm", "rmdir", "sed", "sync"} {
		if err := os.Symlink("/bin/busybox", "/bin/"+program); err != nil {
			return err
		}
	}
	if err := os.Setenv("PATH", "/bin"); err != nil {
		return err
	}
	return guest.LimitDescriptors(moreFiles)
}

func (machine) login(ctx context.Context, args ...string) (*exec.Cmd, error) {
	h, err := host.Here(host.Options{PID: os.Getpid()})
	if err != nil {
		return nil, err
	}
	limit := int64(untunedFiles)
	for _, s := range h.LoginLimits() { // the last one for root counts
		if strings.HasPrefix(s.Name, "root ") {
			limit = s.Limit()
		}
	}
	command := exec.CommandContext(ctx, "busybox", "sh", "-c", fmt.Sprintf("ulimit -n %d && exec %s", limit, strings.Join(args, " ")))
	return command, command.Start()
}

func (machine) boot(context.Context) (string, error) {
	h, err := host.Here(host.Options{PID: os.Getpid()})
	if err != nil {
		return "", err
	}
	for _, a := range h.Assignments() {
		if err := os.WriteFile("/"+host.SysctlPath(a.Key), []byte(a.Value+"\n"), 0o644); err != nil {
			return "", fmt.Errorf("%s:%s: %w", a.File, strconv.Itoa(a.Line), err)
		}
	}
	return "the first process has read /etc/sysctl.d", nil
}

func (machine) owns(string) bool { return true }

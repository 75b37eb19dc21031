package host

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Process is a running gateway, or a program that is to be looked at as if it were one.
type Process struct {
	PID        int
	Command    []string
	Soft       int64 // limit of open files
	Hard       int64
	Unreadable error // why the limits are not known
	Open       int   // open files; -1: this user may not count them
	Resident   int64 // bytes
	Cgroup     string
	Unit       string // the systemd unit that it runs as, "" for none
}

// Data is the directory of the log, where the command line names it by an absolute path.
func (p *Process) Data() string {
	for i, argument := range p.Command {
		name, value, joined := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if name != "data" || !strings.HasPrefix(argument, "-") {
			continue
		}
		if !joined && i+1 < len(p.Command) {
			value = p.Command[i+1]
		}
		if path.IsAbs(value) {
			return value
		}
	}
	return ""
}

// findGateway looks for a process, of several for the one with the most memory. A pid that is not there is an error.
func findGateway(h *Host, pid int) (*Process, error) {
	if pid > 0 {
		p := readProcess(h, pid)
		if p == nil {
			return nil, fmt.Errorf("there is no process %d that can be read", pid)
		}
		return p, nil
	}
	entries, err := fs.ReadDir(h.root, "proc")
	if err != nil {
		return nil, nil
	}
	own, _ := fs.ReadLink(h.root, "proc/self/exe")
	var found *Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		command := readCommand(h, pid)
		if len(command) < 2 || !slices.Contains(command[1:], "serve") {
			continue
		}
		exe, _ := fs.ReadLink(h.root, fmt.Sprintf("proc/%d/exe", pid)) // only its user and root may
		if path.Base(command[0]) != "rookery" && path.Base(exe) != "rookery" && (exe == "" || exe != own) {
			continue
		}
		if p := readProcess(h, pid); p != nil && (found == nil || p.Resident > found.Resident) {
			found = p
		}
	}
	return found, nil
}

func readCommand(h *Host, pid int) []string {
	text := h.text(fmt.Sprintf("proc/%d/cmdline", pid))
	return strings.Split(strings.TrimRight(text, "\x00"), "\x00")
}

func readProcess(h *Host, pid int) *Process {
	dir := fmt.Sprintf("proc/%d", pid)
	status, err := h.Text(dir + "/status")
	if err != nil {
		return nil
	}
	p := &Process{PID: pid, Command: readCommand(h, pid), Open: -1}
	resident, _ := strconv.ParseInt(strings.TrimSuffix(colon(status, "VmRSS"), " kB"), 10, 64)
	p.Resident = resident << 10
	p.Soft, p.Hard, p.Unreadable = readLimits(h, dir+"/limits")
	if open, err := fs.ReadDir(h.root, dir+"/fd"); err == nil {
		p.Open = len(open)
	}
	p.Cgroup = readCgroupOf(h, dir+"/cgroup")
	for part := range strings.SplitSeq(p.Cgroup, "/") {
		if strings.HasPrefix(part, "user@") {
			break // a user's own units are not the system's
		}
		if strings.HasSuffix(part, ".service") {
			p.Unit = part
		}
	}
	return p
}

// readLimits reads the line "Max open files  soft  hard  files".
func readLimits(h *Host, name string) (soft, hard int64, err error) {
	text, err := h.Text(name)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, "Max open files"); found {
			if f := strings.Fields(rest); len(f) >= 2 {
				return parseLimit(f[0]), parseLimit(f[1]), nil
			}
		}
	}
	return 0, 0, fmt.Errorf("%s has no line of open files", name)
}

// Unlimited stands for a limit of open files that is none.
const Unlimited = int64(1) << 40

// parseLimit reads a limit of a process, a unit or PAM.
func parseLimit(text string) int64 {
	switch strings.ToLower(text) {
	case "unlimited", "infinity", "-1":
		return Unlimited
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// Limits of open files of a process, by its number or as "self".
func (h *Host) Limits(process string) (soft, hard int64, err error) {
	return readLimits(h, "proc/"+process+"/limits")
}

// Package host reads what a Linux machine says of itself that matters to many connections: settings of the kernel and the
// files that they come from, memory, processors, network cards, the running gateway with its unit and cgroup, and
// what kind of machine or container it is. It changes nothing and judges nothing; package tuning does.
//
//	host.go       the machine as a whole
//	sysctl.go     settings of the kernel, and which file gave them
//	place.go      container, virtual machine, and which settings can be written there
//	process.go    the running gateway
//	cgroup.go     the limits of its cgroup
//	unit.go       the systemd unit, limits of PAM
//	memory.go     memory, counters, processors
//	network.go    network cards
//	disk.go       the file system of a directory
//	firewall.go   rules of filters in the kernel
//	probes.go     what no file tells, and so is asked of the kernel or of a program
//	typical.go    a machine that does not exist, for profiles that are computed in advance
//
// All files are read through an fs.FS whose root stands for /, so that a recorded tree of another machine does as well.
// What a machine does not have is an error that wraps fs.ErrNotExist, what this user may not read one that wraps fs.ErrPermission.
//
// A Host is a snapshot of few things and reads the rest when asked. It is not safe for concurrent use.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Host is a machine.
type Host struct {
	root     fs.FS
	probes   Probes
	pageSize int64

	// Read by Open.
	Place      Place
	Kernel     Kernel
	Memory     Memory
	Processors int
	Cards      []Card
	Gateway    *Process // nil: none was found
	Unit       Unit     // of the gateway, or the one that was asked for

	systemd     bool
	assignments []Assignment // of sysctl files
	mounts      []mount
	closed      map[string]bool // files and directories of settings that this user may not read
}

// Options say what to look at.
type Options struct {
	PID    int    // of the gateway; 0 looks for a process of rookery serve
	Unit   string // of the gateway where it does not run as one; "" is rookery.service
	Probes Probes
	// Memory and Processors stand in for those of the machine, for one that is larger or smaller; 0 is the machine's. Memory is what such a
	// machine is sold with, of which the kernel keeps a part.
	Memory     int64
	Processors int
	// PageSize is that of the machine; 0 is 4096.
	PageSize int64
}

// Here is this machine.
func Here(o Options) (*Host, error) {
	o.Probes, o.PageSize = systemProbes(), int64(os.Getpagesize())
	return Open(os.DirFS("/"), o)
}

// Open reads a machine. It fails only where a process was asked for that is not there, or nothing of a machine is.
func Open(root fs.FS, o Options) (*Host, error) {
	h := &Host{root: root, probes: o.Probes, pageSize: o.PageSize, closed: map[string]bool{}}
	if h.pageSize == 0 {
		h.pageSize = 4096
	}
	if _, err := h.Text("proc/meminfo"); err != nil {
		return nil, fmt.Errorf("this is no tree of a Linux machine, or /proc is not mounted: %w", err)
	}
	h.systemd = h.exists("run/systemd/system")
	h.mounts = readMounts(h)
	h.Place = readPlace(h)
	h.Kernel = readKernel(h)
	h.Memory = readMemory(h)
	h.Processors = readProcessors(h)
	if o.Memory > 0 {
		h.Memory.Total = usable(o.Memory)
		h.Memory.Available = h.Memory.Total
	}
	if o.Processors > 0 {
		h.Processors = o.Processors
	}
	h.Cards = readCards(h)
	h.assignments = readAssignments(h)
	var err error
	if h.Gateway, err = findGateway(h, o.PID); err != nil {
		return nil, err
	}
	name := o.Unit
	if name == "" && h.Gateway != nil {
		name = h.Gateway.Unit
	}
	if name == "" {
		name = defaultUnit
	}
	h.Unit = readUnit(h, name)
	return h, nil
}

// PageSize is how many bytes a page of memory has.
func (h *Host) PageSize() int64 { return h.pageSize }

// FS is the tree that is read.
func (h *Host) FS() fs.FS { return h.root }

// Text is a file without the white space around it. Its name has no slash before it.
func (h *Host) Text(name string) (string, error) {
	b, err := fs.ReadFile(h.root, name)
	return strings.TrimSpace(string(b)), err
}

// text is a file, "" where it can't be read.
func (h *Host) text(name string) string {
	text, _ := h.Text(name)
	return text
}

// number is a file of one number.
func (h *Host) number(name string) (int64, error) {
	text, err := h.Text(name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// settings is a file in which somebody has set something.
func (h *Host) settings(name string) (string, error) {
	b, err := fs.ReadFile(h.root, name)
	if errors.Is(err, fs.ErrPermission) {
		h.closed[name] = true
	}
	return string(b), err
}

// settingsIn lists a directory of such files.
func (h *Host) settingsIn(dir string) []fs.DirEntry {
	entries, err := fs.ReadDir(h.root, dir)
	if errors.Is(err, fs.ErrPermission) {
		h.closed[dir] = true
	}
	return entries
}

// Closed names files and directories in which somebody may have set something, and which this user may not read: of sysctl, systemd and
// PAM.
func (h *Host) Closed() (names []string) {
	h.DefaultLimits() // these two are read when they are asked for
	h.LoginLimits()
	for name := range h.closed {
		names = append(names, "/"+name)
	}
	slices.Sort(names)
	return names
}

func (h *Host) exists(name string) bool {
	_, err := fs.Stat(h.root, name)
	return err == nil
}

// Kernel is a version of Linux. The zero is an unknown one.
type Kernel struct {
	Release      string
	Major, Minor int
}

// Before says whether this version is older. An unknown one is not.
func (k Kernel) Before(major, minor int) bool {
	return k.Major > 0 && (k.Major < major || k.Major == major && k.Minor < minor)
}

func readKernel(h *Host) Kernel {
	k := Kernel{Release: h.text("proc/sys/kernel/osrelease")}
	fmt.Sscanf(k.Release, "%d.%d", &k.Major, &k.Minor) // what is no number is 0, and unknown
	return k
}

// colon gives what stands behind "key:" in a file of such lines, like /proc/meminfo.
func colon(text, key string) string {
	for line := range strings.Lines(text) {
		if name, rest, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// integers are the numbers of a line; ok is false where something is none.
func integers(text string) (numbers []int64, ok bool) {
	for _, field := range strings.Fields(text) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // what is too large, as 2^64-1 for no limit, is as large as can be
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, len(numbers) > 0
}

package watch

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what figures depend on besides the programs.
type Machine struct {
	Name        string `json:"-"`
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	Descriptors uint64 `json:"-"` // that a process may open
}

// LookAtMachine reads /proc and the process's own limit.
func LookAtMachine() (Machine, error) {
	root := os.DirFS("/")
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU()}
	m.Name, _ = os.Hostname()
	if model := fieldOf(root, "proc/cpuinfo", "model name"); model != "" {
		m.CPU = model
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(fieldOf(root, "proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return m, fmt.Errorf("/proc/meminfo has no MemTotal: %w", err)
	}
	m.MemoryBytes = kib << 10
	m.Kernel = strings.TrimSpace(readText(root, "proc/sys/kernel/osrelease"))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return m, fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	m.Descriptors = limit.Max
	return m, nil
}

// fieldOf gives the value of the first line "name: value" of a file, "" if there is none.
func fieldOf(root fs.FS, file, name string) string {
	for line := range strings.Lines(readText(root, file)) {
		key, value, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// String is the machine in half a line.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores of %s, %.0f GiB, Linux %s", m.Cores, m.CPU, float64(m.MemoryBytes)/(1<<30), m.Kernel)
}

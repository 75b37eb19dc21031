// Package measure is what the programs that print figures share: what a figure was measured on,
// the memory of a process, and percentiles.
package measure

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what figures depend on besides the program.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
}

// LookAtMachine reads /proc.
func LookAtMachine() (Machine, error) {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU()}
	if model, err := field("/proc/cpuinfo", "model name"); err == nil {
		m.CPU = model
	}
	var err error
	if m.MemoryBytes, err = Kibibytes("/proc/meminfo", "MemTotal"); err != nil {
		return m, err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = strings.TrimSpace(string(release))
	return m, nil
}

// Version is the binary's own account of its commit and compiler. One that was built without
// naming its commit is said to come from a tree at the commit of this one.
func Version(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "", fmt.Errorf("run %s version: %w; build it with make build", binary, err)
	}
	line := strings.TrimSpace(string(out))
	if !strings.Contains(line, "commit ") {
		if at, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
			line += ", in a tree at " + strings.TrimSpace(string(at))
		}
	}
	return line, nil
}

// String is the machine in half a line.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores of %s, %.0f GiB, Linux %s", m.Cores, m.CPU, float64(m.MemoryBytes)/(1<<30), m.Kernel)
}

// field returns the value of the first line "name: value" of a file in /proc.
func field(path, name string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, found := strings.Cut(lines.Text(), ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %s", path, name)
}

// Kibibytes returns a field that /proc gives in kB, in bytes.
func Kibibytes(path, name string) (int64, error) {
	text, err := field(path, name)
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s of %s: %w", name, path, err)
	}
	return kib << 10, nil
}

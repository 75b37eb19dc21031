// Package measure is what the programs that print figures share: the version of what was
// measured, the memory of a process, percentiles, and a certificate.
package measure

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

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

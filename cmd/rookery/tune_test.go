package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rookery/tuning/hosttest"
)

// zeroBytes makes blanks of a file bytes of zero, as a command line in /proc has them.
func zeroBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: zero FILE")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.ReplaceAll(b, []byte(" "), []byte{0}), 0o600))
}

// TestTuneCheckStatus: a monitor acts on the exit status.
func TestTuneCheckStatus(t *testing.T) {
	root := hosttest.Unpack(t, "vps-4gb")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(connections string) int {
		var out bytes.Buffer
		return run(context.Background(), []string{"tune", "check", "--root", root, "--connections", connections}, process{stdout: &out, stderr: &out})
	}
	if got := check("5000000"); got != exitFailed {
		t.Errorf("what stops the target gives %d, want %d", got, exitFailed)
	}
	if got := check("20000"); got != exitAdvice {
		t.Errorf("what could be better gives %d, want %d", got, exitAdvice)
	}
	write("proc/sys/net/core/somaxconn", "128\n")
	if got := check("20000"); got != exitHurts {
		t.Errorf("what hurts gives %d, want %d", got, exitHurts)
	}
	write("proc/sys/net/core/somaxconn", "4096\n")
	write("proc/sys/net/ipv4/tcp_wmem", "4096 16384 65536\n")
	write("proc/sys/net/ipv4/tcp_notsent_lowat", "16384\n")
	write("sys/class/net/eth0/queues/rx-0/rps_cpus", "3\n")
	write("proc/sys/net/core/rps_sock_flow_entries", "32768\n")
	if got := check("20000"); got != exitOK {
		t.Errorf("a machine on which nothing is wrong gives %d, want %d", got, exitOK)
	}
}

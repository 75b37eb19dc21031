//go:build linux

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"rookery/test/benchmarks/control"
)

func TestChildren(t *testing.T) {
	proc := t.TempDir()
	process := func(pid, stat string) {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(stat), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	process("7", "7 (rookery) S 1 7 7 0")
	process("8", "8 (a ) 9 (b) S 7 7 7 0")
	process("12", "12 (rookery) S 7 7 7 0")
	process("13", "13 (rookery) S 77 7 7 0")
	got, err := children(proc, 7)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []int{8, 12}) {
		t.Errorf("children are %v, %v; want 8 and 12", got, err)
	}
	process("14", "14 (cut")
	if got, err := children(proc, 7); err == nil {
		t.Errorf("with half a file children are %v", got)
	}
}

func TestTakeOver(t *testing.T) {
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGUSR2)
	defer signal.Stop(came)
	if _, begun, err := perform(control.Order{Kind: control.TakeOver, PID: os.Getpid()}); err != nil || begun != nil {
		t.Fatalf("the order gave %v, %v", begun, err)
	}
	<-came
}

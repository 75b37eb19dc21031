//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"rookery/test/vm"
)

// machineMiB is the machine's memory: what it boots into takes a third of it, and the crowds, both ends, half.
const machineMiB = 2048

// equipment is what the machine is made of.
type equipment struct {
	kernel    *vm.Kernel
	initramfs string
	work      string // directory that goes with the run
}

// programs are the tests and the server, by their names in the machine.
const (
	gatewayTests = "gateway.test"
	kernelTests  = "kerneltls.test"
	processTests = "process.test"
	server       = "rookery"
)

// provide gets and builds it.
func provide(ctx context.Context, cache, work string, progress io.Writer) (*equipment, error) {
	kernel, err := vm.Provide(ctx, cache, nil, progress)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, source := range map[string]string{gatewayTests: "./gateway", kernelTests: "./gateway/internal/kerneltls", processTests: "./test/process"} {
		files[name] = filepath.Join(work, name)
		build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", files[name], source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // the machine has no libc
		if said, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", source, err, said)
		}
	}
	files[server] = filepath.Join(work, server)
	first := filepath.Join(work, "first")
	if err := errors.Join(vm.Build(ctx, files[server], "./cmd/rookery"), vm.Build(ctx, first, "./test/kerneltls")); err != nil {
		return nil, err
	}
	// The machine has no modprobe, so what the kernel would ask for is loaded: AES-GCM, in the processor's way and in any.
	modules, err := kernel.Modules("gcm", "ctr", "ghash_generic", "aesni_intel", "ghash_clmulni_intel", "tls")
	if err != nil {
		return nil, err
	}
	e := &equipment{kernel: kernel, initramfs: filepath.Join(work, "initramfs"), work: work}
	return e, vm.Contents{Init: first, Files: files, Modules: modules}.Write(e.initramfs)
}

// give boots a machine, has it do what the order says, and turns it off.
func (e *equipment) give(ctx context.Context, o order, progress io.Writer) (s said, err error) {
	processors := 2
	if o.Listeners > 0 {
		processors = 1 // a clock that counts does not get a second one going
	}
	booted, _, err := vm.Boot(ctx, vm.Config{
		Kernel: e.kernel, Initramfs: e.initramfs, Processors: processors, MemoryMiB: machineMiB, Port: 9090, Dir: e.work,
		Counted: o.Listeners > 0,
		// Each cache of the kernel counts its own objects; and Go's timers, of 20 microseconds, would take much of an emulated processor.
		Parameters: []string{"slab_nomerge", "transparent_hugepage=madvise", "highres=off", "nohz=off"},
	})
	if err != nil {
		return s, err
	}
	defer booted.Off()
	if err := booted.Guest.Send(o); err != nil {
		return s, err
	}
	for !s.Done {
		s = said{}
		if err := booted.Guest.Receive(&s); err != nil {
			return s, fmt.Errorf("the machine is gone: %w; its console said:\n%s", err, vm.LastWords(booted.Console))
		}
		if s.Line != "" {
			fmt.Fprintln(progress, s.Line)
		}
	}
	if s.Fault != "" {
		return s, errors.New(s.Fault)
	}
	return s, nil
}

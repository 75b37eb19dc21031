package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"rookery/test/vm"
)

const (
	// machineMiB is what the machine needs without connections, and connectionBytes what both ends of one take, with the load tester's.
	machineMiB      = 1536
	connectionBytes = 12 << 10
	// emulatedRate is how many connections a second an emulated processor makes beside a gateway that takes them.
	emulatedRate = 300
)

// playInMachine gives the play in a virtual machine of its own.
func playInMachine(ctx context.Context, o options, work string, progress io.Writer) (f figures, err error) {
	kernel, err := vm.Provide(ctx, filepath.Join("bin", "vm"), vm.Programs{"busybox": "busybox", "dash": "dash"}, progress)
	if err != nil {
		return f, err
	}
	contents := vm.Contents{
		Init: filepath.Join(work, "init"), Files: map[string]string{"rookery": filepath.Join(work, "rookery")},
		Directories: []string{"bin", "lib64", "lib", "etc", "var", "root"},
	}
	contents.Modules, err = kernel.Modules()
	if err = errors.Join(err, vm.Build(ctx, contents.Init, "./test/tuning"), vm.Build(ctx, contents.Files["rookery"], "./cmd/rookery"),
		addProgram(contents.Files, "busybox"), addProgram(contents.Files, "dash")); err != nil {
		return f, err
	}
	initramfs := filepath.Join(work, "initramfs")
	if err := contents.Write(initramfs); err != nil {
		return f, err
	}
	booted, _, err := vm.Boot(ctx, vm.Config{
		Kernel: kernel, Initramfs: initramfs, Processors: 2, MemoryMiB: machineMiB + o.connections*connectionBytes>>20, Port: 8080, Dir: work,
	})
	if err != nil {
		return f, err
	}
	defer booted.Off()
	if err := booted.Guest.Send(order{o.connections, emulatedRate}); err != nil {
		return f, err
	}
	for {
		var s said
		if err := booted.Guest.Receive(&s); err != nil {
			return f, fmt.Errorf("the machine is gone: %w; its console said:\n%s", err, vm.LastWords(booted.Console))
		}
		switch {
		case s.Fault != "":
			return f, errors.New(s.Fault)
		case s.Figures != nil:
			return *s.Figures, nil
		}
		fmt.Fprintln(progress, s.Line)
	}
}

// libraryDirectories are where the loader looks on Debian and on others.
var libraryDirectories = []string{"/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/lib"}

// addProgram gives the machine a program of this one, in /bin, with its loader and its libraries where it has any.
func addProgram(files map[string]string, name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	files["bin/"+name] = path
	program, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer program.Close()
	libraries, err := program.ImportedLibraries()
	if err != nil || len(libraries) == 0 {
		return err
	}
	for _, library := range append(libraries, "ld-linux-x86-64.so.2") {
		to := "lib/" + library
		if library == "ld-linux-x86-64.so.2" {
			to = "lib64/" + library // where programs name it
		}
		for _, dir := range libraryDirectories {
			from := filepath.Join(dir, library)
			if _, err := os.Stat(from); err == nil {
				files[to] = from
				break
			}
		}
		if files[to] == "" {
			return fmt.Errorf("%s needs %s, which is in none of %v", path, library, libraryDirectories)
		}
	}
	return nil
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"rookery/bench/watch"
	"rookery/test/benchmarks/control"
	"rookery/test/measure"
	"rookery/test/vm"
)

// equipment is what machines are made of.
type equipment struct {
	kernel    *vm.Kernel
	server    string // rookery
	initramfs string
	work      string // directory that goes with the run
	scale     float64
	profile   string // directory, empty: none
	progress  io.Writer
}

// plan of the load. Few are on their way at once: an emulated processor makes everybody wait, and who waits too long is
// closed and comes again.
const plan = `scenario: idle
clients:
  pending: 200
  timeout: 2m
time:
  warmup: 0s
  duration: 24h
  drain: 1s
`

// provide gets and builds it.
func provide(ctx context.Context, o options, progress io.Writer) (*equipment, error) {
	kernel, err := vm.Provide(ctx, o.cache, nil, progress)
	if err != nil {
		return nil, err
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return nil, err
		}
	}
	e := &equipment{kernel: kernel, server: filepath.Join(o.cache, "rookery"), scale: o.scale, profile: o.profile, progress: progress}
	first := filepath.Join(o.cache, "guest")
	for path, source := range map[string]string{e.server: "rookery/cmd/rookery", first: "rookery/test/benchmarks/guest"} {
		if err := vm.Build(ctx, path, source); err != nil {
			return nil, err
		}
	}
	if e.work, err = os.MkdirTemp("", "benchmarks-"); err != nil {
		return nil, err
	}
	if err := e.pack(first); err != nil {
		os.RemoveAll(e.work)
		return nil, err
	}
	return e, nil
}

// pack makes the initramfs.
func (e *equipment) pack(first string) error {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	files := map[string]string{"rookery": e.server}
	for name, content := range map[string]string{control.SecretFile: hex.EncodeToString(secret), control.PlanFile: plan} {
		files[name[1:]] = filepath.Join(e.work, filepath.Base(name))
		if err := os.WriteFile(files[name[1:]], []byte(content), 0o600); err != nil {
			return err
		}
	}
	modules, err := e.kernel.Modules()
	if err != nil {
		return err
	}
	e.initramfs = filepath.Join(e.work, "initramfs")
	return vm.Contents{Init: first, Files: files, Modules: modules}.Write(e.initramfs)
}

func (e *equipment) close() { os.RemoveAll(e.work) }

// describe says what the figures are of.
func (e *equipment) describe(ctx context.Context, r *report) (err error) {
	if r.version, err = measure.Version(ctx, e.server); err != nil {
		return err
	}
	host, err := watch.LookAtMachine()
	if err != nil {
		return err
	}
	r.machine = fmt.Sprintf("a virtual machine with Linux %s and %d emulated processors, whose host is %v", e.kernel.Release, processors, host)
	r.notes = []string{"The processor is emulated: memory is that of a real kernel, times are not figures."}
	if e.scale < 1 {
		r.notes = append(r.notes, fmt.Sprintf("Only a share of %v of the connections: what a process needs anyway is divided among few.", e.scale))
	}
	return nil
}

// scaled is how many connections are made of those that a row has.
func (e *equipment) scaled(connections int) int { return max(100, int(float64(connections)*e.scale)) }

// rows are all of them, in the order of the page.
func (e *equipment) rows() []row {
	return []row{e.densityRow(), e.roomsRow(), e.kernelRow(), e.engineRow(), e.millionRow(), e.takeoverRow(), e.rentedRow(1), e.rentedRow(2)}
}

// limit is how long a row may take that has so many connections come in so many machines, and then waits: two to four times of
// what it takes on two cores.
func limit(machines, connections int, waits time.Duration) time.Duration {
	each := 5*time.Minute + time.Duration(connections)*8*time.Millisecond + 2*waits
	return (time.Duration(machines) * each).Round(time.Second)
}

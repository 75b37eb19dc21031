package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rookery/bench/result"
	"rookery/bench/watch"
	"rookery/test/measure"
	"rookery/test/vm"
)

// host measures on this machine: server and load tester are processes beside each other and share its processors.
type host struct {
	binary   string // rookery
	relay    string // the bare server
	work     string // directory that goes with the run
	name     string // of the file of a result
	secret   string // file of the tokens' secret
	progress io.Writer
}

// hostConnections is what a process may hold where it can open 20,000 files, with room for a log and for those that come and go.
const hostConnections = 15_000

// newHost builds what is measured.
func newHost(ctx context.Context, o options, progress io.Writer) (*host, error) {
	h := &host{binary: filepath.Join(o.cache, "rookery"), relay: filepath.Join(o.cache, "bare"), progress: progress}
	if err := os.MkdirAll(o.cache, 0o755); err != nil {
		return nil, err
	}
	err := errors.Join(vm.Build(ctx, h.binary, "rookery/cmd/rookery"), vm.Build(ctx, h.relay, "rookery/test/benchmarks/bare"))
	if err != nil {
		return nil, err
	}
	if h.work, err = os.MkdirTemp("", "benchmarks-"); err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	h.secret = filepath.Join(h.work, "secret")
	if err := os.WriteFile(h.secret, []byte(hex.EncodeToString(secret)), 0o600); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *host) close() { os.RemoveAll(h.work) }

// describe says what the figures are of.
func (h *host) describe(ctx context.Context, r *report) (err error) {
	if r.version, err = measure.Version(ctx, h.binary); err != nil {
		return err
	}
	machine, err := watch.LookAtMachine()
	r.machine = fmt.Sprint(machine)
	r.notes = []string{"Server and load tester share the machine: rates and latencies are those of both together."}
	return err
}

// rows are all of them, in the order of the page.
func (h *host) rows() []row {
	return []row{
		h.connectRow(), h.idleRow(), h.waveRow(), h.tlsRow(),
		h.deliveryRow(), h.busyRow(), h.mostRow(), h.latencyRow(), h.asideRow(),
		h.peopleRow(), h.slowRow(), h.catchUpRow(), h.overloadRow(), h.ephemeralRow(), h.durableRow(),
	}
}

// load runs rookery bench against a gateway.
func (h *host) load(ctx context.Context, s *hostServer, scenario string, flags ...string) (result.Result, error) {
	return h.loadTarget(ctx, s, "ws://"+s.address+"/ws", scenario, flags...)
}

func (h *host) loadTarget(ctx context.Context, s *hostServer, target, scenario string, flags ...string) (result.Result, error) {
	return h.bench(ctx, scenario, flags, "--target", target, "--metrics", "http://"+s.admin+"/metrics",
		"--pid", strconv.Itoa(s.process.Process.Pid), "--key-file", h.secret)
}

// bench runs rookery bench with flags that say what, and others that say where, and gives its result. That something was lost, or that
// the load tester was at its limit, is in the result and no error.
func (h *host) bench(ctx context.Context, scenario string, flags []string, server ...string) (r result.Result, err error) {
	file := filepath.Join(h.work, "result"+h.name+".json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	args := slices.Concat([]string{"bench", scenario, "--quiet", "--json", file}, server, flags)
	said, failed := exec.CommandContext(ctx, h.binary, args...).CombinedOutput()
	content, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("rookery %s: %w; it said:\n%s", strings.Join(args, " "), errors.Join(failed, ctx.Err()), said)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("result of rookery bench: %w", err)
	}
	fmt.Fprintf(h.progress, "  %s %s: %s\n", filepath.Base(scenario), strings.Join(flags, " "), summary(r))
	return r, nil
}

// plan gives the file of a plan when it is asked for.
func (h *host) plan(name, content string) func() (string, error) {
	return func() (string, error) {
		file := filepath.Join(h.work, name)
		return file, os.WriteFile(file, []byte(content), 0o600)
	}
}

// summary is a result in a line, for who waits.
func summary(r result.Result) string {
	b := fmt.Sprintf("%s connected, %s sent, %s delivered, %s not", grouped(float64(r.Counts.Connected)), grouped(float64(r.Counts.Sent)),
		grouped(float64(r.Counts.Delivered)), grouped(float64(r.Counts.Undelivered())))
	if !r.Verdict.Valid {
		b += "; the load tester was at its limit: " + r.Verdict.Cause
	}
	return b
}

// doubt is what a reader of a figure must know of the run that it is from, empty if nothing.
func doubt(r result.Result) string {
	switch c := r.Counts; {
	case c.Undelivered()+c.Duplicated+c.Reordered+c.Foreign > 0:
		return fmt.Sprintf("%d did not come, %d twice, %d reordered", c.Undelivered(), c.Duplicated, c.Reordered)
	case !r.Verdict.Valid:
		return "load tester at its limit"
	}
	return ""
}

// loaded are the seconds in which the counted load ran.
func loaded(r result.Result) []result.Second {
	return r.Seconds[min(r.LoadFrom, len(r.Seconds)):min(r.LoadTo, len(r.Seconds))]
}

// perDelivery is the server's CPU time for each delivery of the counted load, in seconds.
func perDelivery(r result.Result) float64 {
	return ofDeliveries(r, func(p result.Process) float64 { return p.CPUSeconds })
}

// systemPerDelivery is what of that was in the kernel.
func systemPerDelivery(r result.Result) float64 {
	return ofDeliveries(r, func(p result.Process) float64 { return p.SystemSeconds })
}

func ofDeliveries(r result.Result, what func(result.Process) float64) float64 {
	used, delivered := 0.0, int64(0)
	for _, s := range loaded(r) {
		used += what(s.Server)
		delivered += s.Counts.Delivered
	}
	return used / max(1, float64(delivered))
}

// median of some figures, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// seconds as a flag's value.
func seconds(n int) string { return (time.Duration(n) * time.Second).String() }

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rookery/bench/report"
	"rookery/tuning/host"
)

const address = "127.0.0.1:8080"

// startPatience is far over the time that the gateway takes on a machine that is busy.
const startPatience = 30 * time.Second

// startGateway starts it from a login, so that PAM gives it its limits, and waits until it accepts.
func (p *play) startGateway(ctx context.Context) (stop func() error, err error) {
	data, err := os.MkdirTemp(p.work, "data-")
	if err != nil {
		return nil, err
	}
	gateway, err := p.stage.login(ctx, p.binary, "serve", "--dev", "--listen", address, "--data", filepath.Join(data, "log"))
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startPatience)
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the gateway does not listen: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return func() error {
		h, err := host.Here(host.Options{})
		if err != nil {
			return err
		}
		if h.Gateway == nil {
			return errors.New("the gateway is not there any more")
		}
		if err := syscall.Kill(h.Gateway.PID, syscall.SIGTERM); err != nil {
			return err
		}
		gateway.Wait() // its status is that of a process that was told to end
		return nil
	}, nil
}

// load is what came of a storm of connections.
type load struct {
	Asked     int64
	Held      int64 // most connections that were open at a time
	Failed    int64
	Overflows int64 // of accept queues
	Process   int64 // resident memory of the gateway, bytes
	Files     int64 // limit of open files of the gateway
}

// putLoad has the load tester connect.
func (p *play) putLoad(ctx context.Context, connections int) (load, error) {
	before, err := overflows()
	if err != nil {
		return load{}, err
	}
	file := filepath.Join(p.work, "result.json")
	bench := exec.CommandContext(ctx, p.binary, "bench", "storm", "--target", "ws://"+address+"/ws", "--source", "127.0.0.0/16", "--connections", strconv.Itoa(connections),
		"--rooms", strconv.Itoa(max(1, connections/10)), "--connect-rate", strconv.Itoa(p.rate), "--duration", "10s", "--warmup", "1s", "--drain", "5s", "--json", file, "--quiet")
	said, err := bench.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) { // a run in which connects fail has a status of its own
		return load{}, err
	}
	r, err := report.ReadFile(file)
	if err != nil {
		return load{}, fmt.Errorf("%w; the load tester said:\n%s", err, said)
	}
	l := load{Asked: int64(connections), Failed: r.Counts.ConnectsFailed}
	for _, s := range r.Seconds {
		l.Held = max(l.Held, s.Open)
		l.Process = max(l.Process, s.Server.MemoryBytes)
		l.Files = max(l.Files, s.Server.DescriptorsMax)
	}
	after, err := overflows()
	l.Overflows = after - before
	return l, err
}

// overflows is how often an accept queue of this network was full.
func overflows() (int64, error) {
	h, err := host.Here(host.Options{PID: os.Getpid()})
	if err != nil {
		return 0, err
	}
	return h.Counters()["TcpExt.ListenOverflows"], nil
}

// rookery runs a command of the binary and gives what it says.
func (p *play) rookery(ctx context.Context, args ...string) (string, int, error) {
	return output(exec.CommandContext(ctx, p.binary, args...))
}

// output runs a command and gives what it says and its status.
func output(command *exec.Cmd) (string, int, error) {
	var said, faults strings.Builder
	command.Stdout, command.Stderr = &said, &faults
	err := command.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return said.String() + faults.String(), failed.ExitCode(), nil
	}
	return said.String(), 0, err
}

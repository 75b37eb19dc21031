package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
const startPatience = 60 * time.Second

// startGateway has the stage start it, and waits until it accepts.
func (p *play) startGateway(ctx context.Context) (stop func() error, err error) {
	stop, err = p.stage.start(ctx, p)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startPatience)
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return stop, conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the gateway does not listen: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// gatewayProcess is the running one.
func gatewayProcess() (int, error) {
	h, err := host.Here(host.Options{})
	if err != nil {
		return 0, err
	}
	if h.Gateway == nil {
		return 0, errors.New("the gateway is not there any more")
	}
	return h.Gateway.PID, nil
}

// load is what came of connections that were asked for.
type load struct {
	Asked   int64
	Held    int64 // most connections that were open at a time
	Failed  int64
	Process int64 // resident memory of the gateway, bytes
	Files   int64 // limit of open files of the gateway

	faults []string // what the load tester says of the connects that failed
}

// loadPlan is what the load tester does. Few are on their way at a time: a load tester that has fallen behind its rate, as on an
// emulated processor, makes up for it with as many at once, and they would wait for longer than the gateway waits for a handshake.
const loadPlan = `scenario: storm
server: {targets: ["ws://%s/ws"]}
clients: {connections: %d, rate: %d, pending: 500, timeout: 60s, retry: {for: 10m}, sources: [127.0.0.0/16]}
rooms: {count: %d}
time: {warmup: 1s, duration: 10s, drain: 5s}
`

// beyond is how many more are asked for than a limit holds. They try in vain again and again, so they are fewer than those that may be on
// their way.
const beyond = 250

// putLoad has the load tester connect.
func (p *play) putLoad(ctx context.Context, connections int) (load, error) {
	plan, file := filepath.Join(p.work, "plan.yaml"), filepath.Join(p.work, "result.json")
	if err := os.WriteFile(plan, fmt.Appendf(nil, loadPlan, address, connections, p.rate, max(1, connections/10)), 0o600); err != nil {
		return load{}, err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) { // that of the load before
		return load{}, err
	}
	bench := exec.CommandContext(ctx, p.binary, "bench", plan, "--json", file, "--quiet")
	said, err := bench.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) { // a run in which connects fail has a status of its own
		return load{}, err
	}
	r, unread := report.ReadFile(file)
	if unread != nil {
		return load{}, fmt.Errorf("%w; the load tester ended with %v and said:\n%s", unread, err, said)
	}
	l := load{Asked: int64(connections), Failed: r.Counts.ConnectsFailed}
	for _, f := range r.Faults {
		l.faults = append(l.faults, fmt.Sprintf("%d times %s: %s", f.Count, f.What, f.Message))
	}
	for _, s := range r.Seconds {
		l.Held = max(l.Held, s.Open)
		l.Process = max(l.Process, s.Server.MemoryBytes)
		l.Files = max(l.Files, s.Server.DescriptorsMax)
	}
	return l, nil
}

// burstSize is how many connections come while the gateway has no processor: as many as come back in a second after a restart of a
// gateway with 20,000.
const burstSize = 2000

// burst is what came of connections that came at once.
type burst struct {
	Made      int   // before the gateway had its processor back
	Overflows int64 // times that an accept queue was full
}

// putBurst stops the gateway for a moment, as a hypervisor does that gives its processor to others, and has connections come
// meanwhile. What the kernel answers then is up to the accept queues alone, on a machine of any speed.
func putBurst() (b burst, err error) {
	process, err := gatewayProcess()
	if err != nil {
		return b, err
	}
	before, err := overflows()
	if err != nil {
		return b, err
	}
	if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
		return b, err
	}
	resume := func() error { return syscall.Kill(process, syscall.SIGCONT) }
	sockets, err := connectAll(burstSize)
	defer closeAll(sockets)
	if err != nil {
		return b, errors.Join(err, resume())
	}
	b.Made = connected(sockets)
	after, err := overflows()
	if err = errors.Join(err, resume()); err != nil {
		return b, err
	}
	b.Overflows = after - before
	return b, nil
}

// connectAll begins connections and waits for none of them. On loopback a connect goes through both ends of the kernel before it
// returns, so that what the kernel has not answered then it will not before the client repeats itself, a second later.
func connectAll(n int) (sockets []int, err error) {
	for range n {
		s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, s)
		err = syscall.Connect(s, &syscall.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}})
		if err != nil && err != syscall.EINPROGRESS {
			return sockets, fmt.Errorf("connect: %w", err)
		}
	}
	return sockets, nil
}

// connected counts those that are.
func connected(sockets []int) (n int) {
	for _, s := range sockets {
		if _, err := syscall.Getpeername(s); err == nil {
			n++
		}
	}
	return n
}

func closeAll(sockets []int) {
	for _, s := range sockets {
		syscall.Close(s)
	}
}

// overflows is how often an accept queue of this network was full.
func overflows() (int64, error) {
	h, err := host.Here(host.Options{PID: os.Getpid()})
	if err != nil {
		return 0, err
	}
	return h.Counters()["TcpExt.ListenOverflows"], nil
}

// steered is how many packets were handed to another processor by RPS since boot. Those of many connections come in through the
// machine's card meanwhile: QEMU's network refuses each of these for the host. In namespaces there is no card, and nowhere to go.
func steered() (packets int64, err error) {
	for range 64 {
		if conn, err := net.DialTimeout("tcp", "10.0.2.2:1", time.Second); err == nil {
			conn.Close()
		}
	}
	b, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		const received = 9 // column of packets that came from another processor
		if f := strings.Fields(line); len(f) > received {
			n, err := strconv.ParseInt(f[received], 16, 64)
			if err != nil {
				return 0, err
			}
			packets += n
		}
	}
	return packets, nil
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

// failed is the error of a command that did not end with the status that is wanted.
func failed(what string, said string, status, want int, err error) error {
	if err == nil && status == want {
		return nil
	}
	return errors.Join(err, fmt.Errorf("%s: status %d, want %d: %s", what, status, want, strings.TrimSpace(said)))
}

// all runs commands until one fails.
func all(commands ...*exec.Cmd) error {
	for _, c := range commands {
		said, status, err := output(c)
		if err := failed(strings.Join(c.Args, " "), said, status, 0, err); err != nil {
			return err
		}
	}
	return nil
}

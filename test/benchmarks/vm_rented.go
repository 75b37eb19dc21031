package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rookery/test/benchmarks/control"
	"rookery/test/vm"
	"rookery/tuning"
)

// rented is a server in a machine with the memory and the kernel settings of one that is rented and was given rookery tune apply. Its
// clients are in another machine, so that all that the kernel holds is the server's.
type rented struct {
	*server
	clients *machine
	itself  tuning.Room // what rookery tune capacity says on the server's machine
}

func (r rented) off() {
	r.server.off()
	r.clients.off()
}

// The network between the two. Each address of the clients has 64,000 ports: a range of 14 is far over what they need.
var (
	serverAddress = netip.MustParsePrefix("192.168.0.1/16")
	clientAddress = netip.MustParsePrefix("192.168.0.2/16")
	clientSources = netip.MustParsePrefix("192.168.1.0/28")
)

// clientBytes is what one connection takes of the clients' machine: 5 kB of the kernel, and the load tester's with what its collector lets
// lie about.
const clientBytes = 8 << 10

// rent boots both, has the server's machine be tuned for a number of connections, and starts the server. All that is done with its machine
// fails when either is gone.
func (e *equipment) rent(ctx context.Context, gibibytes, tunedFor, connections int, heartbeat time.Duration) (r rented, err error) {
	link := filepath.Join(e.work, "link.socket")
	// One processor, and nothing for the kernel that providers do not say.
	m, err := e.turnOnIn(ctx, "rented", vm.Config{
		Processors: 1, MemoryMiB: gibibytes << 10, Parameters: []string{control.AsRentedVariable + "=yes"},
		Link: &vm.Link{Socket: link, Listens: true, Address: serverAddress},
	})
	if err != nil {
		return r, err
	}
	r.clients, err = e.turnOnIn(ctx, "clients", vm.Config{
		Processors: 1, MemoryMiB: machineMiB + connections*clientBytes>>20, Parameters: roomy,
		Link: &vm.Link{Socket: link, Address: clientAddress, Sources: clientSources},
	})
	if err != nil {
		m.off()
		return r, err
	}
	context.AfterFunc(r.clients.ctx, func() { m.fail(context.Cause(r.clients.ctx)) })
	if r.itself, err = m.tune(tunedFor); err == nil {
		r.server, err = m.serve("0.0.0.0:8080", heartbeat)
	}
	if err != nil {
		m.off()
		r.clients.off()
		return r, err
	}
	r.loader = loader{r.clients, 0, fmt.Sprintf("ws://%s:8080/ws", serverAddress.Addr()), clientSources.String()}
	return r, nil
}

// turnOnIn gives a machine a directory of its own below that of the run.
func (e *equipment) turnOnIn(ctx context.Context, name string, c vm.Config) (*machine, error) {
	c.Dir = filepath.Join(e.work, name)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	m, err := e.turnOn(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("machine of the %s: %w", name, err)
	}
	return m, nil
}

// tune has rookery set the machine for so many connections, and gives for how many it thinks that there is room. That may be fewer: the
// kernel keeps for itself a part of the memory that was rented.
func (m *machine) tune(connections int) (room tuning.Room, err error) {
	said, err := m.finish("tune", "apply", "--anyway", "--connections", strconv.Itoa(connections))
	if err != nil {
		return room, err
	}
	for line := range strings.Lines(said) {
		m.tell("tune apply: %s", strings.TrimSpace(line))
	}
	// Nobody logs in, so the limit is taken from the file that a login would read.
	limits, err := m.read("/" + tuning.LimitsFile)
	if err != nil {
		return room, err
	}
	fields := strings.Fields(limits)
	if m.descriptors, err = strconv.ParseUint(fields[len(fields)-1], 10, 64); err != nil {
		return room, fmt.Errorf("limit of open files that rookery tune has written: %w", err)
	}
	said, err = m.finish("tune", "capacity", "--json")
	if err != nil {
		return room, err
	}
	return room, json.Unmarshal([]byte(said), &room)
}

// remains is what a machine has left, and what its kernel has taken and refused.
type remains struct {
	kernelMemory
	total, available, free int64
	pageTables, buffers    int64 // the latter of all sockets
	killed                 int64 // processes, for want of memory
	dropped                int64 // connects, for want of memory or of room in the queue
	pressed                int64 // how often sockets had as much memory as they may
	faults                 int64 // pages that had to be read from the disk for a program to go on
}

func (m *machine) remains() (r remains, err error) {
	if r.kernelMemory, err = m.kernelMemory(); err != nil {
		return r, err
	}
	texts := map[string]string{}
	for _, path := range []string{"/proc/meminfo", "/proc/vmstat", "/proc/net/sockstat", "/proc/net/netstat"} {
		if texts[path], err = m.read(path); err != nil {
			return r, err
		}
	}
	return r, r.parse(texts)
}

func (r *remains) parse(texts map[string]string) error {
	var faults []error
	take := func(n int64, err error) int64 {
		faults = append(faults, err)
		return n
	}
	for name, to := range map[string]*int64{"MemTotal": &r.total, "MemAvailable": &r.available, "MemFree": &r.free, "PageTables": &r.pageTables} {
		*to = take(kibibytes(texts["/proc/meminfo"], name))
	}
	r.killed = take(parseVmstat(texts["/proc/vmstat"], "oom_kill"))
	r.faults = take(parseVmstat(texts["/proc/vmstat"], "pgmajfault"))
	r.buffers = pageBytes * take(parseSockstat(texts["/proc/net/sockstat"], "TCP", "mem"))
	r.dropped = take(parseNetstat(texts["/proc/net/netstat"], "ListenDrops"))
	r.pressed = take(parseNetstat(texts["/proc/net/netstat"], "TCPMemoryPressures"))
	return errors.Join(faults...)
}

// parseVmstat gives the value of a line "name 12".
func parseVmstat(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("the kernel does not tell %s", name)
}

// parseNetstat gives a value of the lines "TcpExt: names…" and "TcpExt: values…".
func parseNetstat(text, name string) (int64, error) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if n == name && i < len(f) {
				return strconv.ParseInt(f[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("the kernel does not tell %s", name)
}

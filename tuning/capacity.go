package tuning

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"rookery/tuning/host"
)

// What a connection costs. Those of an idle one are measured (docs/benchmarks.md, rows density and kernel); what a chatty and a busy
// one add is an estimate from what the kernel and the gateway keep for data that is on its way.
const (
	processBytes = 1126 // of the gateway's process, 1.1 KiB, with what the collector leaves lying about
	kernelBytes  = 5018 // of the kernel's for its socket, 4.9 KiB: the upper end of 4.2 to 4.9
	// A process that uses TLS, HTTP and buffers for both directions: a proxy's part for one connection.
	proxyBytes = 16 << 10
	baseBytes  = 24 << 20 // of the gateway without connections
	// systemShare of memory is left to the kernel, to other programs and to the page cache through which the log is read.
	systemShare = 0.15
	systemLeast = 192 << 20

	messageCPU   = 15e-6 // seconds of a processor for a message that comes in or goes out, most of it the kernel's
	heartbeatCPU = 20e-6 // for a ping and its answer
	heartbeat    = 25.0  // seconds, the setting's default
	busyShare    = 0.7   // of the processors: above that latencies rise
)

// Load is how much goes on on a connection, and how many connections a machine then holds.
type Load struct {
	Name        string `json:"load"`
	Means       string `json:"means"`
	Process     int64  `json:"process_bytes"` // for each connection
	Kernel      int64  `json:"kernel_bytes"`
	Connections int    `json:"connections"`
}

func loads() []Load {
	return []Load{
		{Name: "idle", Means: "heartbeats, and now and then a message", Process: processBytes, Kernel: kernelBytes},
		{Name: "chatty", Means: "a message every ten seconds or so: one in four has data on its way", Process: processBytes + 1024, Kernel: kernelBytes + 1024},
		{Name: "busy", Means: "a message a second or more: data on its way both ways at all times", Process: processBytes + 5*1024, Kernel: kernelBytes + 2*4096},
	}
}

// Room is how many connections a machine holds.
type Room struct {
	Memory     int64   `json:"memory_bytes"` // that of the machine, or of the cgroup where that is less
	Bound      string  `json:"bound"`        // which
	System     int64   `json:"system_bytes"` // left to others
	Base       int64   `json:"base_bytes"`   // of the gateway
	Processors float64 `json:"processors"`
	Role       Role    `json:"role"`
	Loads      []Load  `json:"loads"`
}

// Capacity computes it. A limit of the gateway's cgroup counts where it is less than the machine's memory.
func Capacity(h *host.Host, role Role) Room {
	r := Room{Memory: h.Memory.Total, Bound: "memory of the machine", Processors: float64(h.Processors), Role: role}
	if b, found := h.MemoryBound(); found && int64(b.Amount) < r.Memory {
		r.Memory, r.Bound = int64(b.Amount), b.File
	}
	if b, found := h.ProcessorBound(); found {
		r.Processors = min(r.Processors, b.Amount)
	}
	return r.fill()
}

// CapacityOf computes it for a machine that is not there.
func CapacityOf(memory int64, processors int, role Role) Room {
	return Room{Memory: memory, Bound: "memory as asked for", Processors: float64(processors), Role: role}.fill()
}

func (r Room) fill() Room {
	if r.Role == "" {
		r.Role = Gateway
	}
	r.Base = baseBytes
	r.System = max(systemLeast, int64(systemShare*float64(r.Memory)))
	r.Loads = loads()
	for i := range r.Loads {
		l := &r.Loads[i]
		l.Kernel *= r.Role.sockets()
		if r.Role == BehindProxy {
			l.Process += proxyBytes
		}
		l.Connections = int(max(0, r.Memory-r.System-r.Base) / (l.Process + l.Kernel))
		if l.Connections >= 10000 {
			l.Connections -= l.Connections % 1000 // the rest is below what can be known
		}
	}
	return r
}

// of gives the load that a target is.
func (r Room) of(t Target) Load {
	each := t.MessageRate / float64(max(1, t.Connections))
	switch {
	case each >= 1:
		return r.Loads[2]
	case each >= 0.05:
		return r.Loads[1]
	}
	return r.Loads[0]
}

// memoryFor is what a machine must have for a target.
func (r Room) memoryFor(t Target) int64 {
	l := r.of(t)
	needed := int64(t.Connections)*(l.Process+l.Kernel) + r.Base
	return max(needed+systemLeast, int64(math.Ceil(float64(needed)/(1-systemShare))))
}

// processorsFor is how many it must have.
func processorsFor(t Target) float64 {
	return (t.MessageRate*messageCPU + float64(t.Connections)/heartbeat*heartbeatCPU) / busyShare
}

// Write shows the capacity with its formula.
func (r Room) Write(w io.Writer) error {
	fmt.Fprintf(w, "%s (%s), %.3g processors, as %s\n\n", size(r.Memory), r.Bound, r.Processors, r.Role)
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "load\tconnections\tprocess, each\tkernel, each\tmessages/s\t\n")
	for _, l := range r.Loads {
		beats := float64(l.Connections) / heartbeat * heartbeatCPU
		rate := int64(max(0, r.Processors*busyShare-beats) / messageCPU)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", l.Name, number(l.Connections), size(l.Process), size(l.Kernel), number(rate/100*100))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, l := range r.Loads {
		fmt.Fprintf(w, "%s: %s\n", l.Name, l.Means)
	}
	_, err := fmt.Fprintf(w, `
connections = (memory − system − gateway) / (process + kernel)
  system   %s: 15%% of the memory and at least 192 MiB, for the kernel, other programs and the cache of the log
  gateway  %s without a connection
  process and kernel of an idle connection are measured (docs/benchmarks.md, rows density and kernel); what
  chatty and busy add to them, and a proxy, are estimates
messages/s = (processors × 0.7 − connections / 25 s × 20 µs) / 15 µs, those that come in and those that go out together: an estimate
Not in it: what waits for slow consumers, limits.outbound_total_bytes of the gateway (256 MiB) at most.
`, size(r.System), size(r.Base))
	return err
}

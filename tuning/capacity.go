package tuning

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"rookery/tuning/host"
)

// What a connection costs. An idle one and the processor's part are measured (docs/benchmarks.md), what a chatty and a busy one add follows
// from what was measured; docs/tuning.md has the derivation, and how far off it may be.
const (
	processBytes = 1126 // of the gateway's process, 1.1 KiB, with what the collector leaves lying about
	kernelBytes  = 5018 // of the kernel's for its socket, 4.9 KiB: the upper end of 4.2 to 4.9
	// What one adds to the process that has a message every ten seconds, or every second: measured were 545 and 1,226 bytes.
	chattyBytes, busyBytes = 640, 1280
	// segmentBytes is what the kernel takes for a short message that waits to be sent, or for its acknowledgement: the structure of a packet
	// and the smallest buffer that it has.
	segmentBytes = 1280
	// A process that uses TLS, HTTP and buffers for both directions: a proxy's part for one connection.
	proxyBytes = 16 << 10
	baseBytes  = 32 << 20 // of the gateway without connections: 33 MB resident on a machine of 1 GB, 21 on one of 24
	// systemShare of memory is left to the kernel, to other programs and to the page cache through which the log is read.
	systemShare = 0.15
	systemLeast = 192 << 20

	messageCPU   = 15e-6          // seconds of a processor for a message that comes in or goes out, most of it the kernel's
	heartbeatCPU = 2 * messageCPU // for a ping and its answer
	heartbeat    = 25.0           // seconds, the setting's default
	busyShare    = 0.7            // of the processors: above that latencies rise
)

// Load is how much goes on on a connection, and how many connections a machine then holds.
type Load struct {
	Name         string  `json:"load"`
	Means        string  `json:"means"`
	Rate         float64 `json:"messages_per_second"` // of each connection, in and out
	Process      int64   `json:"process_bytes"`       // for each connection
	Kernel       int64   `json:"kernel_bytes"`
	ByMemory     int     `json:"by_memory"`
	ByProcessors int     `json:"by_processors"`
	Connections  int     `json:"connections"` // the lesser of the two
}

func loads() []Load {
	return []Load{
		{Name: "idle", Means: "heartbeats, and now and then a message", Process: processBytes, Kernel: kernelBytes},
		{Name: "chatty", Rate: 0.1, Means: "a message every ten seconds: one in four has data on its way", Process: processBytes + chattyBytes, Kernel: kernelBytes + segmentBytes/4},
		{Name: "busy", Rate: 1, Means: "a message a second: data on its way both ways at all times", Process: processBytes + busyBytes, Kernel: kernelBytes + 2*segmentBytes},
	}
}

// Room is how many connections a machine holds.
type Room struct {
	Memory     int64   `json:"memory_bytes"` // that of the machine, as its kernel says, or of the cgroup where that is less
	Bound      string  `json:"bound"`        // which
	System     int64   `json:"system_bytes"` // left to others
	Base       int64   `json:"base_bytes"`   // of the gateway
	Processors float64 `json:"processors"`
	Role       Role    `json:"role"`
	Tracked    bool    `json:"tracked"` // each connection is in the connection tracker, too
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
	r.Tracked = h.Sysctl("net.netfilter.nf_conntrack_count").Number(0) > 0
	return r.fill()
}

// Untracked is the same without a firewall that tracks connections.
func (r Room) Untracked() Room {
	r.Tracked = false
	return r.fill()
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
		if r.Tracked {
			l.Kernel += trackedBytes * r.Role.entries()
		}
		if r.Role == BehindProxy {
			l.Process += proxyBytes
		}
		l.ByMemory = roundDown(float64(max(0, r.Memory-r.System-r.Base)) / float64(l.Process+l.Kernel))
		l.ByProcessors = roundDown(r.Processors * busyShare / (heartbeatCPU/heartbeat + l.Rate*messageCPU))
		l.Connections = min(l.ByMemory, l.ByProcessors)
	}
	return r
}

// roundDown takes away what is below what can be known.
func roundDown(n float64) int {
	if n >= 10000 {
		return int(n/1000) * 1000
	}
	return int(n)
}

// holds is how many connections there may be with a number of messages a second; at least one, which then may not fit.
func (r Room) holds(rate float64) (n int) {
	byProcessors := roundDown(max(0, r.Processors*busyShare-rate*messageCPU) / (heartbeatCPU / heartbeat))
	for _, l := range r.Loads {
		n = max(1, min(l.ByMemory, byProcessors))
		if r.of(Target{Connections: n, MessageRate: rate}).Name == l.Name {
			break
		}
	}
	return n
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
	fmt.Fprint(table, "load\tconnections\tby memory\tby processors\tprocess, each\tkernel, each\tmessages/s\t\n")
	for _, l := range r.Loads {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", l.Name, number(l.Connections), number(l.ByMemory), number(l.ByProcessors),
			size(l.Process), size(l.Kernel), number(int64(l.Rate*float64(l.Connections))))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, l := range r.Loads {
		fmt.Fprintf(w, "%s: %s\n", l.Name, l.Means)
	}
	_, err := fmt.Fprintf(w, `
by memory      (memory − system − gateway) / (process + kernel)
  memory       what the kernel says that there is (MemTotal), which is less than is rented: it keeps a part for itself. Or the
               limit of a cgroup, where that is less
  system       %s: 15%% of the memory and at least 192 MiB, for the kernel, other programs and the cache of the log
  gateway      %s without a connection
  process and kernel of an idle connection are measured (docs/benchmarks.md, rows density and kernel); what chatty and
  busy add follows from what was measured (docs/tuning.md); a proxy, and %d bytes where connections are tracked, are estimates
by processors  processors × 0.7 / (30 µs / 25 s for the heartbeat + 15 µs × messages a second of a connection): from what was
  measured, in rooms of two a third more, in large ones a third less
Not in it: what waits for slow consumers, limits.outbound_total_bytes of the gateway (256 MiB) at most.
`, size(r.System), size(r.Base), trackedBytes)
	return err
}

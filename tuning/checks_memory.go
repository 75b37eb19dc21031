package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"rookery/tuning/host"
)

func memoryChecks() []Check {
	return []Check{
		{
			Key:    "memory",
			Reason: "a connection takes memory of the process and of the kernel, and where that ends the kernel kills the gateway",
			Cost:   "a larger machine",
			Source: docCapacity + "; rookery tune capacity shows the formula",
			read: func(v *view) current {
				return known("/proc/meminfo", "%s, %s of them available", size(v.host.Memory.Total), size(v.host.Memory.Available))
			},
			judge: func(v *view, _ current) verdict {
				return v.judgeMemory(v.host.Memory.Total, "use a machine whose kernel has %s (MemTotal)")
			},
		}, {
			Key:    "memory.max",
			Reason: "a limit of the cgroup, memory.max or memory.high, binds the process and the memory of its sockets together: at the one it is killed, at the other held up, and before that its runtime collects all the time",
			Cost:   "less memory for others",
			Source: docCgroup + ", Memory Interface Files; systemd.resource-control(5), MemoryMax=, MemoryHigh=",
			read: func(v *view) current {
				b, found := v.host.MemoryBound()
				if !found {
					return known("no cgroup above the gateway", "no limit")
				}
				return known(b.File, "%s", size(int64(b.Amount)))
			},
			judge: func(v *view, _ current) verdict {
				b, found := v.host.MemoryBound()
				if !found {
					return verdict{}
				}
				return v.judgeMemory(int64(b.Amount), "raise the limit of the cgroup to %s")
			},
		}, {
			Key:      "net.ipv4.tcp_mem",
			Reason:   "the buffers of all sockets together, in pages and not bytes: over the second number the kernel shrinks windows, over the third it drops. The default is a tenth of the memory, for few connections with full buffers",
			Cost:     "as much memory as is on its way, and only while it is; never more than a quarter of the machine's",
			Avoid:    "connections are idle: empty buffers take nothing",
			Computed: "the second number is a quarter of a page for each connection that is idle, half a one if chatty, one if busy, three times that with a proxy on the machine; the first is three quarters of it and the third one and a half; never more than a quarter of the memory. Taken back where the third promises more than 60% of the memory",
			Source:   docIP + ", TCP variables, tcp_mem",

			severity: Hurts,
			rule:     Rule{Least, 1},
			want:     wantTCPMemory,
			at: func(v *view, now current) int {
				if tooMuchTCPMemory(v.host, now.Number(2)) {
					return 0
				}
				return int(float64(now.Number(1)) / v.onTheirWay())
			},
			judge: func(v *view, now current) verdict {
				if most := now.Number(2); tooMuchTCPMemory(v.host, most) {
					return verdict{severity: Hurts, says: fmt.Sprintf("it promises %s, and the machine has %s", size(min(most, math.MaxInt64/v.host.PageSize())*v.host.PageSize()), size(v.host.Memory.Total))}
				}
				return verdict{}
			},
		}, {
			Key:      "net.ipv4.tcp_max_orphans",
			Reason:   "connections that the gateway has closed while data was on its way are the kernel's to finish; beyond this many it resets them, and their last messages are lost",
			Cost:     "up to 64 KiB for each connection that is closed with unsent data, while there are such",
			Avoid:    "memory is short and clients may lose the last messages before a restart",
			Computed: "a quarter of the connections, rounded up to a power of two, but not more than one for each 32 KiB of memory",
			Source:   docIP + ", TCP variables, tcp_max_orphans",
			roles:    servers(),

			severity: Hurts,
			// A restart closes all, over some seconds; one in four has not answered when it is closed. But never more than would take
			// twice the memory if each held all it may.
			rule: Rule{Kind: Least},
			want: func(v *view, now current) string {
				return atLeast(now, powerOfTwo(min(int64(v.target.Connections)/4, v.room.Memory>>15)))
			},
			judge: func(v *view, _ current) verdict {
				if lost := v.counts["TcpExt.TCPAbortOnMemory"]; lost > 0 {
					return verdict{severity: Hurts, says: number(lost) + " connections were ended since boot for want of memory, or because there were too many of these"}
				}
				return verdict{}
			},
		}, {
			Key:    "vm.overcommit_memory",
			Reason: "with 2 the kernel refuses memory that is only reserved, and the Go runtime ends when it gets none",
			Source: docVM + ", overcommit_memory",
			judge: func(v *view, now current) verdict {
				m := v.host.Memory
				load := v.room.of(v.target)
				needed := int64(v.target.Connections)*load.Process + baseBytes
				if now.Text != "2" || m.CommitLimit-m.Committed >= needed {
					return verdict{}
				}
				return verdict{severity: Hurts, wanted: "0", says: fmt.Sprintf("%s may still be committed, and the gateway's process will ask for %s", size(max(0, m.CommitLimit-m.Committed)), size(needed)),
					do: "set vm.overcommit_memory=0, or raise vm.overcommit_ratio"}
			},
		}, {
			Key:    "swap",
			Reason: "the collector looks at all of the heap, so that what was swapped out is read again and again; swap that is there and not used does no harm",
			Source: "Go, A Guide to the Go Garbage Collector, Tracing Garbage Collection; " + docCgroup + ", Memory Interface Files, memory.swap.max",
			read: func(v *view) current {
				m := v.host.Memory
				return known("/proc/meminfo", "%s, %s of them used", size(m.SwapTotal), size(m.SwapTotal-m.SwapFree))
			},
			judge: func(v *view, _ current) verdict {
				if used := v.host.Memory.SwapTotal - v.host.Memory.SwapFree; used > v.host.Memory.Total/20 {
					return verdict{severity: Hurts, says: size(used) + " are swapped out", do: "give the machine more memory or fewer connections; MemorySwapMax=0 in the unit keeps the gateway out of it"}
				}
				return verdict{}
			},
		}, {
			Key:    "transparent_hugepage",
			Reason: "with always the kernel may back sparse parts of the heap with pages of 2 MiB, and the process holds more than it uses",
			Source: "Go, A Guide to the Go Garbage Collector, Linux transparent huge pages (THP); Linux Documentation/admin-guide/mm/transhuge.rst",
			read: func(v *view) current {
				const file = "sys/kernel/mm/transparent_hugepage/enabled"
				r := v.host.Chosen(file)
				if errors.Is(r.Err, fs.ErrNotExist) {
					return known("/"+file, "not in this kernel")
				}
				return current{r, "/" + file}
			},
			judge: func(v *view, now current) verdict {
				none, _ := v.host.Text("sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none")
				if now.Text != "always" || none == "0" {
					return verdict{}
				}
				return verdict{severity: Advice, wanted: "madvise", says: "khugepaged may fill pages that are mostly empty",
					do: "echo 0 > /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none, or madvise in enabled, if the process holds more than docs/benchmarks.md says"}
			},
		},
	}
}

func (v *view) judgeMemory(memory int64, do string) verdict {
	room := v.room
	room.Memory = memory
	room = room.fill()
	load := room.of(v.target)
	if load.ByMemory >= v.target.Connections {
		return verdict{says: fmt.Sprintf("it holds %s connections with this load", number(load.ByMemory))}
	}
	needed := room.memoryFor(v.target)
	return verdict{severity: Stops, at: load.ByMemory, wanted: size(needed),
		says: fmt.Sprintf("it holds %s connections that are %s, at %s of the process and %s of the kernel each", number(load.ByMemory), load.Name, size(load.Process), size(load.Kernel)),
		do:   fmt.Sprintf(do, size(needed)) + ", or let fewer connections come"}
}

// onTheirWay is how many pages of buffers a connection takes on average: a page for each of its ends that has data.
func (v *view) onTheirWay() float64 {
	share := map[string]float64{"idle": 0.25, "chatty": 0.5, "busy": 1}[v.room.of(v.target).Name]
	return share * float64(v.target.Role.sockets())
}

// wantTCPMemory raises the three numbers together, never over a quarter of the memory, and takes them back where they promise more
// than the machine has.
func wantTCPMemory(v *view, now current) string {
	numbers := now.Numbers()
	if len(numbers) != 3 {
		return ""
	}
	most := v.room.Memory / 4 / v.host.PageSize()
	pressure := min(int64(float64(v.target.Connections)*v.onTheirWay()), most*2/3)
	if tooMuchTCPMemory(v.host, numbers[2]) {
		numbers = []int64{0, 0, 0}
		pressure = max(pressure, v.host.Memory.Total/v.host.PageSize()/16) // what the kernel would have computed
	}
	pressure = (pressure + 1023) / 1024 * 1024
	if numbers[1] >= pressure {
		return ""
	}
	return words(max(numbers[0], pressure*3/4), pressure, max(numbers[2], pressure*3/2))
}

// tooMuchTCPMemory says whether a number of pages was made for a larger machine.
func tooMuchTCPMemory(h *host.Host, pages int64) bool {
	return pages > h.Memory.Total*6/10/h.PageSize()
}

package host

import (
	"strconv"
	"strings"
)

// Memory is what /proc/meminfo says, in bytes.
type Memory struct {
	Total, Available    int64
	SwapTotal, SwapFree int64
	CommitLimit         int64
	Committed           int64
}

func readMemory(h *Host) Memory {
	text := h.text("proc/meminfo")
	bytes := func(key string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(colon(text, key), " kB"), 10, 64)
		return n << 10
	}
	m := Memory{
		Total: bytes("MemTotal"), Available: bytes("MemAvailable"), SwapTotal: bytes("SwapTotal"), SwapFree: bytes("SwapFree"),
		CommitLimit: bytes("CommitLimit"), Committed: bytes("Committed_AS"),
	}
	if m.Available == 0 {
		m.Available = bytes("MemFree") + bytes("Cached") // a kernel before 3.14
	}
	return m
}

// usable is what the kernel of a machine with so much memory says that there is (MemTotal): it keeps the structures of pages, 64 bytes for each of 4 KiB,
// some 36 MiB for itself, and 64 MiB for devices that reach the first 4 GiB only, where there are addresses above. Machines that were recorded have
// that within a five-hundredth.
func usable(memory int64) int64 {
	kept := memory/64 + 36<<20
	if memory >= 4<<30 { // some of it is above: devices have addresses below
		kept += 64 << 20
	}
	return max(0, memory-kept)
}

func readProcessors(h *Host) (n int) {
	for line := range strings.Lines(h.text("proc/stat")) {
		name, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "cpu") && name != "cpu" {
			n++
		}
	}
	return max(1, n)
}

// Steal is the share of the time since boot in which this machine could have run, and the hypervisor let others.
func (h *Host) Steal() (share float64, known bool) {
	line, _, _ := strings.Cut(h.text("proc/stat"), "\n")
	ticks, ok := integers(strings.TrimPrefix(line, "cpu"))
	const idle, disk, steal, guest = 3, 4, 7, 8
	if !ok || len(ticks) <= steal {
		return 0, false
	}
	all := int64(0)
	for _, part := range ticks[:min(len(ticks), guest)] { // what guests took is in the time of the user already
		all += part
	}
	wanted := all - ticks[idle] - ticks[disk]
	if wanted <= 0 {
		return 0, false
	}
	return float64(ticks[steal]) / float64(wanted), true
}

// Counters are those of /proc/net/netstat, snmp and the like, as "Group.Name".
func (h *Host) Counters() map[string]int64 {
	table := map[string]int64{}
	for _, name := range []string{"proc/net/snmp", "proc/net/netstat"} {
		lines := strings.Split(h.text(name), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := 1; j < min(len(names), len(numbers)); j++ {
				if n, err := strconv.ParseInt(numbers[j], 10, 64); err == nil {
					table[strings.TrimSuffix(names[0], ":")+"."+names[j]] = n
				}
			}
		}
	}
	return table
}

// Sockets is a number of /proc/net/sockstat, like "TCP" and "tw"; 0 if there is none.
func (h *Host) Sockets(protocol, key string) int64 {
	f := strings.Fields(colon(h.text("proc/net/sockstat"), protocol))
	for i := 0; i+1 < len(f); i += 2 {
		if f[i] == key {
			n, _ := strconv.ParseInt(f[i+1], 10, 64)
			return n
		}
	}
	return 0
}

// BacklogDrops is how many packets were dropped since boot because a processor's queue of them was full, and Squeezed how
// often a processor had to stop before its queue was empty.
func (h *Host) BacklogDrops() (dropped, squeezed int64) {
	for line := range strings.Lines(h.text("proc/net/softnet_stat")) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		d, _ := strconv.ParseInt(f[1], 16, 64)
		s, _ := strconv.ParseInt(f[2], 16, 64)
		dropped, squeezed = dropped+d, squeezed+s
	}
	return dropped, squeezed
}

// Module says whether a module is loaded or built in.
func (h *Host) Module(name string) bool {
	if h.exists("sys/module/" + name) {
		return true
	}
	for line := range strings.Lines(h.text("proc/modules")) {
		if loaded, _, _ := strings.Cut(line, " "); loaded == name {
			return true
		}
	}
	return false
}

// Chosen is the word in brackets of a file of /sys that lists what there is: "always [madvise] never".
func (h *Host) Chosen(name string) Reading {
	text, err := h.Text(name)
	if _, rest, found := strings.Cut(text, "["); found {
		text, _, _ = strings.Cut(rest, "]")
	}
	return Reading{text, err}
}

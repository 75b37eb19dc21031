package watch

import (
	"io/fs"
	"maps"
	"os"
	"path"

	"rookery/bench/result"
)

// kernel reads what this host counts.
type kernel struct {
	root    fs.FS
	network string // the folder of the network namespace's counters, below root

	// What the next second grows from.
	cpu   cpuTimes
	table map[string]int64
}

func newKernel(root fs.FS, network string) *kernel { return &kernel{root: root, network: network} }

// second gives the state now and what was counted since the one before. What this kernel does not have is 0.
func (k *kernel) second() result.Kernel {
	var now result.Kernel
	if cpu, err := parseCPUTimes(readText(k.root, "proc/stat")); err == nil {
		now.Cores = cpu.cores
		if all := float64(cpu.all - k.cpu.all); all > 0 {
			// The time in which a processor waits for a disk may go back a little.
			now.CPUIdle = min(1, max(0, float64(cpu.idle-k.cpu.idle)/all))
			now.CPUSteal = float64(cpu.stolen-k.cpu.stolen) / all
		}
		k.cpu = cpu
	}
	k.sockets(&now)
	k.growth(&now)
	now.ConntrackEntries = k.number("net/netfilter/nf_conntrack_count")
	now.ConntrackMax = k.number("net/netfilter/nf_conntrack_max")
	return now
}

// number is a sysctl of one number by its path, 0 if there is none.
func (k *kernel) number(name string) int64 { return parseNumber(readText(k.root, "proc/sys/"+name)) }

// sockets reads how many there are. Those of IPv6 are counted apart, except for the memory and those that wait.
func (k *kernel) sockets(now *result.Kernel) {
	page := int64(os.Getpagesize())
	four := readText(k.root, path.Join(k.network, "sockstat"))
	six := readText(k.root, path.Join(k.network, "sockstat6"))
	now.Sockets = parseSockstat(four, "TCP", "inuse") + parseSockstat(six, "TCP6", "inuse")
	now.TimeWait = parseSockstat(four, "TCP", "tw")
	now.SocketBytes = parseSockstat(four, "TCP", "mem") * page
	if limits := parseNumbers(readText(k.root, "proc/sys/net/ipv4/tcp_mem")); len(limits) == 3 {
		now.SocketBytesMax = limits[2] * page
	}
}

func (k *kernel) growth(now *result.Kernel) {
	table := map[string]int64{}
	for _, name := range []string{"snmp", "netstat"} {
		part, err := parseTable(readText(k.root, path.Join(k.network, name)))
		if err != nil {
			continue
		}
		maps.Copy(table, part)
	}
	grew := func(names ...string) (sum int64) {
		for _, name := range names {
			// A process that ended takes its folder along, and the counters are not there any more. One that was not there a second ago has
			// counted since the host began.
			after, there := table[name]
			if before, known := k.table[name]; there && known {
				sum += max(0, after-before)
			}
		}
		return sum
	}
	now.SegmentsOut = grew("Tcp.OutSegs")
	now.Retransmits = grew("Tcp.RetransSegs")
	now.ListenOverflows = grew("TcpExt.ListenOverflows")
	now.ListenDrops = grew("TcpExt.ListenDrops")
	now.SynQueueFull = grew("TcpExt.TCPReqQFullDrop", "TcpExt.TCPReqQFullDoCookies")
	now.BacklogDrops = grew("TcpExt.TCPBacklogDrop")
	now.Pruned = grew("TcpExt.PruneCalled")
	now.MemoryAborts = grew("TcpExt.TCPAbortOnMemory")
	if len(table) > 0 {
		k.table = table
	}
}

package watch

import (
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"rookery/bench/plan"
)

const (
	// socketBytes is what the kernel keeps for an established TCP socket whose buffers are empty: the socket, its
	// inode, file, directory entry and place in an epoll set. Of 8,000 on Linux 6.18 each took 3.9 KiB; the rest
	// is for other kernels, and for what a host needs besides.
	socketBytes = 4608
	// workerDescriptors are those of a worker besides its connections: epoll, pipes, the runtime's.
	workerDescriptors = 64
	// timeWait is how long a port is not free after its connection was closed from here; reuse is the same where
	// net.ipv4.tcp_tw_reuse allows to take it earlier.
	timeWait = 60 * time.Second
	reuse    = time.Second
	// conntrackWait is how long a closed connection stays in the table of the connection tracker.
	conntrackWait = 120 * time.Second
)

// Problem is a limit that the plan would run into.
type Problem struct {
	Setting string // a sysctl by its name, RLIMIT_NOFILE, or memory
	Value   string
	Needed  string
	Do      string // a command, or a sentence
}

func (p Problem) String() string {
	return fmt.Sprintf("%s is %s, and %s: %s", p.Setting, p.Value, p.Needed, p.Do)
}

// Placement is what of a plan is done on this host.
type Placement struct {
	Connections int  // of those of the plan
	Workers     int  // processes
	Sources     int  // source addresses
	ServerHere  bool // the server's ends of the connections are on this host too
}

// Limits are what this host allows. A 0 is a limit that this kernel does not have or does not tell.
type Limits struct {
	OpenFiles       int64 // RLIMIT_NOFILE that a worker may have
	FilesPerProcess int64 // fs.nr_open
	FilesMax        int64 // fs.file-max
	FilesUsed       int64
	PortFrom        int64 // net.ipv4.ip_local_port_range
	PortTo          int64
	ReuseTimeWait   int64 // net.ipv4.tcp_tw_reuse: 0 no, 1 yes, 2 on loopback
	AcceptQueue     int64 // net.core.somaxconn
	SynQueue        int64 // net.ipv4.tcp_max_syn_backlog
	SynCookies      int64 // net.ipv4.tcp_syncookies
	TCPPressure     int64 // net.ipv4.tcp_mem, the second, in bytes
	TCPMemory       int64 // the third
	ReceiveBuffer   int64 // net.ipv4.tcp_rmem, the second
	ConntrackMax    int64 // net.netfilter.nf_conntrack_max
	ConntrackUsed   int64
	MemoryAvailable int64
}

// ReadLimits reads those of this host and process.
func ReadLimits() Limits {
	l := readLimits(os.DirFS("/"))
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		l.OpenFiles = int64(min(files.Max, math.MaxInt64)) // Go raises the soft limit to the hard one by itself
	}
	return l
}

func readLimits(root fs.FS) Limits {
	// at is the number at a place of a sysctl, by its path.
	at := func(name string, place int) int64 {
		if numbers := parseNumbers(readText(root, "proc/sys/"+name)); place < len(numbers) {
			return numbers[place]
		}
		return 0
	}
	page := int64(os.Getpagesize())
	return Limits{
		FilesPerProcess: at("fs/nr_open", 0),
		FilesMax:        at("fs/file-max", 0),
		FilesUsed:       at("fs/file-nr", 0),
		PortFrom:        at("net/ipv4/ip_local_port_range", 0),
		PortTo:          at("net/ipv4/ip_local_port_range", 1),
		ReuseTimeWait:   at("net/ipv4/tcp_tw_reuse", 0),
		AcceptQueue:     at("net/core/somaxconn", 0),
		SynQueue:        at("net/ipv4/tcp_max_syn_backlog", 0),
		SynCookies:      at("net/ipv4/tcp_syncookies", 0),
		TCPPressure:     at("net/ipv4/tcp_mem", 1) * page,
		TCPMemory:       at("net/ipv4/tcp_mem", 2) * page,
		ReceiveBuffer:   at("net/ipv4/tcp_rmem", 1),
		ConntrackMax:    at("net/netfilter/nf_conntrack_max", 0),
		ConntrackUsed:   at("net/netfilter/nf_conntrack_count", 0),
		MemoryAvailable: parseKibibytes(readText(root, "proc/meminfo"), "MemAvailable"),
	}
}

// Before says which limits of this host the part of a plan that is done here would run into. It is pure.
func Before(p plan.Plan, at Placement, l Limits) []Problem {
	n := needOf(p, at, l)
	var found []Problem
	for _, check := range []func(need, Limits) (Problem, bool){
		openFiles, filesPerProcess, filesOfHost, ports, acceptQueue, synQueue, tcpMemory, conntrack, memory,
	} {
		if problem, there := check(n, l); there {
			found = append(found, problem)
		}
	}
	return found
}

// need is what a plan takes of this host.
type need struct {
	Placement
	perWorker int64 // descriptors
	ends      int64 // sockets: two of a connection where both are here
	ports     int64 // of each source address to each target
	targets   int64
	tracked   int64 // entries of the connection tracker
	pending   int64
	stalled   int64
	busy      bool // something is sent
}

func needOf(p plan.Plan, at Placement, l Limits) need {
	n := need{Placement: at, ends: int64(at.Connections), busy: p.Publish.Sends()}
	n.Workers, n.Sources = max(1, at.Workers), max(1, at.Sources)
	n.perWorker = divideUp(int64(at.Connections), int64(n.Workers)) + workerDescriptors
	if at.ServerHere {
		n.ends *= 2
	}
	n.targets = int64(max(1, countTargets(p.Server.Targets)))
	n.pending = min(int64(at.Connections), int64(p.MostPending()))
	n.stalled = int64(p.Trouble.Stall.Share * float64(at.Connections))

	// Ports of connections that this side closes are not free at once. Of the plan's churn this host has its part.
	part := 1.0
	if p.Clients.Connections > 0 {
		part = min(1, float64(at.Connections)/float64(p.Clients.Connections))
	}
	loopback := onLoopback(p.Server.Targets)
	wait := timeWait
	if l.ReuseTimeWait == 1 || l.ReuseTimeWait == 2 && loopback {
		wait = reuse
	}
	closed := func(wait time.Duration) int64 {
		most := min(wait, p.Time.Warmup+p.Time.Duration)
		gone := p.Trouble.Churn * part * most.Seconds()
		if p.Trouble.Cut.How == "close" && wait > reuse {
			gone += p.Trouble.Cut.Share * float64(at.Connections)
		}
		return int64(gone)
	}
	n.ports = divideUp(int64(at.Connections)+closed(wait), int64(n.Sources)*n.targets)
	n.tracked = int64(at.Connections) + closed(conntrackWait)
	return n
}

func divideUp(a, b int64) int64 { return (a + b - 1) / b }

// countTargets counts the addresses with ports: two paths of one share their ports.
func countTargets(targets []string) int {
	seen := map[string]bool{}
	for _, target := range targets {
		if u, err := url.Parse(target); err == nil {
			seen[u.Host] = true
		}
	}
	return len(seen)
}

// onLoopback says whether every target is known to be. Names other than localhost are not looked up.
func onLoopback(targets []string) bool {
	for _, target := range targets {
		u, err := url.Parse(target)
		if err != nil {
			return false
		}
		ip, err := netip.ParseAddr(u.Hostname())
		if u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return len(targets) > 0
}

func openFiles(n need, l Limits) (Problem, bool) {
	if l.OpenFiles == 0 || l.OpenFiles >= n.perWorker {
		return Problem{}, false
	}
	do := fmt.Sprintf("ulimit -n %d, or LimitNOFILE=%[1]d in the unit", n.perWorker)
	if room := l.OpenFiles - workerDescriptors; room > 0 {
		do += fmt.Sprintf("; or use %d workers", divideUp(int64(n.Connections), room))
	}
	return Problem{"RLIMIT_NOFILE", number(l.OpenFiles),
		fmt.Sprintf("each of %d workers opens up to %s", n.Workers, number(n.perWorker)), do}, true
}

func filesPerProcess(n need, l Limits) (Problem, bool) {
	return Problem{"fs.nr_open", number(l.FilesPerProcess),
		fmt.Sprintf("each of %d workers opens up to %s", n.Workers, number(n.perWorker)),
		fmt.Sprintf("sysctl -w fs.nr_open=%d, or use more workers",
			n.perWorker)}, l.FilesPerProcess > 0 && l.FilesPerProcess < n.perWorker
}

func filesOfHost(n need, l Limits) (Problem, bool) {
	needed := l.FilesUsed + n.ends + int64(n.Workers)*workerDescriptors
	return Problem{"fs.file-max", number(l.FilesMax), fmt.Sprintf("this host would have %s files open", number(needed)),
		fmt.Sprintf("sysctl -w fs.file-max=%d", needed+needed/10)}, l.FilesMax > 0 && l.FilesMax < needed
}

func ports(n need, l Limits) (Problem, bool) {
	have := l.PortTo - l.PortFrom + 1
	if l.PortTo == 0 || have >= n.ports {
		return Problem{}, false
	}
	all := n.ports * int64(n.Sources) * n.targets
	return Problem{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %d, %s ports", l.PortFrom, l.PortTo, number(have)),
		fmt.Sprintf("%d source addresses to %d targets need %s each", n.Sources, n.targets, number(n.ports)),
		fmt.Sprintf("use %d source addresses (--source), or sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
			divideUp(all, have*n.targets))}, true
}

func acceptQueue(n need, l Limits) (Problem, bool) {
	return Problem{"net.core.somaxconn", number(l.AcceptQueue),
			fmt.Sprintf("up to %s connections are opened at once", number(n.pending)),
			fmt.Sprintf("sysctl -w net.core.somaxconn=%d and start the server again, or let fewer be pending",
				n.pending)},
		n.ServerHere && l.AcceptQueue > 0 && l.AcceptQueue < n.pending
}

// synQueue matters only without cookies: with them a queue that is full loses nothing. The kernel keeps a quarter
// of it for hosts that it knows.
func synQueue(n need, l Limits) (Problem, bool) {
	needed := n.pending + divideUp(n.pending, 3)
	return Problem{"net.ipv4.tcp_max_syn_backlog", number(l.SynQueue),
			fmt.Sprintf("up to %s connections are opened at once, without SYN cookies", number(n.pending)),
			fmt.Sprintf("sysctl -w net.ipv4.tcp_max_syn_backlog=%d, or net.ipv4.tcp_syncookies=1", needed)},
		n.ServerHere && l.SynCookies == 0 && l.SynQueue > 0 && l.SynQueue < needed
}

// tcpMemory counts a page for each end that something is sent over, and a full receive buffer for each that does
// not read.
func tcpMemory(n need, l Limits) (Problem, bool) {
	needed := n.stalled * l.ReceiveBuffer
	if n.busy {
		needed += n.ends * int64(os.Getpagesize())
	}
	pages := divideUp(needed, int64(os.Getpagesize()))
	return Problem{"net.ipv4.tcp_mem",
		fmt.Sprintf("%s from which on the kernel saves, %s at most", mebibytes(l.TCPPressure), mebibytes(l.TCPMemory)),
		"what is on its way takes " + mebibytes(needed),
		fmt.Sprintf("sysctl -w net.ipv4.tcp_mem=\"%d %d %d\"",
			pages, pages+pages/3, 2*pages)}, l.TCPPressure > 0 && l.TCPPressure < needed
}

// conntrack matters only where connections are tracked at all: the table is never empty then, since this host
// is spoken with.
func conntrack(n need, l Limits) (Problem, bool) {
	needed := l.ConntrackUsed + n.tracked
	return Problem{"net.netfilter.nf_conntrack_max", number(l.ConntrackMax),
		"the table would have " + number(needed) + " entries",
		fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d",
			needed+needed/10)}, l.ConntrackUsed > 0 && l.ConntrackMax < needed
}

func memory(n need, l Limits) (Problem, bool) {
	needed := n.ends * socketBytes
	where := "the kernel's part of the connections"
	if n.ServerHere {
		where += ", both ends on this host,"
	}
	return Problem{"memory", mebibytes(l.MemoryAvailable) + " available", where + " takes " + mebibytes(needed) +
			", and the programs' parts come on top", "use fewer connections, or put load on from more hosts"},
		l.MemoryAvailable > 0 && l.MemoryAvailable < needed
}

// number writes thousands apart.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func mebibytes(n int64) string { return number(n>>20) + " MiB" }

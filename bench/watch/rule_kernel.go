package watch

import (
	"fmt"
	"strings"
	"time"

	"rookery/bench/result"
)

// The rules of the server's kernel: a setting that kept the server from being reached.
var rulesOfKernel = []rule{
	fullConntrack, fullTCPMemory, tooManyOrphans, fullAcceptQueue, fullSynQueue, fewDescriptors, fullBuffers,
}

const (
	// nearShare: a table at 95% refuses in the next second.
	nearShare = 0.95
	// nearMemory: from the second of the three numbers of tcp_mem on, by default two thirds of the third, the
	// kernel makes windows smaller. At 90% of the third it is about to drop.
	nearMemory = 0.9
	// overflowShare: each overflow costs its connection overflowTime or more, so one in a thousand is p99.9 of
	// connecting.
	overflowShare = 0.001
	// overflowTime is after what a dropped segment is sent again at the earliest, and retryTime a lost SYN.
	overflowTime = 200 * time.Millisecond
	retryTime    = time.Second
	// retransmitShare: one segment in a hundred is what p99 notices. Under leastRetransmits a run has too few to tell.
	retransmitShare  = 0.01
	leastRetransmits = 100
)

func fullConntrack(e *evidence) finding {
	for _, s := range e.Seconds {
		if h := s.Host; h.ConntrackMax > 0 && float64(h.ConntrackEntries) >= nearShare*float64(h.ConntrackMax) {
			return finding{limit: limitKernel, cause: "net.netfilter.nf_conntrack_max",
				reason: fmt.Sprintf("the connection tracker had %s of %s entries",
					number(h.ConntrackEntries), number(h.ConntrackMax))}
		}
	}
	return finding{}
}

func (e *evidence) nearTCPMemory() (result.Kernel, bool) {
	for _, s := range e.Seconds {
		if h := s.Host; h.SocketBytesMax > 0 && float64(h.SocketBytes) >= nearMemory*float64(h.SocketBytesMax) {
			return h, true
		}
	}
	return result.Kernel{}, false
}

func fullTCPMemory(e *evidence) finding {
	h, near := e.nearTCPMemory()
	if !near {
		return finding{}
	}
	return finding{limit: limitKernel, cause: "net.ipv4.tcp_mem",
		reason: fmt.Sprintf("the buffers of all sockets had %s of %s", mebibytes(h.SocketBytes), mebibytes(h.SocketBytesMax))}
}

// tooManyOrphans: the kernel counts both under one name, and with memory left it is the orphans.
func tooManyOrphans(e *evidence) finding {
	if _, near := e.nearTCPMemory(); near || e.all.MemoryAborts == 0 {
		return finding{}
	}
	return finding{limit: limitKernel, cause: "net.ipv4.tcp_max_orphans",
		reason: "connections that the kernel ended for want of memory while there was some, since too many were " +
			"closed with data in them: " + number(e.all.MemoryAborts)}
}

// fullAcceptQueue: the queue is as long as the setting and what the server asked for by listen allow, whichever is
// less. The counter is of all that listens in the network namespace: without a connect that was late or failed the
// full one was another's.
func fullAcceptQueue(e *evidence) finding {
	n := e.all.ListenOverflows
	if n == 0 {
		return finding{}
	}
	f := finding{reason: "times that an accept queue was full: " + number(n)}
	ours := e.Counts.ConnectsFailed > 0 ||
		float64(n) >= overflowShare*float64(e.Counts.Connects) && e.Latencies.Connect.Quantile(1) >= overflowTime
	if ours {
		f.limit, f.cause = limitKernel, "net.core.somaxconn, or the backlog that the server gives to listen"
	}
	return f
}

// fullSynQueue is a limit only where connects were late or failed: with cookies nothing is lost.
func fullSynQueue(e *evidence) finding {
	n := e.all.SynQueueFull
	if n == 0 {
		return finding{}
	}
	f := finding{reason: "times that a SYN queue was full: " + number(n)}
	if e.Counts.ConnectsFailed > 0 || e.Latencies.Connect.Quantile(.99) >= retryTime {
		f.limit, f.cause = limitKernel, "net.ipv4.tcp_max_syn_backlog"
	}
	return f
}

func fewDescriptors(e *evidence) finding {
	for _, s := range e.Seconds {
		p := s.Server
		if p.DescriptorsMax > 0 && float64(p.Descriptors) >= nearShare*float64(p.DescriptorsMax) {
			return finding{limit: limitKernel, cause: "RLIMIT_NOFILE of the server",
				reason: fmt.Sprintf("the server had %s of %s descriptors open",
					number(p.Descriptors), number(p.DescriptorsMax))}
		}
	}
	return finding{}
}

// fullBuffers is an observation: some socket's owner did not read, and whose socket it was the kernel does not tell.
func fullBuffers(e *evidence) finding {
	if n := e.all.BacklogDrops + e.all.Pruned; n > 0 {
		return finding{reason: "times that the receive buffer of a socket on this host was full: " + number(n)}
	}
	return finding{}
}

// The network's rules.
var rulesOfNetwork = []rule{retransmits, unreachable}

// retransmits on loopback are of queues that were full, never of a network.
func retransmits(e *evidence) finding {
	share := float64(e.all.Retransmits) / float64(max(1, e.all.SegmentsOut))
	if e.all.Retransmits < leastRetransmits || share < retransmitShare {
		return finding{}
	}
	reason := fmt.Sprintf("%s of %s segments were sent again (%s)",
		number(e.all.Retransmits), number(e.all.SegmentsOut), percent(share))
	if len(e.Plan.Clients.Hosts) == 0 && (e.seen || onLoopback(e.Plan.Server.Targets)) {
		return finding{reason: reason + ", on a path that does not leave this host"}
	}
	return finding{limit: limitNetwork, cause: "the network loses segments", reason: reason}
}

func unreachable(e *evidence) finding {
	for _, f := range e.Faults {
		if f.What == "connect" && (strings.Contains(f.Message, "network is unreachable") ||
			strings.Contains(f.Message, "no route to host")) {
			return finding{limit: limitNetwork, cause: "the network has no way to the server",
				reason: fmt.Sprintf("connects that ended with %q: %s", f.Message, number(f.Count))}
		}
	}
	return finding{}
}

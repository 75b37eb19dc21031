package watch

import (
	"os"
	"testing"

	"rookery/bench/result"
)

func TestKernelSeconds(t *testing.T) {
	page := int64(os.Getpagesize())
	root := host(map[string]string{
		"proc/stat":                 "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 50 0 50 400 0 0 0 0 0 0\ncpu1 50 0 50 400 0 0 0 0 0 0\n",
		"proc/7/net/sockstat":       "sockets: used 18\nTCP: inuse 3 orphan 0 tw 29 alloc 3 mem 18\n",
		"proc/7/net/sockstat6":      "TCP6: inuse 4\n",
		"proc/7/net/snmp":           "Tcp: RtoMin OutSegs RetransSegs\nTcp: 200 1000 10\n",
		"proc/7/net/netstat":        "TcpExt: PruneCalled ListenOverflows ListenDrops TCPAbortOnMemory TCPBacklogDrop TCPReqQFullDoCookies TCPReqQFullDrop\nTcpExt: 1 2 3 4 5 6 7\n",
		"proc/sys/net/ipv4/tcp_mem": "100\t200\t300\n",
	})
	k := newKernel(root, "proc/7/net")
	first := k.second()
	state := result.Kernel{
		Cores: 2, Sockets: 7, TimeWait: 29, SocketBytes: 18 * page, SocketBytesMax: 300 * page,
		CPUIdle: 0.8, // since the host began
	}
	if first != state {
		t.Errorf("at first %+v, want %+v", first, state)
	}

	root["proc/stat"].Data = []byte("cpu  130 0 120 830 0 0 0 20 0 0\ncpu0 1 0 1 1 0 0 0 1 0 0\ncpu1 1 0 1 1 0 0 0 1 0 0\n")
	root["proc/7/net/snmp"].Data = []byte("Tcp: RtoMin OutSegs RetransSegs\nTcp: 200 1500 13\n")
	root["proc/7/net/netstat"].Data = []byte("TcpExt: PruneCalled ListenOverflows ListenDrops TCPAbortOnMemory TCPBacklogDrop TCPReqQFullDoCookies TCPReqQFullDrop\n" +
		"TcpExt: 11 22 33 44 55 66 77\n")
	root["proc/sys/net/netfilter/nf_conntrack_count"] = root["proc/7/net/sockstat"] // no number: 0
	want := state
	want.CPUIdle, want.CPUSteal = 0.3, 0.2
	want.SegmentsOut, want.Retransmits = 500, 3
	want.Pruned, want.ListenOverflows, want.ListenDrops, want.MemoryAborts, want.BacklogDrops, want.SynQueueFull = 10, 20, 30, 40, 50, 130
	if got := k.second(); got != want {
		t.Errorf("then %+v, want %+v", got, want)
	}

	// One file can't be read for a second.
	text := root["proc/7/net/netstat"].Data
	root["proc/7/net/netstat"].Data = nil
	k.second()
	root["proc/7/net/netstat"].Data = text
	if got := k.second(); got.Pruned != 0 || got.ListenOverflows != 0 {
		t.Errorf("when it can be read again %+v were counted in a second", got)
	}

	// The process and its folder are gone: nothing is counted, and nothing shrinks.
	for _, name := range []string{"snmp", "netstat", "sockstat", "sockstat6"} {
		delete(root, "proc/7/net/"+name)
	}
	if got, want := k.second(), (result.Kernel{Cores: 2, SocketBytesMax: 300 * page}); got != want {
		t.Errorf("without its folder %+v, want %+v", got, want)
	}
}

// TestKernelIdleGoesBack: the kernel corrects what it counted for a disk.
func TestKernelIdleGoesBack(t *testing.T) {
	root := host(map[string]string{"proc/stat": "cpu 100 0 0 100 100 0 0 0\ncpu0 100 0 0 100 100 0 0 0\n"})
	k := newKernel(root, "proc/self/net")
	k.second()
	root["proc/stat"].Data = []byte("cpu 200 0 0 100 90 0 0 0\ncpu0 200 0 0 100 90 0 0 0\n")
	if got := k.second(); got.CPUIdle != 0 {
		t.Errorf("%v of the time was idle", got.CPUIdle)
	}
}

func TestKernelConntrack(t *testing.T) {
	k := newKernel(host(map[string]string{
		"proc/sys/net/netfilter/nf_conntrack_count": "123\n", "proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
	}), "proc/self/net")
	if got, want := k.second(), (result.Kernel{ConntrackEntries: 123, ConntrackMax: 262144}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

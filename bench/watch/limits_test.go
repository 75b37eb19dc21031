package watch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/bench/plan"
)

// roomy is a host on which 20,000 connections are no problem.
var roomy = Limits{
	OpenFiles: 100_000, FilesPerProcess: 1 << 20, FilesMax: 1 << 20, FilesUsed: 1000, PortFrom: 32768, PortTo: 60999,
	ReuseTimeWait: 2, AcceptQueue: 4096, SynQueue: 2048, SynCookies: 1, TCPPressure: 1 << 30, TCPMemory: 3 << 29, ReceiveBuffer: 131072,
	ConntrackMax: 262144, ConntrackUsed: 100, MemoryAvailable: 1 << 30,
}

func TestBefore(t *testing.T) {
	cases := []struct {
		name    string
		change  func(*plan.Plan, *Placement, *Limits)
		setting string // empty: no problem
		needed  string
		do      string
	}{
		{"clean", func(*plan.Plan, *Placement, *Limits) {}, "", "", ""},
		{"nothing known", func(_ *plan.Plan, _ *Placement, l *Limits) { *l = Limits{} }, "", "", ""},
		{"descriptors enough", func(_ *plan.Plan, _ *Placement, l *Limits) { l.OpenFiles = 10_064 }, "", "", ""},
		{"descriptors", func(_ *plan.Plan, _ *Placement, l *Limits) { l.OpenFiles = 10_063 }, "RLIMIT_NOFILE", "each of 2 workers opens up to 10,064", "or use 3 workers"},
		{"descriptors of none", func(_ *plan.Plan, _ *Placement, l *Limits) { l.OpenFiles = 64 }, "RLIMIT_NOFILE", "10,064", "ulimit -n 10064, or LimitNOFILE=10064 in the unit"},
		{"descriptors of the kernel", func(_ *plan.Plan, _ *Placement, l *Limits) { l.FilesPerProcess = 10_000 }, "fs.nr_open", "10,064", "fs.nr_open=10064"},
		{"files enough", func(_ *plan.Plan, _ *Placement, l *Limits) { l.FilesMax = 41_128 }, "", "", ""},
		{"files of both ends", func(_ *plan.Plan, _ *Placement, l *Limits) { l.FilesMax = 41_127 }, "fs.file-max", "41,128 files open", "fs.file-max=45240"},
		{"ports enough", func(_ *plan.Plan, _ *Placement, l *Limits) { l.PortFrom, l.PortTo = 30_001, 50_000 }, "", "", ""},
		{"ports", func(_ *plan.Plan, _ *Placement, l *Limits) { l.PortFrom, l.PortTo = 30_001, 49_999 }, "net.ipv4.ip_local_port_range",
			"1 source addresses to 1 targets need 20,000 each", "use 2 source addresses"},
		{"ports of two sources", func(_ *plan.Plan, a *Placement, l *Limits) {
			l.PortFrom, l.PortTo = 30_001, 40_000
			a.Sources = 2
		}, "", "", ""},
		{"ports of two targets", func(p *plan.Plan, _ *Placement, l *Limits) {
			l.PortFrom, l.PortTo = 30_001, 40_000
			p.Server.Targets = []string{"ws://127.0.0.1:80", "ws://127.0.0.1:81"}
		}, "", "", ""},
		{"ports of two paths", func(p *plan.Plan, _ *Placement, l *Limits) {
			l.PortFrom, l.PortTo = 30_001, 40_000
			p.Server.Targets = []string{"ws://127.0.0.1:80/a", "ws://127.0.0.1:80/b"}
		}, "net.ipv4.ip_local_port_range", "need 20,000 each", "use 2 source addresses"},
		{"ports that wait on loopback", func(p *plan.Plan, _ *Placement, l *Limits) {
			p.Trouble.Churn = 200
		}, "", "", ""},
		{"ports that wait", func(p *plan.Plan, _ *Placement, l *Limits) {
			p.Trouble.Churn, p.Server.Targets = 200, []string{"ws://192.0.2.1:80"}
		}, "net.ipv4.ip_local_port_range", "need 32,000 each", "use 2 source addresses"},
		{"ports that wait in a short run", func(p *plan.Plan, _ *Placement, l *Limits) {
			p.Trouble.Churn, p.Server.Targets, p.Time.Warmup, p.Time.Duration = 200, []string{"ws://192.0.2.1:80"}, time.Second, 9*time.Second
		}, "", "", ""},
		{"ports that wait after a cut", func(p *plan.Plan, _ *Placement, l *Limits) {
			p.Trouble.Cut, p.Server.Targets = plan.Cut{Share: .5, How: "close"}, []string{"ws://192.0.2.1:80"}
		}, "net.ipv4.ip_local_port_range", "need 30,000 each", "use 2 source addresses"},
		{"ports are free after a reset", func(p *plan.Plan, _ *Placement, l *Limits) {
			p.Trouble.Cut, p.Server.Targets = plan.Cut{Share: .5, How: "reset"}, []string{"ws://192.0.2.1:80"}
		}, "", "", ""},
		{"accept queue enough", func(_ *plan.Plan, _ *Placement, l *Limits) { l.AcceptQueue = 500 }, "", "", ""},
		{"accept queue", func(_ *plan.Plan, _ *Placement, l *Limits) { l.AcceptQueue = 499 }, "net.core.somaxconn", "up to 500", "net.core.somaxconn=500"},
		{"accept queue elsewhere", func(_ *plan.Plan, a *Placement, l *Limits) { l.AcceptQueue, a.ServerHere = 499, false }, "", "", ""},
		{"SYN queue with cookies", func(_ *plan.Plan, _ *Placement, l *Limits) { l.SynQueue = 128 }, "", "", ""},
		{"SYN queue", func(_ *plan.Plan, _ *Placement, l *Limits) { l.SynQueue, l.SynCookies = 666, 0 }, "net.ipv4.tcp_max_syn_backlog", "without SYN cookies", "=667"},
		{"TCP memory", func(_ *plan.Plan, _ *Placement, l *Limits) { l.TCPPressure = 40_000*4096 - 1 }, "net.ipv4.tcp_mem", "156 MiB", `tcp_mem="40000 53333 80000"`},
		{"TCP memory of silence", func(p *plan.Plan, _ *Placement, l *Limits) { l.TCPPressure, p.Publish.Rate = 1, 0 }, "", "", ""},
		{"TCP memory of a stall", func(p *plan.Plan, _ *Placement, l *Limits) { l.TCPPressure, p.Trouble.Stall.Share = 400<<20, .1 }, "net.ipv4.tcp_mem", "406 MiB", "tcp_mem"},
		{"tracked", func(_ *plan.Plan, _ *Placement, l *Limits) { l.ConntrackMax = 20_099 }, "net.netfilter.nf_conntrack_max", "20,100 entries", "nf_conntrack_max=22110"},
		{"tracked enough", func(_ *plan.Plan, _ *Placement, l *Limits) { l.ConntrackMax = 20_100 }, "", "", ""},
		{"not tracked", func(_ *plan.Plan, _ *Placement, l *Limits) { l.ConntrackMax, l.ConntrackUsed = 1, 0 }, "", "", ""},
		{"memory", func(_ *plan.Plan, _ *Placement, l *Limits) { l.MemoryAvailable = 40_000*socketBytes - 1 }, "memory", "both ends on this host, takes 175 MiB", "more hosts"},
		{"memory of one end", func(_ *plan.Plan, a *Placement, l *Limits) {
			l.MemoryAvailable, a.ServerHere = 40_000*socketBytes-1, false
		}, "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := plan.Plan{}
			p.Server.Targets = []string{"ws://127.0.0.1:80"}
			p.Clients.Connections, p.Clients.Pending = 20_000, 500
			p.Publish.Rate, p.Time.Duration = 100, time.Minute
			at, limits := Placement{Connections: 20_000, Workers: 2, Sources: 1, ServerHere: true}, roomy
			c.change(&p, &at, &limits)
			got := Before(p, at, limits)
			if c.setting == "" {
				if len(got) > 0 {
					t.Errorf("problems %v, want none", got)
				}
				return
			}
			if len(got) != 1 || got[0].Setting != c.setting || !strings.Contains(got[0].Needed, c.needed) || !strings.Contains(got[0].Do, c.do) {
				t.Errorf("problems %v, want %s, %q and %q", got, c.setting, c.needed, c.do)
			}
		})
	}
}

func TestReadLimits(t *testing.T) {
	got := readLimits(host(map[string]string{
		"proc/sys/fs/nr_open": "1048576\n", "proc/sys/fs/file-max": "2466160\n", "proc/sys/fs/file-nr": "606\t0\t2466160\n",
		"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n", "proc/sys/net/ipv4/tcp_tw_reuse": "2\n",
		"proc/sys/net/core/somaxconn": "4096\n", "proc/sys/net/ipv4/tcp_max_syn_backlog": "2048\n", "proc/sys/net/ipv4/tcp_syncookies": "1\n",
		"proc/sys/net/ipv4/tcp_mem": "1\t2\t3\n", "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
		"proc/sys/net/netfilter/nf_conntrack_max": "262144\n", "proc/sys/net/netfilter/nf_conntrack_count": "17\n",
		"proc/meminfo": "MemTotal:       24683812 kB\nMemAvailable:   22229852 kB\n",
	}))
	page := got.TCPPressure / 2
	want := Limits{
		FilesPerProcess: 1048576, FilesMax: 2466160, FilesUsed: 606, PortFrom: 32768, PortTo: 60999, ReuseTimeWait: 2, AcceptQueue: 4096,
		SynQueue: 2048, SynCookies: 1, TCPPressure: 2 * page, TCPMemory: 3 * page, ReceiveBuffer: 131072, ConntrackMax: 262144,
		ConntrackUsed: 17, MemoryAvailable: 22229852 << 10,
	}
	if got != want || page < 4096 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if here := ReadLimits(); here.OpenFiles <= 0 || here.PortTo <= here.PortFrom || here.MemoryAvailable <= 0 || here.FilesMax <= 0 {
		t.Errorf("this host has %+v", here)
	}
}

func TestProblemInASentence(t *testing.T) {
	p := Problem{"net.core.somaxconn", "128", "up to 500 connections are opened at once", "let fewer be pending"}
	if got, want := p.String(), "net.core.somaxconn is 128, and up to 500 connections are opened at once: let fewer be pending"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNumbersWithCommas(t *testing.T) {
	var got []string
	for _, n := range []int64{0, 7, 999, 1000, 123456, 1234567, -1000, -999} {
		got = append(got, number(n))
	}
	if want := []string{"0", "7", "999", "1,000", "123,456", "1,234,567", "-1,000", "-999"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

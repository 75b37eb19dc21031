package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

// find gives the finding of a key.
func find(t *testing.T, r Report, key string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Key == key {
			return f
		}
	}
	t.Fatalf("nothing is said of %s", key)
	return Finding{}
}

// TestFindings changes one thing of a machine on which little is wrong, and looks at what is said.
func TestFindings(t *testing.T) {
	const netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeWaitOverflow TCPAbortOnMemory TCPReqQFullDoCookies TCPReqQFullDrop\nTcpExt: "
	small := Target{Connections: 20000}
	for name, c := range map[string]struct {
		machine string
		file    string
		text    string // "": the file is taken away
		target  Target
		key     string
		want    Severity
		says    string // part of what is said, wanted or done
	}{
		"nothing changed":         {"vps-4gb", "x", "y", small, "net.core.somaxconn", Fine, ""},
		"few descriptors":         {"vps-1gb", "proc/812/limits", "Max open files  1024  1024  files\n", small, "RLIMIT_NOFILE", Stops, "it holds 855 connections"},
		"unlimited descriptors":   {"vps-1gb", "proc/812/limits", "Max open files  1024  unlimited  files\n", small, "RLIMIT_NOFILE", Fine, ""},
		"no limits to be seen":    {"vps-1gb", "proc/812/limits", "", small, "RLIMIT_NOFILE", Unknown, "does not have it"},
		"an older process":        {"vps-1gb", "etc/systemd/system/rookery.service", "[Service]\nLimitNOFILE=900000\n", Target{Connections: 600000}, "RLIMIT_NOFILE", Stops, "systemctl restart rookery.service"},
		"soft and hard":           {"vps-4gb", "etc/systemd/system/rookery.service", "[Service]\nLimitNOFILE=1024:10000\n", small, "RLIMIT_NOFILE", Stops, "it holds 9,822"},
		"the manager's default":   {"vps-4gb", "etc/systemd/system.conf", "[Manager]\nDefaultLimitNOFILE=4096\n", small, "RLIMIT_NOFILE", Stops, "it holds 3,918"},
		"a login's file":          {"docker", "etc/security/limits.d/a.conf", "root hard nofile 2000\n", small, "RLIMIT_NOFILE", Fine, ""}, // a process runs, and counts
		"a short queue":           {"vps-4gb", "proc/sys/net/core/somaxconn", "128\n", small, "net.core.somaxconn", Hurts, "4096"},
		"a queue that was full":   {"vps-4gb", "proc/net/netstat", netstat + "0 7 9 0 0 0 0\n", small, "net.core.somaxconn", Advice, "full 7 times"},
		"no cookies":              {"vps-4gb", "proc/sys/net/ipv4/tcp_syncookies", "0\n", small, "net.ipv4.tcp_syncookies", Hurts, "1"},
		"a kernel without them":   {"vps-4gb", "proc/sys/net/ipv4/tcp_syncookies", "", small, "net.ipv4.tcp_max_syn_backlog", Hurts, "4096"},
		"half-open ones dropped":  {"vps-4gb", "proc/net/netstat", netstat + "0 0 0 0 0 0 4\n", small, "net.ipv4.tcp_max_syn_backlog", Hurts, "4 connections were dropped"},
		"packets dropped":         {"vps-4gb", "proc/net/softnet_stat", "00000010 0000000a 00000000\n", small, "net.core.netdev_max_backlog", Hurts, "4096"},
		"tracked by nobody":       {"vps-1gb", "proc/sys/net/netfilter/nf_conntrack_count", "0\n", small, "net.netfilter.nf_conntrack_max", Fine, "not tracked here"},
		"a table just enough":     {"vps-1gb", "proc/sys/net/netfilter/nf_conntrack_max", "21000\n", small, "net.netfilter.nf_conntrack_max", Hurts, "without room"},
		"the module is not there": {"vps-4gb", "x", "y", small, "net.netfilter.nf_conntrack_max", Fine, "is not loaded"},
		"a file that is replaced": {"recorded/conflicts", "x", "y", small, "/usr/lib/sysctl.d/60-copied.conf", Fine, "/etc/sysctl.d/60-copied.conf has the same name"},
		"a rule instead":          {"vps-1gb", "x", "y", Target{Connections: 100000}, "net.netfilter.nf_conntrack_max", Stops, "notrack"},
		"tracked twice":           {"vps-1gb", "proc/sys/net/netfilter/nf_conntrack_max", "40000\n", Target{Connections: 30000, Role: BehindProxy, Sources: 2}, "net.netfilter.nf_conntrack_max", Stops, "94208"},
		"orphans reset":           {"vps-4gb", "proc/net/netstat", netstat + "0 0 0 0 3 0 0\n", small, "net.ipv4.tcp_max_orphans", Hurts, "3 connections were ended"},
		"time waits forgotten":    {"vps-4gb", "proc/net/netstat", netstat + "0 0 0 5 0 0 0\n", small, "net.ipv4.tcp_max_tw_buckets", Advice, "5 were forgotten"},
		"strict overcommit":       {"vps-4gb", "proc/sys/vm/overcommit_memory", "2\n", Target{Connections: 2000000, MessageRate: 2e6}, "vm.overcommit_memory", Hurts, "may still be committed"},
		"swapped out":             {"vps-4gb", "proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 9 kB\nSwapTotal: 2000000 kB\nSwapFree: 1000000 kB\n", small, "swap", Hurts, "are swapped out"},
		"large pages":             {"vps-4gb", "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n", small, "transparent_hugepage", Advice, "madvise"},
		"large first buffers":     {"vps-4gb", "proc/sys/net/ipv4/tcp_rmem", "4096 8388608 16777216\n", small, "net.ipv4.tcp_rmem", Hurts, "each connection begins with 8 MiB"},
		"another network":         {"vps-4gb", "proc/sys/net/ipv4/tcp_congestion_control", "htcp\n", small, "net.ipv4.tcp_congestion_control", Advice, "cubic"},
		"no fair queue":           {"vps-4gb", "proc/sys/net/core/default_qdisc", "pfifo_fast\n", small, "net.core.default_qdisc", Advice, "fq_codel"},
		"one interrupted":         {"vps-16gb", "proc/interrupts", " CPU0 CPU1\n 25: 900000 3 PCI-MSI virtio0-input.0\n 27: 800000 1 PCI-MSI virtio0-input.1\n", small, "interrupts of the network card", Hurts, "irqbalance"},
		"few queues":              {"vps-16gb", "x", "y", small, "queues of the network card", Advice, "ethtool -L eth0 combined 8"},
		"packets spread":          {"vps-4gb", "sys/class/net/eth0/queues/rx-0/rps_cpus", "2\n", small, "rps_cpus", Fine, ""},
		"many messages":           {"vps-4gb", "x", "y", Target{Connections: 20000, MessageRate: 400000}, "processors", Hurts, "400,000 messages a second"},
		"another's card":          {"recorded/lxc", "x", "y", small, "rps_cpus", Advice, "is not root of the kernel"},
		"less than a processor":   {"lxc", "sys/fs/cgroup/cpu.max", "50000 100000\n", small, "cpu.max", Hurts, "less than one processor"},
		"a low clock":             {"vps-4gb", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n", small, "cpu governor", Advice, "schedutil"},
		"time taken":              {"vps-4gb", "proc/stat", "cpu 100 0 100 1000 0 0 0 50 0 0\ncpu0 1 1 1 1\n", small, "steal", Hurts, "dedicated"},
		"some time taken":         {"vps-4gb", "proc/stat", "cpu 1000 0 1000 1000 0 0 0 90 0 0\ncpu0 1 1 1 1\n", small, "steal", Advice, "vmstat"},
		"a slow clock":            {"vps-4gb", "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", small, "clock source", Hurts, "tsc"},
		"the port is named":       {"vps-16gb", "x", "y", Target{Connections: 20000, Port: 443}, "firewall", Fine, ""},
		"the port is not named":   {"vps-16gb", "x", "y", small, "firewall", Advice, "does not name port 8080"},
		"a filter is off":         {"vps-16gb", "etc/nftables.conf", "flush ruleset\n", small, "firewall", Fine, ""},
		"a zone with the port":    {"vps-4gb", "etc/firewalld/zones/public.xml", "<zone>\n<port port=\"8080\" protocol=\"tcp\"/></zone>", small, "firewall", Fine, ""},
		"a zone without it":       {"vps-4gb", "etc/firewalld/zones/public.xml", "<zone><service name=\"ssh\"/></zone>", small, "firewall", Advice, "does not name port 8080"},
		"recycled, and it works":  {"old-kernel", "x", "y", small, "advice: net.ipv4.tcp_tw_recycle", Hurts, "remove the line"},
		"recycled, long gone":     {"conflicts", "x", "y", small, "advice: net.ipv4.tcp_tw_recycle", Advice, "remove the line"},
		"a log in memory":         {"vps-1gb", "proc/self/mounts", "/dev/vda / ext4 rw 0 0\ntmpfs /var/lib tmpfs rw 0 0\n", small, "file system of the log", Hurts, "it is memory"},
		"a limit of the cgroup":   {"vps-1gb", "sys/fs/cgroup/system.slice/memory.max", "134217728\n", small, "memory.max", Stops, "raise the limit of the cgroup to"},
		"a brake of the cgroup":   {"vps-1gb", "sys/fs/cgroup/system.slice/memory.high", "134217728\n", small, "memory.max", Stops, "raise the limit of the cgroup to"},
		"pages without an end":    {"vps-4gb", "proc/sys/net/ipv4/tcp_mem", "1000000 2000000 9223372036854775807\n", small, "net.ipv4.tcp_mem", Hurts, "the machine has"},
		"files without an end":    {"vps-4gb", "proc/sys/fs/file-max", "18446744073709551615\n", small, "fs.file-max", Fine, ""},
		"a proxy's ports":         {"vps-4gb", "x", "y", Target{Connections: 40000, Role: BehindProxy}, "net.ipv4.ip_local_port_range", Stops, "it holds 28,232 connections"},
		"more than all ports":     {"vps-4gb", "x", "y", Target{Connections: 90000, Role: BehindProxy}, "net.ipv4.ip_local_port_range", Stops, "under 2 addresses"},
		"files of a load tester":  {"vps-4gb", "proc/self/limits", "Max open files  1024  4096  files\n", Target{Connections: 20000, Role: LoadGenerator}, "RLIMIT_NOFILE", Fine, "as many processes"},
		"two sources":             {"vps-4gb", "x", "y", Target{Connections: 40000, Role: LoadGenerator, Sources: 2}, "net.ipv4.ip_local_port_range", Fine, ""},
		"ports wait":              {"vps-4gb", "x", "y", Target{Connections: 20000, Role: LoadGenerator}, "net.ipv4.tcp_tw_reuse", Hurts, "1"},
		"on loopback they do not": {"vps-4gb", "x", "y", Target{Connections: 20000, Role: BehindProxy}, "net.ipv4.tcp_tw_reuse", Fine, ""},
		"pages of a larger one":   {"vps-4gb", "proc/sys/net/ipv4/tcp_mem", "1000000 2000000 3000000\n", small, "net.ipv4.tcp_mem", Hurts, "it promises 11.4 GiB"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := hosttest.Tree(t, c.machine)
			if c.text == "" {
				delete(tree, c.file)
			} else {
				tree[c.file] = &fstest.MapFile{Data: []byte(c.text)}
			}
			h, err := host.Open(tree, host.Options{})
			if err != nil {
				t.Fatal(err)
			}
			f := find(t, Examine(h, c.target), c.key)
			if all := strings.Join([]string{f.Current, f.Says, f.Wanted, f.Do}, "\n"); f.Severity != c.want || !strings.Contains(all, c.says) {
				t.Errorf("%s is %s: %+v\nwant %s that says %q", c.key, f.Severity, f, c.want, c.says)
			}
		})
	}
}

// TestProbes: what is asked of the kernel, and not of files.
func TestProbes(t *testing.T) {
	probes := host.Probes{
		Free: func(string) (int64, int64, error) { return 100 << 20, 100 << 30, nil },
		SyncTimes: func(dir string, n int) ([]time.Duration, error) {
			if dir != "/data" || n < 10 {
				return nil, errors.New("elsewhere")
			}
			return []time.Duration{time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond}, nil
		},
		ClockSynchronized: func() (bool, error) { return false, nil },
		Ring:              func(string) (host.Ring, error) { return host.Ring{Receive: 256, ReceiveMost: 4096}, nil },
		Offloads:          func(string) (host.Offloads, error) { return host.Offloads{Segmentation: true}, nil },
	}
	tree := hosttest.Tree(t, "vps-4gb")
	tree["proc/modules"] = &fstest.MapFile{Data: []byte("nf_tables 1\n")}
	tree["sys/class/net/eth0/statistics/rx_missed_errors"] = &fstest.MapFile{Data: []byte("12\n")}
	h, err := host.Open(tree, host.Options{Probes: probes})
	if err != nil {
		t.Fatal(err)
	}
	r := Examine(h, Target{Connections: 1000, Data: "/data"})
	for key, want := range map[string]struct {
		severity Severity
		says     string
	}{
		"free disk": {Hurts, "100 MiB are left"}, "fsync of the log": {Hurts, "half of the messages"}, "time synchronisation": {Advice, "timedatectl"},
		"rings of the network card": {Hurts, "missed 12 packets"}, "offloads of the network card": {Advice, "ethtool -K eth0"},
	} {
		f := find(t, r, key)
		if f.Severity != want.severity || !strings.Contains(f.Says+f.Do, want.says) {
			t.Errorf("%s is %+v, want %s that says %q", key, f, want.severity, want.says)
		}
	}
	// Without --data nothing is written.
	if f := find(t, Examine(h, Target{Connections: 1000}), "fsync of the log"); f.Current != "not measured" {
		t.Errorf("the disk was measured, though nobody asked: %+v", f)
	}
}

// TestRulesInForce: what the kernel has counts, and files only where that can't be read.
func TestRulesInForce(t *testing.T) {
	const closed = "table inet filter {\n chain input {\n type filter hook input priority filter; policy drop;\n tcp dport { 22, 443 } accept\n }\n}\n"
	for name, c := range map[string]struct {
		modules string
		rules   map[string]string // by program; "" can't be read
		file    string
		port    int
		want    Severity
		says    string
	}{
		"no module":               {"ext4 1\n", nil, closed, 8080, Fine, "nothing that keeps"},
		"the port is let through": {"nf_tables 1\n", map[string]string{"nft": closed}, "", 443, Fine, "names port 443"},
		"it is not":               {"nf_tables 1\n", map[string]string{"nft": closed}, "", 8080, Advice, "does not name port 8080"},
		"rules that only accept":  {"nf_tables 1\n", map[string]string{"nft": "table t { chain c { tcp dport 22 accept } }"}, closed, 8080, Fine, "nothing that keeps"},
		"two kinds of them":       {"nf_tables 1\nip_tables 1\n", map[string]string{"nft": " ", "iptables-save": "-A INPUT -p tcp --dport 8080 -j ACCEPT\n-A INPUT -j DROP\n"}, "", 8080, Fine, "names port 8080"},
		"one can't be read":       {"nf_tables 1\nip_tables 1\n", map[string]string{"nft": closed, "iptables-save": ""}, "", 8080, Fine, "could not be read: no iptables-save"},
		"a file stands in":        {"nf_tables 1\n", map[string]string{"nft": ""}, closed, 8080, Advice, "could not be read: no nft"},
	} {
		tree := hosttest.Tree(t, "vps-4gb")
		tree["proc/modules"] = &fstest.MapFile{Data: []byte(c.modules)}
		tree["etc/nftables.conf"] = &fstest.MapFile{Data: []byte(c.file)}
		h, err := host.Open(tree, host.Options{Probes: host.Probes{Rules: func(command []string) (string, error) {
			if c.rules[command[0]] == "" {
				return "", errors.New("no " + command[0])
			}
			return c.rules[command[0]], nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		f := find(t, Examine(h, Target{Connections: 1000, Port: c.port}), "firewall")
		if f.Severity != c.want || !strings.Contains(f.Current+f.Says, c.says) {
			t.Errorf("%s: %+v, want %s that says %q", name, f, c.want, c.says)
		}
	}
}

// TestOrder: what stops the target is told in the order in which it is met.
func TestOrder(t *testing.T) {
	for _, name := range hosttest.Names(t) {
		r := Examine(hosttest.Open(t, name, host.Options{}), Target{Connections: 2000000})
		last := -1
		for _, f := range r.Findings {
			if f.Severity != Stops {
				break
			}
			if f.At < last || f.At >= 2000000 {
				t.Errorf("%s: %s limits at %d, behind %d", name, f.Key, f.At, last)
			}
			last = f.At
		}
		if last < 0 {
			t.Errorf("%s: nothing stops two million connections", name)
		}
	}
}

// TestNamesOfTheLoadTester: rookery bench names limits of the kernel in its verdicts, and whoever looks one up here must find it.
func TestNamesOfTheLoadTester(t *testing.T) {
	found := 0
	for _, file := range []string{"../bench/watch/limits.go", "../bench/watch/rule_kernel.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`"(?:net|fs|vm)\.[a-z0-9_.-]+[a-z0-9]|"RLIMIT_NOFILE|Problem\{"memory`).FindAllString(string(b), -1) {
			name = name[strings.Index(name, `"`)+1:]
			found++
			if _, there := Find(name); !there {
				t.Errorf("%s names %s, which is no key here", file, name)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d names were found: the pattern finds nothing any more", found)
	}
}

func TestCapacity(t *testing.T) {
	h := hosttest.Open(t, "vps-4gb", host.Options{})
	r := Capacity(h, Gateway)
	idle := r.Loads[0]
	if room := r.Memory - r.System - r.Base; int64(idle.ByMemory) > room/(idle.Process+idle.Kernel) || int64(idle.ByMemory) < room/(idle.Process+idle.Kernel)-1000 {
		t.Errorf("%d idle connections by memory do not follow from %+v", idle.ByMemory, r)
	}
	for i := 1; i < len(r.Loads); i++ {
		if r.Loads[i].Connections >= r.Loads[i-1].Connections {
			t.Errorf("%s holds no fewer connections than %s", r.Loads[i].Name, r.Loads[i-1].Name)
		}
	}
	if p := Capacity(h, BehindProxy); p.Loads[0].ByMemory >= idle.ByMemory/3 {
		t.Errorf("behind a proxy on the same machine it holds %d, and without %d", p.Loads[0].ByMemory, idle.ByMemory)
	}
	tracked := r
	tracked.Role, tracked.Tracked = BehindProxy, true
	if got, without := tracked.fill().Loads[0].Kernel, Capacity(h, BehindProxy).Loads[0].Kernel; got != without+2*trackedBytes {
		t.Errorf("behind a proxy, where each is tracked on both sides of it, the kernel takes %d for a connection, and %d where it is not", got, without)
	}
	// What a target needs is what a machine of that size holds.
	for _, n := range []int{1000, 100000, 1000000} {
		target := Target{Connections: n}
		needed := r.memoryFor(target)
		larger := r
		larger.Memory = needed
		if got := larger.fill().Loads[0].ByMemory; got < n-1000 || got > n+n/10+1000 {
			t.Errorf("%d connections need %s, and a machine of that holds %d", n, size(needed), got)
		}
	}
	tree := hosttest.Tree(t, "vps-4gb")
	tree["proc/meminfo"] = &fstest.MapFile{Data: []byte("MemTotal: 100000 kB\n"), Mode: fs.FileMode(0o644)}
	tiny, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := Capacity(tiny, Gateway).Loads[0].Connections; got != 0 {
		t.Errorf("100 MB hold %d connections", got)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil || !strings.Contains(b.String(), "by memory      (memory − system − gateway)") {
		t.Errorf("the capacity is told as %s, %v", b.String(), err)
	}
}

// TestCountsDoNotMoveAPlan: what was set because packets were dropped stays when the count is that of another boot.
func TestCountsDoNotMoveAPlan(t *testing.T) {
	const key = "net.core.netdev_max_backlog"
	tree := hosttest.Tree(t, "vps-4gb")
	wanted := func(dropped string, before map[string]string) string {
		t.Helper()
		tree["proc/net/softnet_stat"] = &fstest.MapFile{Data: []byte("00000010 " + dropped + " 00000000\n")}
		h, err := host.Open(tree, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range Make(h, Target{Connections: 20000}, before).Values {
			if v.Key == key {
				return v.Wanted
			}
		}
		return ""
	}
	if got := wanted("00000000", nil); got != "" {
		t.Errorf("where nothing was dropped it wants %s", got)
	}
	if got := wanted("0000000a", nil); got != "4096" {
		t.Errorf("where packets were dropped it wants %q", got)
	}
	if got := wanted("00000000", map[string]string{"/proc/sys/net/core/netdev_max_backlog": "1000"}); got != "4096" {
		t.Errorf("after the next boot it wants %q", got)
	}
}

func TestDiff(t *testing.T) {
	for name, c := range map[string]struct {
		file File
		want string
	}{
		"new":       {File{"/a", "", false, "1\n2\n"}, "--- /dev/null\n+++ /a\n@@ -0,0 +1,2 @@\n+1\n+2\n"},
		"gone":      {File{"/a", "1\n", true, ""}, "--- /a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n"},
		"same":      {File{"/a", "1\n", true, "1\n"}, ""},
		"changed":   {File{"/a", "1\n2\n3\n", true, "1\nb\n3\n4\n"}, "--- /a\n+++ /a\n@@ -1,3 +1,4 @@\n 1\n-2\n+b\n 3\n+4\n"},
		"no end":    {File{"/a", "1", true, "1\n"}, "--- /a\n+++ /a\n@@ -1 +1 @@\n-1\n\\ No newline at end of file\n+1\n"},
		"all other": {File{"/a", "1\n", true, "2\n"}, "--- /a\n+++ /a\n@@ -1 +1 @@\n-1\n+2\n"},
	} {
		if got := c.file.Diff(); got != c.want {
			t.Errorf("%s: the difference is\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// TestLimitOfALogin: where there is neither a process nor systemd, the files of PAM say what a gateway will get.
func TestLimitOfALogin(t *testing.T) {
	tree := hosttest.Tree(t, "vps-4gb")
	delete(tree, "run/systemd/system/.there")
	for text, want := range map[string]string{
		"":                                   "524288", // this login's
		"postgres - nofile 10\n":             "524288",
		"* soft nofile 10\n":                 "524288",
		"* hard nofile 3000\n* - nproc 50\n": "3000",
		"* - nofile 3000\nroot - nofile unlimited\n": "3000",
		"* - nofile 9000000\n":                       "524288", // it is not for root
		"* - nofile 9000000\nroot - nofile 900000\n": "900000",
	} {
		tree["etc/security/limits.d/20.conf"] = &fstest.MapFile{Data: []byte(text)}
		h, err := host.Open(tree, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if f := find(t, Examine(h, Target{Connections: 1000}), "RLIMIT_NOFILE"); f.Current != want {
			t.Errorf("with %q the limit is %s, want %s", text, f.Current, want)
		}
	}
}

// TestEveryKeyIsExplained on a machine on which some of them are not there.
func TestEveryKeyIsExplained(t *testing.T) {
	h := hosttest.Open(t, "lxc", host.Options{})
	for _, key := range Keys() {
		var b strings.Builder
		if !Explain(&b, h, Target{Connections: 1000}, key) || !strings.Contains(b.String(), "source") || len(b.String()) < 100 {
			t.Errorf("%s is explained by %q", key, b.String())
		}
	}
	if Explain(&strings.Builder{}, h, Target{}, "net.no.such") {
		t.Error("a key that is none is explained")
	}
}

// TestLinesThatAreReadAfterOurs are named, since they would undo a plan at the next boot.
func TestLinesThatAreReadAfterOurs(t *testing.T) {
	tree := hosttest.Tree(t, "vps-4gb")
	const line = "net.ipv4.tcp_notsent_lowat = 1000000\n"
	for name, want := range map[string]bool{"etc/sysctl.d/99-mine.conf": false, "etc/sysctl.d/zzz.conf": true, "etc/sysctl.conf": true} {
		changed := fstest.MapFS{name: &fstest.MapFile{Data: []byte(line)}}
		for name, f := range tree {
			if name != "run/systemd/system/.there" { // so that sysctl.conf is read
				changed[name] = f
			}
		}
		h, err := host.Open(changed, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		notes := strings.Join(Make(h, Target{Connections: 20000}, nil).Notes, "\n")
		if strings.Contains(notes, "/"+name+":1 sets net.ipv4.tcp_notsent_lowat") != want {
			t.Errorf("a line in %s: the notes are %q", name, notes)
		}
	}
}

// closedFile is a tree of which a file may not be read.
type closedFile struct {
	fstest.MapFS
	name string
}

func (c closedFile) ReadFile(name string) ([]byte, error) {
	if name == c.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.MapFS.ReadFile(name)
}

// TestWhatIsNotSeenIsTold: without root, a file that sets a value may be closed.
func TestWhatIsNotSeenIsTold(t *testing.T) {
	h, err := host.Open(closedFile{hosttest.Tree(t, "recorded/conflicts"), "etc/sysctl.d/60-copied.conf"}, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := Examine(h, Target{Connections: 1000})
	if f := find(t, r, "files of settings"); f.Severity != Unknown || !strings.Contains(f.Says, "may not read /etc/sysctl.d/60-copied.conf") {
		t.Errorf("of a file that may not be read it says %+v", f)
	}
	if f := find(t, r, "net.ipv4.tcp_mem"); f.From != "no file that this user may read sets it" {
		t.Errorf("a value that such a file sets is from %q", f.From)
	}
}

// TestWriteAll: of what is fine it is told, too, what was seen.
func TestWriteAll(t *testing.T) {
	h := hosttest.Open(t, "vps-4gb", host.Options{})
	var b strings.Builder
	if err := Examine(h, Target{Connections: 20000}).WriteAll(&b); err != nil {
		t.Fatal(err)
	}
	if want := "\nnet.ipv4.tcp_congestion_control is cubic: there are reno cubic"; !strings.Contains(b.String(), want) {
		t.Errorf("it is not told that %q:\n%s", want, b.String())
	}
}

// TestTargetThatIsNotNamed is what the machine holds, with the messages that are named.
func TestTargetThatIsNotNamed(t *testing.T) {
	tree := hosttest.Tree(t, "vps-4gb")
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loads := Capacity(h, Gateway).Loads
	for rate, want := range map[float64]int{0: loads[0].Connections, 50000: loads[1].ByMemory, 80000: 166000} {
		p := Make(h, Target{MessageRate: rate}, nil)
		if got := p.Target.Connections; got != want || !p.Fits() {
			t.Errorf("with %.0f messages a second the target is %d connections, want %d; it does not fit: %v", rate, got, want, p.Misfits)
		}
	}
	tree["proc/meminfo"] = &fstest.MapFile{Data: []byte("MemTotal: 100000 kB\n")}
	if h, err = host.Open(tree, host.Options{}); err != nil {
		t.Fatal(err)
	}
	if f := find(t, Examine(h, Target{}), "memory"); f.Severity != Stops {
		t.Errorf("of a machine that is too small for any connection it says %+v", f)
	}
}

// TestLimitsThatTheKernelRefuses: a login or a unit that is given more than fs.nr_open does not start, or not with that.
func TestLimitsThatTheKernelRefuses(t *testing.T) {
	tree := hosttest.Tree(t, "vps-16gb")
	plan := func() Plan {
		t.Helper()
		h, err := host.Open(tree, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return Make(h, Target{Connections: 2000000}, nil)
	}
	limited := func(p Plan) bool {
		for _, f := range p.Files {
			if strings.Contains(f.After, "2001000") && f.Path != "/"+SysctlFile {
				return true
			}
		}
		return false
	}
	if !limited(plan()) {
		t.Error("where fs.nr_open can be raised, the limit is not set")
	}
	tree["proc/sys/fs/nr_open"].Mode = 0o444
	if p := plan(); limited(p) || !strings.Contains(strings.Join(p.Left, "\n"), "RLIMIT_NOFILE = 2001000") {
		t.Errorf("where fs.nr_open can't be raised, files set the limit or nothing is told of it: %v", p.Left)
	}
}

// TestTableOfAnOldKernel: before Linux 4.8 the setting only shows what an option of the module sets.
func TestTableOfAnOldKernel(t *testing.T) {
	tree := hosttest.Tree(t, "old-kernel")
	tree["proc/sys/net/netfilter/nf_conntrack_count"] = &fstest.MapFile{Data: []byte("200\n")}
	tree["proc/sys/net/netfilter/nf_conntrack_buckets"] = &fstest.MapFile{Data: []byte("16384\n"), Mode: 0o444}
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Join(Make(h, Target{Connections: 180000}, nil).Left, "\n")
	if !strings.Contains(left, "hashsize=") || strings.Contains(left, "namespace") {
		t.Errorf("of a table whose size only the module sets it says %q", left)
	}
}

// TestTransmitQueues: XPS is told, and that nobody has set it up where each processor could have a queue.
func TestTransmitQueues(t *testing.T) {
	tree := hosttest.Tree(t, "vps-16gb")
	queues := func(masks ...string) Finding {
		t.Helper()
		for i, mask := range masks {
			tree[fmt.Sprintf("sys/class/net/eth0/queues/rx-%d/rps_cpus", i)] = &fstest.MapFile{Data: []byte("00\n")}
			tree[fmt.Sprintf("sys/class/net/eth0/queues/tx-%d/xps_cpus", i)] = &fstest.MapFile{Data: []byte(mask + "\n")}
		}
		h, err := host.Open(tree, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return find(t, Examine(h, Target{Connections: 1000}), "queues of the network card")
	}
	if f := queues("01", "02", "04", "08", "10", "20", "40", "80"); f.Severity != Fine || !strings.Contains(f.Current, "8 transmit, 8 of them with processors of their own") {
		t.Errorf("where each processor has a queue it says %+v", f)
	}
	if f := queues("00", "00", "00", "00", "00", "00", "00", "00"); f.Severity != Advice || !strings.Contains(f.Do, "queues/tx-0/xps_cpus") {
		t.Errorf("where none has it says %+v", f)
	}
}

// TestLimitsThatAreReadAfterOurs: apply can't help where a later file says less, and must not be told as if it could.
func TestLimitsThatAreReadAfterOurs(t *testing.T) {
	for file, c := range map[string]struct {
		text string
		unit bool
	}{
		"etc/systemd/system/rookery.service.d/zzz.conf": {"[Service]\nLimitNOFILE=65536\n", true},
		"etc/security/limits.d/zzz.conf":                {"* hard nofile 65536\n", false},
	} {
		tree := hosttest.Tree(t, "vps-4gb")
		if !c.unit {
			delete(tree, "run/systemd/system/.there")
		}
		tree[file] = &fstest.MapFile{Data: []byte(c.text)}
		h, err := host.Open(tree, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		target := Target{Connections: 100000}
		if notes := strings.Join(Make(h, target, nil).Notes, "\n"); !strings.Contains(notes, "/"+file) {
			t.Errorf("a limit in %s: the notes are %q", file, notes)
		}
		for _, f := range Examine(h, target).Findings {
			if (f.Key == "RLIMIT_NOFILE" || f.Key == "advice: LimitNOFILE") && (f.Severity == Fine || !strings.Contains(f.Do, "take out /"+file)) {
				t.Errorf("a limit in %s: check says %+v", file, f)
			}
		}
	}
}

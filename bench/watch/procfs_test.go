package watch

import (
	"testing"
	"time"
)

func TestTaskStat(t *testing.T) {
	const rest = " S 1 10 10 0 -1 4194560 100 0 0 0 120 30 7 7 20 0 4 0 98765 1000000 250 18446744073709551615 0 0"
	want := taskStat{cpu: 1500 * time.Millisecond, system: 300 * time.Millisecond, threads: 4, started: 98765, pages: 250}
	for _, name := range []string{"(rookery)", "(a) b (c)", "(tmux: server)", "()"} {
		if got, err := parseTaskStat("10 " + name + rest); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "10 (x", "10 (x) S 1 2", "10 (x) S 1 10 10 0 -1 4194560 100 0 0 0 x 30 7 7 20 0 4 0 98765 1000000 250"} {
		if got, err := parseTaskStat(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, got)
		}
	}
}

func TestSchedstat(t *testing.T) {
	ran, waited, err := parseSchedstat("5938327 1091546 2\n")
	if err != nil || ran != 5938327 || waited != 1091546 {
		t.Errorf("%d and %d, %v", ran, waited, err)
	}
	for _, bad := range []string{"", "1", "1 x 2"} {
		if _, _, err := parseSchedstat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestLinesOfProc(t *testing.T) {
	const status = "Name:\tx\nVmRSS:\t    1736 kB\nCpus_allowed_list:\t0-3,8,10-11\n"
	if got := parseColon(status, "Cpus_allowed_list"); got != "0-3,8,10-11" {
		t.Errorf("the list is %q", got)
	}
	if got := parseKibibytes(status, "VmRSS"); got != 1736<<10 {
		t.Errorf("%d bytes", got)
	}
	if got := parseKibibytes(status, "VmSwap"); got != 0 {
		t.Errorf("what is not there is %d", got)
	}
	for text, want := range map[string]int{"0-3,8,10-11": 7, "0": 1, "0-1\n": 2, "": 0} {
		if got := parseList(text); got != want {
			t.Errorf("%q has %d, want %d", text, got, want)
		}
	}
	const limits = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             96364                96364                processes \n" +
		"Max open files            1024                 20000                files     \n"
	if got := parseOpenFiles(limits); got != 1024 {
		t.Errorf("%d open files", got)
	}
	if got := parseOpenFiles(""); got != 0 {
		t.Errorf("%d open files of nothing", got)
	}
}

func TestTable(t *testing.T) {
	const text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 463 23889 23890\n" +
		"IpExt: InNoRoutes\nIpExt: 1\n"
	got, err := parseTable(text)
	if err != nil || len(got) != 4 || got["TcpExt.ListenOverflows"] != 23889 || got["IpExt.InNoRoutes"] != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"A: x y\nA: 1\n", "A: x\nB: 1\n", "A: x\nA: y\n"} {
		if got, err := parseTable(bad); err == nil {
			t.Errorf("%q was taken for %v", bad, got)
		}
	}
}

func TestSockstat(t *testing.T) {
	const text = "sockets: used 18\nTCP: inuse 3 orphan 0 tw 29 alloc 3 mem 18\nUDP: inuse 7 mem 2\n"
	for key, want := range map[string]int64{"inuse": 3, "tw": 29, "mem": 18, "none": 0} {
		if got := parseSockstat(text, "TCP", key); got != want {
			t.Errorf("%s is %d, want %d", key, got, want)
		}
	}
	if got := parseSockstat(text, "TCP6", "inuse"); got != 0 {
		t.Errorf("a protocol that is not there has %d", got)
	}
}

func TestCPUTimes(t *testing.T) {
	const text = "cpu  100 20 30 400 50 6 7 8 90 10\ncpu0 50 10 15 200 25 3 3 4 45 5\ncpu1 50 10 15 200 25 3 4 4 45 5\nintr 1 2\n"
	got, err := parseCPUTimes(text)
	if want := (cpuTimes{cores: 2, all: 621, idle: 450, stolen: 8}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3\ncpu0 1 2 3\n"} {
		if got, err := parseCPUTimes(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, got)
		}
	}
}

package watch

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"rookery/bench/plan"
)

const tcpHead = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// socketLine is a line of /proc/net/tcp.
func socketLine(local, state, inode string) string {
	return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %s 2 000000005311ed0a 100 0 0 10 0\n",
		local, state, inode)
}

func TestListeners(t *testing.T) {
	text := tcpHead + socketLine("0100007F:1F90", "0A", "11") + socketLine("0100007F:1F90", "01", "12") +
		socketLine("00000000000000000000000000000000:0050", "0A", "13") + socketLine("0000000000000000FFFF00000100007F:0051", "0A", "14") +
		socketLine("B80D01200000000000000000 1:0051", "0A", "15") + "   short\n"
	want := []listener{
		{netip.MustParseAddrPort("127.0.0.1:8080"), "11"},
		{netip.MustParseAddrPort("[::]:80"), "13"},
		{netip.MustParseAddrPort("127.0.0.1:81"), "14"},
	}
	if got := parseListeners(text); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// hostWithServers has processes by number, each with the inodes of its sockets.
func hostWithServers(tcp, tcp6 string, sockets map[int][]string) fstest.MapFS {
	root := host(map[string]string{"proc/net/tcp": tcpHead + tcp, "proc/net/tcp6": tcpHead + tcp6, "proc/cpuinfo": ""})
	for pid, inodes := range sockets {
		root[inProc(pid, "stat")] = &fstest.MapFile{Data: []byte(statLine(pid, 100, 7))}
		root[inProc(pid, "fd", "0")] = &fstest.MapFile{Data: []byte("/dev/null"), Mode: fs.ModeSymlink}
		for i, inode := range inodes {
			root[inProc(pid, "fd", fmt.Sprint(i+3))] = &fstest.MapFile{Data: []byte("socket:[" + inode + "]"), Mode: fs.ModeSymlink}
		}
	}
	return root
}

// statLine is /proc/PID/stat of a process that used ticks and began at a time.
func statLine(pid, ticks, started int) string {
	return fmt.Sprintf("%d (server) S 1 10 10 0 -1 0 0 0 0 0 %d %d 0 0 20 0 3 0 %d 0 50 0", pid, ticks-ticks/4, ticks/4, started)
}

func TestFindServer(t *testing.T) {
	const (
		onLoopback = "0100007F:1F90" // 127.0.0.1:8080
		onAll      = "00000000:1F90"
		onAllSix   = "00000000000000000000000000000000:1F90"
		otherPort  = "0100007F:1F91"
		listens    = "0A"
		connected  = "01"
	)
	target := plan.Server{Targets: []string{"ws://127.0.0.1:8080/ws"}}
	cases := []struct {
		name   string
		plan   plan.Server
		root   fstest.MapFS
		want   []int
		unseen string
	}{
		{"by its port", target, hostWithServers(socketLine(onLoopback, listens, "5"), "", map[int][]string{10: {"4", "5"}, 11: {"6"}}), []int{10}, ""},
		{"on all addresses", target, hostWithServers(socketLine(onAll, listens, "5"), "", map[int][]string{10: {"5"}}), []int{10}, ""},
		{"on all of IPv6", target, hostWithServers("", socketLine(onAllSix, listens, "5"), map[int][]string{10: {"5"}}), []int{10}, ""},
		{"one address before all", target, hostWithServers(socketLine(onAll, listens, "4")+socketLine(onLoopback, listens, "5"), "",
			map[int][]string{10: {"4"}, 11: {"5"}}), []int{11}, ""},
		{"several sockets on one port", target, hostWithServers(socketLine(onAll, listens, "4")+socketLine(onAll, listens, "5"), "",
			map[int][]string{12: {"4"}, 11: {"5"}}), []int{11, 12}, ""},
		{"one socket of several processes", target, hostWithServers(socketLine(onAll, listens, "4"), "", map[int][]string{12: {"4"}, 11: {"4"}}), []int{11, 12}, ""},
		{"two targets", plan.Server{Targets: []string{"ws://127.0.0.1:8080", "tcp://127.0.0.1:8081"}},
			hostWithServers(socketLine(onLoopback, listens, "4")+socketLine(otherPort, listens, "5"), "", map[int][]string{12: {"4"}, 11: {"5"}}), []int{11, 12}, ""},
		{"nobody listens", target, hostWithServers(socketLine(onLoopback, connected, "5")+socketLine(otherPort, listens, "5"), "", map[int][]string{10: {"5"}}),
			nil, "no process of this network namespace listens on 127.0.0.1:8080"},
		{"another user's", target, hostWithServers(socketLine(onLoopback, listens, "5"), "", map[int][]string{10: {"6"}}), nil, "(0 are closed to it)"},
		{"another host", plan.Server{Targets: []string{"ws://192.0.2.1:8080"}}, hostWithServers("", "", nil), nil, "is not an address of this host"},
		{"no port", plan.Server{Targets: []string{"tcp://127.0.0.1"}}, hostWithServers("", "", nil), nil, "has no port"},
		{"by its number", plan.Server{PID: 11, Targets: target.Targets}, hostWithServers("", "", map[int][]string{11: nil}), []int{11}, ""},
		{"by a wrong number", plan.Server{PID: 12, Targets: target.Targets}, hostWithServers("", "", map[int][]string{11: nil}), nil, "no process 12"},
		{"not looked for", plan.Server{PID: -1, Targets: target.Targets}, hostWithServers("", "", nil), nil, "not looked for"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := findServer(context.Background(), c.root, c.plan)
			var pids []int
			for _, p := range s.processes {
				pids = append(pids, p.pid)
			}
			if !slices.Equal(pids, c.want) {
				t.Errorf("processes %v, want %v", pids, c.want)
			}
			if (c.unseen == "") != (s.unseen == "") || !strings.Contains(s.unseen, c.unseen) {
				t.Errorf("it says %q, want %q", s.unseen, c.unseen)
			}
		})
	}
}

func TestTargetsResolve(t *testing.T) {
	for target, want := range map[string]string{
		"ws://127.0.0.1/path": "127.0.0.1:80", "wss://127.0.0.1": "127.0.0.1:443",
		"tcp://[::1]:9": "[::1]:9", "ws://[::ffff:127.0.0.1]:9": "127.0.0.1:9",
	} {
		got, err := resolve(context.Background(), target)
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s is %v, %v, want %s", target, got, err, want)
		}
	}
	for _, bad := range []string{"ws://127.0.0.1:99999", "tcp://127.0.0.1", "::"} {
		if got, err := resolve(context.Background(), bad); err == nil {
			t.Errorf("%s is %v", bad, got)
		}
	}
}

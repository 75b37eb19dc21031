package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"rookery/test/benchmarks/control"
	"rookery/test/vm"
	"rookery/test/vm/channel"
)

// TestRentedRowsAreOfTheTable: they hold as many as the page says.
func TestRentedRowsAreOfTheTable(t *testing.T) {
	b, err := os.ReadFile("../../docs/tuning.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, gibibytes := range []int{1, 2} {
		line := fmt.Sprintf("\n| %d GB, 1 processor | %s, by memory |", gibibytes, grouped(float64(tableOf(gibibytes))))
		if !strings.Contains(string(b), line) {
			t.Errorf("docs/tuning.md has no line %q", line)
		}
	}
}

func TestRemains(t *testing.T) {
	texts := map[string]string{
		"/proc/meminfo":      "MemTotal: 1000 kB\nMemFree: 600 kB\nMemAvailable: 700 kB\nPageTables: 3 kB\n",
		"/proc/vmstat":       "nr_free_pages 9\noom_kill 2\npgmajfault 6\n",
		"/proc/net/sockstat": "TCP: inuse 3 orphan 0 tw 1 alloc 4 mem 5\n",
		"/proc/net/netstat":  "IpExt: InNoRoutes ListenDrops\nIpExt: 0 1\nTcpExt: SyncookiesSent ListenDrops TCPMemoryPressures\nTcpExt: 1 7 8\n",
	}
	var got remains
	if err := got.parse(texts); err != nil {
		t.Fatal(err)
	}
	if got.total != 1000<<10 || got.free != 600<<10 || got.available != 700<<10 || got.pageTables != 3<<10 || got.killed != 2 || got.buffers != 5*4096 || got.dropped != 7 || got.faults != 6 || got.pressed != 8 {
		t.Errorf("it is %+v", got)
	}
	for path := range texts {
		was := texts[path]
		texts[path] = "nothing\n"
		if err := got.parse(texts); err == nil {
			t.Errorf("without what %s says it is %+v", path, got)
		}
		texts[path] = was
	}
}

// TestFinish: what a program says is whole when it has ended, and one that fails is an error.
func TestFinish(t *testing.T) {
	m, causes := machineOfNothing(t)
	host, guest := net.Pipe()
	defer host.Close()
	defer guest.Close()
	m.Machine = &vm.Machine{Guest: channel.New(host)}
	for status, fails := range map[string]bool{"exit status 0": false, "exit status 1": true} {
		go func() {
			var o control.Order
			if err := channel.New(guest).Receive(&o); err != nil {
				return // finish fails
			}
			m.deliver(control.Event{Number: o.Number, Kind: control.Done, PID: 70})
			for range 2 * newestLines {
				m.program(70).say("more")
			}
			m.ended(m.program(70), status)
		}()
		said, err := m.finish("tune", "apply")
		if fails {
			if err == nil || !strings.Contains(err.Error(), status) || !strings.Contains(err.Error(), "more") {
				t.Errorf("%s gave %q, %v", status, said, err)
			}
			continue
		}
		if err != nil || said != strings.Repeat("more\n", 2*newestLines) {
			t.Errorf("%s gave %q, %v", status, said, err)
		}
	}
	if err := causes(); err != nil {
		t.Errorf("the machine failed: %v", err)
	}
}

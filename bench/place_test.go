package bench

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"rookery/bench/internal/engine"
)

func TestSourcesAreSpreadOverLoopback(t *testing.T) {
	one := []string{"127.0.0.1:1"}
	for _, c := range []struct {
		name        string
		connections int
		given       []string
		targets     []string
		want        []string
		addresses   int // that connections come from, 0: the kernel's choice
	}{
		{"one address does", portsEach, nil, one, nil, 0},
		{"two are needed", portsEach + 1, nil, one, []string{"127.0.0.0/30"}, 2},
		{"three are needed", 2*portsEach + 1, nil, one, []string{"127.0.0.0/29"}, 6},
		{"seven are needed", 6*portsEach + 1, nil, one, []string{"127.0.0.0/28"}, 14},
		{"half a million, of which none has to search for a port", 500_000, nil, one, []string{"127.0.0.0/25"}, 126},
		{"a million", 1_000_000, nil, one, []string{"127.0.0.0/24"}, 254},
		{"two targets have twice the ports", 2 * portsEach, nil, []string{"127.0.0.1:1", "127.0.0.2:1"}, nil, 0},
		{"two targets, more than that", 2*portsEach + 1, nil, []string{"127.0.0.1:1", "127.0.0.1:2"}, []string{"127.0.0.0/30"}, 2},
		{"the user knows better", 1_000_000, []string{"127.0.0.5"}, one, []string{"127.0.0.5"}, 1},
		{"another host", 1_000_000, nil, []string{"10.0.0.1:1"}, nil, 0},
		{"one of them another host", 1_000_000, nil, []string{"127.0.0.1:1", "10.0.0.1:1"}, nil, 0},
		{"IPv6 has one loopback address", 1_000_000, nil, []string{"[::1]:1"}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := smallPlan("")
			p.Clients.Connections, p.Clients.Sources = c.connections, c.given
			var targets []netip.AddrPort
			for _, text := range c.targets {
				targets = append(targets, netip.MustParseAddrPort(text))
			}
			spreadSources(&p, targets)
			if !slices.Equal(p.Clients.Sources, c.want) || countSources(p) != c.addresses {
				t.Errorf("sources are %v, %d addresses; want %v, %d", p.Clients.Sources, countSources(p), c.want, c.addresses)
			}
			if sources, err := engine.ParseSources(p.Clients.Sources); err != nil || sources.Count() > 0 && c.given == nil && sources.Count()*portsEach*len(targets) < c.connections {
				t.Errorf("%v, %v: too few for %d connections", p.Clients.Sources, err, c.connections)
			}
		})
	}
	p := smallPlan("")
	if p.Clients.Sources = []string{"nowhere0"}; countSources(p) != 0 {
		t.Error("a source that is none has addresses")
	}
}

func TestWorkersFor(t *testing.T) {
	for _, c := range []struct {
		connections int
		descriptors uint64
		want        int
	}{
		{1, 1 << 20, 1},
		{1000, 1200, 1}, // 200 are spare
		{1001, 1200, 2},
		{2000, 1200, 2},
		{2001, 1200, 3},
		{100_000, 1<<20 + spareDescriptors, 1},
		{1 << 24, 1 << 40, 16}, // no loop has more than a million
		{1 << 24, 1<<64 - 1, 16},
		{500, 300, 3}, // so few are no host to make load with, but it is tried
		{500, 0, 3},
	} {
		if got := workersFor(c.connections, c.descriptors); got != c.want {
			t.Errorf("%d connections with %d descriptors a process take %d workers, want %d", c.connections, c.descriptors, got, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		targets []string
		want    string // addresses, or what the error says
	}{
		{[]string{"ws://127.0.0.1:8080/ws"}, "127.0.0.1:8080"},
		{[]string{"ws://127.0.0.1/ws"}, "127.0.0.1:80"},
		{[]string{"tcp://[::1]:9"}, "[::1]:9"},
		{[]string{"ws://[::1]/"}, "[::1]:80"},
		{[]string{"ws://[::ffff:127.0.0.1]:9"}, "127.0.0.1:9"},
		{[]string{"tcp://127.0.0.3:1", "ws://127.0.0.2:2/a?b"}, "127.0.0.3:1 127.0.0.2:2"},
		{[]string{"tcp://127.0.0.1:0"}, `target "tcp://127.0.0.1:0": "0" is no port`},
		{[]string{"tcp://127.0.0.1:65536"}, `target "tcp://127.0.0.1:65536": "65536" is no port`},
		{[]string{"tcp://127.0.0.1"}, "has no port"},
		{[]string{"ws://127.0.0.1:9", "http://127.0.0.1"}, "the scheme is"},
		{[]string{"ws://"}, "has no host"},
		{[]string{"tcp://no host:1"}, "is no address"},
		{[]string{"ws://a..b:9"}, `target "ws://a..b:9": lookup a..b`},
	} {
		found, err := resolve(t.Context(), c.targets)
		if err != nil {
			if len(found) > 0 || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v, %v; want %s", c.targets, found, err, c.want)
			}
			continue
		}
		var words []string
		for _, address := range found {
			words = append(words, address.String())
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%q: %s, want %s", c.targets, got, c.want)
		}
	}
}

package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/plan"
)

const (
	// portsEach is how many connections of one source address to one target are counted on: a quarter of the 28,232 ports that the
	// kernel gives out unless it was told otherwise. For a connect it tries the half of them with one parity first, from a random
	// one on, so with a quarter taken each second try finds one. Past that half every connect looks at 14,116 taken ports: a
	// connect then costs this host ten times as much.
	portsEach = 7000
	// spareDescriptors is what a worker needs beside its connections.
	spareDescriptors = 200
)

// resolve gives an address for each target.
func resolve(ctx context.Context, targets []string) ([]netip.AddrPort, error) {
	var resolved []netip.AddrPort
	for _, text := range targets {
		t, err := dialect.ParseTarget(text)
		if err != nil {
			return nil, err
		}
		host, portText, err := net.SplitHostPort(t.Host)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", text, err)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("target %q: %q is no port", text, portText)
		}
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", text, err)
		}
		resolved = append(resolved, netip.AddrPortFrom(addresses[0].Unmap(), uint16(port)))
	}
	return resolved, nil
}

// spreadSources gives a plan without sources as many loopback addresses as its connections need, if its targets are loopback
// ones of IPv4: there all of 127.0.0.0/8 is this host.
func spreadSources(p *plan.Plan, targets []netip.AddrPort) {
	needed := (p.Clients.Connections + len(targets)*portsEach - 1) / (len(targets) * portsEach)
	if len(p.Clients.Sources) > 0 || needed <= 1 {
		return
	}
	for _, t := range targets {
		if !t.Addr().Is4() || !t.Addr().IsLoopback() {
			return
		}
	}
	bits := 0 // of the host's part, with the first and last address, which are not used
	for 1<<bits < needed+2 {
		bits++
	}
	p.Clients.Sources = []string{fmt.Sprintf("127.0.0.0/%d", 32-bits)}
}

// countSources is how many addresses a plan names.
func countSources(p plan.Plan) int {
	sources, err := engine.ParseSources(p.Clients.Sources)
	if err != nil {
		return 0 // the workers say so
	}
	return sources.Count()
}

// workersFor is how many processes a host needs for a number of connections, with so many descriptors each.
func workersFor(connections int, descriptors uint64) int {
	each := int(min(max(descriptors, 2*spareDescriptors)-spareDescriptors, 1<<20))
	return max(1, (connections+each-1)/each)
}

package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

func TestEveryLoopHasItsListener(t *testing.T) {
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Loops = 3 })
	perLoop := map[string]int{}
	for range 120 {
		p := open(t, srv.Addr(), wires[2])
		connect(p, "", "alice")
		loop, _, _ := strings.Cut(p.must().GetConnected().GetSession(), "-")
		perLoop[loop]++
	}
	// The kernel picks by a hash of the addresses: 120 on two of three has odds of 10^-20.
	if len(perLoop) != 3 {
		t.Errorf("connections by loop: %v", perLoop)
	}
	for loop, connections := range perLoop {
		n := metric(t, srv, fmt.Sprintf(`rookery_loop_connections{loop="%s"}`, loop))
		if n != float64(connections) {
			t.Errorf("loop %s has %d connections, its metric says %v", loop, connections, n)
		}
	}
}

func TestTwoGatewaysShareAnAddress(t *testing.T) {
	first := gatewaytest.Start(t)
	second := gatewaytest.Start(t, func(c *gateway.Config) { c.Listen = first.Addr() })
	for range 80 {
		login(t, first.Addr(), wires[2], "alice")
	}
	a, b := metric(t, first, "rookery_connections_opened_total"), metric(t, second, "rookery_connections_opened_total")
	if a == 0 || b == 0 || a+b != 80 {
		t.Errorf("the gateways got %v and %v of 80 connections", a, b)
	}
	// When one leaves, the other has the address for itself. What waits to be accepted at that
	// moment is lost with its listener, so it must have been worked off.
	first.Stop()
	for range 20 {
		login(t, second.Addr(), wires[2], "bob")
	}
}

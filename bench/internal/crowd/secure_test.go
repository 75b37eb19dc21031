package crowd

import (
	"slices"
	"testing"

	"rookery/bench/internal/dialect"
	"rookery/bench/plan"
)

// TestConfigs: tickets are shared by all ports of a host, HTTP is offered to who speaks it.
func TestConfigs(t *testing.T) {
	var targets []dialect.Target
	for _, text := range []string{"wss://a.example/", "wss://a.example:8443/ws", "wss://b.example/", "tls://a.example:1", "ws://a.example/"} {
		target, err := dialect.ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	all, err := configs(&plan.TLS{Resume: true}, targets)
	if err != nil {
		t.Fatal(err)
	}
	if all[0] != all[1] || all[0].ServerName != "a.example" || all[2].ServerName != "b.example" || all[2].ClientSessionCache == all[0].ClientSessionCache {
		t.Error("not each host has one for all its ports")
	}
	if !slices.Equal(all[0].NextProtos, []string{"http/1.1"}) || len(all[3].NextProtos) != 0 || all[4] != nil {
		t.Errorf("WebSocket offers %q, raw TCP %q, without TLS there is %v", all[0].NextProtos, all[3].NextProtos, all[4])
	}
}

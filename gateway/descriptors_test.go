package gateway

import (
	"testing"

	"rookery/tuning"
)

// TestTuningKnowsTheReserve: the tuner computes limits of open files with a formula of its own, so as not to import a server.
func TestTuningKnowsTheReserve(t *testing.T) {
	for _, loops := range []int{1, 2, 16, 256} {
		for _, webhooks := range []int{0, 1, 32, 1024} {
			for _, socket := range []string{"", "/run/rookery/socket"} {
				for _, listen := range []string{"", ":8443"} {
					c := Config{Proxy: ProxyConfig{Socket: socket}, TLS: TLSConfig{Listen: listen}}
					if webhooks > 0 {
						c.Webhooks = WebhooksConfig{URL: "https://app.example.com/", Concurrency: webhooks}
					}
					target := tuning.Target{Webhooks: webhooks, Socket: socket != "", TLS: listen != ""}
					if got, want := tuning.Reserve(loops, target), c.reservedDescriptors(loops); got != want {
						t.Errorf("with %d loops and %+v tuning reserves %d descriptors, and the gateway %d", loops, target, got, want)
					}
				}
			}
		}
	}
}

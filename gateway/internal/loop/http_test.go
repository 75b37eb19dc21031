package loop

import (
	"strings"
	"testing"

	"github.com/panjf2000/gnet/v2"
)

// TestKeptConnectionsAreRefusedDuringTheDrain: a proxy keeps connections, and must not bring
// new sessions over those that it has from before.
func TestKeptConnectionsAreRefusedDuringTheDrain(t *testing.T) {
	const upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", upgrade} {
		r := newRig(t, nil)
		s := &fakeSocket{room: 1 << 20, loop: r.events}
		if r.loop.accept(s) != gnet.None {
			t.Fatal("the connection was not accepted")
		}
		exchange := func(request string) string {
			s.in, s.out = []byte(request), nil
			r.loop.traffic(s.context.(*conn))
			return string(s.out)
		}
		if got := exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
			t.Fatalf("before the drain: %q", got)
		}
		r.loop.engine.draining.Store(true)
		if got := exchange(request); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Retry-After: ") {
			t.Errorf("during the drain %.20q was answered with %q", request, got)
		}
	}
}

package gateway_test

import (
	"bufio"
	"net/http"
	"testing"

	"rookery/gateway/gatewaytest"
)

// TestIdleConnectionsKeepNobodyWaiting: more than the admin listener takes at once, each kept open by its client.
func TestIdleConnectionsKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	for i := range 64 {
		conn := dialPlain(t, srv.AdminAddr(), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		if res.StatusCode != http.StatusOK || res.Close != (i >= 16) {
			t.Errorf("after %d: %s, the last of its connection: %v", i, res.Status, res.Close)
		}
	}
}

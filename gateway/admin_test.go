package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"rookery/gateway"
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

// TestHalfABodyKeepsNoPlace, at whatever path, also where no body is wanted; and what has none takes as long as it takes.
func TestHalfABodyKeepsNoPlace(t *testing.T) {
	t.Parallel()
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	srv, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv.SetBodyTime(10 * time.Millisecond)
	stop, ended := serves(t, srv)
	for _, request := range []string{"POST /revocations", "PUT /rooms/r/retention", "POST /push/dead/1", "GET /healthz", "GET /ops/look", "POST /v1/rooms", "POST /nowhere"} {
		for _, body := range []string{"Content-Length: 40\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			conn := dialPlain(t, srv.AdminAddr(), fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\n%s", request, body))
			if answer, err := io.ReadAll(conn); err != nil {
				t.Fatalf("%s: %v after %q", request, err, answer)
			}
		}
	}
	res, err := http.Get("http://" + srv.AdminAddr() + "/debug/pprof/trace?seconds=0.2")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if trace, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || len(trace) == 0 {
		t.Errorf("a trace of a fifth of a second was answered %s, %d bytes, %v", res.Status, len(trace), err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

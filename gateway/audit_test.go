package gateway_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// TestAuditLog: what changes something at the admin listener is written down, and nothing that is said.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.AuditFile = path })
	b := newBackend(t, srv)
	b.do("POST", "/v1/rooms", `{"room":"group:g","owner":"desk"}`)
	b.do("POST", "/v1/rooms/group:g/messages", `{"user":"desk","text":"a secret"}`)
	b.do("PUT", "/v1/rooms/group:g/messages/1/reactions/x?user=desk", "")
	b.do("DELETE", "/v1/rooms/group:g/messages/1?user=desk", "")
	b.refused("POST", "/v1/rooms/group:g/members", `{"user":"bob","action":"kick"}`, 404, "no_such_member")
	b.do("GET", "/v1/rooms/group:g", "")
	b.send("GET", "/v1/export?room=group:g", "")
	(&backend{t: t, srv: srv, secret: "guessed"}).refused("GET", "/v1/stats", "", 401, "unauthorized")
	reader := &backend{t: t, srv: srv, secret: readSecret}
	reader.refused("POST", "/v1/rooms/group:g/messages", `{"user":"desk","text":"a secret"}`, 403, "scope_missing")
	reader.refused("GET", "/v1/stats", "", 403, "scope_missing")
	b.refused("POST", "/v1/rooms/group:g/messages?x=1", `{"user":"desk","text":"a secret"}`, 400, "bad_request")
	b.refused("POST", "/v1/rooms/group:g/message", `{"user":"desk","text":"a secret"}`, 404, "no_such_path")
	b.do("PUT", "/v1/users/bob/ban", "")
	res, err := http.Post("http://"+srv.AdminAddr()+"/revocations", "application/json", strings.NewReader(`{"user":"bob"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	srv.Stop()

	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(written), "secret") || strings.Contains(string(written), "guessed") {
		t.Errorf("what was said, or a key, is in the audit log:\n%s", written)
	}
	type line struct {
		Operation, Key string
		Status         int
	}
	want := []line{
		{"create-room", "full", 200}, {"delete-message", "full", 200}, {"change-member", "full", 404}, {"export", "full", 200},
		{"GET /v1/stats", "", 401},
		{"publish", "reader", 403}, {"get-stats", "reader", 403}, {"POST /v1/rooms/group:g/message", "", 404}, {"ban-user", "full", 200}, {"POST /revocations", "", 200},
	}
	var got []line
	for text := range strings.Lines(string(written)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got = append(got, l)
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("the audit log has\n%s\nwant %v", written, want)
		}
	}
}

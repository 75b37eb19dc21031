package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	v1 "rookery/proto/rookery/v1"
)

// askAdmin sends a request to the admin listener and gives status and body.
func askAdmin(t *testing.T, srv *gatewaytest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+srv.AdminAddr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(answer))
}

func TestRetentionAtTheAdminListener(t *testing.T) {
	t.Parallel()
	var cfg gateway.Config
	data := t.TempDir()
	options := func(c *gateway.Config) {
		c.Data = data
		c.Retention = gateway.RetentionConfig{Age: 48 * time.Hour, Rooms: []string{"team-* messages=5"}}
		cfg = *c
	}
	srv := gatewaytest.Start(t, options)
	check := func(method, room, body string, status int, want string) {
		t.Helper()
		code, answer := askAdmin(t, srv, method, "/rooms/"+room+"/retention", body)
		if code != status || !strings.Contains(answer, want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", method, room, body, code, answer, status, want)
		}
	}
	const own = `{"room":"team chat/1","retention":{"age":"720h","messages":1000,"bytes":1073741824},"from":"room"}`
	check("GET", "lobby", "", 200, `{"room":"lobby","retention":{"age":"48h"},"from":"default"}`)
	check("GET", "team-a", "", 200, `"retention":{"messages":5},"from":"rule \"team-* messages=5\""`)
	check("PUT", "team%20chat%2F1", `{"age":"720h","messages":1000,"bytes":1073741824}`, 200, own)
	check("GET", "team%20chat%2F1", "", 200, own)
	check("PUT", "team-a", `{}`, 200, `{"room":"team-a","retention":{},"from":"room"}`)
	check("PUT", "%2E%2E", `{"messages":1}`, 200, `"room":".."`)
	if n := metric(t, srv, "rookery_catalog_entries"); n != 3 {
		t.Errorf("the catalog has %v entries, want 3", n)
	}

	for body, want := range map[string]string{
		``:                           "can't be read",
		`null`:                       "it is null",
		`[]`:                         "policy does not take this: array",
		`{"days":30}`:                `unknown field "days"`,
		`{"age":30}`:                 "field age does not take this: number",
		`{"age":"30d"}`:              "is not a duration",
		`{"age":"-1h"}`:              "under the least",
		`{"age":"1us"}`:              "under the least",
		`{"messages":-1}`:            "field messages does not take this: number -1",
		`{"messages":1.5}`:           "field messages does not take this: number 1.5",
		`{"bytes":"1GiB"}`:           "field bytes does not take this: string",
		`{"messages":1e300}`:         "field messages does not take this",
		`{"bytes":1} trailer`:        "behind the policy",
		`{"bytes":9007199254740992}`: "at most 9007199254740991",
		`{"age":"` + strings.Repeat("1", 5000) + `"}`: "too large",
	} {
		check("PUT", "lobby", body, 400, want)
	}
	check("PUT", "%01catalog", `{}`, 400, "control characters")
	check("GET", "%FF", "", 400, "UTF-8")
	check("GET", strings.Repeat("x", 129), "", 400, "1 to 128 bytes")
	check("POST", "lobby", `{}`, 405, "")
	check("GET", "lobby", "", 200, `"from":"default"`)

	next := cfg
	next.Retention = gateway.RetentionConfig{Messages: 7}
	if needRestart, err := srv.Reload(next); err != nil || len(needRestart) != 0 {
		t.Fatalf("reload: %v, %v", needRestart, err)
	}
	check("GET", "lobby", "", 200, `{"room":"lobby","retention":{"messages":7},"from":"default"}`)
	check("GET", "team%20chat%2F1", "", 200, own)

	srv.Stop()
	srv = gatewaytest.Start(t, options)
	check("GET", "team%20chat%2F1", "", 200, own)
	check("DELETE", "team%20chat%2F1", "", 200, `{"room":"team chat/1","retention":{"age":"48h"},"from":"default"}`)
	check("DELETE", "team-a", "", 200, `"from":"rule`)
	check("DELETE", "never-seen", "", 200, `"from":"default"`)
}

// TestRetentionTakesMessages: what an operator sets for a room happens to it, and to no other.
func TestRetentionTakesMessages(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	p := login(t, srv.Addr(), wires[0], "alice")
	for range 20 {
		for _, room := range []string{"short", "long"} {
			p.publish(room, "", "x")
			if p.must().GetPublished() == nil {
				t.Fatal("not published")
			}
		}
	}
	first := func(room string) uint64 {
		p.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: room, After: new(uint64)}}})
		return p.must().GetHistory().GetMessages()[0].Seq
	}
	if code, answer := askAdmin(t, srv, "PUT", "/rooms/short/retention", `{"messages":5}`); code != 200 {
		t.Fatal(answer)
	}
	eventually(t, "the room begins later", func() bool { return first("short") == 16 })
	if n := first("long"); n != 1 {
		t.Errorf("the other room begins at %d", n)
	}
	// What is gone is gone.
	if code, answer := askAdmin(t, srv, "DELETE", "/rooms/short/retention", ""); code != 200 {
		t.Fatal(answer)
	}
	if n := first("short"); n != 16 {
		t.Errorf("the room begins at %d", n)
	}
}

// TestManyRoomsAtTheAdminListener changes rooms at the same time: every change that was confirmed is there.
func TestManyRoomsAtTheAdminListener(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	const each = 20
	done := make(chan string, 8*each)
	for worker := range 8 {
		go func() {
			for i := range each {
				code, answer := askAdmin(t, srv, "PUT", fmt.Sprintf("/rooms/r-%d-%d/retention", worker, i), fmt.Sprintf(`{"messages":%d}`, i+1))
				if code != 200 {
					done <- answer
					continue
				}
				done <- ""
			}
		}()
	}
	for range 8 * each {
		if wrong := <-done; wrong != "" {
			t.Error(wrong)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if n := metric(t, srv, "rookery_catalog_entries"); n != 8*each {
		t.Errorf("%v entries, want %d", n, 8*each)
	}
}

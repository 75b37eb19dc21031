package gateway_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const webhookSecret = hookSecret

// What follows stands in docs/webhooks.md as it is here.

// receive answers the server's requests.
func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil || !fromServer(r.Header, body) {
		http.Error(w, "not signed", http.StatusUnauthorized)
		return
	}
	var event struct {
		Type string
		Data struct {
			User    string
			Message struct{ Text string }
		}
	}
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := map[string]any{"allow": true}
	text := event.Data.Message.Text
	switch {
	case event.Type == "connect" && event.Data.User == "mallory":
		answer = map[string]any{"allow": false, "reason": "Your account is closed."}
	case event.Type == "publish" && strings.Contains(text, "darn"):
		answer["message"] = map[string]any{"text": strings.ReplaceAll(text, "darn", "d***")}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// fromServer reports whether a request comes from the server, and has not been on its way for long.
func fromServer(header http.Header, body []byte) bool {
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(webhookSecret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(want), []byte(header.Get("Webhook-Signature")))
}

// The end of what stands there.

// TestWebhookDocumentedReceiver runs a gateway with the receiver of the page, and compares what that gets with the requests that the page shows.
func TestWebhookDocumentedReceiver(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("webhooks_doc_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "as it is here.\n\n")
	code, _, _ = strings.Cut(code, "\n// The end of what")
	shown := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindSubmatch(page)
	if shown == nil || string(shown[1]) != code {
		t.Error("docs/webhooks.md has another receiver than this test")
	}
	requests := make(chan map[string]any, 100)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request map[string]any
		if err = errorsOf(err, json.Unmarshal(body, &request)); err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		receive(w, r)
		requests <- request
	}))
	defer app.Close()
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Loops = 1
		c.Webhooks.URL, c.Webhooks.Secret = app.URL, hookSecret
		c.Webhooks.Events = []string{"connect", "publish", "membership", "disconnect"}
	})
	got := map[string]map[string]any{}
	take := func(kinds ...string) {
		t.Helper()
		for _, kind := range kinds {
			for got[kind] == nil {
				select {
				case request := <-requests:
					if name := request["type"].(string); name != "membership" || request["data"].(map[string]any)["action"] == "invite" {
						got[name] = request
					}
				case <-time.After(time.Minute):
					t.Fatalf("there was no request %s within a minute", kind)
				}
			}
		}
	}
	ann := login(t, srv.Addr(), wires[1], "ann")
	ann.enter("lobby")
	ann.publish("lobby", "a1-0001", "that darn cat")
	if m := ann.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil }).GetMessage(); m.GetText() != "that d*** cat" {
		t.Errorf("published %v", m)
	}
	ann.create(&v1.Create{Room: "group:birds"})
	ann.change("group:birds", "invite", "ben")
	take("connect", "publish", "membership")
	ann.conn.Close()
	take("disconnect")
	mallory := open(t, srv.Addr(), wires[1])
	mallory.request(connectRequest("mallory"))
	if e := mallory.mustFail(proto.ErrRefused); e.Message != "Your account is closed." {
		t.Errorf("the reason is %q", e.Message)
	}
	var documented []string
	for _, block := range regexp.MustCompile("(?ms)^```json\n(.*?)^```").FindAllSubmatch(page, -1) {
		var want map[string]any
		if err := json.Unmarshal(block[1], &want); err != nil {
			t.Fatalf("%v in %s", err, block[1])
		}
		name := want["type"].(string)
		documented = append(documented, name)
		want["timestamp"] = got[name]["timestamp"]
		hideSessions(want)
		hideSessions(got[name])
		if d := differs(any(got[name]), any(want), name); d != "" {
			t.Errorf("docs/webhooks.md shows another request: %s", d)
		}
	}
	if slices.Sort(documented); !slices.Equal(documented, []string{"connect", "disconnect", "membership", "publish"}) {
		t.Errorf("docs/webhooks.md shows %v", documented)
	}
}

// hideSessions takes the names of sessions away, which differ from run to run.
func hideSessions(of any) {
	switch of := of.(type) {
	case map[string]any:
		if _, named := of["session"].(string); named {
			of["session"] = ""
		}
		for _, value := range of {
			hideSessions(value)
		}
	case []any:
		for _, value := range of {
			hideSessions(value)
		}
	}
}

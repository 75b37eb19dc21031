package push

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"rookery/gateway/internal/webhook"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func testSummary() *Summary {
	s := &Summary{ID: "push_1", User: "ann", Attempt: 1, More: true, Rooms: []Room{{"group:a", 3, 0, 4, 7}, {"group:b", 9, 1, 1, 20}}}
	s.Newest.Room, s.Newest.Seq, s.Newest.Found = "group:b", 20, Found{"ben", 1700000000000, "hi <b>"}
	return s
}

// TestWebhookRequest: what the receiver gets, checked as it would check it.
func TestWebhookRequest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key, _ := webhook.ParseSecret(testSecret)
		id, timestamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
		if got, want := r.Header.Get("webhook-signature"), "v1,"+webhook.Sign(key, id, timestamp, body); got != want || id != "push_1" {
			t.Errorf("id %s, signed %s, want %s", id, got, want)
		}
		if at, err := strconv.ParseInt(timestamp, 10, 64); err != nil || time.Since(time.Unix(at, 0)) > time.Minute {
			t.Errorf("the timestamp is %s", timestamp)
		}
		if r.Method != http.MethodPost || r.Header.Get("content-type") != "application/json" || r.URL.Path != "/hook" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		var got struct {
			Type string
			Data map[string]any
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Type != "push.summary" {
			t.Errorf("the body is %s, %v", body, err)
		}
		for name, want := range map[string]any{"user": "ann", "messages": 12.0, "conversations": 2.0, "mentions": 1.0, "more": true} {
			if got.Data[name] != want {
				t.Errorf("%s is %v, want %v", name, got.Data[name], want)
			}
		}
		newest, _ := got.Data["newest"].(map[string]any)
		if newest["text"] != "hi <b>" || newest["from"] != "ben" || newest["seq"] != 20.0 {
			t.Errorf("newest is %v", newest)
		}
	}))
	defer server.Close()
	hook, err := NewWebhook(server.URL+"/hook", testSecret)
	if err != nil {
		t.Fatal(err)
	}
	defer hook.client.CloseIdleConnections()
	if o := hook.Send(t.Context(), testSummary()); o.Verdict != Sent {
		t.Errorf("the outcome is %+v", o)
	}
}

// TestWebhookAnswers: what each means.
func TestWebhookAnswers(t *testing.T) {
	for _, c := range []struct {
		code   int
		header string
		want   Verdict
		after  time.Duration
	}{
		{200, "", Sent, 0}, {204, "", Sent, 0}, {299, "", Sent, 0},
		{301, "", Retry, 0}, {400, "", Retry, 0}, {401, "", Retry, 0}, {404, "", Retry, 0}, {410, "", Final, 0}, {413, "", Final, 0},
		{408, "", Retry, 0}, {425, "", Retry, 0}, {429, "120", Retry, 2 * time.Minute}, {500, "", Retry, 0}, {503, "soon", Retry, 0},
		{503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), Retry, time.Hour},
	} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.Header().Set("Location", "/elsewhere")
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.code)
		}))
		hook, err := NewWebhook(server.URL, testSecret)
		if err != nil {
			t.Fatal(err)
		}
		o := hook.Send(t.Context(), testSummary())
		if o.Verdict != c.want || o.After.Round(time.Minute) != c.after || (o.Err == nil) != (c.want == Sent) || asked != 1 {
			t.Errorf("%d %q: %+v after %d requests", c.code, c.header, o, asked)
		}
		hook.client.CloseIdleConnections()
		server.Close()
	}
}

// TestWebhookThatDoesNotAnswer: one that hangs, one that is not there, one that sends no end.
func TestWebhookThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		for range 1000 {
			if _, err := w.Write(make([]byte, answerBytes)); err != nil {
				return
			}
		}
	}))
	const secret = "?key=of-the-address"
	hook, err := NewWebhook(server.URL+"/hangs"+secret, testSecret)
	if err != nil {
		t.Fatal(err)
	}
	hook.client.Timeout = 50 * time.Millisecond
	if o := hook.Send(t.Context(), testSummary()); o.Verdict != Retry || o.Err == nil || strings.Contains(o.Err.Error(), secret) {
		t.Errorf("hangs: %+v", o)
	}
	hook.client.Timeout = webhookTimeout
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := hook.Send(ctx, testSummary()); o.Verdict != Retry {
		t.Errorf("the process ends: %+v", o)
	}
	hook.url = server.URL + "/endless"
	if o := hook.Send(t.Context(), testSummary()); o.Verdict != Sent {
		t.Errorf("endless: %+v", o)
	}
	close(release)
	server.Close()
	if o := hook.Send(t.Context(), testSummary()); o.Verdict != Retry {
		t.Errorf("not there: %+v", o)
	}
	hook.client.CloseIdleConnections()
}

func TestWebhookSettings(t *testing.T) {
	for address, good := range map[string]bool{
		"https://push.example/hook": true, "http://127.0.0.1:8000/": true, "http://[::1]/x": true, "http://localhost:1/": true,
		"http://push.example/": false, "https://": false, "push.example": false, "ftp://push.example/": false,
		"https://user:word@push.example/": false, "https://push.example/#x": false,
	} {
		if err := CheckWebhook(address); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
	for secret, good := range map[string]bool{
		testSecret: true, "whsec_": false, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": false, "whsec_c2hvcnQ=": false, "whsec_!": false,
		"whsec_" + strings.Repeat("AAAA", 30): false,
	} {
		if err := CheckSecret(secret); (err == nil) != good {
			t.Errorf("%s: %v", secret, err)
		}
	}
	if _, err := NewWebhook("x", "y"); err == nil || !strings.Contains(err.Error(), "this machine") || !strings.Contains(err.Error(), "openssl") {
		t.Errorf("both faults: %v", err)
	}
}

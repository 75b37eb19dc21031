package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestSignature: the vector that libraries of Standard Webhooks are tested with.
func TestSignature(t *testing.T) {
	key, err := ParseSecret(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

// TestHook: what leaves, what comes back, and what is no answer.
func TestHook(t *testing.T) {
	answers := http.NewServeMux()
	server := httptest.NewServer(answers)
	defer server.Close()
	answers.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got struct {
			Type, Timestamp string
			Data            map[string]int
		}
		if err = errors.Join(err, json.Unmarshal(body, &got)); err != nil || got.Type != "event" || got.Data["a"] != 1 {
			t.Errorf("got %s, %v", body, err)
		}
		if at, err := time.Parse(time.RFC3339, got.Timestamp); err != nil || time.Since(at) > time.Minute {
			t.Errorf("the time is %s", got.Timestamp)
		}
		if r.Header.Get("Webhook-Id") != "id_1" || r.Header.Get("Rookery-Webhook-Version") != "1" {
			t.Errorf("the headers are %v", r.Header)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	})
	answers.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 101))
	})
	answers.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	answers.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/good", http.StatusTemporaryRedirect)
	})
	answers.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	post := func(path string) (*Answer, error) {
		h, err := NewHook(server.URL+path, testSecret, 2, 100)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if path == "/slow" {
			cancel()
		}
		defer cancel()
		return h.Post(ctx, "id_1", "event", map[string]int{"a": 1})
	}
	if a, err := post("/good"); err != nil || !a.Good() || len(a.Body) != 100 {
		t.Errorf("good: %+v, %v", a, err)
	}
	if a, err := post("/long"); !errors.Is(err, ErrTooLong) {
		t.Errorf("long: %+v", a)
	}
	if a, err := post("/busy"); err != nil || a.Good() || a.After != 7*time.Second || !Temporary(a.Status) {
		t.Errorf("busy: %+v, %v", a, err)
	}
	if a, err := post("/away"); err != nil || a.Status != http.StatusTemporaryRedirect || a.Err() == nil {
		t.Errorf("away: %+v, %v", a, err)
	}
	if a, err := post("/slow"); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), server.URL) {
		t.Errorf("slow: %+v, %v", a, err)
	}
}

// TestIdleConnections: an application ends them after some seconds, and what is on its way then is sent again, once.
func TestIdleConnections(t *testing.T) {
	type usedKey struct{}
	ids := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ids <- r.Header.Get("Webhook-Id")
		if _, sent := r.Header["Idempotency-Key"]; sent {
			t.Errorf("the headers are %v", r.Header)
		}
		if r.Context().Value(usedKey{}).(*atomic.Bool).Swap(true) {
			panic(http.ErrAbortHandler)
		}
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, usedKey{}, new(atomic.Bool))
	}
	server.Start()
	defer server.Close()
	h, err := NewHook(server.URL, testSecret, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, id := range []string{"id_1", "id_2"} {
		if a, err := h.Post(t.Context(), id, "event", nil); err != nil || !a.Good() {
			t.Errorf("%s: %+v, %v", id, a, err)
		}
	}
	var got []string
	for len(ids) > 0 {
		got = append(got, <-ids)
	}
	if want := []string{"id_1", "id_2", "id_2"}; !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
}

func TestChecks(t *testing.T) {
	for address, good := range map[string]bool{
		"https://app.example.com/hook": true, "http://127.0.0.1:3000/": true, "http://localhost/x": true, "http://[::1]/": true,
		"http://app.example.com/": false, "ftp://app/": false, "app": false, "https://": false, "https://user:word@app/": false, "https://app/#x": false,
	} {
		if err := CheckAddress(address); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
	for secret, good := range map[string]bool{
		testSecret: true, "": false, "whsec_short": false, strings.TrimPrefix(testSecret, "whsec_"): false, "whsec_" + strings.Repeat("A", 88) + "AA==": false,
	} {
		if _, err := ParseSecret(secret); (err == nil) != good {
			t.Errorf("%s: %v", secret, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 5: 80 * time.Second, 30: time.Hour, 1000: time.Hour} {
		if got := Backoff(attempts); got < want/2 || got > want {
			t.Errorf("after %d attempts %v, want up to %v", attempts, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for text, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "-1": 0, "soon": 0,
		now.Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
	} {
		if got := RetryAfter(text, now); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

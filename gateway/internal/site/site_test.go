package site

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rookery/gateway/internal/handoff"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(handler http.HandlerFunc, log io.Writer) (*Site, *handoff.Mailbox[handoff.Event]) {
	inbox := handoff.NewMailbox[handoff.Event](1 << 20)
	return New(Config{
		Handler: handler, Paths: []string{"/a"}, Inboxes: []*handoff.Mailbox[handoff.Event]{nil, inbox}, Most: 2, Timeout: time.Second,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}), inbox
}

var to = handoff.Handle{Loop: 1, Slot: 7, Generation: 3}

func ask(t *testing.T, s *Site, method string) bool {
	t.Helper()
	return s.Ask(to, httptest.NewRequest(method, "/a?b=c", nil))
}

func TestAnswersAreHTTP(t *testing.T) {
	for _, c := range []struct {
		name, method string
		handler      http.HandlerFunc
		status       int
		body         string
	}{
		{"text", "GET", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "it is "+r.URL.RawQuery) }, 200, "it is b=c"},
		{"nothing", "GET", func(http.ResponseWriter, *http.Request) {}, 200, ""},
		{"a status", "POST", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(303); w.WriteHeader(500) }, 303, ""},
		{"no content", "POST", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, ""},
		{"a head", "HEAD", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }, 200, ""},
		{"a field with line ends", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/\r\nX-Evil: 1\r\n\r\n<script>")
			w.Header().Set("Connection", "keep-alive")
		}, 200, ""},
		{"a panic", "GET", func(http.ResponseWriter, *http.Request) { panic("test") }, 500, "the server has a fault\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s, inbox := start(c.handler, &log)
				if !ask(t, s, c.method) {
					t.Fatal("the request was not taken")
				}
				synctest.Wait()
				events := inbox.Take(nil)
				if len(events) != 1 || events[0].Kind != handoff.Responded || events[0].To != to || inbox.Held() != int64(events[0].Size) {
					t.Fatalf("the loop was told %+v", events)
				}
				response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(events[0].Frames)), &http.Request{Method: c.method})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				if response.StatusCode != c.status || string(body) != c.body || err != nil || !response.Close || response.Header.Get("X-Evil") != "" {
					t.Errorf("answered %s", events[0].Frames)
				}
				if panicked := strings.Contains(log.String(), "BUG"); panicked != (c.status == 500) {
					t.Errorf("logged %q", log.String())
				}
				s.Close()
			})
		})
	}
}

func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inbox := start(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, io.Discard)
		for i, want := range []bool{true, true, false} {
			if ask(t, s, "GET") != want {
				t.Fatalf("request %d: taken %v", i, !want)
			}
		}
		time.Sleep(time.Second) // of the bubble: the time of a request
		synctest.Wait()
		if n := len(inbox.Take(nil)); n != 2 {
			t.Errorf("%d were answered when their time was over", n)
		}
		if !ask(t, s, "GET") {
			t.Error("what was answered still counts")
		}
		s.Close() // gives up on the last
		if ask(t, s, "GET") {
			t.Error("a request was taken after the end")
		}
		if n := len(inbox.Take(nil)); n != 1 {
			t.Errorf("%d were answered at the end", n)
		}
	})
}

func TestPaths(t *testing.T) {
	s, _ := start(nil, io.Discard)
	defer s.Close()
	for path, want := range map[string]bool{"/a": true, "/": false, "/a/": false, "/%61": false, "/b": false} {
		if s.Serves(path) != want {
			t.Errorf("Serves(%q) is %v", path, !want)
		}
	}
}

package issuance

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// refusingAuthority says no to all, by the kind of a problem, and counts who asks it for an account.
func refusingAuthority(t *testing.T, kind string, header ...string) (server *httptest.Server, asked *atomic.Int64) {
	asked = &atomic.Int64{}
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "nonce")
		switch r.URL.Path {
		case "/dir":
			address := "https://" + r.Host
			_, _ = w.Write([]byte(`{"newNonce":"` + address + `/nonce","newAccount":"` + address + `/account","newOrder":"` + address + `/order"}`))
		case "/account":
			asked.Add(1)
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"type":"urn:ietf:params:acme:error:` + kind + `","detail":"no"}`))
		}
	}))
	t.Cleanup(server.Close)
	return server, asked
}

// TestRestartsSpareTheAuthority: a server that is started again and again has three tries, and others when a while is over. That it waits is said, and
// SIGHUP has it try at once.
func TestRestartsSpareTheAuthority(t *testing.T) {
	server, asked := refusingAuthority(t, "rejectedIdentifier")
	cfg := configOf(t, server, "chat.example.com")
	cfg.Pauses.Refused = time.Hour
	for n := int64(1); n <= freely; n++ {
		k := open(t, cfg)
		k.Start()
		eventually(t, "a failure", func() bool { return k.Counters.Failed[refused].Load() == 1 })
		k.Close()
		if got := asked.Load(); got != n {
			t.Fatalf("with %d starts the authority was asked %d times", n, got)
		}
	}
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	k := open(t, cfg)
	s := k.states["chat.example.com"]
	if left := time.Until(s.due()); left < 170*time.Minute || left > 3*time.Hour {
		t.Errorf("after %d failures the next order is in %v", freely, left)
	}
	if !strings.Contains(log.String(), "SIGHUP") || !strings.Contains(log.String(), "attempts=3") {
		t.Errorf("the log says %s", &log)
	}
	k.Start()
	k.Use(cfg.Names)
	eventually(t, "an order", func() bool { return asked.Load() == freely+1 })
	k.Close()

	// An old failure is none to wait for.
	f := k.folder
	if err := f.note("chat.example.com", attempts{Tried: time.Now().Add(-4 * time.Hour), Failures: 9}); err != nil {
		t.Fatal(err)
	}
	k = open(t, cfg)
	k.Start()
	eventually(t, "an order", func() bool { return asked.Load() == freely+2 })
	k.Close()
	if past := f.attempts("chat.example.com", time.Now()); past.Failures < 9 {
		t.Errorf("%d failures are noted", past.Failures)
	}
}

// TestAKilledOrderCounts: the authority counts it, too. One that an orderly end has cut off does not, nor one that the authority was not reached for.
func TestAKilledOrderCounts(t *testing.T) {
	server, _ := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	k := open(t, cfg)
	s := k.states["chat.example.com"]
	if err := k.begin(s); err != nil {
		t.Fatal(err)
	}
	if past := k.folder.attempts(s.name, time.Now()); past.Failures != 1 || time.Since(past.Tried) > time.Minute {
		t.Errorf("in the middle of an order a restart knows of %+v", past)
	}
	k.end(s, false)
	if past := k.folder.attempts(s.name, time.Now()); past != (attempts{}) {
		t.Errorf("after its end a restart knows of %+v", past)
	}
	k.Start()
	eventually(t, "a failure", func() bool { return k.Counters.Failed[unreachable].Load() == 1 })
	k.Close()
	if past := k.folder.attempts(s.name, time.Now()); past.Failures != 0 || time.Until(past.Limited) < 50*time.Minute {
		t.Errorf("of an authority that is away for an hour a restart knows %+v", past)
	}
}

// TestAttemptsThatCannotBe: a broken file is none, and times of a clock that was wrong hold nobody up for long.
func TestAttemptsThatCannotBe(t *testing.T) {
	f, err := openFolder(t.TempDir(), "https://ca.example/dir")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for content, want := range map[string]attempts{
		"":                           {},
		"{":                          {},
		`{"failures":"many"}`:        {},
		`{"failures":-5}`:            {},
		`{"failures":9999999999999}`: {Failures: 32767},
		`{"tried":"2999-01-01T00:00:00Z","failures":3,"limited":"2999-01-01T00:00:00Z"}`: {Tried: now, Failures: 3, Limited: now.Add(longestWait)},
	} {
		if err := os.WriteFile(filepath.Join(f.dir, attemptsFile("a")), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := f.attempts("a", now); got != want {
			t.Errorf("%s is read as %+v", content, got)
		}
	}
	if err := f.note("a", attempts{}); err != nil {
		t.Error(err)
	}
	if err := f.note("a", attempts{}); err != nil {
		t.Errorf("what is gone can't be taken away: %v", err)
	}
}

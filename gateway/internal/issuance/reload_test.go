package issuance

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// heldAuthority refuses, once goOn is closed; asked has a word of each request.
func heldAuthority(t *testing.T) (server *httptest.Server, asked, goOn chan bool) {
	t.Helper()
	asked, goOn = make(chan bool, 8), make(chan bool)
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-goOn
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	return server, asked, goOn
}

// TestReloadBetweenOrders: names that are not wanted any more are not ordered, and new ones do not wait behind them.
func TestReloadBetweenOrders(t *testing.T) {
	server, asked, goOn := heldAuthority(t)
	cfg := configOf(t, server, "a.example", "b.example", "c.example")
	cfg.Pauses.Refused = time.Hour
	k := open(t, cfg)
	k.Start()
	<-asked
	k.Use([]string{"d.example"})
	close(goOn)
	eventually(t, "the other name", func() bool { return slices.Equal(k.Missing(), []string{"d.example"}) })
	eventually(t, "a second order", func() bool { return k.Counters.Failed[refused].Load() >= 2 })
	k.Close()
	if n := k.Counters.Orders.Load(); n != 2 {
		t.Errorf("there were %d orders", n)
	}
}

// TestANameThatIsTakenAway is shown to nobody from then on, also while an order for another one is under way.
func TestANameThatIsTakenAway(t *testing.T) {
	server, asked, goOn := heldAuthority(t)
	cfg := configOf(t, server, "a.example", "b.example")
	cfg.Pauses.Refused = time.Hour
	k := open(t, cfg)
	if err := k.folder.write(certificateFile("b.example"), certificateOf(t, "b.example", time.Hour, 3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	k = open(t, cfg)
	k.Start()
	defer k.Close()
	defer close(goOn)
	<-asked
	if k.Get("b.example") == nil || k.named("b.example") == "" || k.First() == nil {
		t.Fatal("there is no certificate that could be shown")
	}
	k.Use([]string{"a.example"})
	if k.Get("b.example") != nil || k.named("b.example") != "" || k.First() != nil || !k.Expires().IsZero() {
		t.Error("the name that was taken away is still shown")
	}
	if missing := k.Missing(); !slices.Equal(missing, []string{"a.example"}) || k.Overdue(time.Now()) != 1 {
		t.Errorf("missing are %v", missing)
	}
}

// TestReloadOutOfTurn: while another process orders, or nobody can, the names are those that are wanted all the same.
func TestReloadOutOfTurn(t *testing.T) {
	server, asked := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	first := open(t, cfg)
	release, err := first.folder.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := first.folder.write(certificateFile("www.example.com"), certificateOf(t, "www.example.com", time.Hour, 3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	k := open(t, cfg)
	k.Start()
	defer k.Close()
	k.Use([]string{"www.example.com"})
	eventually(t, "the certificate of the other name", func() bool { return k.Get("www.example.com") != nil && len(k.Missing()) == 0 })
	if n := asked.Load(); n != 0 {
		t.Errorf("the authority was asked %d times", n)
	}
}

// TestClockIsWrong: what is given is used, but is not ordered again and again, in this process or the next.
func TestClockIsWrong(t *testing.T) {
	server, _ := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	cfg.Pauses.Refused = time.Minute
	for _, c := range []struct {
		what        string
		since, left time.Duration
		failures    int
		warns       bool
	}{
		{"good", time.Hour, 90 * 24 * time.Hour, 0, false},
		{"due already", 80 * 24 * time.Hour, 10 * 24 * time.Hour, 3, true},
		{"not good yet", -time.Hour, 90 * 24 * time.Hour, 0, true},
	} {
		var log bytes.Buffer
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		k := open(t, cfg)
		s := k.states["chat.example.com"]
		for range 3 {
			certificate, err := parse(certificateOf(t, s.name, c.since, c.left), s.name)
			if err != nil {
				t.Fatal(err)
			}
			k.given(s, certificate)
		}
		k.show()
		if k.Get(s.name) == nil {
			t.Errorf("%s: it is not in force", c.what)
		}
		if s.failures != c.failures || k.folder.attempts(s.name, time.Now()).Failures != c.failures {
			t.Errorf("%s: %d failures, and a restart knows of %+v", c.what, s.failures, k.folder.attempts(s.name, time.Now()))
		}
		if pause := time.Until(s.due()); c.failures > 0 && pause < 3*time.Minute {
			t.Errorf("%s: ordered again in %v", c.what, pause)
		}
		if strings.Contains(log.String(), "clock") != c.warns {
			t.Errorf("%s: the log says %s", c.what, &log)
		}
	}
}

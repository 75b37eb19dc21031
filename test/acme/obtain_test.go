package acme

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// TestByTLS: an authority that is away at first, two names, a chat over wss; and a restart that asks nobody.
func TestByTLS(t *testing.T) {
	t.Parallel()
	const one, other = "chat.rookery.test", "www.rookery.test"
	a := newAuthority(t)
	data := t.TempDir()
	s := a.serve(t, func(c *gateway.Config) { c.Data = data }, one, other)
	eventually(t, "a failure", func() bool { return s.failures("unreachable") > 0 })
	if _, err := s.shown(nil, one); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("without a certificate a client was told %v", err)
	}
	if ready := s.get("/readyz"); ready != "ok\nthere is no certificate yet for "+one+", "+other+"\n" {
		t.Errorf("ready says %q", ready)
	}
	if n := s.metric(`tls_handshake_failures_total{reason="no_certificate"}`); n != 1 {
		t.Errorf("%v handshakes without a certificate are counted", n)
	}
	if n := s.metric("tls_acme_overdue"); n != 2 {
		t.Errorf("%v names are overdue", n)
	}
	if !s.Logged("level=ERROR", "no certificate was obtained", "reason=unreachable", "tls.acme.directory", "next=") {
		t.Error("the log does not say what to do")
	}
	response, err := http.Get("http://" + s.Addr() + "/")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("plain: %v", err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	a.start()
	roots := a.roots()
	s.reload(nil) // nobody waits until it is tried again
	s.awaitCertificates(roots, one, other)
	s.chat(roots, other)
	eventually(t, "both stored", func() bool { return s.metric("tls_acme_overdue") == 0 })
	if n := s.metric("tls_challenges_total"); n < 2 {
		t.Errorf("%v challenges were answered", n)
	}
	if ready := s.get("/readyz"); ready != "ok\n" {
		t.Errorf("ready says %q", ready)
	}
	if under := s.metric("tls_handshakes_under_way"); under > 6 {
		t.Errorf("%v handshakes are under way: those of the authority keep their places", under)
	}
	for _, name := range []string{"account.key", one + ".pem", other + ".pem"} {
		info, err := os.Stat(s.file(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(s.file("")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}

	first, err := s.shown(roots, one)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	a.kill()
	s = a.serve(t, func(c *gateway.Config) { c.Data = data }, one, other)
	again, err := s.shown(roots, one)
	if err != nil || again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("after a restart: %v, %v", again, err)
	}
	if n := s.metric("tls_acme_orders_total"); n != 0 {
		t.Errorf("%v orders after a restart", n)
	}
}

// TestByHTTP: with an authority that wants every third request signed anew; another gateway takes over and goes on with the listener, and a
// reload adds a name.
func TestByHTTP(t *testing.T) {
	t.Parallel()
	const one, other = "chat.rookery.test", "www.rookery.test"
	a := newAuthority(t)
	a.nonces = 33
	a.start()
	roots := a.roots()
	s := a.serve(t, func(c *gateway.Config) { c.TLS.ACME.HTTP = "127.0.0.1:" + a.httpPort }, one)
	s.awaitCertificates(roots, one)
	for path, want := range map[string]int{"/": http.StatusNotFound, "/.well-known/acme-challenge/": http.StatusNotFound, "/.well-known/acme-challenge/x": http.StatusNotFound} {
		response, err := http.Get("http://127.0.0.1:" + a.httpPort + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
	// Long heads are refused.
	conn, err := net.Dial("tcp", "127.0.0.1:"+a.httpPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 10<<10)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(conn) // its end may be a reset
	if !strings.Contains(string(said), "431") {
		t.Errorf("a long head was answered %q", said)
	}

	heir := &server{Server: gatewaytest.TakeOver(s.Server), t: t, cfg: s.cfg}
	if _, err := heir.shown(roots, one); err != nil {
		t.Errorf("after a takeover: %v", err)
	}
	if n := heir.metric("tls_acme_orders_total"); n != 0 {
		t.Errorf("%v orders after a takeover", n)
	}
	heir.reload(func(c *gateway.Config) { c.TLS.ACME.Domains = []string{one, other} })
	heir.awaitCertificates(roots, one, other)
	if n := heir.metric("tls_acme_orders_total"); n != 1 {
		t.Errorf("%v orders for one name more", n)
	}
}

// TestBound: an authority that gives to its customers only.
func TestBound(t *testing.T) {
	t.Parallel()
	const name = "chat.rookery.test"
	a := newAuthority(t)
	a.binding = true
	a.start()
	data := t.TempDir()
	s := a.serve(t, func(c *gateway.Config) { c.Data = data }, name)
	eventually(t, "a refusal", func() bool { return s.failures("refused") > 0 })
	if !s.Logged("externalAccountRequired", "tls.acme.eab_key_id") {
		t.Error("the log does not say what to do")
	}
	s.Stop()
	a.write("key", []byte(eabKey+"\n"))
	s = a.serve(t, func(c *gateway.Config) {
		c.Data = data
		c.TLS.ACME.EABKeyID, c.TLS.ACME.EABKeyFile = eabKeyID, a.path("key")
	}, name)
	s.awaitCertificates(a.roots(), name)
}

// TestSuggested: the authority wants a certificate back sooner than it would be renewed, and is asked at the start.
func TestSuggested(t *testing.T) {
	t.Parallel()
	const name = "chat.rookery.test"
	a := newAuthority(t)
	a.start()
	roots := a.roots()
	data := t.TempDir()
	s := a.serve(t, func(c *gateway.Config) { c.Data = data }, name)
	s.awaitCertificates(roots, name)
	leaf, err := s.shown(roots, name)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	at := time.Now().Add(30 * 24 * time.Hour).UTC()
	a.suggest(leaf, at, at.Add(time.Second))
	s = a.serve(t, func(c *gateway.Config) { c.Data = data }, name)
	eventually(t, "the authority's word", func() bool {
		return s.Logged("renewed sooner", "name="+name, "at="+at.Format("2006-01-02"), "explanation=https://authority.test/why")
	})
	if n := s.metric("tls_acme_orders_total"); n != 0 {
		t.Errorf("%v orders before the time that it has suggested", n)
	}
}

package acme

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/internal/porttest"
)

// TestRenewal: before the end of a certificate there is another one, and nobody is turned away meanwhile.
func TestRenewal(t *testing.T) {
	t.Parallel()
	const name = "chat.rookery.test"
	a := newAuthority(t)
	a.lives = 18 * time.Second // so that a slow machine has six for an order
	a.start()
	roots := a.roots()
	s := a.serve(t, nil, name)
	s.awaitCertificates(roots, name)
	first, err := s.shown(roots, name)
	if err != nil {
		t.Fatal(err)
	}
	stored := mustRead(t, s.file(name+".pem"))
	eventually(t, "another certificate", func() bool {
		now, err := s.shown(roots, name)
		if err != nil {
			t.Fatalf("a client was turned away: %v", err)
		}
		return now.SerialNumber.Cmp(first.SerialNumber) != 0
	})
	eventually(t, "the file of another certificate", func() bool { return mustRead(t, s.file(name+".pem")) != stored })
	if left := time.Until(first.NotAfter); left < 0 {
		t.Errorf("it was renewed %v after its end", -left)
	}
	if n := s.metric("tls_acme_overdue"); n != 0 {
		t.Errorf("%v names are overdue", n)
	}
}

// TestRefused: names that lead nowhere, or that the authority does not want, keep no other from its certificate, and the log says what to do.
func TestRefused(t *testing.T) {
	t.Parallel()
	const blocked, nowhere, good = "blocked.rookery.test", "nowhere.rookery.test", "chat.rookery.test"
	a := newAuthority(t)
	a.start()
	s := a.serve(t, nil, blocked, nowhere, good)
	s.awaitCertificates(a.roots(), good)
	if n := s.metric("tls_acme_overdue"); n != 2 {
		t.Errorf("%v names are overdue", n)
	}
	if !s.Logged("name="+blocked, "reason=refused", "rejectedIdentifier", "tls.acme.domains") {
		t.Error("the log does not say what to do about a name that the authority does not want")
	}
	if !s.Logged("name="+nowhere, "Could not resolve") {
		t.Error("the log does not say that a name leads nowhere")
	}
	// Who asks for a name without one is shown another's, as with files.
	conn, err := tls.Dial("tcp", s.SecureAddr(), &tls.Config{InsecureSkipVerify: true, ServerName: blocked})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname(good); err != nil {
		t.Error(err)
	}
	orders := s.metric("tls_acme_orders_total")
	if _, err := s.shown(a.roots(), good); err != nil || orders != 3 {
		t.Errorf("%v orders for three names: what was refused is not asked for again at once", orders)
	}
}

// TestSomebodyElseAnswers: the name leads to a server that is not this one.
func TestSomebodyElseAnswers(t *testing.T) {
	t.Parallel()
	const name = "chat.rookery.test"
	a := newAuthority(t)
	a.start()
	a.tlsPort = porttest.Free(t) // the authority asks at the other one
	s := a.serve(t, nil, name)
	eventually(t, "a failure", func() bool { return s.failures("not_shown") == 1 })
	if !s.Logged("reason=not_shown", "tls-alpn-01", "Failed to connect", "to_do=") {
		t.Error("the log does not say what to do")
	}
}

// TestBrokenFiles: what can't be read in the folder is made anew.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	const name = "chat.rookery.test"
	a := newAuthority(t)
	a.start()
	roots, data := a.roots(), t.TempDir()
	s := a.serve(t, func(c *gateway.Config) { c.Data = data }, name)
	s.awaitCertificates(roots, name)
	eventually(t, "the file", func() bool { _, err := os.Stat(s.file(name + ".pem")); return err == nil })
	s.Stop()
	whole := mustRead(t, s.file(name+".pem"))
	for file, content := range map[string]string{"account.key": "no key", name + ".pem": whole[:len(whole)/2]} {
		if err := os.WriteFile(s.file(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = a.serve(t, func(c *gateway.Config) { c.Data = data }, name)
	s.awaitCertificates(roots, name)
	if !s.Logged("level=ERROR", "a stored certificate can't be used", name) || !s.Logged("level=ERROR", "the key of the account can't be used") {
		t.Error("the log does not say what was broken")
	}
	if kept := mustRead(t, s.file("account.key.broken")); kept != "no key" {
		t.Errorf("the broken key is %q now", kept)
	}
	eventually(t, "the file", func() bool { return mustRead(t, s.file(name+".pem")) != whole[:len(whole)/2] })
}

// TestFolder: nothing is ordered that could not be stored, and what was given and can't be stored is used all the same.
func TestFolder(t *testing.T) {
	t.Parallel()
	const name = "chat.rookery.test"
	a := newAuthority(t)
	a.start()
	data := t.TempDir()
	folder := filepath.Join(data, "acme", strings.ReplaceAll(a.address, ":", "_")+"_dir")
	// A folder with something in it can't be replaced by a file, not even by root.
	probe, place := filepath.Join(folder, "probe.new"), filepath.Join(folder, name+".pem")
	for _, dir := range []string{probe, place} {
		if err := os.MkdirAll(filepath.Join(dir, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := a.serve(t, func(c *gateway.Config) { c.Data = data }, name)
	eventually(t, "a failure", func() bool { return s.failures("folder") > 0 })
	if !s.Logged("reason=folder", "probe.new", "tls.acme.folder") {
		t.Error("the log does not say what to do")
	}
	if _, err := os.Stat(filepath.Join(folder, "account.key")); err == nil {
		t.Error("there is an account: the authority was asked")
	}
	clear := func(dir string) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		s.reload(nil)
	}
	clear(probe)
	roots := a.roots()
	s.awaitCertificates(roots, name)
	before := s.metric("tls_acme_orders_total")
	eventually(t, "a second failure", func() bool { return s.failures("folder") > 1 })
	clear(place)
	eventually(t, "the file", func() bool {
		info, err := os.Stat(place)
		return err == nil && info.Mode().IsRegular()
	})
	if n := s.metric("tls_acme_orders_total"); n != before {
		t.Errorf("what could not be stored was ordered again: %v orders, then %v", before, n)
	}

	// A folder that can't be made is refused at start.
	cfg := s.cfg
	cfg.Data, cfg.TLS.Listen, cfg.TLS.ACME.Folder = t.TempDir(), "127.0.0.1:0", filepath.Join(place, "below a file")
	if _, err := gateway.New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "tls.acme.folder") || !strings.Contains(err.Error(), "server's user") {
		t.Errorf("a folder that can't be made: %v", err)
	}
}

package tlslisten

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"rookery/internal/certtest"
)

// TestChangedCertificates: files are read again when they change, and what can't be used leaves the old in force.
func TestChangedCertificates(t *testing.T) {
	issuer := certtest.NewIssuer(t)
	cert, key := issuer.Issue("server", time.Hour, "localhost")
	var log bytes.Buffer
	c, err := LoadCertificates([]Pair{{cert, key}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	serial := func() string {
		shown, err := c.Get(&tls.ClientHelloInfo{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		return shown.Leaf.SerialNumber.String()
	}
	first := serial()
	c.Reload()
	if log.Len() > 0 {
		t.Errorf("nothing changed, and it says: %s", &log)
	}

	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("no key at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reload()
	if serial() != first || c.Failures() != 1 || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), key) {
		t.Errorf("with a broken key: %d failures, log %s", c.Failures(), &log)
	}
	c.Reload()
	if c.Failures() != 1 {
		t.Error("one broken file is told twice")
	}
	// Put right in a way that the files' states do not show, as a change of permissions is.
	broken := bytes.Repeat([]byte("x"), len(good))
	if err := os.WriteFile(key, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reload()
	was, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(key, was.ModTime(), was.ModTime()); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	c.Reload()
	if c.Failures() != 2 || !strings.Contains(log.String(), "read again") {
		t.Errorf("what was put right is not read: %d failures, log %s", c.Failures(), &log)
	}
	log.Reset()
	if c.Reload(); log.Len() > 0 {
		t.Errorf("what is in force was read once more: %s", &log)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	c.Reload()
	if serial() != first || c.Failures() != 3 {
		t.Errorf("without a certificate: %d failures", c.Failures())
	}

	issuer.Issue("server", 2*time.Hour, "localhost")
	c.Reload()
	if serial() == first || c.Failures() != 3 {
		t.Errorf("the new certificate is not in force: %s", &log)
	}
	if left := time.Until(c.Expires()); left < time.Hour {
		t.Errorf("it expires in %v", left)
	}
}

// TestFilesAreLookedAtByThemselves: without a signal.
func TestFilesAreLookedAtByThemselves(t *testing.T) {
	issuer := certtest.NewIssuer(t)
	cert, key := issuer.Issue("server", time.Hour, "localhost")
	c, err := read([]Pair{{cert, key}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first, ticks := c.Expires(), make(chan time.Time)
	c.ended.Go(func() { c.watchLoop(ticks) })
	defer c.Close()
	issuer.Issue("server", 2*time.Hour, "localhost")
	ticks <- time.Now()
	ticks <- time.Now() // taken when the first was worked off
	if !c.Expires().After(first) {
		t.Error("the new certificate is not in force")
	}
}

func TestExpiredCertificatesAreTold(t *testing.T) {
	issuer := certtest.NewIssuer(t)
	cert, key := issuer.Issue("old", -time.Minute, "localhost")
	var log bytes.Buffer
	c, err := LoadCertificates([]Pair{{cert, key}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if !strings.Contains(log.String(), "has expired") {
		t.Errorf("the log says %q", &log)
	}
}

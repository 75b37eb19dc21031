package gateway_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/internal/certtest"
)

// TestFilesWinForTheirNames: beside certificates by ACME. Those of this test are in the folder already; test/acme has them given.
func TestFilesWinForTheirNames(t *testing.T) {
	t.Parallel()
	issuer := certtest.NewIssuer(t)
	cert, key := issuer.Issue("file", 2*time.Hour, "file.example", "both.example")
	var cfg gateway.Config
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		folder := filepath.Join(c.Data, "acme", "127.0.0.1_1_dir")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"acme.example", "both.example"} {
			chain, private := issuer.Issue("of "+name, 150*time.Minute, name)
			var parts [][]byte
			for _, file := range []string{private, chain} {
				part, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, part)
			}
			if err := os.WriteFile(filepath.Join(folder, name+".pem"), bytes.Join(parts, nil), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c.TLS.Listen = "127.0.0.1:0"
		c.TLS.CertFiles, c.TLS.KeyFiles = []string{cert}, []string{key}
		c.TLS.ACME.Domains, c.TLS.ACME.AgreeTerms = []string{"acme.example", "both.example", "none.example"}, true
		c.TLS.ACME.Directory = "https://127.0.0.1:1/dir" // nobody is there
		cfg = *c
	})
	shown := func(name string) *x509.Certificate {
		return dialTLS(t, srv, &tls.Config{ServerName: name, InsecureSkipVerify: true}).ConnectionState().PeerCertificates[0]
	}
	for name, want := range map[string]string{"file.example": "file", "both.example": "file", "acme.example": "of acme.example", "ACME.example": "of acme.example",
		"none.example": "file", "other.example": "file", "": "file"} {
		if got := shown(name).Subject.CommonName; got != want {
			t.Errorf("for %q the certificate %q was shown, want %q", name, got, want)
		}
	}
	if got, want := metric(t, srv, `rookery_tls_certificate_expires_timestamp_seconds{listener="public"}`), float64(shown("file.example").NotAfter.Unix()); got != want {
		t.Errorf("the first expires at %v, want %v", got, want)
	}
	if got := metric(t, srv, "rookery_tls_acme_overdue"); got != 1 {
		t.Errorf("%v names are overdue", got)
	}

	// A name less needs nobody, and another authority a restart.
	cfg.TLS.ACME.Domains = []string{"both.example"}
	cfg.TLS.ACME.Email = "admin@example.com"
	restart, err := srv.Reload(cfg)
	if err != nil || !slices.Equal(restart, []string{"tls.acme.email"}) {
		t.Errorf("reload: %v, a restart is wanted for %v", err, restart)
	}
	for deadline := time.Now().Add(waitLimit); shown("acme.example").Subject.CommonName != "file"; {
		if time.Now().After(deadline) {
			t.Fatal("the certificate of a name that is not wanted any more is still shown")
		}
	}
}

// TestACMEIsTurnedOnWithARestart: where there was none.
func TestACMEIsTurnedOnWithARestart(t *testing.T) {
	t.Parallel()
	secure, _ := gatewaytest.Secure(t)
	var cfg gateway.Config
	srv := gatewaytest.Start(t, secure, func(c *gateway.Config) { cfg = *c })
	cfg.TLS.ACME.Domains, cfg.TLS.ACME.AgreeTerms = []string{"chat.example"}, true
	restart, err := srv.Reload(cfg)
	if err != nil || !slices.Equal(restart, []string{"tls.acme.domains", "tls.acme.agree_terms"}) {
		t.Errorf("reload: %v, a restart is wanted for %v", err, restart)
	}
}

package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	chat "rookery/client/go"
	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// server is a gateway whose certificates an authority gives.
type server struct {
	*gatewaytest.Server
	t   *testing.T
	cfg gateway.Config // with which it was started, or reloaded last
}

// serve runs a gateway until the test ends.
func (a *authority) serve(t *testing.T, option func(*gateway.Config), names ...string) *server {
	t.Helper()
	s := &server{t: t}
	s.Server = gatewaytest.Start(t, func(c *gateway.Config) {
		c.TLS.Listen = "127.0.0.1:" + a.tlsPort
		c.TLS.ACME.Domains = names
		c.TLS.ACME.AgreeTerms = true
		c.TLS.ACME.Directory = "https://" + a.address + "/dir"
		c.TLS.ACME.CAFile = a.caFile
		c.TLS.ACME.Email = "operator@rookery.test"
		if option != nil {
			option(c)
		}
		s.cfg = *c
	})
	return s
}

// reload does what SIGHUP does.
func (s *server) reload(change func(*gateway.Config)) {
	s.t.Helper()
	if change != nil {
		change(&s.cfg)
	}
	if restart, err := s.Reload(s.cfg); err != nil || len(restart) > 0 {
		s.t.Fatalf("reload: %v, and a restart is wanted for %v", err, restart)
	}
}

// file is the path of one in the folder of the authority.
func (s *server) file(name string) string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.cfg.Data, "acme", "*"))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("the folder has %q, %v", found, err)
	}
	return filepath.Join(found[0], name)
}

// shown makes a handshake as a client of a name and gives the certificate that it was shown, which has to be of the authority.
func (s *server) shown(roots *x509.CertPool, name string) (*x509.Certificate, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.SecureAddr(), &tls.Config{RootCAs: roots, ServerName: name})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// awaitCertificates waits until all names are shown theirs.
func (s *server) awaitCertificates(roots *x509.CertPool, names ...string) {
	s.t.Helper()
	for _, name := range names {
		var last error
		eventually(s.t, "a certificate for "+name, func() bool {
			_, last = s.shown(roots, name)
			return last == nil
		}, &last)
	}
}

// eventually waits for what has to happen; last, if there is one, is why it has not.
func eventually(t *testing.T, what string, happened func() bool, last ...*error) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			if len(last) > 0 {
				t.Fatalf("there is still not %s: %v", what, *last[0])
			}
			t.Fatalf("there is still not %s", what)
		}
	}
}

// chat has somebody say something over wss, and somebody else read it.
func (s *server) chat(roots *x509.CertPool, name string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	open := func(user string) *chat.Client {
		c, err := chat.New(chat.Config{
			URL: "wss://" + s.SecureAddr() + "/ws", Name: user, TLS: &tls.Config{RootCAs: roots, ServerName: name},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(c.Close)
		return c
	}
	reader := open("reader")
	room, err := reader.Join(ctx, "hall", chat.JoinOptions{After: &chat.Position{}})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := open("writer").Publish(ctx, "hall", "hello "+name); err != nil {
		s.t.Fatal(err)
	}
	for m, err := range room.Messages(ctx) {
		if err != nil || m.Text != "hello "+name {
			s.t.Fatalf("read %q, %v", m.Text, err)
		}
		break
	}
	reader.Close()
}

// get asks the admin listener.
func (s *server) get(path string) string {
	s.t.Helper()
	response, err := http.Get("http://" + s.AdminAddr() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

// metric reads one of the gateway's, NaN-free: a missing one fails the test.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta("rookery_"+name) + ` (\S+)$`).FindStringSubmatch(s.get("/metrics"))
	if found == nil {
		s.t.Fatalf("there is no metric rookery_%s in\n%s", name, s.get("/metrics"))
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return value
}

func (s *server) failures(reason string) float64 {
	s.t.Helper()
	return s.metric(fmt.Sprintf("tls_acme_failures_total{reason=%q}", reason))
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

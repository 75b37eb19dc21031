package gatewaytest

import (
	"crypto/x509"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/internal/tlslisten/certtest"
)

// Secure is an option of Start that has the gateway listen with TLS, too, on a port of its own and as localhost and 127.0.0.1. The
// pool is what a client believes.
func Secure(t testing.TB) (option func(*gateway.Config), pool *x509.CertPool) {
	t.Helper()
	issuer := certtest.NewIssuer(t)
	cert, key := issuer.Issue("server", time.Hour, "localhost", "127.0.0.1")
	return func(cfg *gateway.Config) {
		cfg.TLS.Listen = "127.0.0.1:0"
		cfg.TLS.CertFiles, cfg.TLS.KeyFiles = []string{cert}, []string{key}
	}, issuer.Pool
}

// SecureAddr is the public host:port with TLS.
func (s *Server) SecureAddr() string { return s.gateway.SecureAddr() }

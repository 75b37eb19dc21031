package gatewaytest

import (
	"crypto/x509"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/internal/certtest"
)

// Secure is an option of Start that has the gateway listen with TLS, too, on a port of its own and as localhost and 127.0.0.1. The
// pool is what a client believes.
func Secure(t testing.TB) (option func(*gateway.Config), pool *x509.CertPool) {
	t.Helper()
	issuer := certtest.NewIssuer(t)
	return SecureBy(issuer), issuer.Pool
}

// SecureBy is Secure with an issuer that the test has.
func SecureBy(issuer *certtest.Issuer) (option func(*gateway.Config)) {
	cert, key := issuer.Issue("server", time.Hour, "localhost", "127.0.0.1")
	return func(cfg *gateway.Config) {
		cfg.TLS.Listen = "127.0.0.1:0"
		cfg.TLS.Kernel = gateway.KernelTLSAuto // test/kerneltls runs the tests where that is one
		cfg.TLS.CertFiles, cfg.TLS.KeyFiles = []string{cert}, []string{key}
	}
}

// SecureAddr is the public host:port with TLS.
func (s *Server) SecureAddr() string { return s.gateway.SecureAddr() }

// SecureAdmin is an option of Start that has the admin listener speak TLS, as localhost and 127.0.0.1, and let in only who has a
// certificate. The files are the issuer of both and a client's certificate with its key.
func SecureAdmin(t testing.TB) (option func(*gateway.Config), issuerFile, certFile, keyFile string) {
	t.Helper()
	issuer := certtest.NewIssuer(t)
	cert, key := issuer.Issue("admin", time.Hour, "localhost", "127.0.0.1")
	certFile, keyFile = issuer.Issue("operator", time.Hour)
	return func(cfg *gateway.Config) {
		cfg.AdminTLS.CertFile, cfg.AdminTLS.KeyFile, cfg.AdminTLS.ClientCAFile = cert, key, issuer.File
	}, issuer.File, certFile, keyFile
}

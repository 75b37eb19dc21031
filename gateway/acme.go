package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"time"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/issuance"
	"rookery/gateway/internal/tlslisten"
)

// openIssuance reads the certificates that an authority has given, and takes the address at which it asks by HTTP, or goes on with the
// listener of the server before. nil: it is off. Nobody is asked for anything yet.
func openIssuance(cfg Config, inherited net.Listener, faults *accept.Faults, log *slog.Logger) (_ *issuance.Keeper, http net.Listener, err error) {
	a := cfg.TLS.ACME
	if len(a.Domains) == 0 {
		return nil, nil, nil
	}
	key, err := a.eabKey()
	if err != nil {
		return nil, nil, fmt.Errorf("the setting tls.acme.eab_key_file %w", err)
	}
	var roots *x509.CertPool
	if a.CAFile != "" {
		if roots, err = readCertificates(a.CAFile); err != nil {
			return nil, nil, fmt.Errorf("the setting tls.acme.ca_file %w", err)
		}
	}
	if http = inherited; http == nil && a.HTTP != "" {
		if http, err = net.Listen("tcp", a.HTTP); err != nil {
			return nil, nil, fmt.Errorf("listen on %s (setting tls.acme.http): %w", a.HTTP, err)
		}
	}
	_, port, _ := net.SplitHostPort(cfg.TLS.Listen)
	keeper, err := issuance.Open(issuance.Config{
		Names: a.Domains, Directory: a.Directory, Email: a.Email, Profile: a.Profile, KeyID: a.EABKeyID, MACKey: key,
		Roots: roots, Folder: cfg.acmeFolder(), HTTP: http, Redirect: port == "443", Faults: faults, Log: log,
	})
	if err != nil {
		if http != nil {
			http.Close()
		}
		return nil, nil, fmt.Errorf("%w (setting tls.acme.folder)", err)
	}
	return keeper, http, nil
}

// certificate chooses the one for a peer: of the files the first that fits, else that of the authority for its name, else the first of all.
func (s *secureListener) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.keeper == nil {
		return s.certificates.Get(hello)
	}
	if fitting := s.certificates.Fitting(hello); fitting != nil {
		return fitting, nil
	}
	if certificate := s.keeper.Get(hello.ServerName); certificate != nil {
		return certificate, nil
	}
	if first, err := s.certificates.Get(hello); err == nil {
		return first, nil
	}
	if first := s.keeper.First(); first != nil {
		return first, nil
	}
	return nil, tlslisten.ErrNoCertificate
}

// expires is when the first certificate does, zero if there is none.
func (s *secureListener) expires() time.Time {
	first := s.certificates.Expires()
	if s.keeper != nil {
		if other := s.keeper.Expires(); first.IsZero() || !other.IsZero() && other.Before(first) {
			return other
		}
	}
	return first
}

// missing are the names that no certificate could be obtained for yet.
func (s *secureListener) missing() []string {
	if s.keeper == nil {
		return nil
	}
	return s.keeper.Missing()
}

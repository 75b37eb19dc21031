package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/issuance"
	"rookery/gateway/internal/kerneltls"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/tlslisten"
)

// secureListener is the public one with TLS; its zero value is off.
type secureListener struct {
	listener     net.Listener
	certificates *tlslisten.Certificates // of files
	keeper       *issuance.Keeper        // of those by ACME; nil: off
	challenges   net.Listener            // for http-01; nil: off
	counters     *tlslisten.Counters
	serving      *tlslisten.Listener // since Run serves
	closed       bool
}

// listenSecure takes the addresses, or goes on with the listeners of the server before, and reads the certificates. Nobody is accepted yet.
func listenSecure(cfg Config, inherited *inheritance, faults *accept.Faults, log *slog.Logger) (s secureListener, err error) {
	if cfg.TLS.Listen == "" {
		return s, nil
	}
	s.counters = &tlslisten.Counters{}
	if s.listener = inherited.listener(secureListenIn); s.listener == nil {
		if s.listener, err = net.Listen("tcp", cfg.TLS.Listen); err != nil {
			return secureListener{}, fmt.Errorf("listen on %s (setting tls.listen): %w", cfg.TLS.Listen, err)
		}
	}
	if s.certificates, err = tlslisten.LoadCertificates(cfg.TLS.pairs(), log); err != nil {
		s.listener.Close()
		return secureListener{}, fmt.Errorf("%w (setting tls.cert_files)", err)
	}
	if s.keeper, s.challenges, err = openIssuance(cfg, inherited.listener(challengeListenIn), faults, log); err != nil {
		s.close()
		return secureListener{}, err
	}
	return s, nil
}

// start begins to accept, when the loops are there.
func (s *secureListener) start(cfg Config, engine *loop.Engine, faults *accept.Faults, log *slog.Logger) {
	if s.listener == nil {
		return
	}
	serve := tlslisten.Config{
		Listener:    accept.On(s.listener, log, faults),
		Certificate: s.certificate,
		MinVersion:  tlsVersions[cfg.TLS.MinVersion],
		Timeout:     cfg.Limits.HandshakeTimeout,
		Kernel:      recordsInKernel(cfg.TLS.Kernel, log),
		Admit:       engine.AdmitHandshake,
		Trusted:     engine.Trusts,
		Enter:       engine.EnterSecure,
		Denied:      engine.DenyHandshake,
		Counters:    s.counters,
		Log:         log,
	}
	if s.keeper != nil {
		serve.Challenge = s.keeper.Challenge
	}
	s.serving = tlslisten.Serve(serve)
	if s.keeper == nil {
		return
	}
	if missing := s.keeper.Missing(); len(missing) > 0 {
		log.Warn("there is no certificate yet for some names, and who asks for them is refused or shown another one; they are being ordered", "names", missing)
	}
	s.keeper.Start()
}

// recordsInKernel looks whether this kernel can be given records.
func recordsInKernel(wanted KernelTLS, log *slog.Logger) bool {
	if wanted == KernelTLSOff {
		return false
	}
	if err := kerneltls.Probe(); err != nil {
		log.Info("records of TLS stay in the process: the kernel does not take them; modprobe tls?", "err", err)
		return false
	}
	log.Info("the kernel opens and seals records of TLS 1.3 with AES-GCM")
	return true
}

// close is before the loops end: what enters has to come to one. A second call does nothing.
func (s *secureListener) close() {
	if s.listener == nil || s.closed {
		return
	}
	s.closed = true
	if s.serving != nil {
		s.serving.Close()
	} else {
		s.listener.Close()
	}
	s.certificates.Close()
	if s.keeper != nil {
		s.keeper.Close() // from here on another process may order
	}
}

// addr is the address with the real port, empty if it is off.
func (s *secureListener) addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// adminTLS is what the admin listener speaks; nil: plain HTTP.
type adminTLS struct {
	config       *tls.Config
	certificates *tlslisten.Certificates
}

func newAdminTLS(cfg AdminTLSConfig, log *slog.Logger) (*adminTLS, error) {
	if cfg.CertFile == "" {
		return nil, nil
	}
	certificates, err := tlslisten.LoadCertificates(cfg.pair(), log)
	if err != nil {
		return nil, fmt.Errorf("%w (setting admin_tls.cert_file)", err)
	}
	a := &adminTLS{certificates: certificates, config: &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: certificates.Get, NextProtos: []string{"http/1.1"},
	}}
	if cfg.ClientCAFile != "" {
		a.config.ClientAuth = tls.RequireAndVerifyClientCert
		if a.config.ClientCAs, err = readCertificates(cfg.ClientCAFile); err != nil {
			certificates.Close()
			return nil, fmt.Errorf("%s %w (setting admin_tls.client_ca_file)", cfg.ClientCAFile, err)
		}
	}
	return a, nil
}

// over lays TLS over the admin listener.
func (a *adminTLS) over(l net.Listener) net.Listener {
	if a == nil {
		return l
	}
	return tls.NewListener(l, a.config)
}

func (a *adminTLS) close() {
	if a != nil {
		a.certificates.Close()
	}
}

// reloadCertificates looks at the files of all certificates now and not at their next turn, and has those by ACME be for the names of cfg.
func (s *Server) reloadCertificates(cfg Config) {
	if s.secure.keeper != nil {
		s.secure.keeper.Use(cfg.TLS.ACME.Domains)
	}
	if s.secure.certificates != nil {
		s.secure.certificates.Reload()
	}
	if s.adminTLS != nil {
		s.adminTLS.certificates.Reload()
	}
}

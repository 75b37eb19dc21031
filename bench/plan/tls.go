package plan

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
)

// TLS is how connections to targets that begin with wss:// and tls:// are made.
type TLS struct {
	// CA is PEM with the issuers that the server's certificate is believed by, instead of those of each load host's system.
	CA string `yaml:"ca" json:"-"`
	// Insecure takes any certificate.
	Insecure bool `yaml:"insecure" json:"insecure,omitempty"`
	// ServerName is asked for, and has to be in the certificate. Empty: the target's host.
	ServerName string `yaml:"server_name" json:"server_name,omitempty"`
	// Version is what is spoken, and nothing else: 1.3 or 1.2. Empty: 1.3.
	Version string `yaml:"version" json:"version,omitempty"`
	// Resume shows the newest ticket that the server has given to anybody of the process. Without it every connection makes a full handshake,
	// as that of a new user does.
	Resume bool `yaml:"resume" json:"resume,omitempty"`
}

// versions are those of TLS that can be asked for.
var versions = map[string]uint16{"": tls.VersionTLS13, "1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12}

// Config is what connections to a host are made with, for WebSocket or for raw TCP; all of a process share one.
func (t *TLS) Config(host string, webSocket bool) (*tls.Config, error) {
	config := &tls.Config{
		ServerName: host, InsecureSkipVerify: t.Insecure, MinVersion: versions[t.Version], MaxVersion: versions[t.Version],
		DynamicRecordSizingDisabled: true,
	}
	if webSocket { // a server that speaks something else may refuse whoever offers HTTP only, RFC 7301 3.2
		config.NextProtos = []string{"http/1.1"}
	}
	if t.ServerName != "" {
		config.ServerName = t.ServerName
	}
	if t.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("server.tls.ca has no certificate; it has to be PEM, BEGIN CERTIFICATE")
		}
	}
	if t.Resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0) // it holds the newest ticket of each name
	}
	return config, nil
}

// check refuses what can't be used together.
func (t *TLS) check(refuse func(bad bool, format string, values ...any)) {
	_, known := versions[t.Version]
	refuse(!known, "server.tls.version is %q: use 1.3 or 1.2", t.Version)
	refuse(t.Insecure && t.CA != "", "server.tls.insecure and server.tls.ca are both set: either any certificate is taken, or it is checked")
	if known {
		_, err := t.Config("", false)
		refuse(err != nil, "%v", err)
	}
}

// Secure reports whether a target has TLS.
func (s *Server) Secure() bool { return slices.ContainsFunc(s.Targets, secure) }

func secure(target string) bool {
	scheme, _, _ := strings.Cut(target, ":")
	return strings.EqualFold(scheme, "wss") || strings.EqualFold(scheme, "tls")
}

// MostPending is how many connections may be on their way at once, over all workers.
func (p *Plan) MostPending() int {
	switch {
	case p.Clients.Pending > 0:
		return p.Clients.Pending
	case p.Server.Secure():
		return 100
	}
	return 1000
}

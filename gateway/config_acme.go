package gateway

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/acme"
)

// ACMEConfig has certificates of an authority by ACME for the public listener with TLS, docs/tls.md. Without domains it is off.
type ACMEConfig struct {
	// Domains are the names, a certificate each. Default none.
	Domains []string
	// AgreeTerms says that the operator agrees to the authority's terms of service. Default false; without it nothing is ordered.
	AgreeTerms bool
	// Email is told to the authority. Default empty, none.
	Email string
	// Directory is the address of the authority's directory. Default Let's Encrypt's.
	Directory string
	// CAFile has the issuers, PEM, of whom the authority's own server has its certificate. Default empty, the system's.
	CAFile string
	// Folder is where the account's key and the certificates are. Default empty: acme in the data directory.
	Folder string
	// HTTP is an address, host:port, at which the authority asks by http-01. Default empty: it asks at TLSConfig.Listen by tls-alpn-01.
	HTTP string
	// Profile is the kind of certificate, of those that the authority has. Default empty, its default.
	Profile string
	// EABKeyID and EABKeyFile bind the account to a customer of the authority: the name of a key, and the file with the key in base64url. Default
	// empty: they do not.
	EABKeyID, EABKeyFile string
}

// maxDomains bounds the names: orders are made one after the other.
const maxDomains = 100

// acmeFolder is where the certificates are.
func (c Config) acmeFolder() string {
	if c.TLS.ACME.Folder != "" {
		return c.TLS.ACME.Folder
	}
	return filepath.Join(c.Data, "acme")
}

// eabKey reads the key that binds the account, nil if none does.
func (c ACMEConfig) eabKey() ([]byte, error) {
	if c.EABKeyFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.EABKeyFile)
	if err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(string(data)), "="))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("has no key in %s; it is the authority's HMAC key as it gives it, in base64url", c.EABKeyFile)
	}
	return key, nil
}

// domainFault says why there can't be a certificate for a name, "" if there can.
func domainFault(name string) string {
	const longest = 240 // of a name of DNS 253, less the ending of its file
	switch {
	case strings.HasPrefix(name, "*."):
		return "is a wildcard, for which authorities ask for a record in DNS, which this server does not make; name each, or write it with another tool for tls.cert_files"
	case strings.ToLower(name) != name:
		return "has capitals; write it in small letters"
	case name == "" || len(name) > longest || strings.Trim(name, "0123456789.") == "":
		return "is no name of a host, like chat.example.com"
	}
	for label := range strings.SplitSeq(name, ".") {
		plain := strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
		if label == "" || len(label) > 63 || !plain || label[0] == '-' || label[len(label)-1] == '-' {
			return "is no name of a host, like chat.example.com; other letters are written as xn--"
		}
	}
	return ""
}

// validateACME is the part of validateTLS for certificates by ACME.
func (c Config) validateACME(refuse func(broken bool, reason string, names ...string)) {
	a := c.TLS.ACME
	if len(a.Domains) == 0 {
		for _, s := range []struct{ name, value string }{
			{"tls.acme.email", a.Email}, {"tls.acme.ca_file", a.CAFile}, {"tls.acme.folder", a.Folder}, {"tls.acme.http", a.HTTP},
			{"tls.acme.profile", a.Profile}, {"tls.acme.eab_key_id", a.EABKeyID}, {"tls.acme.eab_key_file", a.EABKeyFile},
		} {
			refuse(s.value != "", "is for nothing without tls.acme.domains; name them, or leave it out", s.name, "tls.acme.domains")
		}
		return
	}
	refuse(c.TLS.Listen == "", "are for nothing without tls.listen; set it, or leave them out", "tls.acme.domains", "tls.listen")
	refuse(len(a.Domains) > maxDomains, fmt.Sprintf("has %d names, and %d is the most", len(a.Domains), maxDomains), "tls.acme.domains")
	for i, name := range a.Domains {
		reason := domainFault(name)
		refuse(reason != "", fmt.Sprintf("has %q, which %s", name, reason), "tls.acme.domains")
		refuse(slices.Contains(a.Domains[:i], name), fmt.Sprintf("has %q twice", name), "tls.acme.domains")
	}
	refuse(!a.AgreeTerms, "has to be true: the authority gives certificates to who agrees to its terms of service. Read them, at Let's Encrypt https://letsencrypt.org/repository/",
		"tls.acme.agree_terms", "tls.acme.domains")
	directory, err := url.Parse(a.Directory)
	refuse(err != nil || directory.Scheme != "https" || directory.Host == "", "is no address like "+acme.LetsEncryptURL, "tls.acme.directory")
	name, host, found := strings.Cut(a.Email, "@")
	refuse(a.Email != "" && (!found || name == "" || domainFault(strings.ToLower(host)) != "" || strings.ContainsAny(name, " ,?%<>@")),
		"is no address of mail, like admin@example.com; leave it out for none", "tls.acme.email")
	if a.CAFile != "" {
		_, err := readCertificates(a.CAFile)
		refuse(err != nil, fmt.Sprint(err), "tls.acme.ca_file")
	}
	if a.HTTP != "" {
		fault := addressFault(a.HTTP)
		refuse(fault != "", fault+", or leave it out", "tls.acme.http")
		for _, other := range []struct{ name, address string }{{"listen", c.Listen}, {"tls.listen", c.TLS.Listen}, {"admin", c.Admin}} {
			refuse(other.address != "" && overlap(a.HTTP, other.address), fmt.Sprintf("is also taken by %s, %q; it needs a port of its own", other.name, other.address),
				"tls.acme.http", other.name)
		}
	}
	refuse((a.EABKeyID == "") != (a.EABKeyFile == ""), "needs the other one, too; set tls.acme.eab_key_id and tls.acme.eab_key_file, or neither", "tls.acme.eab_key_id", "tls.acme.eab_key_file")
	if a.EABKeyFile != "" {
		_, err := a.eabKey()
		refuse(err != nil, fmt.Sprint(err), "tls.acme.eab_key_file")
		refuse(readableByAll(a.EABKeyFile), openToAll(a.EABKeyFile), "tls.acme.eab_key_file")
	}
}

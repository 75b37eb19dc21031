package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"rookery/gateway/internal/issuance"
	"rookery/gateway/internal/tlslisten"
)

// TLSConfig is the second public listener, with TLS, docs/tls.md. Without an address it is off.
type TLSConfig struct {
	// Listen is its address, host:port. Default empty, off. What is at Config.Listen is here too.
	Listen string
	// CertFiles are the certificate chains, PEM. With several, the first that fits the name that a client asks for is shown. Default none.
	CertFiles []string
	// KeyFiles are the private keys, PEM, in the order of CertFiles. Default none.
	KeyFiles []string
	// MinVersion is the least version that is spoken. Default TLS12.
	MinVersion TLSVersion
	// Kernel says whether the kernel is given the records of connections, where it has the module for it and the keys allow it. Default KernelTLSOff: records
	// without data, of which the kernel opens as many as come, have no bound there.
	Kernel KernelTLS
	// ACME has an authority give certificates, beside those of files.
	ACME ACMEConfig
}

// TLSVersion is a version of TLS.
type TLSVersion string

// KernelTLS says who opens and seals records.
type KernelTLS string

// KernelTLSAuto: the kernel where it can. KernelTLSOff: always the process.
const (
	KernelTLSAuto KernelTLS = "auto"
	KernelTLSOff  KernelTLS = "off"
)

// Versions that can be the least.
const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

var tlsVersions = map[TLSVersion]uint16{TLS12: tls.VersionTLS12, TLS13: tls.VersionTLS13}

// AdminTLSConfig has the admin listener speak TLS, and ask for certificates of its clients.
type AdminTLSConfig struct {
	// CertFile is the certificate chain, PEM. Default empty: the admin listener speaks plain HTTP.
	CertFile string
	// KeyFile is its private key, PEM. Default empty.
	KeyFile string
	// ClientCAFile has the certificates, PEM, of which one must have signed a client's. Default empty: clients need none.
	ClientCAFile string
}

func (c TLSConfig) pairs() (pairs []tlslisten.Pair) {
	for i, cert := range c.CertFiles {
		pairs = append(pairs, tlslisten.Pair{Certificate: cert, Key: c.KeyFiles[i]})
	}
	return pairs
}

func (c AdminTLSConfig) pair() []tlslisten.Pair {
	return []tlslisten.Pair{{Certificate: c.CertFile, Key: c.KeyFile}}
}

// acmeDescriptors are those of the listener for HTTP, of a request to the authority, and of files. They are kept with or without ACME: they
// are few, and there is one number less to know.
const acmeDescriptors = 1 + issuance.Connections + 4

// descriptors are those of handshakes, where a connection that goes from there to its loop has two for a moment, and of ACME.
func (c TLSConfig) descriptors() int {
	if c.Listen == "" {
		return 0
	}
	return 2*tlslisten.MaxHandshakes + 1 + acmeDescriptors
}

// validateTLS is the part of validate for both listeners with TLS.
func (c Config) validateTLS(refuse func(broken bool, reason string, names ...string)) {
	t := c.TLS
	if t.Listen != "" {
		fault := addressFault(t.Listen)
		refuse(fault != "", fault+", or empty to turn it off", "tls.listen")
		refuse(overlap(t.Listen, c.Listen), fmt.Sprintf("is also taken by listen, %q; TLS needs a port of its own", c.Listen), "tls.listen", "listen")
		refuse(c.Admin != "" && overlap(t.Listen, c.Admin), fmt.Sprintf("is also taken by admin, %q", c.Admin), "tls.listen", "admin")
		refuse(len(t.CertFiles) == 0 && len(t.ACME.Domains) == 0, "needs a certificate; set tls.cert_files and tls.key_files, or tls.acme.domains", "tls.listen", "tls.cert_files", "tls.acme.domains")
	}
	refuse(t.Listen == "" && len(t.CertFiles) > 0, "are for nothing without tls.listen; set it, or leave them out", "tls.cert_files", "tls.listen")
	refuse(len(t.CertFiles) != len(t.KeyFiles),
		fmt.Sprintf("has %d keys for %d certificates of tls.cert_files; name one for each, in the same order", len(t.KeyFiles), len(t.CertFiles)), "tls.key_files", "tls.cert_files")
	if len(t.CertFiles) == len(t.KeyFiles) {
		err := tlslisten.Check(t.pairs())
		refuse(err != nil, fmt.Sprintf("can't be used: %v", err), "tls.cert_files", "tls.key_files")
		for _, key := range t.KeyFiles {
			refuse(readableByAll(key), openToAll(key), "tls.key_files")
		}
	}

	c.validateACME(refuse)

	a := c.AdminTLS
	refuse((a.CertFile == "") != (a.KeyFile == ""), "needs the other one, too; set admin_tls.cert_file and admin_tls.key_file, or neither", "admin_tls.cert_file", "admin_tls.key_file")
	if a.CertFile != "" && a.KeyFile != "" {
		refuse(c.Admin == "", "is for nothing, since the setting admin turns that listener off", "admin_tls.cert_file", "admin")
		err := tlslisten.Check(a.pair())
		refuse(err != nil, fmt.Sprintf("can't be used: %v", err), "admin_tls.cert_file", "admin_tls.key_file")
		refuse(readableByAll(a.KeyFile), openToAll(a.KeyFile), "admin_tls.key_file")
	}
	if a.ClientCAFile != "" {
		refuse(a.CertFile == "", "is for nothing without TLS; set admin_tls.cert_file and admin_tls.key_file", "admin_tls.client_ca_file", "admin_tls.cert_file")
		_, err := readCertificates(a.ClientCAFile)
		refuse(err != nil, fmt.Sprint(err), "admin_tls.client_ca_file")
	}
}

// readCertificates reads the certificates of issuers.
func readCertificates(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("has no certificate in %s; it has to be PEM, BEGIN CERTIFICATE", path)
	}
	return pool, nil
}

func readableByAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

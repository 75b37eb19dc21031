package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestACMERefusals has each fault alone, as TestRefusals.
func TestACMERefusals(t *testing.T) {
	key, broken := writeFile(t, "key", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W=\n"), writeFile(t, "broken", "not base64url!\n")
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("AAAA"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	acme := func(args ...string) []string {
		return append([]string{"--dev", "--tls.listen=:8443", "--tls.acme.domains=chat.example.com", "--tls.acme.agree-terms=true"}, args...)
	}
	many := make([]string, maxDomains) // beside the one that is there
	for i := range many {
		many[i] = fmt.Sprintf("%d.example.com", i)
	}
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"terms":                {acme("--tls.acme.agree-terms=false"), []string{"tls.acme.agree_terms", "terms of service"}},
		"no listener":          {acme("--tls.listen="), []string{"tls.acme.domains", "without tls.listen"}},
		"no certificates":      {[]string{"--dev", "--tls.listen=:8443"}, []string{"tls.cert_files", "tls.acme.domains"}},
		"wildcard":             {acme("--tls.acme.domains=*.example.com"), []string{"tls.acme.domains", "wildcard", "tls.cert_files"}},
		"capitals":             {acme("--tls.acme.domains=Chat.example.com"), []string{"small letters"}},
		"address":              {acme("--tls.acme.domains=192.0.2.1"), []string{"no name of a host"}},
		"address of version 6": {acme("--tls.acme.domains=2001:db8::1"), []string{"no name of a host"}},
		"path":                 {acme("--tls.acme.domains=../../etc/passwd"), []string{"no name of a host"}},
		"other letters":        {acme("--tls.acme.domains=bücher.example"), []string{"xn--"}},
		"long":                 {acme("--tls.acme.domains=" + strings.Repeat("a.", 121) + "example"), []string{"no name of a host"}},
		"long label":           {acme("--tls.acme.domains=" + strings.Repeat("a", 64) + ".example"), []string{"no name of a host"}},
		"twice":                {acme("--tls.acme.domains=a.example", "--tls.acme.domains=a.example"), []string{"twice"}},
		"many":                 {acme("--tls.acme.domains=" + strings.Join(many, ",")), []string{"101 names", "100"}},
		"plain directory":      {acme("--tls.acme.directory=http://ca.example/dir"), []string{"tls.acme.directory", "https://"}},
		"no directory":         {acme("--tls.acme.directory="), []string{"tls.acme.directory"}},
		"mail":                 {acme("--tls.acme.email=admin"), []string{"tls.acme.email", "admin@example.com"}},
		"mail of several":      {acme("--tls.acme.email=a@b.example,c@d.example"), []string{"tls.acme.email"}},
		"no issuers":           {acme("--tls.acme.ca-file=/nowhere"), []string{"tls.acme.ca_file", "can't be read"}},
		"issuers of no kind":   {acme("--tls.acme.ca-file=" + key), []string{"tls.acme.ca_file", "PEM"}},
		"no address":           {acme("--tls.acme.http=80"), []string{"tls.acme.http", "host:port"}},
		"port of TLS":          {acme("--tls.acme.http=:8443"), []string{"tls.acme.http", "tls.listen"}},
		"port of all":          {acme("--tls.acme.http=127.0.0.1:8080"), []string{"tls.acme.http", "taken by listen"}},
		"half a binding":       {acme("--tls.acme.eab-key-id=me"), []string{"tls.acme.eab_key_id", "tls.acme.eab_key_file"}},
		"no key":               {acme("--tls.acme.eab-key-id=me", "--tls.acme.eab-key-file=/nowhere"), []string{"tls.acme.eab_key_file", "can't be read"}},
		"broken key":           {acme("--tls.acme.eab-key-id=me", "--tls.acme.eab-key-file="+broken), []string{"base64url"}},
		"key for everybody":    {acme("--tls.acme.eab-key-id=me", "--tls.acme.eab-key-file="+open), []string{"every user"}},
		"for nothing":          {[]string{"--dev", "--tls.acme.http=:80"}, []string{"tls.acme.http", "without tls.acme.domains"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadConfig(test.args, nil)
			checkOneFault(t, err, test.want)
		})
	}
	c, err := LoadConfig(acme("--tls.acme.domains=xn--bcher-kva.example", "--tls.acme.http=:80", "--tls.acme.eab-key-id=me", "--tls.acme.eab-key-file="+key,
		"--tls.acme.email=admin+acme@example.com"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.TLS.ACME.eabKey(); err != nil || len(got) != 48 {
		t.Errorf("a key of %d bytes, %v", len(got), err)
	}
	if got := c.acmeFolder(); got != filepath.Join(c.Data, "acme") {
		t.Errorf("the folder is %s", got)
	}
	if got, want := c.TLS.descriptors(), 1094; got != want {
		t.Errorf("%d descriptors, documented are %d", got, want)
	}
}

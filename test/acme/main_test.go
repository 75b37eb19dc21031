// Package acme tests certificates by ACME against a real authority, which the tests start, kill and start again: pebble, of Let's Encrypt,
// built by test/setup. It validates every name as it would those of the internet, but asks a server of names of the test's.
package acme

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/internal/porttest"
)

const (
	pebble = "../../bin/tools/pebble"
	// patience is how long a test waits for what has to happen. It is no measure.
	patience = 60 * time.Second

	// eabKey is what binds an account, in base64url.
	eabKeyID, eabKey = "key-of-a-customer", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if _, err := os.Stat(pebble); err != nil {
		fmt.Fprintf(os.Stderr, "the ACME server for the tests is missing: make setup builds it (%v)\n", err)
		return 1
	}
	status := m.Run()
	// gnet's worker pool is made once for the process and has housekeepers that never end. That of a closed buntdb ends within a second.
	if err := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"),
	); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// authority is an ACME server. Killed and started again it has the same address, and has forgotten everything but what its own server's
// certificate is, its issuer among it.
type authority struct {
	t *testing.T
	// What it has to be told of, before start.
	lives   time.Duration // of certificates
	nonces  int           // of a hundred requests those that it wants signed anew
	binding bool          // accounts have to be bound

	dir, address, management string
	caFile                   string // of its own server's certificate
	tlsPort, httpPort        string // where it asks
	names                    net.Listener
	process                  *exec.Cmd // nil while it is down
	ended                    chan struct{}
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, lives: 90 * 24 * time.Hour, dir: t.TempDir(), tlsPort: porttest.Free(t), httpPort: porttest.Free(t)}
	a.address, a.management = "127.0.0.1:"+porttest.Free(t), "127.0.0.1:"+porttest.Free(t)
	a.makeCertificate()
	a.names = serveNames(t)
	t.Cleanup(a.kill)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, content []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), content, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) makeCertificate() {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	a.write("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	a.caFile = a.path("server.pem")
}

// start runs it and waits until it answers.
func (a *authority) start() {
	a.t.Helper()
	var port [2]int
	fmt.Sscan(a.tlsPort+" "+a.httpPort, &port[0], &port[1])
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": a.address, "managementListenAddress": a.management,
		"certificate": a.path("server.pem"), "privateKey": a.path("server.key"),
		"tlsPort": port[0], "httpPort": port[1], "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": a.binding, "externalAccountMACKeys": map[string]string{eabKeyID: eabKey},
		"domainBlocklist": []string{"blocked.rookery.test"},
		"profiles":        map[string]any{"default": map[string]any{"description": "of the test", "validityPeriod": a.lives / time.Second}},
	}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("config.json", config)
	output, err := os.Create(a.path("output"))
	if err != nil {
		a.t.Fatal(err)
	}
	defer output.Close()
	a.process = exec.Command(pebble, "-config", a.path("config.json"), "-dnsserver", a.names.Addr().String())
	a.process.Env = []string{"PEBBLE_VA_NOSLEEP=1", fmt.Sprintf("PEBBLE_WFE_NONCEREJECT=%d", a.nonces)}
	a.process.Stdout, a.process.Stderr = output, output
	if err := a.process.Start(); err != nil {
		a.t.Fatal(err)
	}
	process, ended := a.process, make(chan struct{})
	a.ended = ended
	go func() {
		defer close(ended)
		process.Wait() // its error is that it was killed
	}()
	for _, address := range []string{a.address, a.management} {
		for deadline := time.Now().Add(patience); ; {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
				if time.Now().Before(deadline) {
					continue
				}
			case <-ended:
			}
			said, _ := os.ReadFile(output.Name())
			a.t.Fatalf("the authority does not answer: %v\n%s", err, said)
		}
	}
}

// kill ends it as a power cut of its machine does.
func (a *authority) kill() {
	if a.process == nil {
		return
	}
	a.process.Process.Kill()
	<-a.ended
	a.process = nil
}

// manage asks it what only its operator may, by POST if there is a body.
func (a *authority) manage(path string, body []byte) []byte {
	a.t.Helper()
	own := x509.NewCertPool()
	certificate, err := os.ReadFile(a.caFile)
	if err != nil || !own.AppendCertsFromPEM(certificate) {
		a.t.Fatal("no certificate of the authority's server: ", err)
	}
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequest(method, "https://"+a.management+path, bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: own}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %s, %v\n%s", path, response.Status, err, content)
	}
	return content
}

// roots are whom clients believe: the issuer of what it gives, a new one each time it starts.
func (a *authority) roots() *x509.CertPool {
	a.t.Helper()
	pool := x509.NewCertPool()
	if content := a.manage("/roots/0", nil); !pool.AppendCertsFromPEM(content) {
		a.t.Fatalf("no root: %s", content)
	}
	return pool
}

// suggest has it say when a certificate is to be renewed.
func (a *authority) suggest(leaf *x509.Certificate, start, end time.Time) {
	a.t.Helper()
	body, err := json.Marshal(map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
		"ariResponse": fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":"https://authority.test/why"}`,
			start.Format(time.RFC3339), end.Format(time.RFC3339)),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.manage("/set-renewal-info/", body)
}

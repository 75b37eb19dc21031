// Package s3 tests shipping against a real S3-compatible store, which the tests start, kill and start
// again: versitygw, built by test/setup from test/s3/server.
package s3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/internal/porttest"
	"rookery/storage/ship"
)

const (
	binary = "../../bin/tools/s3-server"

	accessKey = "the-access-key"
	secretKey = "the-secret-key-that-nobody-prints"

	// patience is how long a test waits for what has to happen. It is no measure.
	patience = 60 * time.Second
)

// certificateFile and keyFile are for stores with TLS. Set by TestMain, before anything asks the system for its roots.
var certificateFile, keyFile string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if _, err := os.Stat(binary); err != nil {
		fmt.Fprintf(os.Stderr, "the S3-compatible store for the tests is missing: make setup builds it (%v)\n", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "rookery-s3-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = makeCertificate(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("SSL_CERT_FILE", certificateFile)
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

func makeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificateFile, keyFile = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certificateFile: {Type: "CERTIFICATE", Bytes: certificate},
		keyFile:         {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// store is a store with one bucket. Killed and started again it has the same address and the same objects.
type store struct {
	t       *testing.T
	dir     string
	address string
	tls     bool
	process *exec.Cmd     // nil while it is down
	ended   chan struct{} // closed when the process has ended
}

const bucketName = "rookery-copies"

func startStore(t *testing.T, tls bool) *store {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	s := &store{t: t, dir: t.TempDir(), tls: tls}
	for _, folder := range []string{"buckets/" + bucketName, "metadata"} {
		if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.address = porttest.FreeAddress(t) // it must be the same after a restart
	t.Cleanup(s.kill)
	s.start()
	return s
}

// start runs the store and waits until it answers.
func (s *store) start() {
	s.t.Helper()
	args := []string{"--dir", filepath.Join(s.dir, "buckets"), "--metadata", filepath.Join(s.dir, "metadata"), "--address", s.address}
	if s.tls {
		args = append(args, "--certificate", certificateFile, "--key", keyFile)
	}
	s.process = exec.Command(binary, args...)
	s.process.Env = []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey}
	output, err := os.Create(filepath.Join(s.dir, "output"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	s.process.Stdout, s.process.Stderr = output, output
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	process, ended := s.process, make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		process.Wait() // its error is that it was killed
	}()
	for deadline := time.After(patience); ; {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-ended:
		case <-deadline:
		}
		said, _ := os.ReadFile(output.Name())
		s.t.Fatalf("the store does not answer: %v\n%s", err, said)
	}
}

// kill ends the store as a power cut of its machine does.
func (s *store) kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	<-s.ended
	s.process = nil
}

// target gives a place in the bucket.
func (s *store) target(prefix string) ship.Target {
	s.t.Helper()
	location, err := ship.ParseLocation("s3://" + bucketName + "/" + prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.open(location)
}

func (s *store) open(location ship.Location) ship.Target {
	s.t.Helper()
	endpoint := "http://" + s.address
	if s.tls {
		endpoint = "https://" + s.address
	}
	target, err := location.Open(ship.S3Config{Endpoint: endpoint})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { target.(io.Closer).Close() })
	return target
}

func mustPut(t *testing.T, target ship.Target, name string, content []byte) {
	t.Helper()
	if err := target.Put(context.Background(), name, content); err != nil {
		t.Fatal(err)
	}
}

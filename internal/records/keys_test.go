package records_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	_ "unsafe" // for suites13

	"rookery/internal/certtest"
	"rookery/internal/records"
)

// suites13 are the suites of TLS 1.3, which crypto/tls lets nobody choose.
//
//go:linkname suites13 crypto/tls.defaultCipherSuitesTLS13
var suites13 []uint16

// TestKeys: somebody else goes on with the records, in both directions, with a session that is resumed and with a client that takes no tickets.
func TestKeys(t *testing.T) {
	before := suites13
	t.Cleanup(func() { suites13 = before })
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			suites13 = []uint16{suite}
			issuer := certtest.NewIssuer(t)
			server := &tls.Config{Certificates: []tls.Certificate{issuer.Load(issuer.Issue("server", time.Hour, "localhost"))}}
			records.KeepKeys(server)
			client := &tls.Config{RootCAs: issuer.Pool, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for _, c := range []struct {
				name     string
				resumed  bool
				tickets  bool
				sequence uint64
			}{{"first", false, true, 1}, {"resumed", true, true, 1}, {"without tickets", false, false, 0}} {
				t.Run(c.name, func(t *testing.T) {
					config := client.Clone()
					config.SessionTicketsDisabled = !c.tickets
					stream, raw, conn := handshake(t, server, config)
					if stream.State().DidResume != c.resumed {
						t.Errorf("resumed is %v", stream.State().DidResume)
					}
					keys, ok := stream.Keys()
					if !ok || keys.Suite != suite || keys.Send.Sequence != c.sequence || keys.Receive.Sequence != 0 {
						t.Fatalf("the keys are %+v, %v; want the sequence numbers %d and 0", keys, ok, c.sequence)
					}
					goesOn(t, &keys, raw, conn)
					if _, again := stream.Keys(); again {
						t.Error("the keys were given twice")
					}
				})
			}
		})
	}
}

// TestNoSecretIsLeft: of the handshake a connection has its configuration for as long as it lives, and with it the log of keys.
func TestNoSecretIsLeft(t *testing.T) {
	before := suites13
	t.Cleanup(func() { suites13 = before })
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256} {
		suites13 = []uint16{suite}
		issuer := certtest.NewIssuer(t)
		server := &tls.Config{Certificates: []tls.Certificate{issuer.Load(issuer.Issue("server", time.Hour, "localhost"))}}
		records.KeepKeys(server)
		var log io.Writer
		keep := server.GetConfigForClient
		server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			own, err := keep(hello)
			log = own.KeyLogWriter
			return own, err
		}
		stream, _, _ := handshake(t, server, &tls.Config{RootCAs: issuer.Pool, ServerName: "localhost"})
		digits := func() bool { return strings.ContainsAny(fmt.Sprintf("%x", log), "0123456789abcdef") }
		if !digits() {
			t.Fatalf("%s: the handshake has kept nothing", tls.CipherSuiteName(suite))
		}
		keys, _ := stream.Keys()
		if digits() {
			t.Errorf("%s: behind the keys there is still %x", tls.CipherSuiteName(suite), log)
		}
		keys.Clear()
		for _, b := range [][]byte{keys.Send.Key, keys.Send.IV, keys.Receive.Key, keys.Receive.IV} {
			if len(bytes.Trim(b, "\x00")) > 0 {
				t.Errorf("%s: of cleared keys there is still %x", tls.CipherSuiteName(suite), b)
			}
		}
	}
}

// TestKeysAreNotKept: of a handshake that ends with others than these, and where nobody asked for it.
func TestKeysAreNotKept(t *testing.T) {
	issuer := certtest.NewIssuer(t)
	server := &tls.Config{Certificates: []tls.Certificate{issuer.Load(issuer.Issue("server", time.Hour, "localhost"))}}
	client := &tls.Config{RootCAs: issuer.Pool, ServerName: "localhost"}
	stream, _, _ := handshake(t, server, client)
	if _, ok := stream.Keys(); ok {
		t.Error("keys were kept and nobody asked for them")
	}
	records.KeepKeys(server)
	old := client.Clone()
	old.MaxVersion = tls.VersionTLS12
	stream, _, _ = handshake(t, server, old)
	if _, ok := stream.Keys(); ok {
		t.Error("there are keys for TLS 1.2")
	}
	before := suites13
	t.Cleanup(func() { suites13 = before })
	suites13 = []uint16{tls.TLS_CHACHA20_POLY1305_SHA256}
	stream, raw, conn := handshake(t, server, client)
	if _, ok := stream.Keys(); ok {
		t.Error("there are keys for ChaCha20-Poly1305")
	}
	// And the Stream goes on.
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	p := &peers{t: t, raw: raw, stream: stream}
	if got := p.open(p.read()); string(got) != "hello" {
		t.Errorf("%q was opened", got)
	}
}

// handshake gives a Stream, its socket, and its client, which has written nothing yet.
func handshake(t *testing.T, server, client *tls.Config) (*records.Stream, net.Conn, *tls.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	there, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	for _, conn := range []net.Conn{here, there} {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	conn := tls.Client(there, client)
	done := make(chan error, 1)
	go func() { done <- conn.Handshake() }()
	stream, err := records.Handshake(here, server)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return stream, here, conn
}

// goesOn seals and opens records with keys, as RFC 8446 5.2 says.
func goesOn(t *testing.T, keys *records.Keys, raw net.Conn, client *tls.Conn) {
	t.Helper()
	const applicationData = 23
	p := &peers{t: t, raw: raw}
	for _, text := range []string{"one", "two", "three"} {
		inner := append([]byte(text), applicationData)
		head := binary.BigEndian.AppendUint16([]byte{applicationData, 3, 3}, uint16(len(inner)+16))
		if _, err := raw.Write(aead(t, &keys.Send).Seal(head, nonce(&keys.Send), inner, head)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(client, got); err != nil || string(got) != text {
			t.Fatalf("the client read %q, %v; want %q", got, err, text)
		}
		if _, err := client.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		record := p.read()
		plain, err := aead(t, &keys.Receive).Open(nil, nonce(&keys.Receive), record[5:], record[:5])
		if err != nil || !bytes.Equal(plain, inner) {
			t.Fatalf("of the client %q was opened, %v; want %q", plain, err, inner)
		}
	}
}

func aead(t *testing.T, d *records.Direction) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(d.Key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

// nonce is that of the next record.
func nonce(d *records.Direction) []byte {
	n := bytes.Clone(d.IV)
	binary.BigEndian.PutUint64(n[4:], binary.BigEndian.Uint64(n[4:])^d.Sequence)
	d.Sequence++
	return n
}

package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	chat "rookery/client/go"
	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/internal/certtest"
	"rookery/proto"
)

// secureAddrs are the addresses with TLS of the gateways that tests know by their plain address.
var secureAddrs sync.Map

func addressWithTLS(plain string) string {
	addr, _ := secureAddrs.Load(plain)
	return addr.(string)
}

// startSecure runs a gateway with TLS, and gives a configuration for clients that believe its issuer.
func startSecure(t *testing.T, options ...func(*gateway.Config)) (*gatewaytest.Server, *tls.Config) {
	t.Helper()
	secure, pool := gatewaytest.Secure(t)
	return gatewaytest.Start(t, append([]func(*gateway.Config){secure}, options...)...), &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// dialTLS makes a handshake.
func dialTLS(t *testing.T, srv *gatewaytest.Server, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: waitLimit}, "tcp", srv.SecureAddr(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(waitLimit))
	return conn
}

func failures(t *testing.T, srv *gatewaytest.Server, reason string) float64 {
	return metric(t, srv, fmt.Sprintf("rookery_tls_handshake_failures_total{reason=%q}", reason))
}

func TestPageAndClientOverTLS(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: waitLimit}
	defer browser.CloseIdleConnections()
	for range 2 { // the connection is kept
		res, err := browser.Get("https://" + srv.SecureAddr() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<html")) || res.TLS.NegotiatedProtocol != "http/1.1" {
			t.Fatalf("%s by %q, %v: %.100s", res.Status, res.TLS.NegotiatedProtocol, err, body)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	connect := func(name string) *chat.Client {
		c, err := chat.New(chat.Config{URL: "wss://" + srv.SecureAddr(), Name: name, TLS: config})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	alice, bob := connect("alice"), connect("bob")
	room, err := bob.Join(ctx, "r", chat.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 100
	text := func(i int) string { return strings.Repeat(fmt.Sprint(i, " "), 1+i*100) }
	for i := range messages {
		if _, err := alice.Publish(ctx, "r", text(i)); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for m, err := range room.Messages(ctx) {
		if err != nil || m.Text != text(i) {
			t.Fatalf("message %d is %.50q, %v", i, m.Text, err)
		}
		if i++; i == messages {
			break
		}
	}
	if done := metric(t, srv, "rookery_tls_handshakes_total"); done < 3 {
		t.Errorf("%v handshakes are counted", done)
	}
}

// TestBadPeersOfTLS: each is told, counted for its reason, and written down if no client does that.
func TestBadPeersOfTLS(t *testing.T) {
	t.Parallel()
	// Two of them wait for it, and the handshakes of the others have to be done within it on a busy machine.
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.HandshakeTimeout = time.Second })
	hello := clientHello(t)
	send := func(b []byte) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			conn := dialPlain(t, srv.SecureAddr(), string(b))
			answer, _ := io.ReadAll(conn) // who is told nothing may see a reset
			return answer
		}
	}
	speak := func(change func(*tls.Config), want string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			c := config.Clone()
			change(c)
			conn, err := tls.Dial("tcp", srv.SecureAddr(), c)
			if err == nil {
				// TLS 1.3: the client is done before the server has seen that it is not.
				_, err = conn.Read(make([]byte, 1))
				conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the client saw %v, want %s", err, want)
			}
			return nil
		}
	}
	for _, c := range []struct {
		name, reason, denied string
		run                  func(t *testing.T) []byte
		answer               string
	}{
		{"garbage", "garbage", "bad_tls", send([]byte("\x00\x01\x02\x03 no protocol at all")), ""},
		{"our preface without TLS", "garbage", "bad_tls", send([]byte("ROOKERY\x01")), ""},
		{"a record that is too long", "garbage", "bad_tls", send([]byte("\x16\x03\x01\xff\xff" + strings.Repeat("x", 100))), "\x15\x03"},
		{"a hello that is none", "garbage", "bad_tls", send([]byte("\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00")), "\x15\x03"},
		{"silence", "timeout", "", send(nil), ""},
		{"half a hello", "timeout", "slow", send(hello[:len(hello)/2]), ""},
		{"HTTP", "http", "", send([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), "HTTP/1.1 400 Bad Request\r\n"},
		{"TLS 1.1", "unsupported", "", speak(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "protocol version"), ""},
		{"old suites", "unsupported", "", speak(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, "handshake failure"), ""},
		{"another protocol", "unsupported", "", speak(func(c *tls.Config) { c.NextProtos = []string{"imap"} }, "no application protocol"), ""},
		{"no trust", "refused", "", speak(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, "unknown authority"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := failures(t, srv, c.reason)
			if answer := c.run(t); !bytes.HasPrefix(answer, []byte(c.answer)) {
				t.Errorf("it was answered with %q", answer)
			}
			eventually(t, "the failure is counted as "+c.reason, func() bool { return failures(t, srv, c.reason) == before+1 })
			if c.denied != "" && !srv.Logged("access denied", "address=127.0.0.1 reason="+c.denied) {
				t.Errorf("there is no line with the reason %s", c.denied)
			}
		})
	}
	if metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) != 4 {
		t.Error("not all that is no TLS is counted among the denied")
	}
	dialTLS(t, srv, config)
}

// clientHello is what a client of crypto/tls begins with.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go tls.Client(there, &tls.Config{ServerName: "localhost"}).Handshake()
	head := make([]byte, 5)
	if _, err := io.ReadFull(here, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(here, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// TestBrokenRecordsEndAConnection: in the middle of a session.
func TestBrokenRecordsEndAConnection(t *testing.T) {
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.FrameTimeout = 300 * time.Millisecond })
	session := func(t *testing.T) (*tls.Conn, *bufio.Reader) {
		conn := dialTLS(t, srv, config)
		fmt.Fprintf(conn, "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		in := bufio.NewReader(conn)
		if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(res, err)
		}
		return conn, in
	}
	t.Run("forged", func(t *testing.T) {
		conn, in := session(t)
		if _, err := conn.NetConn().Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
			t.Fatal(err)
		}
		var alert *net.OpError
		if _, err := in.ReadByte(); !errors.As(err, &alert) || alert.Op != "remote error" || !strings.Contains(err.Error(), "bad record MAC") {
			t.Errorf("the peer saw %v", err)
		}
		eventually(t, "it is denied", func() bool {
			return metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) == 1 && srv.Logged("access denied", "reason=bad_tls", "bad record MAC")
		})
	})
	t.Run("half", func(t *testing.T) {
		conn, in := session(t)
		if _, err := conn.NetConn().Write([]byte("\x17\x03\x03\x00\x20 not the rest")); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 4)
		if recordsInKernel() {
			// It waits in the socket, where nobody sees it: the rest may come, and a forged one it is.
			if _, err := conn.NetConn().Write(make([]byte, 32)); err != nil {
				t.Fatal(err)
			}
			if _, err := in.ReadByte(); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
				t.Errorf("the peer saw %v", err)
			}
			return
		}
		if _, err := io.ReadFull(in, head); err != nil || head[0] != fin|opClose || int(head[2])<<8|int(head[3]) != int(proto.CloseFrameTimeout.Code) {
			t.Errorf("the peer saw %x, %v; want a Close with %d", head, err, proto.CloseFrameTimeout.Code)
		}
	})
	t.Run("end", func(t *testing.T) {
		conn, in := session(t)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the peer saw %v, want the end", err)
		}
	})
	denied := 1.0
	if recordsInKernel() {
		denied++ // the half one
	}
	if n := metric(t, srv, `rookery_denied_total{reason="bad_tls"}`); n != denied {
		t.Errorf("%v are denied", n)
	}
}

// TestAHalfWrittenRecordGoesOn: what a full socket does not take of a record follows when there is room. Anything lost or twice would break the next one.
func TestAHalfWrittenRecordGoesOn(t *testing.T) {
	t.Parallel()
	const messages, size = 150, 60 << 10
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.OutboundBytes = 2 * messages * size })
	conn := dialTLS(t, srv, config)
	_ = conn.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
	fmt.Fprint(conn, strings.Replace(handshake(), "/ws", "/echo", 1))
	in := bufio.NewReader(conn)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	for i := range messages {
		if _, err := conn.Write(sent(fin|opBinary, strings.Repeat(string(rune('a'+i%26)), size))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "its socket is full", func() bool { return metric(t, srv, "rookery_sockets_full_total") > 0 })
	conn.SetDeadline(time.Now().Add(waitLimit)) // an emulated machine has taken most of it
	frame := make([]byte, 4+size)
	for i := range messages {
		if _, err := io.ReadFull(in, frame); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if want := bytes.Repeat([]byte{byte('a' + i%26)}, size); !bytes.Equal(frame[4:], want) {
			t.Fatalf("message %d is another", i)
		}
	}
}

// TestWhoNeverReadsIsClosedOverTLS: what waits for a peer is bounded, sealed as it is.
func TestWhoNeverReadsIsClosedOverTLS(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	conn := dialTLS(t, srv, config)
	_ = conn.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
	fmt.Fprint(conn, handshake())
	message := sent(fin|opBinary, strings.Repeat("x", 60<<10))
	for err := error(nil); err == nil; {
		_, err = conn.Write(message)
	}
	closed := fmt.Sprintf("rookery_connections_closed_total{code=%q}", proto.CloseOutboundFull.Name)
	eventually(t, "it is closed for what it did not take", func() bool {
		return metric(t, srv, closed) == 1 && metric(t, srv, "rookery_outbound_bytes") == 0
	})
}

func TestConnectionsOfAnAddressAreCappedOverTLS(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.ConnectionsPerIP = 1 })
	login(t, srv.Addr(), wires[0], "alice")
	conn := dialTLS(t, srv, config)
	fmt.Fprint(conn, handshake())
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the second was answered with %v, %v", res, err)
	}
}

func TestSessionsAreResumed(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			srv, config := startSecure(t)
			config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
			for again := range 2 {
				conn := dialTLS(t, srv, config)
				fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				if _, err := conn.Read(make([]byte, 1)); err != nil { // the ticket is before it
					t.Fatal(err)
				}
				if state := conn.ConnectionState(); state.Version != version || state.DidResume != (again == 1) {
					t.Errorf("connection %d: version %x, resumed %v", again, state.Version, state.DidResume)
				}
			}
			if n := metric(t, srv, "rookery_tls_handshakes_resumed_total"); n != 1 {
				t.Errorf("%v are counted as resumed", n)
			}
		})
	}
}

func TestLeastVersion(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t, func(c *gateway.Config) { c.TLS.MinVersion = gateway.TLS13 })
	dialTLS(t, srv, config)
	config.MaxVersion = tls.VersionTLS12
	if _, err := tls.Dial("tcp", srv.SecureAddr(), config); err == nil {
		t.Error("version 1.2 was spoken")
	}
}

// TestCertificates: by name, and changed while the server runs.
func TestCertificates(t *testing.T) {
	t.Parallel()
	issuer := certtest.NewIssuer(t)
	var cfg gateway.Config
	first, firstKey := issuer.Issue("first", time.Hour, "first.example")
	second, secondKey := issuer.Issue("second", 2*time.Hour, "*.second.example")
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.TLS.Listen = "127.0.0.1:0"
		c.TLS.CertFiles, c.TLS.KeyFiles = []string{first, second}, []string{firstKey, secondKey}
		cfg = *c
	})
	shown := func(name string) *x509.Certificate {
		return dialTLS(t, srv, &tls.Config{ServerName: name, InsecureSkipVerify: true}).ConnectionState().PeerCertificates[0]
	}
	for name, want := range map[string]string{"first.example": "first", "a.second.example": "second", "other.example": "first", "": "first"} {
		if got := shown(name).Subject.CommonName; got != want {
			t.Errorf("for %q the certificate %s was shown, want %s", name, got, want)
		}
	}
	expires := func() float64 {
		return metric(t, srv, `rookery_tls_certificate_expires_timestamp_seconds{listener="public"}`)
	}
	if got := shown("first.example"); expires() != float64(got.NotAfter.Unix()) {
		t.Errorf("it expires at %v, the metric says %v", got.NotAfter.Unix(), expires())
	}
	reload := func() {
		if _, err := srv.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}

	// A key that does not fit: written between chain and key, or by mistake.
	old := shown("first.example").SerialNumber
	if err := os.WriteFile(firstKey, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Reload(cfg); err == nil {
		t.Error("a reload with a key that can't be read was not refused")
	}
	if got := shown("first.example").SerialNumber; got.Cmp(old) != 0 {
		t.Error("the certificate changed though its key is broken")
	}
	issuer.Issue("first", 3*time.Hour, "first.example")
	reload()
	if got := shown("first.example").SerialNumber; got.Cmp(old) == 0 {
		t.Error("the old certificate is still shown")
	}
	if got := shown("a.second.example"); expires() != float64(got.NotAfter.Unix()) {
		t.Error("the metric does not tell the one that expires first")
	}
}

// TestAdminWithClientCertificates: nobody without one comes in.
func TestAdminWithClientCertificates(t *testing.T) {
	issuer, other := certtest.NewIssuer(t), certtest.NewIssuer(t)
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.AdminTLS.CertFile, c.AdminTLS.KeyFile = issuer.Issue("admin", time.Hour, "127.0.0.1")
		c.AdminTLS.ClientCAFile = issuer.File
	})
	get := func(url string, certificates ...tls.Certificate) (int, string, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: issuer.Pool, Certificates: certificates}}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport, Timeout: waitLimit}).Get(url)
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body), err
	}
	url := "https://" + srv.AdminAddr() + "/metrics"
	if _, _, err := get(url); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	if _, _, err := get(url, other.Load(other.Issue("stranger", time.Hour))); err == nil {
		t.Error("with a stranger's certificate it was let in")
	}
	status, body, err := get(url, issuer.Load(issuer.Issue("operator", time.Hour)))
	if status != http.StatusOK || err != nil || !strings.Contains(body, `rookery_tls_certificate_expires_timestamp_seconds{listener="admin"}`) {
		t.Errorf("with a certificate: %d, %v", status, err)
	}
	if status, _, err := get("http://" + srv.AdminAddr() + "/metrics"); err != nil || status != http.StatusBadRequest {
		t.Errorf("without TLS: %d, %v", status, err)
	}
}

// TestDrainOverTLS: who is there is told why, and sees the end of the records and not only of the socket.
func TestDrainOverTLS(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	config.MaxVersion = tls.VersionTLS12 // whose records show their kind
	watched := &lastRecord{Conn: dialPlain(t, srv.SecureAddr(), "")}
	conn := tls.Client(watched, config)
	if _, err := io.WriteString(conn, "ROOKERY\x01"); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: wires[2]}
	connect(p, "", "alice")
	p.must()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Stop()
	}()
	if p.must().GetGoaway() == nil {
		t.Error("it was not told to go")
	}
	p.mustClose(proto.CloseDraining)
	conn.CloseWrite()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("behind the Close: %v", err)
	}
	<-stopped
	if watched.kind != 21 {
		t.Errorf("the last record has the kind %d, want an alert", watched.kind)
	}
}

// lastRecord knows the kind of the last record that was read.
type lastRecord struct {
	net.Conn
	kind byte
	buf  []byte
}

func (l *lastRecord) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.buf = append(l.buf, b[:n]...)
	for len(l.buf) >= 5 {
		size := 5 + (int(l.buf[3])<<8 | int(l.buf[4]))
		if len(l.buf) < size {
			break
		}
		l.kind, l.buf = l.buf[0], l.buf[size:]
	}
	return n, err
}

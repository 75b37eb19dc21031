package tlslisten

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rookery/internal/certtest"
	"rookery/internal/records"
)

// TestChallengesEndHere: an authority is shown what it asks for and comes to no loop; nobody else is offered its protocol. Without a certificate for
// everybody else they are told so.
func TestChallengesEndHere(t *testing.T) {
	issuer := certtest.NewIssuer(t)
	answer := issuer.Load(issuer.Issue("answer", time.Hour, "chat.example.com"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counters := &Counters{}
	l := Serve(Config{
		Listener: listener, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, ErrNoCertificate },
		Challenge: func(hello *tls.ClientHelloInfo) *tls.Certificate {
			if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol && hello.ServerName == "chat.example.com" {
				return &answer
			}
			return nil
		},
		MinVersion: tls.VersionTLS13, Timeout: 20 * time.Second, Counters: counters,
		Admit: func(netip.Addr) bool { return true }, Trusted: func(netip.Addr) bool { return false }, Log: slog.New(slog.DiscardHandler),
		Enter: func(c net.Conn, _ netip.Addr, _ *records.Stream) error {
			t.Error("a connection came to a loop")
			c.Close()
			return nil
		},
		Denied: func(netip.Addr, bool, error) { t.Error("somebody was denied") },
	})
	dial := func(name string, version uint16, protocols ...string) error {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", listener.Addr().String(),
			&tls.Config{ServerName: name, NextProtos: protocols, RootCAs: issuer.Pool, MaxVersion: version})
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.ConnectionState().NegotiatedProtocol; got != challengeProtocol {
			t.Errorf("the protocol is %q", got)
		}
		// The server closes too, and says nothing.
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
			return err
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("the server says %d bytes, %v", n, err)
		}
		return nil
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if err := dial("chat.example.com", version, challengeProtocol); err != nil {
			t.Error(err)
		}
	}
	for _, protocols := range [][]string{{challengeProtocol, "http/1.1"}, {"http/1.1"}, nil} {
		if err := dial("chat.example.com", 0, protocols...); err == nil || !strings.Contains(err.Error(), "internal error") {
			t.Errorf("with %q a client was told %v", protocols, err)
		}
	}
	if err := dial("www.example.com", 0, challengeProtocol); err == nil {
		t.Error("another name was answered")
	}
	refused := func() int64 {
		return counters.Failed[failedCertificate].Load() + counters.Failed[failedUnsupported].Load()
	}
	for deadline := time.Now().Add(20 * time.Second); refused() < 4 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	l.Close()
	if n := counters.Failed[failedCertificate].Load(); n != 3 || refused() != 4 {
		t.Errorf("%d refusals are counted, %d of them for want of a certificate", refused(), n)
	}
	if counters.Challenges.Load() != 2 || counters.Done.Load() != 0 || counters.UnderWay.Load() != 0 {
		t.Errorf("%d challenges, %d handshakes, %d under way", counters.Challenges.Load(), counters.Done.Load(), counters.UnderWay.Load())
	}
}

// TestNoFiles: certificates may all be had elsewhere.
func TestNoFiles(t *testing.T) {
	c, err := LoadCertificates(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hello := &tls.ClientHelloInfo{ServerName: "chat.example.com"}
	if _, err := c.Get(hello); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("got %v", err)
	}
	if c.Fitting(hello) != nil || !c.Expires().IsZero() {
		t.Error("there is a certificate")
	}
}

package gateway_test

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// TestOthersPages: a page of somebody else's can have its visitors' browsers send all of this, and must not have them banned by it. So there is
// no line about any of it in which a filter would find their address.
func TestOthersPages(t *testing.T) {
	t.Parallel()
	secure, pool := gatewaytest.Secure(t)
	srv := gatewaytest.Start(t, secure, func(c *gateway.Config) {
		c.Dev = false
		c.Auth.HS256Secret = "a secret of this test, of 32 bytes or more"
		c.Limits.HandshakeTimeout = 2 * time.Second // of a connect that does not come
	})
	found := []string{"bad_token", "token_revoked", "banned", "bad_handshake", "bad_tls", "bad_frame", "not_connected", "flood"} // by the filter
	denied := map[string]float64{}
	const stun = "\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x24\x00\x04\x6e\x7f\x1e\xff" // RFC 8489 5, a binding request with a priority
	upgrade := "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
		base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + "\r\n"
	for _, c := range []struct{ name, sent string }{
		{"an image of the page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an image of WebSocket's path", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a WebSocket", "GET /ws HTTP/1.1\r\nHost: x\r\nOrigin: https://others.example\r\n" + upgrade + "\r\n"},
		{"an image of events", "GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
		{"an image of events with a name", "GET /events?name=alice HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an image of events with an invalid name", "GET /events?name=%01&room=x HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an EventSource", "GET /events?name=alice HTTP/1.1\r\nHost: x\r\nOrigin: https://others.example\r\n\r\n"},
		{"a form", "POST /events/x HTTP/1.1\r\nHost: x\r\nOrigin: https://others.example\r\nContent-Length: 1\r\n\r\n{"},
		{"a form to the page", "POST / HTTP/1.1\r\nHost: x\r\nOrigin: https://others.example\r\nContent-Length: 1\r\n\r\n{"},
		{"a request that is asked about", "OPTIONS /events HTTP/1.1\r\nHost: x\r\nOrigin: https://others.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"},
		{"https", string(clientHello(t))},
		{"a relay of WebRTC by TCP", "\x00\x03" + stun[2:]},
		{"a candidate of WebRTC by TCP", "\x00\x1c" + stun}, // RFC 4571: its length is in front
		{"a candidate of WebRTC that looks like SSL", "\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80\x07\x00\xc0\x06\x00\x40"},
	} {
		for over, dial := range map[string]func() (net.Conn, error){
			"plain":           func() (net.Conn, error) { return net.Dial("tcp", srv.Addr()) },
			"the port of TLS": func() (net.Conn, error) { return net.Dial("tcp", srv.SecureAddr()) },
			"TLS":             func() (net.Conn, error) { return tls.Dial("tcp", srv.SecureAddr(), &tls.Config{RootCAs: pool}) },
		} {
			t.Run(c.name+" to "+over, func(t *testing.T) {
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.WriteString(conn, c.sent); err != nil {
					t.Fatal(err)
				}
				if c.name == "https" && over == "the port of TLS" {
					_, err = conn.Read(make([]byte, 1)) // it is right there, and waited for
				} else {
					_, err = io.Copy(io.Discard, &untilAnswer{conn})
				}
				if ended, ok := err.(net.Error); ok && ended.Timeout() {
					t.Error("nothing comes of it")
				}
				for _, reason := range found {
					if metric(t, srv, `rookery_denied_total{reason="`+reason+`"}`) != denied[reason] {
						denied[reason]++
						t.Errorf("there is a line about it, with the reason %s", reason)
					}
				}
			})
		}
	}
	// It can fail.
	conn, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "EHLO others.example\r\n")
	eventually(t, "there is a line about what no browser sends", func() bool { return srv.Logged("access denied", "reason=bad_handshake") })
}

// untilAnswer ends with the connection, or with a whole answer of HTTP on one that is kept.
type untilAnswer struct{ net.Conn }

func (u *untilAnswer) Read(b []byte) (int, error) {
	n, err := u.Conn.Read(b)
	if head := string(b[:n]); strings.HasPrefix(head, "HTTP/1.1 ") && strings.Contains(head, "Connection: keep-alive") {
		return n, io.EOF
	}
	return n, err
}

package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"rookery/gateway"
)

// TestAStormOfHandshakes: silent peers of one address can't take all places, who is there is served, and the places come free again when they leave.
func TestAStormOfHandshakes(t *testing.T) {
	const ofAddress = 128
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.HandshakeTimeout = time.Minute })
	early := dialTLS(t, srv, config)
	none := func() bool { return metric(t, srv, "rookery_tls_handshakes_under_way") == 0 }
	eventually(t, "its place is free", none)
	var silent []net.Conn
	for range ofAddress + 20 {
		silent = append(silent, dialPlain(t, srv.SecureAddr(), ""))
	}
	eventually(t, "those beyond are closed", func() bool { return failures(t, srv, "address") == 20 })
	fmt.Fprint(early, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(early), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("who was there is not served: %v", err)
	}
	for _, conn := range silent {
		conn.Close()
	}
	eventually(t, "they have left", func() bool { return failures(t, srv, "left") == ofAddress })
	dialTLS(t, srv, config)
	eventually(t, "none is under way", none)
}

// TestTheRateOfAnAddressHoldsBeforeTheHandshake: a connection counts once, whether or not a handshake comes of it.
func TestTheRateOfAnAddressHoldsBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.Rates = []string{"address open 0.001/s burst 4"} })
	dialPlain(t, srv.SecureAddr(), "no protocol at all")
	dialPlain(t, srv.SecureAddr(), "").Close()
	for range 2 {
		conn := dialTLS(t, srv, config)
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("who is within the rate got %v, %v", res, err)
		}
	}
	if _, err := tls.Dial("tcp", srv.SecureAddr(), config); err == nil {
		t.Error("a handshake was made beyond the rate")
	}
	eventually(t, "it is counted", func() bool { return failures(t, srv, "rate") == 1 })
	if metric(t, srv, `rookery_denied_total{reason="address_rate"}`) != 1 || !srv.Logged("access denied", "address=127.0.0.1 reason=address_rate") {
		t.Error("it is not written down")
	}
}

// TestSilentPeersOfManyAddressesKeepNobodyOut: with all places taken by who says nothing, a newcomer is served.
func TestSilentPeersOfManyAddressesKeepNobodyOut(t *testing.T) {
	const ofAddress, addresses = 128, 4
	srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.HandshakeTimeout = time.Minute })
	for address := range addresses {
		dialer := net.Dialer{Timeout: waitLimit, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+address))}}
		for range ofAddress {
			conn, err := dialer.Dial("tcp", srv.SecureAddr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
		}
	}
	eventually(t, "all places are taken", func() bool {
		return metric(t, srv, "rookery_tls_handshakes_under_way") == ofAddress*addresses
	})
	eventually(t, "a newcomer is served", func() bool {
		conn, err := tls.Dial("tcp", srv.SecureAddr(), config)
		if err != nil {
			return false // they are silent for too short a time
		}
		conn.Close()
		return true
	})
	eventually(t, "one has made room, and is counted once", func() bool {
		return failures(t, srv, "silent") == 1 && metric(t, srv, "rookery_tls_handshakes_under_way") == ofAddress*addresses-1
	})
	if n := failures(t, srv, "left"); n != 0 {
		t.Errorf("%v are counted as having left", n)
	}
}

package issuance

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// openWithHTTP is a keeper that has a listener for http-01, and a name to order for.
func openWithHTTP(t *testing.T) (*Keeper, net.Listener) {
	t.Helper()
	server, _ := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTP = listener
	return open(t, cfg), listener
}

// TestCloseWaitsForNoStranger: as many as there are places, and some for whom others had to go, hold connections at which they say nothing.
func TestCloseWaitsForNoStranger(t *testing.T) {
	k, listener := openWithHTTP(t)
	k.Start()
	// An answer says that the listener serves.
	response, err := http.Get("http://" + listener.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	for range Connections + 8 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	began := time.Now()
	k.Close()
	if took := time.Since(began); took > exchangeTime/2 {
		t.Errorf("to close took %v", took)
	}
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("the address is still taken")
	}
}

// TestCloseWithoutStart gives the address back, and the turn.
func TestCloseWithoutStart(t *testing.T) {
	k, listener := openWithHTTP(t)
	k.Close()
	if _, err := listener.Accept(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the listener says %v", err)
	}
}

// TestStrangersKeepNobodyOut: they take all places again and again, and say nothing. Who comes from elsewhere is answered, and is so when more of them
// have come before it asks.
func TestStrangersKeepNobodyOut(t *testing.T) {
	k, listener := openWithHTTP(t)
	k.Start()
	defer k.Close()
	k.challenge.Store(&answer{name: "chat.example.com", token: "token", text: "shown"})
	dial := func(from byte) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		conn, err := d.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(exchangeTime * 4 / 5)) // of those who wait for the limit of others some are answered later
		return conn
	}
	crowd := func(from byte) {
		t.Helper()
		var first net.Conn
		for i := range 2 * Connections {
			if conn := dial(from); i == 0 {
				first = conn
			}
		}
		if _, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("the first of many strangers was told %v, and is to make room", err)
		}
	}
	crowd(1)
	authority := dial(2)
	crowd(1)
	crowd(3)
	if _, err := io.WriteString(authority, "GET "+challengePath+"token HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(authority); !strings.HasSuffix(string(said), "shown") {
		t.Errorf("the authority was answered %q, %v", said, err)
	}
}

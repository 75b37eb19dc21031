package issuance

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestCloseWaitsForNoStranger: as many as there are places hold connections at which they say nothing, and others wait behind them.
func TestCloseWaitsForNoStranger(t *testing.T) {
	server, _ := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTP = listener
	k := open(t, cfg)
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
	server, _ := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTP = listener
	k := open(t, cfg)
	k.Close()
	if _, err := listener.Accept(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the listener says %v", err)
	}
}

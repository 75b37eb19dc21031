package tlslisten

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestPlacesAreBounded: on all, and of each subscriber.
func TestPlacesAreBounded(t *testing.T) {
	proxy := netip.MustParseAddr("198.51.100.1")
	l := &Listener{
		cfg:   Config{Trusted: func(from netip.Addr) bool { return from == proxy }, Admit: func(netip.Addr) bool { return true }, Counters: &Counters{}},
		conns: map[*turn]netip.Addr{}, of: map[netip.Addr]int{},
	}
	now := time.Now()
	var turns []*turn
	begin := func(from string) (failure, bool) {
		t := &turn{Conn: &net.TCPConn{}, begun: now}
		reason, ok := l.begin(t, netip.MustParseAddr(from))
		if ok {
			turns = append(turns, t)
		}
		return reason, ok
	}
	for range maxOfAddress {
		if _, ok := begin("2001:db8::1"); !ok {
			t.Fatal("there was no place")
		}
	}
	if reason, ok := begin("2001:db8::2"); ok || reason != failedAddress {
		t.Errorf("beyond its places a /64 got %v, %d", ok, reason)
	}
	const ofProxy = maxOfAddress + 1
	for range ofProxy {
		if _, ok := begin(proxy.String()); !ok {
			t.Fatal("a proxy was held to the bound of an address")
		}
	}
	for i := range MaxHandshakes - maxOfAddress - ofProxy {
		if _, ok := begin(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()); !ok {
			t.Fatal("there was no place")
		}
	}
	if reason, ok := begin("192.0.2.1"); ok || reason != failedFull {
		t.Errorf("beyond all places one got %v, %d", ok, reason)
	}

	// Who has said nothing for longest makes room, but not for one whose address has its places.
	now = now.Add(silentFor)
	turns[0].read.Add(1)
	turns[2].begun = turns[2].begun.Add(-1)
	if reason, ok := begin("2001:db8::2"); ok || reason != failedAddress {
		t.Errorf("beyond its places a /64 got %v, %d", ok, reason)
	}
	if _, ok := begin("192.0.2.1"); !ok || l.cfg.Counters.Failed[failedSilent].Load() != 1 || len(l.conns) != MaxHandshakes {
		t.Errorf("with silent peers a newcomer got %v; %d were dropped, %d are there", ok, l.cfg.Counters.Failed[failedSilent].Load(), len(l.conns))
	}
	if _, there := l.conns[turns[2]]; there {
		t.Error("another than the oldest was dropped")
	}
	for _, t := range turns[1:] {
		t.read.Add(1)
	}
	if reason, ok := begin("192.0.2.2"); ok || reason != failedFull {
		t.Errorf("with all handshakes begun a newcomer got %v, %d", ok, reason)
	}
	for _, t := range turns {
		l.end(t)
	}
	if len(l.conns) != 0 || len(l.of) != 0 || l.cfg.Counters.UnderWay.Load() != 0 {
		t.Errorf("%d places are still taken, of %d addresses", len(l.conns), len(l.of))
	}
}

// TestNobodyBeginsBehindClose: one who was accepted just before would keep Close waiting for its time limit.
func TestNobodyBeginsBehindClose(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Serve(Config{
		Listener: listener, Certificate: (&Certificates{}).Get, Timeout: time.Minute, Counters: &Counters{},
		Admit: func(netip.Addr) bool { return true }, Trusted: func(netip.Addr) bool { return false }, Log: slog.New(slog.DiscardHandler),
	})
	l.Close()
	if _, ok := l.begin(&turn{Conn: &net.TCPConn{}, begun: time.Now()}, netip.MustParseAddr("192.0.2.1")); ok {
		t.Error("a handshake began")
	}
}

// TestAPanicEndsOneConnection: and gives its place and its turn back.
func TestAPanicEndsOneConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	counters := &Counters{}
	l := Serve(Config{
		Listener: listener, Certificate: (&Certificates{}).Get, // that were never read: to ask for one panics
		MinVersion: tls.VersionTLS12, Timeout: 20 * time.Second, Counters: counters,
		Admit: func(netip.Addr) bool { return true }, Trusted: func(netip.Addr) bool { return false }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	panics := cap(l.turns) + 1
	for range panics {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", listener.Addr().String(), &tls.Config{ServerName: "localhost"})
		if err == nil {
			conn.Close()
			t.Fatal("there was a handshake without a certificate")
		}
	}
	l.Close()
	if n := counters.Failed[failedPanic].Load(); n != int64(panics) || counters.UnderWay.Load() != 0 || len(l.turns) != 0 {
		t.Errorf("%d panics are counted of %d, %d places and %d turns are taken", n, panics, counters.UnderWay.Load(), len(l.turns))
	}
	if !strings.Contains(log.String(), "BUG: ") || !strings.Contains(log.String(), "(*Certificates).Get") {
		t.Errorf("the log is %s", &log)
	}
}

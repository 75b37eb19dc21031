package loop

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/rate"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// fronted is a rig behind proxies of 10.0.0.0/8, and what its log says.
func fronted(t *testing.T, protocol ProxyProtocol, change func(*Config)) (*rig, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return newRig(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		c.Rules.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		c.Rules.ProxyProtocol = protocol
		if change != nil {
			change(c)
		}
	}), log
}

// come opens a connection from an address and sends bytes over it; "unix" is a socket without an address.
func (r *rig) come(from, sent string) *fakeSocket {
	s := &fakeSocket{room: 1 << 20, loop: r.events, from: from}
	if from == "unix" {
		s.from, s.safe = "", &origin{}
	}
	if r.loop.accept(s) != gnet.None {
		s.closed = true
		return s
	}
	r.says(s, sent)
	return s
}

func (r *rig) says(s *fakeSocket, sent string) {
	s.in = append(s.in, sent...)
	r.loop.traffic(s.context.(*conn))
}

const upgradeHead = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// asked gives requests for a WebSocket with X-Forwarded-For.
func upgradeFor(client string) string { return upgradeHead + "X-Forwarded-For: " + client + "\r\n\r\n" }

func headerOf(client string) string {
	return "PROXY TCP4 " + client + " 198.51.100.1 56324 443\r\n"
}

// TestWhoIsBehindAConnection: whom the limits take a connection for, by who sends what.
func TestWhoIsBehindAConnection(t *testing.T) {
	const off, optional, required = NoProxyProtocol, OptionalProxyProtocol, RequiredProxyProtocol
	cases := []struct {
		name     string
		protocol ProxyProtocol
		from     string
		sent     string
		want     string // the address, "" if it is not known, closed if the connection is
	}{
		{"a stranger", off, "192.0.2.1", upgradeHead + "\r\n", "192.0.2.1"},
		{"a stranger with X-Forwarded-For", off, "192.0.2.1", upgradeFor("192.0.2.7"), "192.0.2.1"},
		{"a proxy with X-Forwarded-For", off, "10.0.0.1", upgradeFor("1.1.1.1, 192.0.2.7, 10.0.0.2"), "192.0.2.7"},
		{"a proxy without", off, "10.0.0.1", upgradeHead + "\r\n", "10.0.0.1"},
		{"a proxy with what is no address", off, "10.0.0.1", upgradeFor("unknown"), "10.0.0.1"},
		{"a Unix socket with X-Forwarded-For", off, "unix", upgradeFor("192.0.2.7"), "192.0.2.7"},
		{"a Unix socket without", off, "unix", upgradeHead + "\r\n", ""},
		{"a stranger's PROXY header", off, "192.0.2.1", headerOf("192.0.2.7") + proto.Preface, "closed"},
		{"a proxy's PROXY header where they are off", off, "10.0.0.1", headerOf("192.0.2.7") + proto.Preface, "closed"},

		{"a stranger's PROXY header", required, "192.0.2.1", headerOf("192.0.2.7") + proto.Preface, "closed"},
		{"a stranger's PROXY header, version 2", optional, "192.0.2.1", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" + proto.Preface, "closed"},
		{"a stranger", required, "192.0.2.1", proto.Preface, "192.0.2.1"},
		{"a stranger with X-Forwarded-For", required, "192.0.2.1", upgradeFor("192.0.2.7"), "192.0.2.1"},
		{"a proxy's header before raw TCP", required, "10.0.0.1", headerOf("192.0.2.7") + proto.Preface, "192.0.2.7"},
		{"and before WebSocket", required, "10.0.0.1", headerOf("192.0.2.7") + upgradeHead + "\r\n", "192.0.2.7"},
		{"in binary", required, "10.0.0.1", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb" + proto.Preface, "192.0.2.7"},
		{"of a Unix socket", required, "unix", headerOf("192.0.2.7") + proto.Preface, "192.0.2.7"},
		{"X-Forwarded-For of the client that a header names", required, "10.0.0.1", headerOf("192.0.2.7") + upgradeFor("192.0.2.8"), "192.0.2.7"},
		{"X-Forwarded-For of a proxy that a header names", required, "10.0.0.1", headerOf("10.0.0.2") + upgradeFor("192.0.2.8"), "192.0.2.8"},
		{"a health check", required, "10.0.0.1", "PROXY UNKNOWN\r\n" + proto.Preface, "10.0.0.1"},
		{"a health check at a Unix socket", required, "unix", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" + proto.Preface, ""},
		{"none where one is required", required, "10.0.0.1", proto.Preface, "closed"},
		{"X-Forwarded-For where a header is required", required, "10.0.0.1", upgradeFor("192.0.2.7"), "closed"},
		{"a broken one", optional, "10.0.0.1", "PROXY TCP4 192.0.2.7\r\n" + proto.Preface, "closed"},
		{"a second one", required, "10.0.0.1", headerOf("10.0.0.2") + headerOf("192.0.2.7") + proto.Preface, "closed"},
		{"none where one may be", optional, "10.0.0.1", proto.Preface, "10.0.0.1"},
		{"X-Forwarded-For where a header may be", optional, "10.0.0.1", upgradeFor("192.0.2.7"), "192.0.2.7"},
		{"a header where one may be", optional, "10.0.0.1", headerOf("192.0.2.7") + proto.Preface, "192.0.2.7"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.protocol, " ", c.name), func(t *testing.T) {
			for _, pieces := range [][]string{{c.sent}, strings.Split(c.sent, "")} {
				r, log := fronted(t, c.protocol, func(c *Config) { c.Rules.ConnectionsPerIP = 5 })
				s := r.come(c.from, "")
				for _, piece := range pieces {
					if !s.closed {
						r.says(s, piece)
					}
				}
				if s.closed {
					if c.want != "closed" || !strings.Contains(log.String(), "reason=bad_handshake") || !strings.Contains(log.String(), "err=") && len(pieces) == 1 {
						t.Fatalf("it was closed, and the log says %s", log)
					}
					continue
				}
				got := addressText(remoteAddr(s))
				if got != c.want {
					t.Errorf("in %d pieces it is taken for %q, want %q; the log says %s", len(pieces), got, c.want, log)
				}
				counted := r.loop.engine.admission.addresses
				limited := got != "" && !strings.HasPrefix(got, "10.")
				if n := len(counted); limited && (n != 1 || counted[netip.MustParseAddr(got)] == nil) || !limited && n != 0 {
					t.Errorf("the caps count %v", counted)
				}
				r.events.Close(s)
				if len(counted) != 0 {
					t.Errorf("after its end the caps count %v", counted)
				}
			}
		})
	}
}

// TestLimitsOfWhoIsBehind: caps and rates are each client's, and nothing is counted for the proxy.
func TestLimitsOfWhoIsBehind(t *testing.T) {
	for _, how := range []struct {
		name     string
		protocol ProxyProtocol
		sent     func(client string) string
	}{
		{"X-Forwarded-For", NoProxyProtocol, upgradeFor},
		{"PROXY protocol", RequiredProxyProtocol, func(client string) string { return headerOf(client) + upgradeHead + "\r\n" }},
	} {
		for _, from := range []string{"10.0.0.1", "unix"} {
			t.Run(how.name+" from "+from, func(t *testing.T) {
				r, log := fronted(t, how.protocol, func(c *Config) { c.Rules.ConnectionsPerIP = 2 })
				engine := r.loop.engine
				answered := func(s *fakeSocket) string {
					status, _, _ := strings.Cut(string(s.out), "\r\n")
					return status
				}
				const in, full = "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 503 Service Unavailable"
				var sockets []*fakeSocket
				for i, want := range []string{in, in, full} {
					s := r.come(from, how.sent("192.0.2.7"))
					if got := answered(s); got != want {
						t.Fatalf("connection %d of a client was answered with %q, want %q", i, got, want)
					}
					sockets = append(sockets, s)
				}
				if !strings.Contains(log.String(), "address=192.0.2.7 reason=address_connections") {
					t.Errorf("the log says %s", log)
				}
				other := r.come(from, how.sent("192.0.2.8"))
				if got := answered(other); got != in {
					t.Errorf("another client was answered with %q", got)
				}
				if admitted, refused := engine.admitted.Load(), engine.refused.Load(); admitted != 3 || refused != 1 {
					t.Errorf("%d are in and %d refused, want 3 and 1", admitted, refused)
				}
				for _, s := range append(sockets, other) {
					r.events.Close(s)
				}
				if admitted, refused := engine.admitted.Load(), engine.refused.Load(); admitted != 0 || refused != 0 {
					t.Errorf("after all have gone %d are in and %d refused", admitted, refused)
				}
				if got := r.loop.counted.Refused[refusedAddress].Load(); got != 1 {
					t.Errorf("%d refusals are counted", got)
				}
				// No room but for so many that are told so.
				for range 2 + RefusalReserve {
					r.come(from, how.sent("192.0.2.9"))
				}
				if s := r.come(from, how.sent("192.0.2.9")); !s.closed || len(s.out) > 0 {
					t.Errorf("one over the reserve is open, and was sent %q", s.out)
				}
				if refused := engine.refused.Load(); refused != RefusalReserve {
					t.Errorf("%d are being refused, want %d", refused, RefusalReserve)
				}
			})
		}
	}
}

// TestRatesOfWhoIsBehind: of opening and of requests.
func TestRatesOfWhoIsBehind(t *testing.T) {
	r, log := fronted(t, RequiredProxyProtocol, func(c *Config) {
		c.Rules.Rates.Of[rate.Address][rate.Open] = rate.PerSecond(0.001, 2)
		c.Rules.Rates.Of[rate.Address][rate.Connect] = rate.PerSecond(0.001, 1)
	})
	connect := func(from, header string) *v1.ServerFrame {
		s := r.come(from, header+proto.Preface)
		r.request(s, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice"}}})
		frames := r.sent(s)
		return frames[len(frames)-1]
	}
	for _, c := range []struct {
		name, from, header, want string
	}{
		{"the first of a client", "10.0.0.1", headerOf("192.0.2.7"), "connected"},
		{"the second connects too often", "10.0.0.2", headerOf("192.0.2.7"), "rate_limited"},
		{"the third is opened too often", "unix", headerOf("192.0.2.7"), "overloaded"},
		{"another client", "10.0.0.1", headerOf("192.0.2.8"), "connected"},
		{"a proxy for itself", "10.0.0.1", "PROXY UNKNOWN\r\n", "connected"},
		{"as often as it likes", "10.0.0.1", "PROXY UNKNOWN\r\n", "connected"},
		{"and who is not known", "unix", "PROXY UNKNOWN\r\n", "connected"},
		{"either", "unix", "PROXY UNKNOWN\r\n", "connected"},
	} {
		f := connect(c.from, c.header)
		got := f.GetError().GetName() + f.GetClose().GetReason()
		if f.GetConnected() != nil {
			got = "connected"
		}
		if got != c.want {
			t.Errorf("%s: %v, want %s", c.name, f, c.want)
		}
	}
	if !strings.Contains(log.String(), "address=192.0.2.7 reason=address_rate") || strings.Contains(log.String(), "10.0.0") {
		t.Errorf("the log says %s", log)
	}
}

// TestAKeptConnectionIsOfWhoeverAsks: a proxy sends the requests of many over one connection.
func TestAKeptConnectionIsOfWhoeverAsks(t *testing.T) {
	r, _ := fronted(t, NoProxyProtocol, func(c *Config) {
		c.Rules.ConnectionsPerIP = 1
		c.Page = func(string) (File, bool) { return File{Body: []byte("x"), Type: "text/plain"}, true }
	})
	page := func(client string) string {
		return "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + client + "\r\n\r\n"
	}
	s := r.come("10.0.0.1", page("192.0.2.7")+page("192.0.2.7")+page("192.0.2.8")+"GET / HTTP/1.1\r\nHost: x\r\n\r\n"+page("192.0.2.9"))
	if got := strings.Count(string(s.out), "200 OK"); got != 5 {
		t.Fatalf("%d of 5 requests were answered: %q", got, s.out)
	}
	if counted := r.loop.engine.admission.addresses; len(counted) != 1 || counted[netip.MustParseAddr("192.0.2.9")] == nil {
		t.Errorf("the caps count %v", counted)
	}
	other := r.come("10.0.0.1", upgradeFor("192.0.2.7"))
	if !strings.HasPrefix(string(other.out), "HTTP/1.1 101") {
		t.Fatalf("a client was answered with %q", other.out)
	}
	s.out = nil
	r.says(s, page("192.0.2.7"))
	if !strings.HasPrefix(string(s.out), "HTTP/1.1 503") || !strings.Contains(string(s.out), "Connection: close") {
		t.Errorf("a second connection of one that may have one: %q", s.out)
	}
}

// TestHalfAProxyHeaderIsClosed: the handshake's time begins with the connection.
func TestHalfAProxyHeaderIsClosed(t *testing.T) {
	r, _ := fronted(t, OptionalProxyProtocol, func(c *Config) { c.HandshakeTimeout = 2500 * time.Millisecond })
	s := r.come("10.0.0.1", "PROXY TCP4 192.")
	for range 3 {
		if s.closed {
			t.Fatal("it was closed before its time")
		}
		r.says(s, "0")
		r.loop.engine.started = r.loop.engine.started.Add(-time.Second)
		r.loop.tick()
	}
	if !s.closed {
		t.Error("it is still open")
	}
}

// TestNoLineNamesAProxy: whatever reads the log to ban addresses must not find the proxy's.
func TestNoLineNamesAProxy(t *testing.T) {
	r, log := fronted(t, OptionalProxyProtocol, nil)
	r.come("10.0.0.1", "EHLO x\r\n")
	r.come("unix", "EHLO x\r\n")
	r.come("10.0.0.1", headerOf("192.0.2.7")+"EHLO x\r\n")
	for i, want := range []string{
		`msg="access denied" address=unknown reason=bad_handshake conn=0-0-1 proxy=10.0.0.1`,
		`msg="access denied" address=unknown reason=bad_handshake conn=0-0-2`,
		`msg="access denied" address=192.0.2.7 reason=bad_handshake conn=0-0-3`,
	} {
		if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 3 || !strings.HasSuffix(lines[i], want) {
			t.Fatalf("the log says %s; want %s", log, want)
		}
	}
}

// TestTrustIsReloaded: for who connects from then on.
func TestTrustIsReloaded(t *testing.T) {
	r, _ := fronted(t, NoProxyProtocol, nil)
	before := r.come("10.0.0.1", upgradeFor("192.0.2.7"))
	r.loop.engine.SetRules(Rules{Auth: anyone{}, ConnectionsPerIP: 1})
	after := r.come("10.0.0.1", upgradeFor("192.0.2.7"))
	if a, b := addressText(remoteAddr(before)), addressText(remoteAddr(after)); a != "192.0.2.7" || b != "10.0.0.1" {
		t.Errorf("one from before is %s, one from after %s", a, b)
	}
	if _, counted := r.loop.engine.admission.addresses[netip.MustParseAddr("10.0.0.1")]; !counted {
		t.Error("who is trusted no more is not counted")
	}
}

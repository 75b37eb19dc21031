package bench

import (
	"bytes"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
	"rookery/gateway/gatewaytest"
	"rookery/internal/certtest"
)

// secureGateway is one with TLS, and the issuer of its certificate as PEM.
func secureGateway(t *testing.T) (g *gatewaytest.Server, ca string) {
	t.Helper()
	issuer := certtest.NewIssuer(t)
	pem, err := os.ReadFile(issuer.File)
	if err != nil {
		t.Fatal(err)
	}
	return gatewaytest.Start(t, gatewaytest.SecureBy(issuer)), string(pem)
}

// TestScenariosOverTLS runs each of them, with two workers, as small as it gets. Over raw TCP those that do everything: the records are the same,
// and what is in them is framed as without TLS.
func TestScenariosOverTLS(t *testing.T) {
	g, ca := secureGateway(t)
	raw := 0
	for _, scenario := range plan.Scenarios() {
		transports := map[string]string{"WebSocket over TLS": "wss://" + g.SecureAddr() + "/ws"}
		if scenario.Name == "chat" || scenario.Name == "reconnect" {
			raw++
			transports["TCP over TLS"] = "tls://" + g.SecureAddr()
		}
		for transport, target := range transports {
			t.Run(scenario.Name+"/"+target[:3], func(t *testing.T) {
				t.Parallel()
				p, err := plan.Named(scenario.Name)
				if err != nil {
					t.Fatal(err)
				}
				p.Server.Targets, p.Server.PID, p.Server.TLS.CA = []string{target}, -1, ca
				p.Clients.Connections, p.Clients.Workers, p.Rooms.Count = 6, 2, min(p.Rooms.Count, 2)
				p.Publish.Rate, p.Rooms.Backlog = min(p.Publish.Rate, 50), min(p.Rooms.Backlog, 20)
				p.Trouble.Churn, p.Trouble.Moves = min(p.Trouble.Churn, 10), min(p.Trouble.Moves, 10)
				p.Trouble.Stall.At, p.Trouble.Stall.For, p.Trouble.Cut.At = 100*time.Millisecond, min(p.Trouble.Stall.For, 300*time.Millisecond), 100*time.Millisecond
				p.Time = plan.Time{Duration: time.Second, Drain: 20 * time.Second}
				r := runPlan(t, p)
				n := r.Counts
				if n.Undelivered()+n.Duplicated+n.Reordered+n.Foreign+n.Disconnected+n.ConnectsFailed != 0 || n.Delivered != n.Expected || n.Connected < 6 {
					t.Errorf("counts are %+v, faults %v", n, r.Faults)
				}
				if p.Publish.Sends() && n.Delivered == 0 {
					t.Error("nothing was delivered")
				}
				if len(r.TLS) != 1 || r.TLS[0].Version != "TLS 1.3" || r.TLS[0].Handshakes < n.Connected || r.TLS[0].Resumed != 0 {
					t.Errorf("%d connections agreed on %+v, want a full handshake of TLS 1.3 each", n.Connected, r.TLS)
				}
				var text bytes.Buffer
				if err := report.Write(&text, r); err != nil || !strings.Contains(text.String(), transport+"; TLS 1.3, ") {
					t.Errorf("the report does not say %q, %v:\n%s", transport, err, text.String())
				}
			})
		}
	}
	if raw != 2 {
		t.Errorf("%d scenarios are run over raw TCP, want 2", raw)
	}
}

// TestTickets: with TLS 1.3 they come on the loop, behind the handshake.
func TestTickets(t *testing.T) {
	g, ca := secureGateway(t)
	for _, version := range []string{"1.2", "1.3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := smallPlan("wss://" + strings.Replace(g.SecureAddr(), "127.0.0.1", "localhost", 1) + "/ws")
			p.Server.TLS = plan.TLS{CA: ca, Version: version, Resume: true}
			p.Clients.Pending, p.Trouble.Churn = 1, 20 // one after the other: the first ones would have no ticket
			r := runPlan(t, p)
			if len(r.TLS) != 1 || r.TLS[0].Version != "TLS "+version || r.Counts.Undelivered()+r.Counts.ConnectsFailed != 0 {
				t.Fatalf("agreed on %+v, counts %+v, faults %v", r.TLS, r.Counts, r.Faults)
			}
			if a := r.TLS[0]; a.Resumed < a.Handshakes/2 || a.Resumed == a.Handshakes {
				t.Errorf("few came with a ticket, or the first one too: %+v", a)
			}
		})
	}
}

func TestInsecureIsSaid(t *testing.T) {
	t.Parallel()
	g, _ := secureGateway(t)
	p := smallPlan("tls://" + g.SecureAddr())
	p.Server.TLS.Insecure = true
	var warned []string
	// Twelve handshakes at once, of which two processors leave a place to one.
	worker := []string{"env", "GOMAXPROCS=2", os.Args[0]}
	r, err := Run(t.Context(), p, Options{Version: "test", Worker: worker, Stderr: os.Stderr, Warn: func(text string) { warned = append(warned, text) }})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Seconds, func(s result.Second) bool { return s.Client.HandshakesWaited > 0 }) {
		t.Error("no handshake has waited for another one")
	}
	if r.Counts.Connected != 12 || r.Counts.Undelivered() != 0 {
		t.Errorf("counts %+v, faults %v", r.Counts, r.Faults)
	}
	var text bytes.Buffer
	if err := report.Write(&text, r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(warned, "\n"), "INSECURE") || strings.Count(text.String(), "INSECURE") != 2 {
		t.Errorf("warned of %q, reported\n%s", warned, text.String())
	}
}

// TestHandshakesThatFail are told by cause.
func TestHandshakesThatFail(t *testing.T) {
	g, ca := secureGateway(t)
	plain, secure := g.Addr(), g.SecureAddr()
	_, stranger := secureGateway(t)
	for _, c := range []struct {
		name, target string
		tls          plan.TLS
		what, says   string
	}{
		{"an issuer that is not known", "wss://" + secure, plan.TLS{CA: stranger}, "handshake", "issuer is none of those that are believed: name it with --ca"},
		{"another name", "tls://" + secure, plan.TLS{CA: ca, ServerName: "chat.example"}, "handshake", "--server-name"},
		{"a port without TLS", "wss://" + plain, plan.TLS{CA: ca}, "handshake", "speak no TLS at this port"},
		{"a port without TLS, raw", "tls://" + plain, plan.TLS{CA: ca}, "handshake", "speak no TLS at this port"},
		{"a port that answers without TLS", "wss://" + peer(t, func(c net.Conn) {
			io.ReadFull(c, make([]byte, 200))
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}), plan.TLS{CA: ca}, "handshake", "answered without TLS"},
		{"TLS that nobody speaks", "ws://" + secure, plan.TLS{}, "connect", "use a wss:// target"},
		{"TLS that nobody speaks, raw", "tcp://" + secure, plan.TLS{}, "login", "connection"}, // ended, or reset
		{"a server that closes at once", "wss://" + peer(t, func(c net.Conn) {}), plan.TLS{CA: ca}, "handshake", "too many handshakes"},
		{"a server that stops in the middle", "tls://" + peer(t, func(c net.Conn) {
			io.ReadFull(c, make([]byte, 200))
			c.Write([]byte{22, 3, 3, 0, 100, 2, 0, 0})
		}), plan.TLS{CA: ca}, "handshake", "in the middle"},
		{"a server that says nothing", "tls://" + peer(t, func(c net.Conn) { io.Copy(io.Discard, c) }), plan.TLS{CA: ca}, "handshake", "timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := smallPlan(c.target)
			p.Server.TLS, p.Clients.Timeout = c.tls, 10*time.Second
			if c.says == "timed out" {
				p.Clients.Timeout = 300 * time.Millisecond
			}
			stop, stopped := make(chan struct{}), false
			r, err := Run(t.Context(), p, Options{Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr, Stop: stop, Progress: func(p report.Progress) {
				if !stopped && p.Second.Counts.ConnectsFailed > 0 {
					stopped = true
					close(stop)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range r.Faults {
				found = found || f.What == c.what && strings.Contains(f.Message, c.says)
			}
			if !found || r.Counts.Connected != 0 || len(r.TLS) != 0 {
				t.Errorf("faults %v, want %s with %q; counts %+v", r.Faults, c.what, c.says, r.Counts)
			}
		})
	}
}

// peer is a server that does one thing with each connection and closes it.
func peer(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func TestTLSThatCanNotBe(t *testing.T) {
	for _, c := range []struct {
		target string
		tls    plan.TLS
		want   string
	}{
		{"ws://127.0.0.1:1/", plan.TLS{Resume: true}, "no target has TLS"},
		{"wss://127.0.0.1:1/", plan.TLS{Version: "1.1"}, `server.tls.version is "1.1"`},
		{"wss://127.0.0.1:1/", plan.TLS{CA: "none"}, "server.tls.ca has no certificate"},
		{"tls://127.0.0.1:1", plan.TLS{CA: "none", Insecure: true}, "both set"},
		{"tls://127.0.0.1", plan.TLS{}, "has no port"},
		{"WSS://127.0.0.1:1/", plan.TLS{CA: "none"}, "server.tls.ca has no certificate"},
	} {
		p := smallPlan(c.target)
		p.Server.TLS = c.tls
		if err := Check(p); err == nil || !strings.Contains(err.Error(), c.want) || p.Server.Secure() == strings.HasPrefix(c.target, "ws:") {
			t.Errorf("%s with %+v: %v, want %q", c.target, c.tls, err, c.want)
		}
	}
}

// TestAgreementsAddUp over workers.
func TestAgreementsAddUp(t *testing.T) {
	a, b := result.Agreement{Version: "TLS 1.3", Suite: "a", Handshakes: 2, Resumed: 1}, result.Agreement{Version: "TLS 1.3", Suite: "b", Handshakes: 3}
	got := result.AddAgreements([]result.Agreement{a}, []result.Agreement{b, a})
	if len(got) != 2 || got[0].Suite != "a" || got[0].Handshakes != 4 || got[0].Resumed != 2 || got[1] != b {
		t.Errorf("got %+v", got)
	}
}

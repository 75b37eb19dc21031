package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const secret = "a secret of the tests, 32 bytes or more"

func signed(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// production is a gateway with keys and without development mode.
func production(c *gateway.Config) {
	c.Dev = false
	c.Auth.HS256Secret = secret
	c.Auth.Leeway = 0
}

func connect(p *peer, token, name string) uint64 {
	p.t.Helper()
	return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Token: token, Name: name}}})
}

func TestTokenSaysWhoAndWhere(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production)
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			p := open(t, srv.Addr(), w)
			connect(p, signed(t, jwt.MapClaims{
				"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(),
				"rooms": []string{"team-*", "news"}, "publish": []string{"team-*"},
			}), "")
			if u := p.must().GetConnected().GetUser(); u != "alice" {
				t.Fatalf("connected as %q", u)
			}
			p.enter("team-1")
			p.publish("team-1", "", "x")
			p.must()
			p.must()
			p.enter("news")
			p.publish("news", "", "x")
			p.mustFail(proto.ErrPublishForbidden)
			p.join("hr", nil, "")
			p.mustFail(proto.ErrRoomForbidden)
			p.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "hr"}}})
			p.mustFail(proto.ErrRoomForbidden)
		})
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production)
	hour := time.Now().Add(time.Hour).Unix()
	for _, c := range []struct {
		name, token, user string
		want              proto.ErrorCode
		last              proto.CloseCode
	}{
		{"no token", "", "", proto.ErrUnauthorized, proto.CloseUnauthorized},
		{"a bare name", "", "alice", proto.ErrUnauthorized, proto.CloseUnauthorized},
		{"garbage", "x.y.z", "", proto.ErrUnauthorized, proto.CloseUnauthorized},
		{"expired", signed(t, jwt.MapClaims{"sub": "a", "exp": time.Now().Add(-time.Hour).Unix()}), "", proto.ErrTokenExpired, proto.CloseTokenExpired},
		{"without a user", signed(t, jwt.MapClaims{"exp": hour}), "", proto.ErrUnauthorized, proto.CloseUnauthorized},
		{"without an end", signed(t, jwt.MapClaims{"sub": "a"}), "", proto.ErrUnauthorized, proto.CloseUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t, srv.Addr(), wires[0])
			connect(p, c.token, c.user)
			p.mustFail(c.want)
			p.mustClose(c.last)
		})
	}
}

func TestSessionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production, func(c *gateway.Config) { c.Heartbeat = 8 * time.Second })
	p, q := open(t, srv.Addr(), wires[1]), open(t, srv.Addr(), wires[1])
	soon := time.Now().Add(4 * time.Second).Unix() // what follows comes before that
	for _, x := range []*peer{p, q} {
		connect(x, signed(t, jwt.MapClaims{"sub": "alice", "exp": soon}), "")
		x.must()
	}
	// A new token on the open connection carries the session on.
	connect(q, signed(t, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}), "")
	if q.must().GetConnected() == nil {
		t.Fatal("the second token was not taken")
	}
	p.mustClose(proto.CloseTokenExpired)
	q.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	if q.must().GetPong() == nil {
		t.Error("the renewed session ended with its first token")
	}
}

func TestPublishRateOfAUserHoldsOverConnections(t *testing.T) {
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1, 5
	})
	a, b := login(t, srv.Addr(), wires[0], "alice"), login(t, srv.Addr(), wires[2], "alice")
	taken, begun := 0, time.Now()
	for limited := false; !limited; taken++ {
		p := a
		if taken%2 == 1 {
			p = b
		}
		p.publish("r", "", "x")
		switch f := p.must(); {
		case f.GetPublished() != nil:
		case f.GetError().GetName() == proto.ErrRateLimited.Name:
			limited = true
			if after := f.GetError().GetRetryAfterMs(); after == 0 || after > 1000 {
				t.Errorf("retry after %d ms, want up to 1000", after)
			}
		default:
			t.Fatalf("publish %d was answered with %v", taken, f)
		}
	}
	taken--
	if most := 5 + int(time.Since(begun).Seconds()) + 1; taken < 5 || taken > most {
		t.Errorf("%d publishes were taken over both connections, want the burst of 5, and at most %d", taken, most)
	}
	other := login(t, srv.Addr(), wires[0], "bob")
	other.publish("r", "", "x")
	if other.must().GetPublished() == nil {
		t.Error("another user was limited too")
	}
}

// TestRatesOfOtherRequests: of a user over joins, reads, marks and changes of members, and of a room over its publishes.
func TestRatesOfOtherRequests(t *testing.T) {
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Auth.HS256Secret = secret
		c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1000, 1000
		c.Limits.Rates = []string{
			"user join 0.01/s burst 1", "user read 0.01/s burst 1", "user mark 0.01/s burst 1", "room publish 0.01/s burst 1",
		}
	})
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			room := "r " + w.name
			alice, bob := open(t, srv.Addr(), w), login(t, srv.Addr(), w, "bob "+w.name)
			// The claim leaves her one change in a thousand seconds.
			connect(alice, signed(t, jwt.MapClaims{
				"sub": "alice " + w.name, "exp": time.Now().Add(time.Hour).Unix(), "limits": map[string]float64{"publish": 0.001},
			}), "")
			alice.must()
			limited := func(p *peer, seconds uint32, f *v1.ClientFrame) {
				t.Helper()
				e := p.answer(p.request(f)).GetError()
				if after := e.GetRetryAfterMs(); e.GetName() != proto.ErrRateLimited.Name || after > 1000*seconds || after < 500*seconds {
					t.Errorf("%v was answered with %v, want rate_limited for %d s", f, e, seconds)
				}
			}
			history := &v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: room}}}
			mark := &v1.ClientFrame{Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Read: 1}}}
			publish := &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: "x"}}}}

			alice.enter(room)
			limited(alice, 100, &v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "channel:" + w.name}}})
			if f := bob.answer(bob.request(publish)); f.GetPublished() == nil {
				t.Errorf("the first publish of the room was answered with %v", f)
			}
			limited(bob, 100, publish)
			alice.request(mark)
			limited(alice, 100, mark)
			if f := alice.answer(alice.request(history)); f.GetHistory() == nil {
				t.Errorf("the first read was answered with %v", f)
			}
			limited(alice, 100, history)
			limited(alice, 100, &v1.ClientFrame{Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{Room: "channel:" + w.name}}})
			limited(alice, 100, &v1.ClientFrame{Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{Watch: true}}})
			alice.create(&v1.Create{Room: "group:" + w.name})
			limited(alice, 1000, &v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: "bob"}}})
			limited(alice, 1000, &v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: &v1.ChangeMember{Room: "group:" + w.name, Action: "invite", User: "bob"}}})
			limited(alice, 1000, &v1.ClientFrame{Op: &v1.ClientFrame_Configure{Configure: &v1.Configure{Room: "group:" + w.name}}})
		})
	}
}

func TestConnectionsOfAUserAreCapped(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.ConnectionsPerUser = 2 })
	first := login(t, srv.Addr(), wires[0], "alice")
	login(t, srv.Addr(), wires[1], "alice")
	p := open(t, srv.Addr(), wires[2])
	connect(p, "", "alice")
	p.mustFail(proto.ErrTooManyUserConns)
	p.mustClose(proto.CloseOverloaded)
	login(t, srv.Addr(), wires[0], "bob")
	first.conn.Close()
	eventually(t, "a place that came free can be taken", func() bool {
		p := open(t, srv.Addr(), wires[2])
		connect(p, "", "alice")
		return p.must().GetConnected() != nil
	})
}

func TestConnectionsOfAnAddressAreCapped(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.ConnectionsPerIP = 2 })
	first := login(t, srv.Addr(), wires[0], "alice")
	login(t, srv.Addr(), wires[2], "bob")
	_, err := tryOpen(t, srv.Addr(), wires[0])
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), `Retry-After "5"`) {
		t.Errorf("over the cap: %v", err)
	}
	open(t, srv.Addr(), wires[2]).mustClose(proto.CloseOverloaded)
	first.conn.Close()
	eventually(t, "a place that came free can be taken", func() bool {
		_, err := tryOpen(t, srv.Addr(), wires[0])
		return err == nil
	})
}

func TestConnectionsAreCapped(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.Connections = 2 })
	alice := login(t, srv.Addr(), wires[0], "alice")
	login(t, srv.Addr(), wires[2], "bob")
	_, err := tryOpen(t, srv.Addr(), wires[1])
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("over the cap: %v", err)
	}
	eventually(t, "the refusal is counted", func() bool {
		return metric(t, srv, `rookery_connections_refused_total{reason="connections"}`) == 1
	})
	alice.enter("r")
	alice.publish("r", "", "x")
	if alice.must().GetPublished() == nil {
		t.Error("who is in is not served")
	}
}

// eventually retries what becomes true when another goroutine has got round to it.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within %v", what, waitLimit)
}

package gateway_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
)

func TestReload(t *testing.T) {
	var cfg gateway.Config
	srv := gatewaytest.Start(t, production, func(c *gateway.Config) { cfg = *c })
	token := signed(t, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	old := open(t, srv.Addr(), wires[0])
	connect(old, token, "")
	old.must()

	t.Run("what can't be used changes nothing", func(t *testing.T) {
		bad := cfg
		bad.Auth.HS256Secret = "short"
		if _, err := srv.Reload(bad); err == nil || !strings.Contains(err.Error(), "auth.hs256_secret") {
			t.Fatalf("reload: %v", err)
		}
		p := open(t, srv.Addr(), wires[0])
		connect(p, token, "")
		if p.must().GetConnected() == nil {
			t.Error("the old key was lost")
		}
	})
	t.Run("keys, rates and caps", func(t *testing.T) {
		next := cfg
		next.Auth.HS256Secret = "another secret of 32 bytes or more, to be sure"
		next.Limits.MessagesPerSecond, next.Limits.MessageBurst = 1, 1
		next.Limits.ConnectionsPerIP = 1
		next.Heartbeat = time.Minute
		needRestart, err := srv.Reload(next)
		if err != nil || !slices.Equal(needRestart, []string{"heartbeat"}) {
			t.Fatalf("reload: need restart %v, %v", needRestart, err)
		}
		p := open(t, srv.Addr(), wires[0]) // the first that is counted
		connect(p, token, "")
		p.mustFail(proto.ErrUnauthorized)
		if _, err := tryOpen(t, srv.Addr(), wires[0]); err == nil {
			t.Error("the cap for an address is not in force")
		}
		old.publish("r", "", "x")
		if old.must().GetPublished() == nil {
			t.Error("a connection from before the reload lost its session")
		}
	})
}

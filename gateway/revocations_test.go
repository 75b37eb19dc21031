package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
)

func tokenOf(t *testing.T, user, id string, issued time.Time) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}
	if id != "" {
		claims["jti"] = id
	}
	if !issued.IsZero() {
		claims["iat"] = issued.Unix()
	}
	return signed(t, claims)
}

// TestRevocation: over the admin listener, on live connections of all loops, at connect, after a restart, and taken back.
func TestRevocation(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	options := func(c *gateway.Config) {
		c.Loops, c.Data = 3, data
	}
	srv := gatewaytest.Start(t, production, options)
	enter := func(token string) *peer {
		t.Helper()
		p := open(t, srv.Addr(), wires[0])
		connect(p, token, "")
		if p.must().GetConnected() == nil {
			t.Fatal("a good token was refused")
		}
		return p
	}
	refused := func(token string) {
		t.Helper()
		p := open(t, srv.Addr(), wires[2])
		connect(p, token, "")
		p.mustFail(proto.ErrTokenRevoked)
		p.mustClose(proto.CloseTokenRevoked)
	}
	ask := func(method, path, body string, status int, want string) {
		t.Helper()
		if code, answer := askAdmin(t, srv, method, path, body); code != status || !strings.Contains(answer, want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", method, path, body, code, answer, status, want)
		}
	}
	minuteAgo := time.Now().Add(-time.Minute)
	phone, laptop := tokenOf(t, "alice", "phone 1", minuteAgo), tokenOf(t, "alice", "laptop", minuteAgo)
	future := tokenOf(t, "alice", "", time.Now().Add(time.Minute)) // of an issuer whose clock is ahead: later than what is revoked
	bob := tokenOf(t, "bob", "", time.Time{})
	var phones, laptops []*peer
	for range 9 {
		phones, laptops = append(phones, enter(phone)), append(laptops, enter(laptop))
	}
	bobs := enter(bob)

	ask("POST", "/revocations", `{"token":"phone 1"}`, 200, `"token":"phone 1","at":"`)
	for _, p := range phones {
		p.mustClose(proto.CloseTokenRevoked)
	}
	refused(phone)
	ask("POST", "/revocations", `{"user":"alice"}`, 200, `"user":"alice"`)
	for _, p := range laptops {
		p.mustClose(proto.CloseTokenRevoked)
	}
	refused(laptop)
	refused(tokenOf(t, "alice", "", time.Time{}))
	enter(future)
	connect(bobs, bob, "")
	if bobs.must().GetConnected() == nil {
		t.Error("bob's token was revoked with alice's")
	}
	if n := metric(t, srv, "rookery_revocations"); n != 2 {
		t.Errorf("%v revocations are counted", n)
	}

	srv.Stop()
	srv = gatewaytest.Start(t, production, options)
	refused(phone)
	refused(laptop)
	ask("GET", "/revocations", "", 200, `{"revocations":[{"token":"phone 1",`)
	ask("DELETE", "/revocations/token/phone%201", "", http.StatusNoContent, "")
	ask("DELETE", "/revocations/token/phone%201", "", 404, "no such revocation")
	refused(phone) // alice's all the same
	ask("DELETE", "/revocations/user/alice", "", http.StatusNoContent, "")
	enter(phone)
	ask("GET", "/revocations", "", 200, `{"revocations":[]}`)

	for body, want := range map[string]string{
		`{}`:                         "either a token by its id or a user",
		`{"user":"a","token":"b"}`:   "either a token by its id or a user",
		`{"usr":"a"}`:                "unknown field",
		`{"user":"a"} {}`:            "something behind",
		`{"user":"` + "a\\nb" + `"}`: "without control characters",
		`{"user":"a","until":"2020-01-01T00:00:00Z"}`: "has passed",
		`{"user":"a","at":"2020-01-01T00:00:00Z"}`:    "leave it out",
		`x`: "can't be read",
	} {
		ask("POST", "/revocations", body, 400, want)
	}
}

// TestRevokedTokensDoNotRenew: who is connected with one token can't go on with another that was revoked.
func TestRevokedTokensDoNotRenew(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production)
	p := open(t, srv.Addr(), wires[0])
	connect(p, tokenOf(t, "alice", "first", time.Now()), "")
	p.must()
	if code, answer := askAdmin(t, srv, "POST", "/revocations", `{"token":"second"}`); code != 200 {
		t.Fatal(answer)
	}
	connect(p, tokenOf(t, "alice", "second", time.Now()), "")
	p.mustFail(proto.ErrTokenRevoked)
	p.mustClose(proto.CloseTokenRevoked)
}

func TestLifetimeOfTokensIsBounded(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production, func(c *gateway.Config) { c.Auth.MaxLifetime = 30 * time.Minute })
	p := open(t, srv.Addr(), wires[0])
	connect(p, tokenOf(t, "alice", "", time.Now()), "") // an hour
	p.mustFail(proto.ErrUnauthorized)
	q := open(t, srv.Addr(), wires[0])
	connect(q, signed(t, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(29 * time.Minute).Unix()}), "")
	if q.must().GetConnected() == nil {
		t.Error("a token within the bound was refused")
	}
	code, answer := askAdmin(t, srv, "POST", "/revocations", `{"user":"alice"}`)
	var shown struct{ Until time.Time }
	if err := json.Unmarshal([]byte(answer), &shown); code != 200 || err != nil || shown.Until.After(time.Now().Add(30*time.Minute)) {
		t.Errorf("a revocation is kept longer than tokens live: %d %s, %v", code, answer, err)
	}
}

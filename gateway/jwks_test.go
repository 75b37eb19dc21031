package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
)

// TestRotationIsFollowed against an issuer over HTTP: a token of a key that was published a moment ago is told to come back,
// and is taken then.
func TestRotationIsFollowed(t *testing.T) {
	t.Parallel()
	newKey := func() (string, ed25519.PrivateKey) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(public), private
	}
	oldX, oldKey := newKey()
	newX, nextKey := newKey()
	var document atomic.Value
	published := func(id, x string) string { return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, id, x) }
	document.Store(`{"keys":[` + published("old", oldX) + `]}`)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(document.Load().(string)))
	}))
	t.Cleanup(issuer.Close)
	token := func(id string, key ed25519.PrivateKey) string {
		made := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
		made.Header["kid"] = id
		text, err := made.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}

	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Dev = false
		c.Auth.JWKS = issuer.URL
	})
	// comes connects until it is let in, and says how often it was told to come back.
	comes := func(token string) (told int) {
		for deadline := time.Now().Add(waitLimit); ; told++ {
			p := open(t, srv.Addr(), wires[0])
			connect(p, token, "")
			f := p.must()
			if f.GetConnected() != nil {
				return told
			}
			if e := f.GetError(); e.GetName() != proto.ErrKeysPending.Name || !e.GetRetry() || e.GetRetryAfterMs() == 0 || time.Now().After(deadline) {
				t.Fatalf("answered with %v", f)
			}
			p.mustClose(proto.CloseOverloaded)
			time.Sleep(time.Duration(f.GetError().GetRetryAfterMs()) * time.Millisecond) // as the client is told to
		}
	}
	comes(token("old", oldKey))
	document.Store(`{"keys":[` + published("new", newX) + `,` + published("old", oldX) + `]}`)
	if told := comes(token("new", nextKey)); told == 0 {
		t.Error("the new key was there before anybody asked for it")
	}
	issuer.Close() // what is known stays good
	if told := comes(token("new", nextKey)) + comes(token("old", oldKey)); told != 0 {
		t.Errorf("known keys made clients wait %d times", told)
	}
	p := open(t, srv.Addr(), wires[0])
	connect(p, token("new", oldKey), "")
	p.mustFail(proto.ErrUnauthorized)
	p.mustClose(proto.CloseUnauthorized)
}

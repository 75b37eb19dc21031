package gateway

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/jwks"
)

// publicJWK is a public key as issuers publish it.
func publicJWK(t testing.TB, public any, id string) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := public.(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": id, "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"kty": "EC", "crv": "P-256", "kid": id, "x": b64(point[1:33]), "y": b64(point[33:])}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(k)}
	}
	t.Fatalf("a key of type %T", public)
	return nil
}

func writeKeySet(t testing.TB, path string, keys ...map[string]any) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestKeysOfASet: each algorithm, what can be confused with it, and a key that comes later.
func TestKeysOfASet(t *testing.T) {
	keys := testKeys()
	path := filepath.Join(t.TempDir(), "keys.json")
	writeKeySet(t, path, publicJWK(t, &keys.rsa.PublicKey, "r"), publicJWK(t, &keys.p256.PublicKey, "e"),
		publicJWK(t, keys.ed25519.Public(), "d"),
		map[string]any{"kty": "oct", "kid": "s", "alg": "HS256", "k": base64.RawURLEncoding.EncodeToString(testSecret)})
	c := DefaultConfig()
	c.Auth.JWKS = path
	c.Auth.PublicKeys = []string{"static=" + keyFile(t, publicPEM(t, keys.rsa))}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	modulus := keys.rsa.N.Bytes()
	synctest.Test(t, func(t *testing.T) {
		set := jwks.Start(jwks.Config{Source: path, Log: slog.New(slog.DiscardHandler)})
		defer set.Close()
		synctest.Wait()
		a, err := newAuthenticatorAt(c, set, nil, func() time.Time { return testNow })
		if err != nil {
			t.Fatal(err)
		}
		notYet := errors.New("not yet")
		for _, test := range []struct {
			name string
			head header
			sign func(string) []byte
			want error
		}{
			{"RS256", header{"alg": "RS256", "kid": "r"}, by(t, jwt.SigningMethodRS256, keys.rsa), nil},
			{"ES256", header{"alg": "ES256", "kid": "e"}, by(t, jwt.SigningMethodES256, keys.p256), nil},
			{"EdDSA", header{"alg": "EdDSA", "kid": "d"}, by(t, jwt.SigningMethodEdDSA, keys.ed25519), nil},
			{"without a kid", header{"alg": "ES256"}, by(t, jwt.SigningMethodES256, keys.p256), nil},
			{"of a file beside the set", header{"alg": "RS256", "kid": "static"}, by(t, jwt.SigningMethodRS256, keys.rsa), nil},
			{"HS256 with a published secret", header{"alg": "HS256", "kid": "s"}, hs256(testSecret), identity.ErrTokenInvalid},
			{"HS256 with a public key", header{"alg": "HS256", "kid": "r"}, hs256(modulus), identity.ErrTokenInvalid},
			{"HS256 with an unknown kid", header{"alg": "HS256", "kid": "x"}, hs256(testSecret), identity.ErrTokenInvalid},
			{"none", header{"alg": "none", "kid": "r"}, func(string) []byte { return nil }, identity.ErrTokenInvalid},
			{"the kid of another algorithm", header{"alg": "ES256", "kid": "r"}, by(t, jwt.SigningMethodES256, keys.p256), notYet},
			{"another key's signature", header{"alg": "RS256", "kid": "r"}, func(string) []byte { return make([]byte, 256) }, identity.ErrTokenInvalid},
			{"an unknown kid", header{"alg": "EdDSA", "kid": "later"}, by(t, jwt.SigningMethodEdDSA, keys.ed25519), notYet},
		} {
			_, err := a.Authenticate(forge(t, test.head, goodClaims(), test.sign), "")
			_, waits := errors.AsType[*identity.NotYetError](err)
			if waits != (test.want == notYet) || !waits && !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}

		later := forge(t, header{"alg": "EdDSA", "kid": "later"}, goodClaims(), by(t, jwt.SigningMethodEdDSA, keys.ed25519))
		never := forge(t, header{"alg": "EdDSA", "kid": "never"}, goodClaims(), by(t, jwt.SigningMethodEdDSA, keys.ed25519))
		a.Authenticate(never, "")
		writeKeySet(t, path, publicJWK(t, keys.ed25519.Public(), "later"))
		_, err = a.Authenticate(later, "")
		wait, _ := errors.AsType[*identity.NotYetError](err)
		time.Sleep(wait.After)
		synctest.Wait()
		if _, err := a.Authenticate(later, ""); err != nil {
			t.Errorf("a new key after the time that was told: %v", err)
		}
		if _, err := a.Authenticate(never, ""); !errors.Is(err, identity.ErrTokenInvalid) {
			t.Errorf("a kid that the set does not have: %v", err)
		}
		gone := forge(t, header{"alg": "RS256", "kid": "r"}, goodClaims(), by(t, jwt.SigningMethodRS256, keys.rsa))
		a.Authenticate(gone, "")
		time.Sleep(time.Minute)
		if _, err := a.Authenticate(gone, ""); !errors.Is(err, identity.ErrTokenInvalid) {
			t.Errorf("a key that was taken back: %v", err)
		}
	})
}

func TestAnAddressWithoutTLSIsRefused(t *testing.T) {
	c := secretConfig()
	c.Auth.JWKS = "http://issuer.example/keys"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "auth.jwks") || !strings.Contains(err.Error(), "without TLS") {
		t.Errorf("%v", err)
	}
}

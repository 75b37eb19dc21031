package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/identity"
)

// testNow is the time of the authenticators in these tests: 2025-11-22 12:00:00 UTC.
var testNow = time.Unix(1763812800, 0)

var testSecret = []byte(strings.Repeat("0123456789abcdef", 2))

// testKeys are made once, since an RSA key takes a while.
var testKeys = sync.OnceValue(func() (keys struct {
	rsa, smallRSA *rsa.PrivateKey
	p256, p384    *ecdsa.PrivateKey
	ed25519       ed25519.PrivateKey
}) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	keys.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	keys.smallRSA, err = rsa.GenerateKey(rand.Reader, 1024)
	check(err)
	keys.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	keys.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(err)
	_, keys.ed25519, err = ed25519.GenerateKey(rand.Reader)
	check(err)
	return keys
})

func publicPEM(t testing.TB, private crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func privatePEM(t testing.TB, private crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// keyFile writes a key into a file of its own and returns the path.
func keyFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testAuthenticator(t testing.TB, c Config) *authenticator {
	t.Helper()
	a, err := newAuthenticatorAt(c, nil, nil, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// secretConfig has testSecret as its only key.
func secretConfig() Config {
	c := DefaultConfig()
	c.Auth.HS256Secret = Secret(testSecret)
	return c
}

type header map[string]any
type claims map[string]any

func goodClaims() claims {
	return claims{"sub": "alice", "exp": testNow.Add(time.Hour).Unix()}
}

// forge puts a token together by hand, so that it may say what no library would write.
func forge(t testing.TB, h header, c any, sign func(text string) []byte) string {
	t.Helper()
	var parts []string
	for _, part := range []any{h, c} {
		data, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(data))
	}
	text := strings.Join(parts, ".")
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func hs256(secret []byte) func(string) []byte {
	return func(text string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
}

func by(t testing.TB, method jwt.SigningMethod, key any) func(string) []byte {
	return func(text string) []byte {
		signature, err := method.Sign(text, key)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
}

func TestEachAlgorithm(t *testing.T) {
	keys := testKeys()
	c := secretConfig()
	for _, key := range []crypto.Signer{keys.rsa, keys.p256, keys.ed25519} {
		c.Auth.PublicKeys = append(c.Auth.PublicKeys, keyFile(t, publicPEM(t, key)))
	}
	a := testAuthenticator(t, c)
	for _, test := range []struct {
		method jwt.SigningMethod
		key    any
	}{
		{jwt.SigningMethodHS256, testSecret},
		{jwt.SigningMethodRS256, keys.rsa},
		{jwt.SigningMethodES256, keys.p256},
		{jwt.SigningMethodEdDSA, keys.ed25519},
	} {
		t.Run(test.method.Alg(), func(t *testing.T) {
			token := forge(t, header{"alg": test.method.Alg(), "typ": "JWT"}, goodClaims(), by(t, test.method, test.key))
			got, err := a.Authenticate(token, "")
			if err != nil {
				t.Fatal(err)
			}
			// The leeway of 30 s belongs to the identity's life.
			want := identity.Identity{User: "alice", Expires: testNow.Add(time.Hour + 30*time.Second).UnixMilli()}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			changed := strings.Replace(token, ".", ".e30", 1)
			if _, err := a.Authenticate(changed, ""); !errors.Is(err, identity.ErrTokenInvalid) {
				t.Errorf("a changed token: %v", err)
			}
		})
	}
}

func TestForgedTokens(t *testing.T) {
	keys := testKeys()
	c := secretConfig()
	rsaPEM := publicPEM(t, keys.rsa)
	c.Auth.PublicKeys = []string{keyFile(t, rsaPEM)}
	both := testAuthenticator(t, c)
	c.Auth.HS256Secret = ""
	onlyRSA := testAuthenticator(t, c)
	rsaDER, err := x509.MarshalPKIXPublicKey(keys.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	otherRSA := keys.smallRSA
	nothing := func(string) []byte { return nil }

	tests := []struct {
		name  string
		a     *authenticator
		token string
		want  string
	}{
		{"none", both, forge(t, header{"alg": "none"}, goodClaims(), nothing), "no key"},
		{"None", both, forge(t, header{"alg": "None"}, goodClaims(), nothing), "algorithm"},
		{"no alg", both, forge(t, header{}, goodClaims(), nothing), "algorithm"},
		{"alg is no text", both, forge(t, header{"alg": 1}, goodClaims(), nothing), "algorithm"},
		{"no signature", both, forge(t, header{"alg": "HS256"}, goodClaims(), nothing), "signature"},
		{"public key as secret, PEM", onlyRSA, forge(t, header{"alg": "HS256"}, goodClaims(), hs256([]byte(rsaPEM))), "no key"},
		{"public key as secret, DER", onlyRSA, forge(t, header{"alg": "HS256"}, goodClaims(), hs256(rsaDER)), "no key"},
		{"public key as secret beside a secret", both, forge(t, header{"alg": "HS256"}, goodClaims(), hs256([]byte(rsaPEM))), "signature"},
		{"HS256 that says RS256", both, forge(t, header{"alg": "RS256"}, goodClaims(), hs256(testSecret)), "signature"},
		{"another hash", both, forge(t, header{"alg": "RS512"}, goodClaims(), by(t, jwt.SigningMethodRS512, keys.rsa)), "no key"},
		{"PSS with the RSA key", both, forge(t, header{"alg": "PS256"}, goodClaims(), by(t, jwt.SigningMethodPS256, keys.rsa)), "no key"},
		{"HS512 with the secret", both, forge(t, header{"alg": "HS512"}, goodClaims(), by(t, jwt.SigningMethodHS512, testSecret)), "no key"},
		{"ES256 with no such key", both, forge(t, header{"alg": "ES256"}, goodClaims(), by(t, jwt.SigningMethodES256, keys.p256)), "no key"},
		{"someone else's RSA key", both, forge(t, header{"alg": "RS256"}, goodClaims(), by(t, jwt.SigningMethodRS256, otherRSA)), "signature"},
		{"someone else's secret", both, forge(t, header{"alg": "HS256"}, goodClaims(), hs256([]byte("x"))), "signature"},
		{"empty secret", both, forge(t, header{"alg": "HS256"}, goodClaims(), hs256(nil)), "signature"},
		{"critical extension", both, forge(t, header{"alg": "HS256", "crit": []string{"b64"}, "b64": false}, goodClaims(), hs256(testSecret)), "extensions"},
		{"kid is no text", both, forge(t, header{"alg": "HS256", "kid": 7}, goodClaims(), hs256(testSecret)), "kid is not a string"},
		{"not a token", both, "alice", "three parts"},
		{"dots", both, "..", "not a JWT"},
		{"padded", both, forge(t, header{"alg": "HS256"}, goodClaims(), hs256(testSecret)) + "=", "not a JWT"},
		{"too long", both, strings.Repeat("a", maxToken+1), "longer than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { checkRefused(t, test.a, test.token, identity.ErrTokenInvalid, test.want) })
	}
}

func checkRefused(t *testing.T, a *authenticator, token string, want error, words string) {
	t.Helper()
	id, err := a.Authenticate(token, "mallory")
	if !errors.Is(err, want) {
		t.Fatalf("got %+v, %v; want %v", id, err, want)
	}
	if id != (identity.Identity{}) {
		t.Errorf("an identity comes with the error: %+v", id)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("%q is not in: %v", words, err)
	}
}

func TestClaims(t *testing.T) {
	c := secretConfig()
	c.Auth.Issuer, c.Auth.Audience = "https://issuer.example", "chat"
	a := testAuthenticator(t, c)
	at := func(d time.Duration) int64 { return testNow.Add(d).Unix() }
	all := &identity.Rights{Join: []string{"*"}, Publish: []string{"lobby"}, Create: []string{"*"}}
	team := &identity.Rights{Join: []string{"team-*"}, Publish: []string{"team-*"}, Create: []string{"team-*"}}
	staff := &identity.Rights{Join: []string{"*"}, Publish: []string{"*"}, Create: []string{}, Moderate: []string{"team-*", "*"}}
	noRoom := &identity.Rights{Join: []string{}, Publish: []string{}, Create: []string{}}
	tests := []struct {
		name   string
		change claims // nil deletes a claim
		rights *identity.Rights
		want   error
		words  string
	}{
		{name: "plain"},
		{name: "several audiences", change: claims{"aud": []string{"mail", "chat"}}},
		{name: "unknown claims", change: claims{"email": "a@b", "roles": []int{1}}},
		{name: "longest name", change: claims{"sub": strings.Repeat("é", 64)}},
		{name: "expired within the leeway", change: claims{"exp": at(-29 * time.Second)}},
		{name: "begins within the leeway", change: claims{"nbf": at(29 * time.Second)}},
		{name: "fraction of a second", change: claims{"exp": float64(at(time.Hour)) + 0.5}},

		{name: "expired", change: claims{"exp": at(-31 * time.Second)}, want: identity.ErrTokenExpired, words: "get a new one"},
		{name: "expired and of another issuer", change: claims{"exp": at(-time.Hour), "iss": "x"}, want: identity.ErrTokenInvalid, words: "iss"},
		{name: "no exp", change: claims{"exp": nil}, want: identity.ErrTokenInvalid, words: "exp"},
		{name: "exp is text", change: claims{"exp": "tomorrow"}, want: identity.ErrTokenInvalid, words: "token"},
		{name: "exp 0", change: claims{"exp": 0}, want: identity.ErrTokenExpired},
		{name: "exp negative", change: claims{"exp": -5}, want: identity.ErrTokenExpired},
		{name: "exp out of all reason", change: claims{"exp": 9e15}, want: identity.ErrTokenInvalid, words: "time in seconds"},
		{name: "exp in milliseconds", change: claims{"exp": testNow.UnixMilli() * 1000}, want: identity.ErrTokenInvalid, words: "time in seconds"},
		{name: "not yet", change: claims{"nbf": at(31 * time.Second)}, want: identity.ErrTokenInvalid, words: "not valid yet"},
		{name: "wrong issuer", change: claims{"iss": "https://issuer.example/"}, want: identity.ErrTokenInvalid, words: "issuer"},
		{name: "no issuer", change: claims{"iss": nil}, want: identity.ErrTokenInvalid, words: "iss"},
		{name: "wrong audience", change: claims{"aud": "mail"}, want: identity.ErrTokenInvalid, words: "aud"},
		{name: "no audience", change: claims{"aud": nil}, want: identity.ErrTokenInvalid, words: "aud"},

		{name: "no sub", change: claims{"sub": nil}, want: identity.ErrTokenInvalid, words: "sub"},
		{name: "empty sub", change: claims{"sub": ""}, want: identity.ErrTokenInvalid, words: "sub"},
		{name: "sub too long", change: claims{"sub": strings.Repeat("a", 129)}, want: identity.ErrTokenInvalid, words: "sub"},
		{name: "sub with a line end", change: claims{"sub": "alice\nroot"}, want: identity.ErrTokenInvalid, words: "sub"},
		{name: "sub with DEL", change: claims{"sub": "a\x7f"}, want: identity.ErrTokenInvalid, words: "sub"},
		{name: "sub is a number", change: claims{"sub": 7}, want: identity.ErrTokenInvalid},

		{name: "rooms", change: claims{"rooms": []string{"team-*"}}, rights: team},
		{name: "rooms and publish", change: claims{"rooms": []string{"*"}, "publish": []string{"lobby"}}, rights: all},
		{name: "publish alone", change: claims{"publish": []string{"lobby"}}, rights: all},
		{name: "no room", change: claims{"rooms": []string{}}, rights: noRoom},
		{name: "create and moderate", change: claims{"create": []string{}, "moderate": []string{"team-*", "*"}}, rights: staff},
		{name: "moderate null", change: claims{"moderate": json.RawMessage("null")}, want: identity.ErrTokenInvalid, words: "lists of room patterns"},
		{name: "create is text", change: claims{"create": "*"}, want: identity.ErrTokenInvalid, words: "lists of room patterns"},
		{name: "star inside", change: claims{"rooms": []string{"a*b"}}, want: identity.ErrTokenInvalid, words: "room pattern"},
		{name: "empty pattern", change: claims{"publish": []string{""}}, want: identity.ErrTokenInvalid, words: "room pattern"},
		{name: "rooms null", change: claims{"rooms": json.RawMessage("null")}, want: identity.ErrTokenInvalid, words: "lists of room patterns"},
		{name: "publish null", change: claims{"publish": json.RawMessage("null")}, want: identity.ErrTokenInvalid, words: "lists of room patterns"},
		{name: "null in rooms", change: claims{"rooms": json.RawMessage(`["a",null]`)}, want: identity.ErrTokenInvalid, words: "lists of room patterns"},
		{name: "rooms is text", change: claims{"rooms": "team-*"}, want: identity.ErrTokenInvalid, words: "lists of room patterns"},
		{name: "too many rooms", change: claims{"rooms": strings.Split(strings.Repeat("r,", maxPatterns)+"r", ",")}, want: identity.ErrTokenInvalid, words: "more than 100"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := goodClaims()
			c["iss"], c["aud"] = "https://issuer.example", "chat"
			for name, v := range test.change {
				if c[name] = v; v == nil {
					delete(c, name)
				}
			}
			token := forge(t, header{"alg": "HS256"}, c, hs256(testSecret))
			if test.want != nil {
				checkRefused(t, a, token, test.want, test.words)
				return
			}
			got, err := a.Authenticate(token, "")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Rights, test.rights) {
				t.Errorf("rights are %+v, want %+v", got.Rights, test.rights)
			}
			if got.User != c["sub"] {
				t.Errorf("user is %q, want %q", got.User, c["sub"])
			}
		})
	}
	for _, body := range []any{nil, 7, []int{}, "x"} {
		checkRefused(t, a, forge(t, header{"alg": "HS256"}, body, hs256(testSecret)), identity.ErrTokenInvalid, "")
	}
}

func TestKeyIDs(t *testing.T) {
	_, first, _ := ed25519.GenerateKey(rand.Reader)
	_, second, _ := ed25519.GenerateKey(rand.Reader)
	_, unnamed, _ := ed25519.GenerateKey(rand.Reader)
	c := DefaultConfig()
	c.Auth.PublicKeys = []string{
		"first=" + keyFile(t, publicPEM(t, first)),
		"second=" + keyFile(t, publicPEM(t, second)),
		keyFile(t, publicPEM(t, unnamed)),
	}
	a := testAuthenticator(t, c)
	tests := []struct {
		name string
		kid  any // nil is absent
		key  ed25519.PrivateKey
		good bool
	}{
		{"its own", "first", first, true},
		{"its own, not the first in the list", "second", second, true},
		{"another's, behind the same head", "second", first, false},
		{"another's", "first", second, false},
		{"of a key without one", "first", unnamed, false},
		{"absent, named key", nil, second, true},
		{"absent, key without one", nil, unnamed, true},
		{"empty", "", second, true},
		{"unknown, key without one", "third", unnamed, true},
		{"unknown, named key", "third", first, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := header{"alg": "EdDSA"}
			if test.kid != nil {
				h["kid"] = test.kid
			}
			token := forge(t, h, goodClaims(), by(t, jwt.SigningMethodEdDSA, test.key))
			if test.good {
				if _, err := a.Authenticate(token, ""); err != nil {
					t.Error(err)
				}
				return
			}
			checkRefused(t, a, token, identity.ErrTokenInvalid, "signature")
		})
	}
	c.Auth.PublicKeys = c.Auth.PublicKeys[:1]
	token := forge(t, header{"alg": "EdDSA", "kid": "gone"}, goodClaims(), by(t, jwt.SigningMethodEdDSA, second))
	checkRefused(t, testAuthenticator(t, c), token, identity.ErrTokenInvalid, `kid "gone"`)
}

func TestNames(t *testing.T) {
	dev := DefaultConfig()
	dev.Dev = true
	withKey := secretConfig()
	withKey.Dev = true
	good := forge(t, header{"alg": "HS256"}, goodClaims(), hs256(testSecret))
	tests := []struct {
		name        string
		c           Config
		token, user string
		want        string
		err         error
	}{
		{"development, name", dev, "", "bob", "bob", nil},
		{"development, nothing", dev, "", "", "", identity.ErrNameRequired},
		{"development, bad name", dev, "", "a\nb", "", identity.ErrNameInvalid},
		{"development, long name", dev, "", strings.Repeat("a", 129), "", identity.ErrNameInvalid},
		{"development, no key to check with", dev, good, "", "", identity.ErrTokenInvalid},
		{"development with a key, token", withKey, good, "bob", "alice", nil},
		{"development with a key, name", withKey, "", "bob", "bob", nil},
		{"development with a key, bad token and a name", withKey, good + "x", "bob", "", identity.ErrTokenInvalid},
		{"production, name", secretConfig(), "", "bob", "", identity.ErrTokenRequired},
		{"production, nothing", secretConfig(), "", "", "", identity.ErrTokenRequired},
		{"production, token", secretConfig(), good, "", "alice", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := testAuthenticator(t, test.c).Authenticate(test.token, test.user)
			if got.User != test.want || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Errorf("got %q, %v; want %q, %v", got.User, err, test.want, test.err)
			}
		})
	}
}

// FuzzAuthenticate looks for a panic, and for a token that is taken without the secret.
func FuzzAuthenticate(f *testing.F) {
	a := testAuthenticator(f, secretConfig())
	good := forge(f, header{"alg": "HS256"}, goodClaims(), hs256(testSecret))
	f.Add(forge(f, header{"alg": "none"}, goodClaims(), func(string) []byte { return nil }))
	f.Add(forge(f, header{"alg": "HS256", "kid": nil}, nil, hs256(testSecret)))
	f.Add(good[:len(good)-1])
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := a.Authenticate(token, "")
		if err == nil && token != good {
			t.Errorf("%q is taken as %+v", token, id)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	keys := testKeys()
	c := secretConfig()
	for _, key := range []crypto.Signer{keys.rsa, keys.p256, keys.ed25519} {
		c.Auth.PublicKeys = append(c.Auth.PublicKeys, keyFile(b, publicPEM(b, key)))
	}
	a := testAuthenticator(b, c)
	for _, signer := range []struct {
		method jwt.SigningMethod
		key    any
	}{{jwt.SigningMethodHS256, testSecret}, {jwt.SigningMethodRS256, keys.rsa}, {jwt.SigningMethodES256, keys.p256}, {jwt.SigningMethodEdDSA, keys.ed25519}} {
		token := forge(b, header{"alg": signer.method.Alg()}, goodClaims(), by(b, signer.method, signer.key))
		b.Run(fmt.Sprint(signer.method.Alg()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(token, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package gateway

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPublicKeyFiles(t *testing.T) {
	keys := testKeys()
	good := publicPEM(t, keys.ed25519)
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&keys.rsa.PublicKey)}))
	tests := []struct {
		name, text string
		want       string // "" is taken
	}{
		{"Ed25519", good, ""},
		{"RSA in its older form", pkcs1, ""},
		{"text before it", "key of the issuer\n" + good, ""},
		{"private key", privatePEM(t, keys.ed25519), "openssl pkey"},
		{"two keys", good + pkcs1, "several keys"},
		{"small RSA key", publicPEM(t, keys.smallRSA), "1024 bits"},
		{"another curve", publicPEM(t, keys.p384), "P-384"},
		{"no PEM", "ssh-ed25519 AAAA", "-----BEGIN"},
		{"empty", "", "-----BEGIN"},
		{"damaged", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "damaged"},
		{"certificate", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "holds a CERTIFICATE"},
		{"not a key at all", strings.Repeat("x", maxKeyFile+1), "larger than 64KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := keyFile(t, test.text)
			_, err := LoadConfig([]string{"--auth.public-keys", path}, nil)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkOneFault(t, err, []string{"auth.public_keys = ", path, test.want})
		})
	}
}

func TestPublicKeyLists(t *testing.T) {
	path := keyFile(t, publicPEM(t, testKeys().ed25519))
	_, err := LoadConfig([]string{"--auth.public-keys", "a=" + path, "--auth.public-keys", "a=/." + path}, nil)
	checkOneFault(t, err, []string{`kid "a"`})
	var many []string
	for i := range maxKeys + 1 {
		many = append(many, fmt.Sprintf("%d=%s", i, path))
	}
	_, err = LoadConfig([]string{"--auth.public-keys", strings.Join(many, ",")}, nil)
	checkOneFault(t, err, []string{"has 17 keys", "most is 16"})
	if id, path := splitKey("./dir=x/key.pem"); id != "" || path != "./dir=x/key.pem" {
		t.Errorf("a path with = is split into %q and %q", id, path)
	}
}

// TestSignedTokensAreTaken signs with each kind of private key and authenticates with the
// public one.
func TestSignedTokensAreTaken(t *testing.T) {
	keys := testKeys()
	for name, private := range map[string]crypto.Signer{"RS256": keys.rsa, "ES256": keys.p256, "EdDSA": keys.ed25519} {
		t.Run(name, func(t *testing.T) {
			key, err := ReadSigningKey(keyFile(t, privatePEM(t, private)), "k1")
			if err != nil {
				t.Fatal(err)
			}
			c := DefaultConfig()
			c.Auth.PublicKeys = []string{"k1=" + keyFile(t, publicPEM(t, private))}
			checkSigned(t, key, c)
		})
	}
	t.Run("HS256", func(t *testing.T) {
		c := DefaultConfig()
		c.Auth.HS256SecretFile = keyFile(t, string(testSecret)+"\r\n")
		key, err := c.SigningKey()
		if err != nil {
			t.Fatal(err)
		}
		checkSigned(t, key, c)
		// The line end is not part of the secret.
		c.Auth.HS256SecretFile, c.Auth.HS256Secret = "", Secret(testSecret)
		checkSigned(t, key, c)
	})
}

func checkSigned(t *testing.T, key SigningKey, c Config) {
	t.Helper()
	c.Auth.Issuer, c.Auth.Audience = "me", "you"
	a, err := newAuthenticator(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	token, err := key.SignToken(TokenRequest{
		User: "bob", Lifetime: time.Minute, Rooms: []string{"a*"}, Publish: []string{}, Create: []string{"ab*"}, Moderate: []string{"ac*"}, Issuer: "me", Audience: "you",
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Authenticate(token, "")
	if err != nil {
		t.Fatal(err)
	}
	if id.User != "bob" || !id.CanJoin("abc") || id.CanJoin("b") || id.CanPublish("abc") || !id.CanCreate("abc") || id.CanCreate("ac") || !id.Moderates("ac") || id.Moderates("ab") {
		t.Errorf("the identity is %+v with rights %+v", id, id.Rights)
	}
	ends := time.UnixMilli(id.Expires).Sub(before)
	if ends < time.Minute+29*time.Second-time.Millisecond || ends > time.Minute+31*time.Second {
		t.Errorf("it ends in %v, want a minute and the leeway", ends)
	}
	token, err = key.SignToken(TokenRequest{User: "bob", Lifetime: time.Minute, Issuer: "me", Audience: "you"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := a.Authenticate(token, ""); err != nil || id.Rights != nil {
		t.Errorf("without rooms: rights %+v, %v; want every room", id.Rights, err)
	}
}

func TestTokensThatAreNotSigned(t *testing.T) {
	key, err := secretConfig().SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	long := make([]string, maxPatterns)
	for i := range long {
		long[i] = fmt.Sprintf("%0128d", i)
	}
	for name, r := range map[string]TokenRequest{
		"no user":           {Lifetime: time.Hour},
		"bad user":          {User: "a\tb", Lifetime: time.Hour},
		"no lifetime":       {User: "bob"},
		"negative lifetime": {User: "bob", Lifetime: -time.Hour},
		"bad pattern":       {User: "bob", Lifetime: time.Hour, Rooms: []string{"a*b"}},
		"bad publish":       {User: "bob", Lifetime: time.Hour, Publish: []string{""}},
		"too long":          {User: "bob", Lifetime: time.Hour, Rooms: long},
	} {
		if token, err := key.SignToken(r); err == nil {
			t.Errorf("%s: signed as %s", name, token)
		}
	}
	if _, err := DefaultConfig().SigningKey(); err == nil || !strings.Contains(err.Error(), "no secret to sign with") {
		t.Errorf("without a secret: %v", err)
	}
}

func TestSigningKeyFiles(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	open := keyFile(t, privatePEM(t, private))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		open:                              "every user",
		keyFile(t, publicPEM(t, private)): "holds a PUBLIC KEY",
		keyFile(t, "x"):                   "-----BEGIN",
		"/nowhere.pem":                    "no such file",
		keyFile(t, privatePEM(t, testKeys().smallRSA)): "1024 bits",
		keyFile(t, privatePEM(t, testKeys().p384)):     "P-384",
	} {
		if _, err := ReadSigningKey(path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// TestNewAuthenticatorRefusesWhatValidateRefuses: a key may have changed in between.
func TestNewAuthenticatorRefusesWhatValidateRefuses(t *testing.T) {
	c := DefaultConfig()
	c.Auth.PublicKeys = []string{"/nowhere.pem"}
	if _, err := newAuthenticator(c, nil, nil); err == nil {
		t.Error("an authenticator without its key is made")
	}
}

package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// cookie is one of the cookies. Its value is sealed: who holds it can neither read nor change it.
type cookie struct {
	name     string
	path     string
	sameSite http.SameSite
	most     int // bytes of the value
}

// Browsers keep 4,096 bytes of a cookie with its name and attributes, and limits.header_bytes bounds what they send. A
// proxy may take no more than 4 KiB of an answer's head: nginx does not by itself.
var (
	loginCookie   = cookie{"rookery-login", "/", http.SameSiteLaxMode, 1000}
	sessionCookie = cookie{"rookery-session", "/", http.SameSiteStrictMode, 3600}
	// hintCookie holds the ID token for the provider's logout. Only that is sent it: it is large.
	hintCookie = cookie{"rookery-hint", LogoutPath, http.SameSiteStrictMode, 2400}
)

// sealer seals with AES-256-GCM. The name of a cookie is authenticated with it, so that one does not pass for another, and so is whose
// word the names of users are: another provider, or another claim, may call somebody else by a name that is in a session.
type sealer struct {
	aead  cipher.AEAD
	names string
}

func newSealer(key []byte, issuer, userClaim string) (sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead, issuer + "\n" + userClaim}, err
}

func (s sealer) bound(c cookie) []byte { return []byte(c.name + "\n" + s.names) }

func (s sealer) seal(c cookie, value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	sealed := base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, s.bound(c)))
	if len(sealed) > c.most {
		return "", fmt.Errorf("cookie %s would have %d bytes, and the most is %d", c.name, len(sealed), c.most)
	}
	return sealed, nil
}

// open reads a cookie of a request and reports whether it is there and ours.
func (s sealer) open(c cookie, secure bool, r *http.Request, value any) bool {
	// The browser may send several of one name; only one of ours opens.
	for _, given := range r.CookiesNamed(c.fullName(secure)) {
		sealed, err := base64.RawURLEncoding.DecodeString(given.Value)
		if err != nil {
			continue
		}
		text, err := s.aead.Open(nil, nil, sealed, s.bound(c))
		if err == nil && json.Unmarshal(text, value) == nil {
			return true
		}
	}
	return false
}

// fullName has the prefix by which browsers keep other hosts, and pages without TLS, from setting a cookie of that name.
func (c cookie) fullName(secure bool) string {
	switch {
	case !secure:
		return c.name
	case c.path == "/":
		return "__Host-" + c.name
	}
	return "__Secure-" + c.name
}

// set writes a cookie; without a value it takes it away.
func (c cookie) set(w http.ResponseWriter, secure bool, value string, lives time.Duration) {
	seconds := int(lives / time.Second)
	if value == "" {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: c.fullName(secure), Value: value, Path: c.path, MaxAge: seconds,
		Secure: secure, HttpOnly: true, SameSite: c.sameSite,
	})
}

// random is a text that nobody guesses.
func random() string { return rand.Text() }

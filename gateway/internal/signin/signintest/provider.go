// Package signintest has a provider for tests: OpenID Connect as far as package signin uses it, with the faults that a real one
// would not have. Whoever comes is the one account that it knows, without a question.
package signintest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The client that the provider knows.
const (
	ClientID     = "chat"
	ClientSecret = "a secret with : and / in it"
)

// Provider is one that runs. Its methods are safe for concurrent use.
type Provider struct {
	URL string // also its issuer

	mu sync.Mutex // guards all below
	// claims go into ID tokens, over the usual ones; nil takes one out. userInfo is the account at its endpoint.
	claims, userInfo map[string]any
	key              ed25519.PrivateKey
	published        ed25519.PublicKey
	keyID            string
	codes            map[string]request // that are not used yet
	down             bool
	exchanges        int
	held             chan struct{} // closed: the token endpoint goes on; nil: it does not wait
	losesIdle        bool
}

// request is what came to the authorization endpoint.
type request struct{ challenge, nonce, redirect, scope string }

// Start runs a provider until the test ends.
func Start(t testing.TB) *Provider {
	p := &Provider{codes: make(map[string]request), claims: map[string]any{}, userInfo: map[string]any{"sub": "248289"}}
	p.Rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		answer(w, http.StatusOK, p.userInfo)
	})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again := r.Context().Value(usedKey{}).(*atomic.Bool).Swap(true)
		p.mu.Lock()
		down, losesIdle := p.down, p.losesIdle
		p.mu.Unlock()
		if again && losesIdle {
			panic(http.ErrAbortHandler)
		}
		if down {
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, usedKey{}, new(atomic.Bool))
	}
	server.Start()
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Say puts a claim into the ID tokens that follow, nil takes it out.
func (p *Provider) Say(claim string, value any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims[claim] = value
}

// Unsay has it say a claim as it usually does.
func (p *Provider) Unsay(claim string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.claims, claim)
}

// Tell puts a claim into the account at the UserInfo endpoint.
func (p *Provider) Tell(claim string, value any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.userInfo[claim] = value
}

// Rotate signs with a new key and forgets the old one.
func (p *Provider) Rotate() {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.published, p.keyID = key, public, rand.Text()
}

// SignWithAnother signs with a key that is not published, under the name of the one that is.
func (p *Provider) SignWithAnother() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
}

// SetDown has it answer nothing but 503.
func (p *Provider) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// usedKey finds whether a connection has had a request before, an *atomic.Bool.
type usedKey struct{}

// LoseIdle has each connection that is kept closed in the moment in which it is used again.
func (p *Provider) LoseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losesIdle = true
}

// Hold has the token endpoint wait until what it returns is called.
func (p *Provider) Hold() (goOn func()) {
	held := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	return func() { close(held) }
}

// Exchanges counts the requests to the token endpoint.
func (p *Provider) Exchanges() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exchanges
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"userinfo_endpoint": p.URL + "/userinfo", "end_session_endpoint": p.URL + "/logout?from=chat",
		"id_token_signing_alg_values_supported": []string{"EdDSA"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
	})
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("response_type") != "code" || query.Get("client_id") != ClientID || query.Get("code_challenge_method") != "S256" {
		http.Error(w, "bad request "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = request{query.Get("code_challenge"), query.Get("nonce"), query.Get("redirect_uri"), query.Get("scope")}
	p.mu.Unlock()
	back := url.Values{"code": {code}, "state": {query.Get("state")}, "iss": {p.URL}}
	http.Redirect(w, r, query.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.exchanges++
	held := p.held
	p.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	if id, secret = unescape(id), unescape(secret); id != ClientID || secret != ClientSecret {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	code := r.PostFormValue("code")
	asked, found := p.codes[code]
	delete(p.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !found || asked.redirect != r.PostFormValue("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.challenge {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": p.URL, "sub": "248289", "aud": ClientID, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": asked.nonce,
		"asked_scope": asked.scope,
	}
	maps.Copy(claims, p.claims)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	made := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	made.Header["kid"] = p.keyID
	signed, err := made.SignedString(p.key)
	if err != nil {
		panic(err)
	}
	answer(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 60, "id_token": signed})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := base64.RawURLEncoding.EncodeToString(p.published)
	fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":%q,"x":%q}]}`, p.keyID, x)
}

// unescape undoes RFC 6749 section 2.3.1, by which id and secret are encoded as in a form.
func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return ""
	}
	return plain
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		panic(err)
	}
}

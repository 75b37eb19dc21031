package signin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/gateway/internal/signin/signintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const origin = "https://chat.example"

// rig is a SignIn with a provider, and what it does to tokens and sessions.
type rig struct {
	t        *testing.T
	provider *signintest.Provider
	signIn   *SignIn

	mu sync.Mutex
	// Guarded by mu.
	now     time.Time
	revoked map[string]bool // by session or user
	rights  *Rights         // of the last token
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, provider: signintest.Start(t), now: time.Now(), revoked: map[string]bool{}}
	r.signIn = r.start(change)
	until(r.signIn.Ready)
	return r
}

// until asks again and again; that it never comes true is told by the test's own time limit.
func until(done func() bool) {
	for !done() {
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) start(change func(*Config)) *SignIn {
	cfg := Config{
		Issuer: r.provider.URL, ClientID: signintest.ClientID, ClientSecret: signintest.ClientSecret, UserClaim: "sub",
		RedirectURL: origin + CallbackPath, Session: time.Hour, Key: make([]byte, 32),
		Sign: func(s Session, rights *Rights) (string, time.Duration, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.rights = rights
			return "token of " + s.User, time.Minute, nil
		},
		Revoked: func(s Session) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.revoked[s.ID] || r.revoked[s.User]
		},
		Revoke: func(_ context.Context, s Session) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.revoked[s.ID] = true
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
		now: func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.now
		},
	}
	if change != nil {
		change(&cfg)
	}
	signIn, err := Start(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(signIn.Close)
	return signIn
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// browser keeps cookies.
type browser struct {
	t       *testing.T
	handler http.Handler
	cookies map[string]string
}

func (r *rig) browser() *browser { return &browser{r.t, r.signIn, map[string]string{}} }

func (b *browser) do(method, target, from string) *http.Response {
	b.t.Helper()
	request := httptest.NewRequest(method, target, nil)
	for name, value := range b.cookies {
		request.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if from != "" {
		request.Header.Set("Origin", from)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, request)
	response := w.Result()
	for _, c := range response.Cookies() {
		if !c.HttpOnly || !c.Secure || c.SameSite < http.SameSiteLaxMode {
			b.t.Errorf("cookie %s is not kept from scripts, other sites and plain HTTP: %+v", c.Name, c)
		}
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return response
}

// atProvider follows a redirect to the provider and gives where that sends back to.
func (b *browser) atProvider(location string) string {
	b.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Get(location)
	if err != nil {
		b.t.Fatal(err)
	}
	response.Body.Close()
	back, found := strings.CutPrefix(response.Header.Get("Location"), origin)
	if !found {
		b.t.Fatalf("the provider answers %s and sends to %q", response.Status, response.Header.Get("Location"))
	}
	return back
}

// begin starts to sign in and gives the way back.
func (b *browser) begin() string {
	b.t.Helper()
	return b.atProvider(b.do("GET", LoginPath, "").Header.Get("Location"))
}

// comeBack takes the way back and gives the word for the page.
func (b *browser) comeBack(target string) string {
	b.t.Helper()
	response := b.do("GET", target, "")
	word, found := strings.CutPrefix(response.Header.Get("Location"), "/?signin=")
	if !found || response.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("who comes back is answered with %s, to %q", response.Status, response.Header.Get("Location"))
	}
	return word
}

// tokenFor asks for a token and gives the user, "" if there is no session.
func (b *browser) tokenFor() string {
	b.t.Helper()
	response := b.do("POST", TokenPath, origin)
	if response.StatusCode == http.StatusUnauthorized {
		return ""
	}
	var answer struct {
		User, Token string
		ExpiresInMs int
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Token != "token of "+answer.User || answer.ExpiresInMs != 60_000 {
		b.t.Fatalf("a token is answered with %s: %+v, %v", response.Status, answer, err)
	}
	return answer.User
}

func TestSignInTokenAndLogout(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Scopes = []string{"profile"} })
	b := r.browser()
	login, err := url.Parse(b.do("GET", LoginPath, "").Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	query := login.Query()
	if query.Get("scope") != "openid profile" || query.Get("code_challenge_method") != "S256" || query.Get("redirect_uri") != origin+CallbackPath ||
		len(query.Get("state")) < 22 || len(query.Get("nonce")) < 22 {
		t.Errorf("sent to the provider with %v", query)
	}
	if word := b.comeBack(b.atProvider(login.String())); word != "done" {
		t.Fatalf("told the page %q", word)
	}
	if _, left := b.cookies["__Host-rookery-login"]; left {
		t.Error("the cookie of the sign-in is left")
	}
	for range 2 {
		if user := b.tokenFor(); user != "248289" {
			t.Errorf("a token for %q", user)
		}
	}
	kept := *b
	kept.cookies = map[string]string{"__Host-rookery-session": b.cookies["__Host-rookery-session"]}
	response := b.do("POST", LogoutPath, origin)
	var answer struct{ Redirect string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(answer.Redirect)
	if err != nil || !strings.HasPrefix(answer.Redirect, r.provider.URL+"/logout?") {
		t.Fatalf("sent to %q to log out", answer.Redirect)
	}
	query = to.Query()
	if query.Get("from") != "chat" || query.Get("post_logout_redirect_uri") != origin+"/" || query.Get("client_id") != signintest.ClientID ||
		strings.Count(query.Get("id_token_hint"), ".") != 2 {
		t.Errorf("sent to log out with %v", query)
	}
	if len(b.cookies) != 0 {
		t.Errorf("cookies are left: %v", b.cookies)
	}
	if user := kept.tokenFor(); user != "" {
		t.Errorf("a cookie that somebody has kept is still good for %q", user)
	}
}

// TestTheIDTokenHasToBeOurs: each claim that is not as it has to be, and what the page is told.
func TestTheIDTokenHasToBeOurs(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		name, claim string
		value       any
		word        string
	}{
		{"as it has to be", "", nil, "done"},
		{"another nonce", "nonce", "x", "token"},
		{"no nonce", "nonce", nil, "token"},
		{"expired", "exp", time.Now().Add(-time.Minute).Unix(), "token"},
		{"no expiry", "exp", nil, "token"},
		{"not valid yet", "nbf", time.Now().Add(time.Hour).Unix(), "token"},
		{"another audience", "aud", "mail", "token"},
		{"several audiences and no party", "aud", []string{signintest.ClientID, "mail"}, "token"},
		{"another party", "azp", "mail", "token"},
		{"our party", "azp", signintest.ClientID, "done"},
		{"another issuer", "iss", "https://evil.example", "token"},
		{"hash of another access token", "at_hash", "AAAAAAAAAAAAAAAAAAAAAA", "token"},
		{"a name that is none", "sub", "a\x07b", "name"},
		{"a name that is too long", "sub", strings.Repeat("x", 129), "name"},
		{"no subject", "sub", nil, "token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := r.browser()
			if c.claim != "" {
				r.provider.Say(c.claim, c.value)
				defer r.provider.Unsay(c.claim)
			}
			if word := b.comeBack(b.begin()); word != c.word {
				t.Errorf("told the page %q, want %q", word, c.word)
			}
			if user := b.tokenFor(); (user != "") != (c.word == "done") {
				t.Errorf("there is a session for %q", user)
			}
		})
	}
}

func TestKeysOfTheProvider(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		name   string
		before func()
		word   string
	}{
		{"the first", func() {}, "done"},
		{"a rotated one", r.provider.Rotate, "done"},
		{"one that is not published", r.provider.SignWithAnother, "token"},
	} {
		c.before()
		b := r.browser()
		if word := b.comeBack(b.begin()); word != c.word {
			t.Errorf("%s: told the page %q, want %q", c.name, word, c.word)
		}
	}
}

// TestWhoComesBackWithoutHavingBegun: what binds the way back to the browser, one thing missing each.
func TestWhoComesBackWithoutHavingBegun(t *testing.T) {
	r := newRig(t, nil)
	replace := func(target, name, value string) string {
		u, _ := url.Parse(target)
		query := u.Query()
		if query.Set(name, value); value == "" {
			query.Del(name)
		}
		u.RawQuery = query.Encode()
		return u.String()
	}
	for _, c := range []struct {
		name, word string
		change     func(b *browser, target string) string
	}{
		{"another state", "state", func(_ *browser, target string) string { return replace(target, "state", "x") }},
		{"no state", "state", func(_ *browser, target string) string { return replace(target, "state", "") }},
		{"no cookie", "state", func(b *browser, target string) string { clear(b.cookies); return target }},
		{"a cookie of somebody else's making", "state", func(b *browser, target string) string {
			b.cookies["__Host-rookery-login"] = "AAAA" + b.cookies["__Host-rookery-login"]
			return target
		}},
		{"the session's cookie for that of the sign-in", "state", func(b *browser, target string) string {
			other := r.browser()
			other.comeBack(other.begin())
			b.cookies["__Host-rookery-login"] = other.cookies["__Host-rookery-session"]
			return target
		}},
		{"the sign-in of another browser", "state", func(b *browser, _ string) string { return r.browser().begin() }},
		{"an earlier sign-in of this browser", "state", func(b *browser, target string) string { b.begin(); return target }},
		{"too late", "state", func(_ *browser, target string) string { r.pass(loginTime); return target }},
		{"another provider", "state", func(_ *browser, target string) string { return replace(target, "iss", "https://evil.example") }},
		{"no code", "state", func(_ *browser, target string) string { return replace(target, "code", "") }},
		{"a code of nobody's", "provider", func(_ *browser, target string) string { return replace(target, "code", "x") }},
		{"who said no", "denied", func(_ *browser, target string) string { return replace(target, "error", "access_denied") }},
		{"a fault of the provider", "provider", func(_ *browser, target string) string { return replace(target, "error", "server_error") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := r.browser()
			target := c.change(b, b.begin())
			if word := b.comeBack(target); word != c.word {
				t.Errorf("told the page %q, want %q", word, c.word)
			}
			if user := b.tokenFor(); user != "" {
				t.Errorf("there is a session for %q", user)
			}
		})
	}
}

// TestAWayBackIsGoodOnce: the same address again, by who has seen it, with and without the cookie of that time.
func TestAWayBackIsGoodOnce(t *testing.T) {
	r := newRig(t, nil)
	b := r.browser()
	target := b.begin()
	thief := r.browser()
	thief.cookies["__Host-rookery-login"] = b.cookies["__Host-rookery-login"]
	if word := b.comeBack(target); word != "done" {
		t.Fatalf("told the page %q", word)
	}
	if word := b.comeBack(target); word != "state" {
		t.Errorf("again: told the page %q", word)
	}
	if b.tokenFor() == "" {
		t.Error("coming back again ended the session")
	}
	if word := thief.comeBack(target); word != "provider" {
		t.Errorf("again with the cookie: told the page %q", word)
	}
}

func TestTheProviderIsDown(t *testing.T) {
	r := newRig(t, nil)
	b := r.browser()
	target := b.begin()
	r.provider.SetDown(true)
	if word := b.comeBack(target); word != "provider" {
		t.Errorf("down on the way back: told the page %q", word)
	}
	// One that starts meanwhile serves what it can, and finds the provider when it is there.
	late := r.start(nil)
	b = &browser{t, late, map[string]string{}}
	if response := b.do("GET", LoginPath, ""); response.Header.Get("Location") != "/?signin=provider" || late.Ready() {
		t.Errorf("down at the start: sent to %q", response.Header.Get("Location"))
	}
	r.provider.SetDown(false)
	until(late.Ready)
	if word := b.comeBack(b.begin()); word != "done" {
		t.Errorf("up again: told the page %q", word)
	}
}

// TestIdleConnections: a provider ends them after some seconds, and a code that is on its way then would be lost.
func TestIdleConnections(t *testing.T) {
	r := newRig(t, nil)
	r.provider.LoseIdle()
	for range 2 {
		b := r.browser()
		if word := b.comeBack(b.begin()); word != "done" {
			t.Errorf("told the page %q", word)
		}
	}
}

// TestTooManyWaitForTheProvider: those beyond the bound are told at once, and nobody asks in vain.
func TestTooManyWaitForTheProvider(t *testing.T) {
	r := newRig(t, nil)
	goOn := r.provider.Hold()
	before := r.provider.Exchanges()
	words := make(chan string, waiting)
	for range waiting {
		b := r.browser()
		target := b.begin()
		go func() { words <- b.comeBack(target) }()
	}
	until(func() bool { return len(r.signIn.places) == waiting })
	b := r.browser()
	if word := b.comeBack(b.begin()); word != "busy" {
		t.Errorf("one more is told %q", word)
	}
	if n := r.provider.Exchanges() - before; n > exchanges {
		t.Errorf("%d exchanges at once", n)
	}
	goOn()
	for range waiting {
		if word := <-words; word != "done" {
			t.Errorf("one who waited is told %q", word)
		}
	}
}

// TestNothingOfARequestIsRedirectedTo: no parameter says where to go.
func TestNothingOfARequestIsRedirectedTo(t *testing.T) {
	r := newRig(t, nil)
	b := r.browser()
	const evil = "?next=https://evil.example&redirect_uri=https://evil.example&return=//evil.example&error_description=evil.example"
	if to := b.do("GET", LoginPath+evil, "").Header.Get("Location"); !strings.HasPrefix(to, r.provider.URL) || strings.Contains(to, "evil") {
		t.Errorf("sent to %q", to)
	}
	if to := b.do("GET", CallbackPath+evil+"&error=server_error", "").Header.Get("Location"); to != "/?signin=state" {
		t.Errorf("sent to %q", to)
	}
}

func TestPlainHTTPOfThisMachine(t *testing.T) {
	r := newRig(t, func(c *Config) { c.RedirectURL = "http://localhost:8080" + CallbackPath })
	w := httptest.NewRecorder()
	r.signIn.ServeHTTP(w, httptest.NewRequest("GET", LoginPath, nil))
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Secure || cookies[0].Name != "rookery-login" || !cookies[0].HttpOnly {
		t.Errorf("cookies: %v", cookies)
	}
}

func TestNamesThatAreAddresses(t *testing.T) {
	r := newRig(t, func(c *Config) { c.UserClaim = "email" })
	r.provider.Say("email", "alice@example.com")
	b := r.browser()
	if word := b.comeBack(b.begin()); word != "name" {
		t.Errorf("an address that nobody has verified: told the page %q", word)
	}
	r.provider.Tell("email_verified", true) // at the UserInfo endpoint only
	if word := b.comeBack(b.begin()); word != "done" || b.tokenFor() != "alice@example.com" {
		t.Errorf("a verified address: told the page %q", word)
	}
}

func TestRightsOfAToken(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.UserClaim = "preferred_username"
		c.Rules = mustParse(t, "groups staff rooms=team-* rooms=lobby", "realm_access.roles admin rooms=* moderate=team-*")
	})
	r.provider.Tell("preferred_username", "alice") // at the UserInfo endpoint only
	r.provider.Say("groups", []string{"staff", "other"})
	b := r.browser()
	if word := b.comeBack(b.begin()); word != "done" {
		t.Fatalf("told the page %q", word)
	}
	if user := b.tokenFor(); user != "alice" {
		t.Errorf("a token for %q", user)
	}
	if got := fmt.Sprint(*r.rights); got != fmt.Sprint(Rights{[]string{"team-*", "lobby"}, []string{"team-*", "lobby"}, []string{"team-*", "lobby"}, []string{}}) {
		t.Errorf("rights %v", got)
	}
	r.provider.Say("realm_access", map[string]any{"roles": []string{"admin"}})
	b.comeBack(b.begin())
	if b.tokenFor(); !slices.Contains(r.rights.Rooms, "*") || !slices.Contains(r.rights.Moderate, "team-*") {
		t.Errorf("rights of who is both: %v", r.rights)
	}
	r.provider.Say("groups", nil)
	r.provider.Say("realm_access", nil)
	if word := b.comeBack(b.begin()); word != "rights" {
		t.Errorf("for whom there is no rule: told the page %q", word)
	}
	// The account of somebody else, which a provider with a fault gives.
	r.provider.Tell("sub", "another")
	if word := b.comeBack(b.begin()); word != "token" {
		t.Errorf("the account of another: told the page %q", word)
	}
}

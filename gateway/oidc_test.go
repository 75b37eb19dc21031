package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/signin/signintest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// visitor is a browser at the page, as far as signing in needs one: the page's own host is chat.example, behind a proxy.
type visitor struct {
	t       *testing.T
	srv     *gatewaytest.Server
	cookies map[string]string
}

const pageOrigin = "https://chat.example"

func (v *visitor) do(method, target string) (status int, location, body string) {
	v.t.Helper()
	request, err := http.NewRequest(method, "http://"+v.srv.Addr()+target, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("Origin", pageOrigin)
	for name, value := range v.cookies {
		request.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range response.Cookies() {
		if v.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
	return response.StatusCode, response.Header.Get("Location"), string(text)
}

// signIn goes to the provider and back, and gives the word for the page.
func (v *visitor) signIn() string {
	v.t.Helper()
	_, location, _ := v.do("GET", "/oidc/login")
	if strings.HasPrefix(location, "/") {
		return location
	}
	request, err := http.NewRequest("GET", location, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		v.t.Fatal(err)
	}
	response.Body.Close()
	back, found := strings.CutPrefix(response.Header.Get("Location"), pageOrigin)
	if !found {
		v.t.Fatalf("the provider sends to %q", response.Header.Get("Location"))
	}
	_, location, _ = v.do("GET", back)
	return location
}

// token gives a token and how long it lives, "" without a session.
func (v *visitor) token() (string, time.Duration) {
	v.t.Helper()
	status, _, body := v.do("POST", "/oidc/token")
	var answer struct {
		Token       string
		ExpiresInMs int64
	}
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			v.t.Fatal(err)
		}
	}
	return answer.Token, time.Duration(answer.ExpiresInMs) * time.Millisecond
}

// withProvider is a gateway without development mode at which people sign in.
func withProvider(provider *signintest.Provider, options ...func(*gateway.Config)) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Dev = false
		c.OIDC.Issuer, c.OIDC.ClientID, c.OIDC.ClientSecret = provider.URL, signintest.ClientID, signintest.ClientSecret
		c.Limits.Origins = []string{pageOrigin}
		c.Auth.Issuer, c.Auth.Audience = "our own tokens", "chat"
		for _, option := range options {
			option(c)
		}
	}
}

func readyToSignIn(t *testing.T, srv *gatewaytest.Server) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); metric(t, srv, "rookery_oidc_ready") != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the provider was not found")
		}
	}
}

// TestPeopleSignIn over the public listener: a token for a connection, rights, logout on live connections, and a restart.
func TestPeopleSignIn(t *testing.T) {
	t.Parallel()
	provider := signintest.Start(t)
	provider.Say("groups", []string{"staff"})
	data := t.TempDir()
	var cfg gateway.Config
	options := withProvider(provider, func(c *gateway.Config) {
		c.Data = data
		defer func() { cfg = *c }()
		c.OIDC.Rights = []string{"groups staff rooms=team-*"}
		c.Auth.MaxLifetime = time.Minute
	})
	srv := gatewaytest.Start(t, options)
	readyToSignIn(t, srv)
	v := &visitor{t, srv, map[string]string{}}
	if _, _, body := v.do("GET", "/settings.json"); body != `{"development":false,"signIn":{"name":"127.0.0.1","url":"https://chat.example/oidc/login","ready":true}}` {
		t.Errorf("the page is told %s", body)
	}
	if word := v.signIn(); word != "/?signin=done" {
		t.Fatalf("sent to %q", word)
	}
	enter := func() *peer {
		t.Helper()
		token, lives := v.token()
		if lives != time.Minute {
			t.Errorf("the token lives %v", lives)
		}
		p := open(t, srv.Addr(), wires[0])
		connect(p, token, "")
		if user := p.must().GetConnected().GetUser(); user != "248289" {
			t.Fatalf("connected as %q", user)
		}
		return p
	}
	p := enter()
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "lobby"}}})
	p.mustFail(proto.ErrRoomForbidden)
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "team-a"}}})
	if p.must().GetJoined() == nil {
		t.Error("a room of the rules is forbidden")
	}
	// Renewal over the open connection.
	token, _ := v.token()
	connect(p, token, "")
	if p.must().GetConnected() == nil {
		t.Error("the token was not renewed")
	}

	// Settings that are read again hold for the tokens that are made next.
	cfg.Auth.Audience, cfg.OIDC.Name = "another", "Other"
	if needRestart, err := srv.Reload(cfg); err != nil || len(needRestart) != 1 || needRestart[0] != "oidc.name" {
		t.Errorf("reload: %v, %v", needRestart, err)
	}
	enter()

	srv.Stop()
	srv = gatewaytest.Start(t, options)
	readyToSignIn(t, srv)
	v.srv = srv
	p = enter()
	kept := &visitor{t, srv, map[string]string{"__Host-rookery-session": v.cookies["__Host-rookery-session"]}}
	if status, _, body := v.do("POST", "/oidc/logout"); status != http.StatusOK || !strings.Contains(body, provider.URL+"/logout?") {
		t.Errorf("logout is answered with %d %s", status, body)
	}
	p.mustClose(proto.CloseTokenRevoked)
	if token, _ := kept.token(); token != "" {
		t.Error("the cookie is good after the logout")
	}
	if n := metric(t, srv, "rookery_revocations"); n != 1 {
		t.Errorf("%v revocations", n)
	}

	// A user is revoked by the operator: the session ends too, and the revocation is kept for as long as one could last.
	if word := v.signIn(); word != "/?signin=done" {
		t.Fatalf("sent to %q", word)
	}
	p = enter()
	status, body := askAdmin(t, srv, "POST", "/revocations", `{"user":"248289"}`)
	var entry struct{ Until time.Time }
	if err := json.Unmarshal([]byte(body), &entry); status != 200 || err != nil || time.Until(entry.Until) < 12*time.Hour {
		t.Errorf("revoked with %d %s", status, body)
	}
	p.mustClose(proto.CloseTokenRevoked)
	if token, _ := v.token(); token != "" {
		t.Error("a revoked user is given a token")
	}
	for name, want := range map[string]float64{"signins_total": 1, "signin_failures_total": 0, "tokens_total": 2} {
		if n := metric(t, srv, "rookery_oidc_"+name); n != want {
			t.Errorf("rookery_oidc_%s is %v, want %v", name, n, want)
		}
	}
}

// TestTheProviderMayBeDownAtTheStart: everything else is served.
func TestTheProviderMayBeDownAtTheStart(t *testing.T) {
	t.Parallel()
	provider := signintest.Start(t)
	provider.SetDown(true)
	srv := gatewaytest.Start(t, withProvider(provider, func(c *gateway.Config) {
		c.OIDC.Name = "Example"
		c.Auth.HS256Secret = secret
		c.Auth.Issuer, c.Auth.Audience = "", ""
	}))
	v := &visitor{t, srv, map[string]string{}}
	if word := v.signIn(); word != "/?signin=provider" {
		t.Errorf("sent to %q", word)
	}
	if _, _, body := v.do("GET", "/settings.json"); !strings.Contains(body, `"name":"Example"`) || !strings.Contains(body, `"ready":false`) {
		t.Errorf("the page is told %s", body)
	}
	p := open(t, srv.Addr(), wires[0])
	connect(p, tokenOf(t, "alice", "", time.Time{}), "")
	if p.must().GetConnected() == nil {
		t.Error("other tokens are refused meanwhile")
	}
	provider.SetDown(false)
	readyToSignIn(t, srv)
	if word := v.signIn(); word != "/?signin=done" {
		t.Errorf("sent to %q", word)
	}
}

func TestPageSettingsWithoutAProvider(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	v := &visitor{t, srv, map[string]string{}}
	if _, _, body := v.do("GET", "/settings.json"); body != `{"development":true}` {
		t.Errorf("the page is told %s", body)
	}
	for _, path := range []string{"/oidc/login", "/oidc/callback"} {
		if status, _, _ := v.do("GET", path); status != http.StatusNotFound {
			t.Errorf("GET %s is answered with %d", path, status)
		}
	}
}

// TestTheKeyOfSessions is a file that only the server reads; without it sessions end, and a damaged one is not taken.
func TestTheKeyOfSessions(t *testing.T) {
	t.Parallel()
	provider := signintest.Start(t)
	data := t.TempDir()
	options := withProvider(provider, func(c *gateway.Config) { c.Data = data })
	srv := gatewaytest.Start(t, options)
	readyToSignIn(t, srv)
	v := &visitor{t, srv, map[string]string{}}
	v.signIn()
	srv.Stop()

	key := filepath.Join(data, "oidc", "key")
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	v.srv = gatewaytest.Start(t, options)
	if token, _ := v.token(); token != "" {
		t.Error("a session outlived the key")
	}
	v.srv.Stop()
	if v.srv.Logged("level=WARN") {
		t.Error("the key's directory is told as if something were wrong")
	}
	cfg := gateway.DefaultConfig()
	cfg.Listen, cfg.Admin = "127.0.0.1:0", "127.0.0.1:0"
	options(&cfg)
	refused := func(what, want string) {
		t.Helper()
		if _, err := gateway.New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Chmod(key, 0o644); err != nil { // as a copy may have it
		t.Fatal(err)
	}
	refused("a key that everybody can read", "chmod o-r")
	if err := errors.Join(os.Chmod(key, 0o600), os.WriteFile(key, []byte("short"), 0o600)); err != nil {
		t.Fatal(err)
	}
	refused("a damaged key", "delete it")
}

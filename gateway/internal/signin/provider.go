package signin

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// providerTimeout bounds one request to the provider, from the connection to the last byte.
	providerTimeout = 10 * time.Second
	// maxDocument is far above anything that a provider has to say.
	maxDocument = 1 << 20
	// firstRetry is after how long a provider that did not answer is asked again; the time doubles up to lastRetry.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// refreshEvery is how often what the provider says of itself is read again.
	refreshEvery = time.Hour
)

// provider is what is known of the provider. Immutable.
type provider struct {
	oauth    oauth2.Config
	source   *oidc.Provider
	verifier *oidc.IDTokenVerifier
	// logout is where its own session is ended, "" if it does not say.
	logout string
}

// discoverLoop keeps what is known of the provider: started by Start, ended by Close. It goes on with what it knows while the
// provider does not answer.
func (s *SignIn) discoverLoop(ctx context.Context) {
	pause := firstRetry
	for {
		p, err := s.discover(ctx)
		next := refreshEvery
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			next, pause = pause, min(2*pause, lastRetry)
			s.cfg.Log.Warn("the provider for signing in does not answer as it should", "issuer", s.cfg.Issuer,
				"known", s.provider.Load() != nil, "again_in", next, "err", err)
		default:
			pause = firstRetry
			if s.provider.Swap(p) == nil {
				s.cfg.Log.Info("signing in is possible", "issuer", s.cfg.Issuer)
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// discover reads the provider's metadata, OpenID Connect Discovery 1.0.
func (s *SignIn) discover(ctx context.Context) (*provider, error) {
	ctx = oidc.ClientContext(ctx, s.client)
	source, err := oidc.NewProvider(ctx, s.cfg.Issuer)
	if err != nil {
		return nil, shorten(err)
	}
	var says struct {
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		Keys          string   `json:"jwks_uri"`
		UserInfo      string   `json:"userinfo_endpoint"`
		Logout        string   `json:"end_session_endpoint"`
		TokenMethods  []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := source.Claims(&says); err != nil {
		return nil, err
	}
	for name, address := range map[string]string{
		"authorization_endpoint": says.Authorization, "token_endpoint": says.Token, "jwks_uri": says.Keys,
		"userinfo_endpoint": says.UserInfo, "end_session_endpoint": says.Logout,
	} {
		optional := name == "userinfo_endpoint" || name == "end_session_endpoint"
		if err := checkAddress(address); err != nil && !(optional && address == "") {
			return nil, fmt.Errorf("its %s %q %w", name, address, err)
		}
	}
	endpoint := source.Endpoint()
	endpoint.AuthStyle = s.authStyle(says.TokenMethods)
	return &provider{
		oauth: oauth2.Config{
			ClientID: s.cfg.ClientID, ClientSecret: s.cfg.ClientSecret, Endpoint: endpoint, RedirectURL: s.cfg.RedirectURL,
			Scopes: append([]string{oidc.ScopeOpenID}, s.cfg.Scopes...),
		},
		source:   source,
		verifier: source.VerifierContext(ctx, &oidc.Config{ClientID: s.cfg.ClientID, Now: s.now}),
		logout:   says.Logout,
	}, nil
}

// authStyle says how the client's secret is given. To try would use up the code, which is good once.
func (s *SignIn) authStyle(methods []string) oauth2.AuthStyle {
	// "If omitted, the default is client_secret_basic" (OpenID Connect Discovery 1.0 section 3)
	basic := len(methods) == 0 || slices.Contains(methods, "client_secret_basic")
	if s.cfg.ClientSecret != "" && basic {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// exchange gives what the provider says of who came back with a code, and the ID token that says it.
func (p *provider) exchange(ctx context.Context, l login, code string, wanted []string) (claims, string, error) {
	token, err := p.oauth.Exchange(ctx, code, oauth2.VerifierOption(l.Verifier))
	if err != nil {
		if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return nil, "", providerFault(fmt.Errorf("the code was refused: %s: error %.64q", answer.Response.Status, answer.ErrorCode))
		}
		return nil, "", providerFault(fmt.Errorf("exchange the code: %w", shorten(err)))
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, "", tokenFault(errors.New("there is no ID token in the answer"))
	}
	id, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, "", tokenFault(shorten(err))
	}
	said, err := readClaims(id.Claims)
	if err != nil {
		return nil, "", tokenFault(err)
	}
	azp, hasAZP := said["azp"]
	switch {
	// OpenID Connect Core 3.1.3.7, 11: the nonce is the one that was sent.
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(l.Nonce)) != 1:
		return nil, "", tokenFault(errors.New("its nonce is not that of this sign-in"))
	// Core 2: "sub: REQUIRED."
	case id.Subject == "":
		return nil, "", tokenFault(errors.New("it names no subject"))
	// 4 and 5: of several audiences, or where it is said, the authorized party is this client.
	case len(id.Audience) > 1 && !hasAZP, hasAZP && azp != p.oauth.ClientID:
		return nil, "", tokenFault(fmt.Errorf("it was issued to %.64q (azp), not to this client", azp))
	case id.AccessTokenHash != "":
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, "", tokenFault(shorten(err))
		}
	}
	// Core 5.4: what a scope asks for may be given out at the UserInfo endpoint only.
	if said.lacks(wanted) && p.source.UserInfoEndpoint() != "" {
		more, err := p.userInfo(ctx, token, id.Subject)
		if err != nil {
			return nil, "", err
		}
		said = said.with(more)
	}
	return said, raw, nil
}

func (p *provider) userInfo(ctx context.Context, token *oauth2.Token, subject string) (claims, error) {
	info, err := p.source.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, providerFault(fmt.Errorf("ask for the account: %w", shorten(err)))
	}
	// Core 5.3.2: "The sub Claim in the UserInfo Response MUST be verified to exactly match the sub Claim in the ID Token".
	if info.Subject != subject {
		return nil, tokenFault(errors.New("the account is another one than that of the ID token"))
	}
	more, err := readClaims(info.Claims)
	if err != nil {
		return nil, tokenFault(err)
	}
	return more, nil
}

// readClaims reads numbers as they are written.
func readClaims(read func(any) error) (claims, error) {
	var text json.RawMessage
	if err := read(&text); err != nil {
		return nil, err
	}
	c := claims{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return c, decoder.Decode(&c)
}

// CheckIssuer says why an address can't be an issuer's, or nil. It asks nobody: the provider may be down when this server starts.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err == nil && (u.RawQuery != "" || u.Fragment != "") {
		return errors.New("has a query or a fragment, which no issuer has")
	}
	return checkAddress(issuer)
}

// checkAddress says why what is sent to an address, or comes from it, can't be trusted.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("is no address; write https://host/path as the provider writes its issuer")
	}
	if u.Scheme == "http" && !Loopback(u.Hostname()) {
		return errors.New("is without TLS, so whoever sits between could be anybody; write https://, http:// is for this machine only")
	}
	return nil
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newClient makes what speaks to the provider. No connection is kept: the provider may end an idle one just as a code is sent on it, and
// that is good once, so nobody may send it again. People sign in rarely enough for a handshake each time.
func newClient() *http.Client {
	return &http.Client{
		Timeout: providerTimeout,
		Transport: bounded{&http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: providerTimeout, DisableKeepAlives: true,
		}},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("it is redirected to %s; name the place itself", r.URL.Redacted())
		},
	}
}

// bounded ends answers that are too long.
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxDocument), response.Body}
	}
	return response, err
}

// shorten takes from an error what would flood the log: libraries put whole answers into theirs.
func shorten(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("%s: %w", hostOf(wrapped.URL), wrapped.Err)
	}
	if text := err.Error(); len(text) > 300 {
		return errors.New(strings.ToValidUTF8(text[:300], "") + "…")
	}
	return err
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Host
	}
	return address
}

// fault is why somebody is not signed in: a word for the page, and an error for the log.
type fault struct {
	word string
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func providerFault(err error) error { return &fault{"provider", err} }

func tokenFault(err error) error {
	return &fault{"token", fmt.Errorf("the ID token is refused: %w", err)}
}

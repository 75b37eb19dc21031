package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/rate"
)

// The paths that are served. The provider has to be told of CallbackPath.
const (
	LoginPath    = "/oidc/login"
	CallbackPath = "/oidc/callback"
	TokenPath    = "/oidc/token"
	LogoutPath   = "/oidc/logout"
)

const (
	// exchanges are under way with the provider at once.
	exchanges = 16
	// waiting is how many who came back may be there at once, those under way among them.
	waiting = 16 * exchanges
	// loginTime is how long a sign-in may take, at the provider and on the way.
	loginTime = 10 * time.Minute
)

// Config is what a SignIn needs. All of it is required but what is said to be optional.
type Config struct {
	Issuer       string
	ClientID     string
	ClientSecret string   // optional: a public client has none
	Scopes       []string // optional: beside openid
	UserClaim    string
	Rules        Rules // optional
	// RedirectURL is where the provider sends people back to: the page's origin and CallbackPath.
	RedirectURL string
	// Session is how long somebody is signed in.
	Session time.Duration
	// Key seals the cookies: 32 bytes.
	Key []byte
	// Sign makes a token for a session, and says how long it lives. nil for rights is every room.
	Sign func(Session, *Rights) (token string, lives time.Duration, err error)
	// Revoked says whether a session was taken back.
	Revoked func(Session) bool
	// Revoke takes one back, with its tokens and connections.
	Revoke func(context.Context, Session) error
	Log    *slog.Logger

	// now is the clock, nil for the real one: for tests.
	now func() time.Time
}

// SignIn is an [http.Handler] for its paths, for any number of goroutines.
type SignIn struct {
	// Set at construction.
	cfg     Config
	now     func() time.Time
	origin  string // scheme://host[:port] of the page
	secure  bool   // the page is behind https
	sealer  sealer
	client  *http.Client
	mux     *http.ServeMux
	cancel  context.CancelFunc
	stopped chan struct{}
	places  chan struct{} // of who came back
	turns   chan struct{} // with the provider

	provider atomic.Pointer[provider] // nil until it has answered once
	line     rate.Line                // about failures: strangers can make as many as they like

	signedIn, failed, tokens atomic.Int64
}

// Stats are counters since the start.
type Stats struct{ SignedIn, Failed, Tokens int64 }

// Start begins to look for the provider. Whoever starts a SignIn closes it.
func Start(cfg Config) (*SignIn, error) {
	page, err := url.Parse(cfg.RedirectURL)
	if err != nil {
		return nil, err
	}
	s := &SignIn{
		cfg: cfg, now: cfg.now, origin: page.Scheme + "://" + page.Host, secure: page.Scheme == "https", client: newClient(),
		mux: http.NewServeMux(), stopped: make(chan struct{}), places: make(chan struct{}, waiting), turns: make(chan struct{}, exchanges),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.sealer, err = newSealer(cfg.Key, cfg.Issuer, cfg.UserClaim); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET "+LoginPath, s.login)
	s.mux.HandleFunc("GET "+CallbackPath, s.callback)
	s.mux.HandleFunc("POST "+TokenPath, s.token)
	s.mux.HandleFunc("POST "+LogoutPath, s.logout)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.stopped)
		s.discoverLoop(ctx)
	}()
	return s, nil
}

// Close ends the goroutine. No request may be under way.
func (s *SignIn) Close() {
	s.cancel()
	<-s.stopped
}

// Paths are those that ServeHTTP answers.
func Paths() []string { return []string{LoginPath, CallbackPath, TokenPath, LogoutPath} }

// Ready reports whether the provider has answered, so that people can be sent to it. It never waits.
func (s *SignIn) Ready() bool { return s.provider.Load() != nil }

// LoginURL is where signing in begins, on the page's own host: the cookies of another one would not come back.
func (s *SignIn) LoginURL() string { return s.origin + LoginPath }

// Stats gives the counters.
func (s *SignIn) Stats() Stats {
	return Stats{SignedIn: s.signedIn.Load(), Failed: s.failed.Load(), Tokens: s.tokens.Load()}
}

// ServeHTTP implements [http.Handler]. It waits for the provider, for as long as the request's context lets it.
func (s *SignIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// goTo sends a browser on. The address is the provider's, or the page's own.
func goTo(w http.ResponseWriter, address string) {
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

// refuse sends somebody back to the page without a session.
func (s *SignIn) refuse(w http.ResponseWriter, err error) {
	s.failed.Add(1)
	word := "provider"
	if f, ok := errors.AsType[*fault](err); ok {
		word = f.word
	}
	s.line.Log(s.cfg.Log, slog.LevelWarn, "somebody could not be signed in", "reason", word, "err", err)
	goTo(w, "/?signin="+word)
}

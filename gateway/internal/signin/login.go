package signin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// login is a sign-in that has begun, in its cookie: what must come back, and who began it.
type login struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
	Until    int64  `json:"until"`    // Unix seconds
}

// login sends a browser to the provider.
func (s *SignIn) login(w http.ResponseWriter, r *http.Request) {
	p := s.provider.Load()
	if p == nil {
		s.refuse(w, providerFault(errors.New("the provider has not answered since the start")))
		return
	}
	l := login{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Until: s.now().Add(loginTime).Unix()}
	sealed, err := s.sealer.seal(loginCookie, l)
	if err != nil {
		s.refuse(w, err)
		return
	}
	loginCookie.set(w, s.secure, sealed, loginTime)
	goTo(w, p.oauth.AuthCodeURL(l.State, oidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)))
}

// callback takes who comes back from the provider.
func (s *SignIn) callback(w http.ResponseWriter, r *http.Request) {
	session, hint, err := s.comeBack(r)
	// Whatever came of it, it is over. The code is good once at the provider (RFC 6749 section 4.1.2), this is our part of it.
	loginCookie.set(w, s.secure, "", 0)
	if err != nil {
		s.refuse(w, err)
		return
	}
	sealed, err := s.sealer.seal(sessionCookie, session)
	if err != nil {
		s.refuse(w, &fault{"rights", err})
		return
	}
	sessionCookie.set(w, s.secure, sealed, s.cfg.Session)
	// Without it the provider asks whether one wants to sign out. So a token that is too large is left out, and that of who was here
	// before goes: the provider would end the session of the wrong person.
	sealed, err = s.sealer.seal(hintCookie, hint)
	if err != nil {
		sealed = ""
	}
	hintCookie.set(w, s.secure, sealed, s.cfg.Session)
	s.signedIn.Add(1)
	s.cfg.Log.Info("signed in", "user", session.User, "session", session.ID)
	goTo(w, "/?signin=done")
}

// comeBack checks what came back and gives the session that begins, with the ID token for the logout.
func (s *SignIn) comeBack(r *http.Request) (session Session, idToken string, err error) {
	var l login
	query := r.URL.Query()
	p := s.provider.Load()
	switch {
	case !s.sealer.open(loginCookie, s.secure, r, &l):
		return session, "", stateFault("this browser has not begun to sign in here")
	case s.now().Unix() >= l.Until:
		return session, "", stateFault("it took longer than %v", loginTime)
	case subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(l.State)) != 1:
		return session, "", stateFault("the state is not that of this browser's last sign-in")
	// RFC 9207: who answers, where the provider says it.
	case query.Has("iss") && query.Get("iss") != s.cfg.Issuer:
		return session, "", stateFault("%.100q answers, not the provider that was asked", query.Get("iss"))
	case query.Get("error") == "access_denied":
		return session, "", &fault{"denied", errors.New("the provider says access_denied")}
	case query.Has("error"):
		return session, "", providerFault(fmt.Errorf("the provider says %.64q: %.200q", query.Get("error"), query.Get("error_description")))
	case query.Get("code") == "":
		return session, "", stateFault("there is no code")
	case p == nil:
		return session, "", providerFault(errors.New("the provider has not answered since the start"))
	}
	done, err := s.turn(r.Context())
	if err != nil {
		return session, "", err
	}
	defer done()
	ctx := oidc.ClientContext(r.Context(), s.client)
	said, idToken, err := p.exchange(ctx, l, query.Get("code"), s.wantedClaims())
	if err != nil {
		return session, "", err
	}
	session, err = s.begin(said)
	return session, idToken, err
}

// wantedClaims are those that decide about somebody.
func (s *SignIn) wantedClaims() []string {
	wanted := append(s.cfg.Rules.claimNames(), s.cfg.UserClaim)
	if s.cfg.UserClaim == claimEmail {
		wanted = append(wanted, claimEmailVerified)
	}
	return wanted
}

// turn waits for one of those who may ask the provider, if not too many do already.
func (s *SignIn) turn(ctx context.Context) (done func(), err error) {
	select {
	case s.places <- struct{}{}:
	default:
		return nil, &fault{"busy", fmt.Errorf("%d sign-ins wait for the provider", waiting)}
	}
	select {
	case s.turns <- struct{}{}:
		return func() { <-s.turns; <-s.places }, nil
	case <-ctx.Done():
		<-s.places
		return nil, &fault{"busy", errors.New("its turn did not come in time: the provider is slow")}
	}
}

// begin makes the session of who the provider says it is.
func (s *SignIn) begin(said claims) (Session, error) {
	user, err := said.user(s.cfg.UserClaim)
	if err != nil {
		return Session{}, &fault{"name", err}
	}
	now := s.now().Truncate(time.Second)
	session := Session{
		ID: random(), User: user, Begun: now.Unix(), Ends: now.Add(s.cfg.Session).Unix(), Holds: s.cfg.Rules.holds(said),
	}
	if _, ok := s.cfg.Rules.Rights(session.Holds); !ok {
		return Session{}, &fault{"rights", fmt.Errorf("none of the rules of oidc.rights is for %q", user)}
	}
	return session, nil
}

func stateFault(format string, values ...any) error {
	return &fault{"state", fmt.Errorf(format, values...)}
}

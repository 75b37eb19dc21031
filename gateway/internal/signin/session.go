package signin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Session is somebody who is signed in, as the cookie keeps it.
type Session struct {
	ID    string `json:"id"` // also that of its tokens
	User  string `json:"user"`
	Begun int64  `json:"begun"` // Unix seconds
	Ends  int64  `json:"ends"`  // Unix seconds
	// Holds are the rules that the person met at sign-in. What they give is looked up for each token, so that changed settings hold.
	Holds []string `json:"holds,omitempty"`
}

// revokeTimeout bounds how long a logout waits for the disk.
const revokeTimeout = 5 * time.Second

// token gives the page a token, as long as there is a session.
func (s *SignIn) token(w http.ResponseWriter, r *http.Request) {
	if !s.fromPage(w, r) {
		return
	}
	session, ok := s.current(r)
	var rights *Rights
	if ok {
		rights, ok = s.cfg.Rules.Rights(session.Holds)
	}
	if !ok {
		sessionCookie.set(w, s.secure, "", 0)
		http.Error(w, "there is no session: sign in", http.StatusUnauthorized)
		return
	}
	signed, lives, err := s.cfg.Sign(session, rights)
	if err != nil {
		s.cfg.Log.Error("a token could not be made", "user", session.User, "err", err)
		http.Error(w, "the token could not be made: the server's log says why", http.StatusInternalServerError)
		return
	}
	s.tokens.Add(1)
	writeJSON(w, map[string]any{"user": session.User, "token": signed, "expiresInMs": lives.Milliseconds()})
}

// logout ends the session, here and at the provider.
func (s *SignIn) logout(w http.ResponseWriter, r *http.Request) {
	if !s.fromPage(w, r) {
		return
	}
	session, ok := s.current(r)
	var hint string
	s.sealer.open(hintCookie, s.secure, r, &hint)
	sessionCookie.set(w, s.secure, "", 0)
	hintCookie.set(w, s.secure, "", 0)
	if ok {
		ctx, cancel := context.WithTimeout(r.Context(), revokeTimeout)
		defer cancel()
		if err := s.cfg.Revoke(ctx, session); err != nil {
			// The browser forgets it all the same, and its tokens are short.
			s.cfg.Log.Warn("a session that was signed out of is not revoked", "user", session.User, "session", session.ID, "err", err)
		}
	}
	writeJSON(w, map[string]string{"redirect": s.providerLogout(ok, hint)})
}

// providerLogout is where the provider's own session is ended, "" if nowhere: OpenID Connect RP-Initiated Logout 1.0. Else the next
// who signs in at this browser would be the same person, without a question.
func (s *SignIn) providerLogout(signedIn bool, hint string) string {
	p := s.provider.Load()
	if p == nil || p.logout == "" || !signedIn {
		return ""
	}
	address, err := url.Parse(p.logout)
	if err != nil {
		return ""
	}
	query := address.Query()
	query.Set("client_id", s.cfg.ClientID)
	query.Set("post_logout_redirect_uri", s.origin+"/")
	if hint != "" {
		query.Set("id_token_hint", hint)
	}
	address.RawQuery = query.Encode()
	return address.String()
}

// current is the session of a request, if it has one that is not over.
func (s *SignIn) current(r *http.Request) (Session, bool) {
	var session Session
	if !s.sealer.open(sessionCookie, s.secure, r, &session) {
		return Session{}, false
	}
	now := s.now()
	// A session length that was set lower since holds for this one too.
	over := now.Unix() >= session.Ends || !now.Before(time.Unix(session.Begun, 0).Add(s.cfg.Session))
	return session, !over && !s.cfg.Revoked(session)
}

// fromPage lets only requests of the page through, which browsers mark with its origin on every POST.
func (s *SignIn) fromPage(w http.ResponseWriter, r *http.Request) bool {
	if strings.EqualFold(r.Header.Get("Origin"), s.origin) {
		return true
	}
	http.Error(w, "this is for the page at "+s.origin+" only: see the setting oidc.redirect_url", http.StatusForbidden)
	return false
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
}

package gateway

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/revocation"
	"rookery/gateway/internal/signin"
	"rookery/gateway/internal/site"
	"rookery/storage/vfs"
)

const (
	// pageTokenLife is how long tokens of the page live; auth.max_lifetime may make it shorter.
	pageTokenLife = 5 * time.Minute
	// pageKeyID is their kid.
	pageKeyID = "rookery-page"
	// siteRequests are answered at once, and siteTimeout is the time for each: a sign-in makes two or three requests to the provider.
	siteRequests = 1024
	siteTimeout  = 20 * time.Second
	// logoutRevocations is how many revocations there may be for a logout to add one. The rest is the operator's.
	logoutRevocations = revocation.Max / 2
)

// pageKeys are this server's own, for people who sign in. They follow from a secret beside the log that nobody has to know of: without it
// everybody has to sign in again.
type pageKeys struct {
	cookies []byte
	tokens  []verifyKey // one, none if nobody signs in
}

// openPageKeys reads the secret, or makes one.
func openPageKeys(c Config) (pageKeys, error) {
	if !c.OIDC.on() {
		return pageKeys{}, nil
	}
	path := filepath.Join(c.Data, "oidc", "key")
	secret, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // never fails
		err = writePrivate(path, secret)
	}
	if err != nil {
		return pageKeys{}, fmt.Errorf("key of the sessions of the page (setting data): %w", err)
	}
	if len(secret) != sha256.Size {
		return pageKeys{}, fmt.Errorf("key of the sessions of the page: %s has %d bytes and not %d; delete it, and everybody signs in again",
			path, len(secret), sha256.Size)
	}
	cookies, errCookies := hkdf.Key(sha256.New, secret, nil, "rookery oidc cookies", sha256.Size)
	tokens, errTokens := hkdf.Key(sha256.New, secret, nil, "rookery oidc tokens", sha256.Size)
	return pageKeys{cookies, []verifyKey{{pageKeyID, jwt.SigningMethodHS256, tokens}}}, errors.Join(errCookies, errTokens)
}

// writePrivate writes a file that only we read, whole or not at all. It is there after a power cut, with its directory, which is made in one that is.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return errors.Join(vfs.Disk().SyncDir(dir), vfs.Disk().SyncDir(filepath.Dir(dir)))
}

// startSignIn starts what signs people in, if anybody is to. The revocations are open.
func (s *Server) startSignIn(inboxes []*handoff.Mailbox[handoff.Event]) (err error) {
	c := s.cfg.OIDC
	if !c.on() {
		return nil
	}
	secret, err := c.clientSecret()
	if err != nil {
		return err
	}
	redirect, err := s.cfg.redirectURL()
	if err != nil {
		return err
	}
	rules, err := signin.ParseRules(c.Rights)
	if err != nil {
		return err
	}
	if s.signIn, err = signin.Start(signin.Config{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: secret, Scopes: c.Scopes, UserClaim: c.UserClaim, Rules: rules,
		RedirectURL: redirect, Session: c.Session, Key: s.pageKeys.cookies,
		Sign: s.signPageToken, Revoked: s.sessionRevoked, Revoke: s.revokeSession, Log: s.log,
	}); err != nil {
		return fmt.Errorf("start signing in (settings oidc): %w", err)
	}
	s.site = site.New(site.Config{
		Handler: s.signIn, Paths: signin.Paths(), Inboxes: inboxes, Most: siteRequests, Timeout: siteTimeout, Log: s.log,
	})
	return nil
}

// loopSite is what the loops are given, nil if there is nothing.
func (s *Server) loopSite() loop.Site {
	if s.site == nil {
		return nil // and not a pointer that is nil, which is a Site
	}
	return s.site
}

// stopSignIn ends it. The revocations are still open.
func (s *Server) stopSignIn() {
	if s.signIn != nil {
		s.site.Close()
		s.signIn.Close()
	}
}

// signPageToken makes a token as our own authenticator takes it.
func (s *Server) signPageToken(session signin.Session, rights *signin.Rights) (string, time.Duration, error) {
	auth := s.auth.Load()
	now := time.Now()
	lives := min(pageTokenLife, time.Unix(session.Ends, 0).Sub(now))
	if auth.MaxLifetime != 0 {
		lives = min(lives, auth.MaxLifetime)
	}
	claims := &tokenClaims{RegisteredClaims: jwt.RegisteredClaims{
		Subject: session.User, ID: session.ID, Issuer: auth.Issuer,
		IssuedAt: jwt.NewNumericDate(time.Unix(session.Begun, 0)), ExpiresAt: jwt.NewNumericDate(now.Add(lives)),
	}}
	if auth.Audience != "" {
		claims.Audience = jwt.ClaimStrings{auth.Audience}
	}
	if rights != nil {
		claims.Rooms, claims.Publish, claims.Create, claims.Moderate = rights.Rooms, rights.Publish, rights.Create, rights.Moderate
		// What is as rooms is left out: a token is bounded, and rules that give many rooms would not fit three times.
		if slices.Equal(claims.Publish, claims.Rooms) {
			claims.Publish = nil
		}
		if slices.Equal(claims.Create, claims.Rooms) {
			claims.Create = nil
		}
	}
	own := s.pageKeys.tokens[0]
	signed, err := SigningKey(own).sign(claims)
	return signed, lives, err
}

func (s *Server) sessionRevoked(session signin.Session) bool {
	return s.revocations.Revoked(session.ID, session.User, time.Unix(session.Begun, 0))
}

// revokeSession ends a session and all of its connections: its id is that of its tokens.
func (s *Server) revokeSession(ctx context.Context, session signin.Session) error {
	if s.revocations.Len() >= logoutRevocations {
		return fmt.Errorf("%d revocations are kept, and the rest of the room is for those of the server's operator", logoutRevocations)
	}
	now := time.Now()
	until := time.Unix(session.Ends, 0).Add(2 * s.auth.Load().Leeway)
	return s.revocations.Add(ctx, revocation.Entry{Key: revocation.Key{Token: session.ID}, At: now, Until: until})
}

// signInStats are zero while nobody can sign in.
func (s *Server) signInStats() signin.Stats {
	if s.signIn == nil {
		return signin.Stats{}
	}
	return s.signIn.Stats()
}

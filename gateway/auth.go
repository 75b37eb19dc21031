package gateway

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/jwks"
	"rookery/proto"
)

// maxToken bounds what is decoded before any signature was checked.
const maxToken = 8 << 10

// An authenticator turns the token or the name of a connect frame into an identity. Every event loop calls it at
// the same time. It is immutable, but for the key set that it asks
// and the head of the last token.
//
// A token is a JWT (RFC 7519) signed with HS256, RS256, ES256 or EdDSA by one of the
// configured keys. A key checks the one algorithm of its type, whatever the token says. A
// token with a kid is checked with the key of that kid, or if there is none with the keys
// that were given none; a token without one is tried with each key of its algorithm. The keys of a key set (package jwks) are asked
// too: with a kid for the one of that kid, without for the only one of the algorithm. A kid that is nowhere is
// refused only when the set has been fetched since; until then the answer is an [identity.NotYetError].
//
//	sub      required  the user's name: 1 to 128 bytes of UTF-8 without control characters
//	exp      required  the identity ends here, plus the leeway
//	nbf      optional  not before this time, less the leeway
//	iat      optional  when it was issued, for the revocation of a user's earlier tokens
//	jti      optional  the token's id, for its revocation
//	iss, aud           required if configured, else ignored
//	rooms    optional  patterns of the rooms the user may enter; absent is every room
//	limits   optional  rates of the user, lower or as far as the settings allow higher than those of the server
//	publish  optional  patterns of the rooms the user may write to; absent is as rooms
//	create   optional  patterns of the rooms the user may create; absent is as rooms
//	moderate optional  patterns of the rooms the user is a moderator of; absent is none
type authenticator struct {
	dev    bool
	keys   []verifyKey
	keySet *jwks.Set // nil: none
	// revoked says which tokens were taken back; nil: none.
	revoked     revokedCheck
	leeway      time.Duration
	maxLifetime time.Duration
	now         func() time.Time
	validator   *jwt.Validator
	// lastHead is that of the last token, of whatever issuer.
	lastHead atomic.Pointer[tokenHead]
}

// revokedCheck is revocation.Set's.
type revokedCheck interface {
	Revoked(tokenID, user string, issued time.Time) bool
}

// newAuthenticator takes the keys of the settings, and those that the server made for itself.
func newAuthenticator(c Config, keySet *jwks.Set, revoked revokedCheck, own ...verifyKey) (*authenticator, error) {
	return newAuthenticatorAt(c, keySet, revoked, time.Now, own...)
}

func newAuthenticatorAt(c Config, keySet *jwks.Set, revoked revokedCheck, now func() time.Time, own ...verifyKey) (*authenticator, error) {
	var faults faultList
	keys := append(c.loadKeys(&faults), own...)
	if err := faults.join(); err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{
		jwt.WithTimeFunc(now),
		jwt.WithLeeway(c.Auth.Leeway),
		jwt.WithExpirationRequired(),
	}
	if c.Auth.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Auth.Issuer))
	}
	if c.Auth.Audience != "" {
		options = append(options, jwt.WithAudience(c.Auth.Audience))
	}
	return &authenticator{
		dev:         c.Dev,
		keys:        keys,
		keySet:      keySet,
		revoked:     revoked,
		leeway:      c.Auth.Leeway,
		maxLifetime: c.Auth.MaxLifetime,
		now:         now,
		validator:   jwt.NewValidator(options...),
	}, nil
}

// Authenticate says who the holder of a token is or, in development mode only and without
// a token, takes the name as it is. With a token the name is not looked at. It never
// waits, but it computes: a signature costs from a few µs (HS256) to about 100 µs. The token is
// only lent; the name is kept.
//
// The errors are those of package identity.
func (a *authenticator) Authenticate(token, name string) (identity.Identity, error) {
	switch {
	case token != "":
		return a.verify(token)
	case !a.dev && name != "":
		return identity.Identity{}, fmt.Errorf("%w: names without a token are for development mode; connect with a token", identity.ErrTokenRequired)
	case !a.dev:
		return identity.Identity{}, fmt.Errorf("%w: connect with one that was signed for this server", identity.ErrTokenRequired)
	case name == "":
		return identity.Identity{}, fmt.Errorf("%w: connect with a name of your choice", identity.ErrNameRequired)
	case !proto.ValidName(name):
		return identity.Identity{}, fmt.Errorf("%w: take 1 to %d bytes of text without control characters", identity.ErrNameInvalid, proto.MaxName)
	}
	return identity.Identity{User: name}, nil
}

func (a *authenticator) verify(token string) (identity.Identity, error) {
	switch {
	case len(token) > maxToken:
		return refuse("it is longer than %d bytes", maxToken)
	case len(a.keys) == 0 && a.keySet == nil:
		return refuse("this server has no key to check it with; connect with a name")
	}
	var claims tokenClaims
	missing, err := a.check(token, &claims)
	if err != nil && missing != nil && (errors.Is(err, jwt.ErrTokenSignatureInvalid) || errors.Is(err, jwt.ErrTokenUnverifiable)) {
		if wait := a.keySet.Wait(*missing); wait > 0 {
			return identity.Identity{}, &identity.NotYetError{After: wait}
		}
	}
	if err != nil {
		return identity.Identity{}, tokenFault(err)
	}
	who, err := claims.identity(a.leeway)
	if err != nil {
		return who, err
	}
	var issued time.Time
	if claims.IssuedAt != nil {
		issued = claims.IssuedAt.Time
	}
	switch {
	case a.revoked != nil && a.revoked.Revoked(claims.ID, claims.Subject, issued):
		return identity.Identity{}, fmt.Errorf("%w: get a new one", identity.ErrTokenRevoked)
	case a.maxLifetime != 0 && claims.ExpiresAt.Sub(a.now()) > a.maxLifetime+a.leeway:
		return refuse("it lives longer than the %v that this server allows", a.maxLifetime)
	}
	return who, nil
}

// tokenReason is a reason of ours that the parser carries out, among its own words.
type tokenReason string

func (r tokenReason) Error() string { return string(r) }

func refuse(format string, values ...any) (identity.Identity, error) {
	return identity.Identity{}, fmt.Errorf("%w: "+format, append([]any{identity.ErrTokenInvalid}, values...)...)
}

// tokenFault says the parser's error in a sentence for the token's holder. What a new
// token from the same issuer would not mend comes before the expiry, which it would.
func tokenFault(err error) error {
	if reason, ok := errors.AsType[tokenReason](err); ok {
		return fmt.Errorf("%w: %w", identity.ErrTokenInvalid, reason)
	}
	for _, fault := range []struct{ is, wrap, advice error }{
		{jwt.ErrTokenMalformed, identity.ErrTokenInvalid, errors.New("it is not a JWT, three parts with dots between them")},
		{jwt.ErrTokenSignatureInvalid, identity.ErrTokenInvalid, errors.New("its signature is not of a key of this server")},
		{jwt.ErrTokenUnverifiable, identity.ErrTokenInvalid, errors.New("its algorithm is none of HS256, RS256, ES256 and EdDSA")},
		{jwt.ErrTokenRequiredClaimMissing, identity.ErrTokenInvalid, errors.New("it lacks exp, or the iss or aud that this server asks for")},
		{jwt.ErrTokenInvalidIssuer, identity.ErrTokenInvalid, errors.New("its iss is not the issuer that this server trusts")},
		{jwt.ErrTokenInvalidAudience, identity.ErrTokenInvalid, errors.New("its aud does not name this server")},
		{jwt.ErrTokenNotValidYet, identity.ErrTokenInvalid, errors.New("it is not valid yet; compare the clocks")},
		{jwt.ErrTokenExpired, identity.ErrTokenExpired, errors.New("get a new one and connect again")},
	} {
		if errors.Is(err, fault.is) {
			return fmt.Errorf("%w: %w", fault.wrap, fault.advice)
		}
	}
	return fmt.Errorf("%w: %w", identity.ErrTokenInvalid, err)
}

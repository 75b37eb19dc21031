package gateway

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/identity"
	"rookery/proto"
)

// maxToken bounds what is decoded before any signature was checked.
const maxToken = 8 << 10

// An authenticator turns the token or the name of a connect frame into an identity. It is
// immutable: every event loop calls it at the same time.
//
// A token is a JWT (RFC 7519) signed with HS256, RS256, ES256 or EdDSA by one of the
// configured keys. A key checks the one algorithm of its type, whatever the token says. A
// token with a kid is checked with the key of that kid, or if there is none with the keys
// that were given none; a token without one is tried with each key of its algorithm.
//
//	sub      required  the user's name: 1 to 128 bytes of UTF-8 without control characters
//	exp      required  the identity ends here, plus the leeway
//	nbf      optional  not before this time, less the leeway
//	iss, aud           required if configured, else ignored
//	rooms    optional  patterns of the rooms the user may enter; absent is every room
//	publish  optional  patterns of the rooms the user may write to; absent is as rooms
//	create   optional  patterns of the rooms the user may create; absent is as rooms
//	moderate optional  patterns of the rooms the user is a moderator of; absent is none
type authenticator struct {
	dev    bool
	keys   []verifyKey
	leeway time.Duration
	parser *jwt.Parser
}

func newAuthenticator(c Config) (*authenticator, error) {
	return newAuthenticatorAt(c, time.Now)
}

func newAuthenticatorAt(c Config, now func() time.Time) (*authenticator, error) {
	var faults faultList
	keys := c.loadKeys(&faults)
	if err := faults.join(); err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{
		jwt.WithTimeFunc(now),
		jwt.WithLeeway(c.Auth.Leeway),
		jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(),
	}
	if c.Auth.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Auth.Issuer))
	}
	if c.Auth.Audience != "" {
		options = append(options, jwt.WithAudience(c.Auth.Audience))
	}
	return &authenticator{
		dev:    c.Dev,
		keys:   keys,
		leeway: c.Auth.Leeway,
		parser: jwt.NewParser(options...),
	}, nil
}

// Authenticate says who the holder of a token is or, in development mode only and without
// a token, takes the name as it is. With a token the name is not looked at. It never
// waits, but it computes: a signature costs from a few µs (HS256) to about 100 µs.
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
	case len(a.keys) == 0:
		return refuse("this server has no key to check it with; connect with a name")
	}
	var claims tokenClaims
	if _, err := a.parser.ParseWithClaims(token, &claims, a.keysFor); err != nil {
		return identity.Identity{}, tokenFault(err)
	}
	return claims.identity(a.leeway)
}

// keysFor is asked by the parser for the keys that may have signed a token. Its answer
// holds only keys of the token's own algorithm; "none" is the algorithm of no key.
func (a *authenticator) keysFor(token *jwt.Token) (any, error) {
	// "If any of the listed extension Header Parameters are not understood and supported
	// by the recipient, then the JWS is invalid." (RFC 7515 section 4.1.11) We know none.
	if _, critical := token.Header["crit"]; critical {
		return nil, tokenReason("it asks for extensions that this server does not have")
	}
	id, isText := token.Header["kid"].(string)
	if !isText && token.Header["kid"] != nil {
		return nil, tokenReason("its kid is not a string")
	}
	named := id != "" && slices.ContainsFunc(a.keys, func(key verifyKey) bool { return key.id == id })
	var set jwt.VerificationKeySet
	for _, key := range a.keys {
		if key.method.Alg() != token.Method.Alg() {
			continue
		}
		if id == "" || named && key.id == id || !named && key.id == "" {
			set.Keys = append(set.Keys, key.key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, tokenReason(fmt.Sprintf("this server has no key for algorithm %.20q and kid %.64q", token.Method.Alg(), id))
	}
	return set, nil
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

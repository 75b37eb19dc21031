package gateway

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/proto"
)

// tokenClaims is the part of a token that is ours: what the authenticator reads is what
// SignToken writes.
type tokenClaims struct {
	jwt.RegisteredClaims
	Rooms    patterns `json:"rooms,omitzero"`
	Publish  patterns `json:"publish,omitzero"`
	Create   patterns `json:"create,omitzero"`
	Moderate patterns `json:"moderate,omitzero"`
	Limits   limits   `json:"limits,omitzero"`
}

// identity makes the identity of claims whose signature and times are checked.
func (c *tokenClaims) identity(leeway time.Duration) (identity.Identity, error) {
	if !proto.ValidName(c.Subject) {
		return refuse("its sub has to be the user's name, 1 to %d bytes of text without control characters", proto.MaxName)
	}
	// A number of seconds that is out of all reason would wrap around as milliseconds.
	if seconds := c.ExpiresAt.Unix(); seconds <= 0 || seconds > proto.MaxInteger/1000 {
		return refuse("its exp is not a time in seconds")
	}
	// The leeway is in it, since the check at connect grants it: else a peer whose clock is
	// behind would be let in and thrown out in the same moment.
	id := identity.Identity{User: c.Subject, Expires: c.ExpiresAt.Add(leeway).UnixMilli()}
	if proto.ValidName(c.ID) {
		id.TokenID = identity.HashTokenID(c.ID)
	}
	if c.IssuedAt != nil {
		id.Issued = uint32(min(max(0, c.IssuedAt.Unix()), math.MaxUint32))
	}
	if c.Rooms == nil && c.Publish == nil && c.Create == nil && c.Moderate == nil && c.Limits.Claims == nil {
		return id, nil
	}
	id.Rights = &identity.Rights{Join: []string{"*"}, Moderate: c.Moderate, Rates: c.Limits.Claims}
	if c.Rooms != nil {
		id.Rights.Join = c.Rooms
	}
	id.Rights.Publish = id.Rights.Join
	if c.Publish != nil {
		id.Rights.Publish = c.Publish
	}
	id.Rights.Create = id.Rights.Join
	if c.Create != nil {
		id.Rights.Create = c.Create
	}
	return id, nil
}

// maxPatterns bounds what one identity costs for as long as its connection lives, and the
// time of each check of its rights.
const maxPatterns = 100

// patterns is a list of room patterns that tells an absent claim (nil), which is every
// room, from an empty one, which is none. A null is refused: it is most likely a list that
// the issuer lost, and must not open every room.
type patterns []string

// UnmarshalJSON implements [json.Unmarshaler].
func (p *patterns) UnmarshalJSON(data []byte) error {
	const wrong = tokenReason("its rooms, publish, create and moderate have to be lists of room patterns")
	var entries []*string
	if err := json.Unmarshal(data, &entries); err != nil || entries == nil {
		return wrong
	}
	list := make(patterns, len(entries))
	for i, entry := range entries {
		if entry == nil {
			return wrong
		}
		list[i] = *entry
	}
	if err := list.check(); err != nil {
		return tokenReason(err.Error())
	}
	*p = list
	return nil
}

func (p patterns) check() error {
	if len(p) > maxPatterns {
		return fmt.Errorf("it has more than %d room patterns in one list", maxPatterns)
	}
	for _, pattern := range p {
		if err := identity.CheckPattern(pattern); err != nil {
			return fmt.Errorf("its %w", err)
		}
	}
	return nil
}

// limits is the claim of that name: rates of the user, a second, by operation.
type limits struct{ *rate.Claims }

// UnmarshalJSON implements [json.Unmarshaler].
func (l *limits) UnmarshalJSON(data []byte) error {
	const wrong = tokenReason("its limits have to be rates a second by operation, like {\"publish\":5}, from 0.001 on")
	var given map[string]float64
	if err := json.Unmarshal(data, &given); err != nil || given == nil {
		return wrong
	}
	l.Claims = new(rate.Claims)
	for name, perSecond := range given {
		_, operation, err := rate.Parse(rate.User.String(), name)
		if err != nil || !(perSecond >= 0.001 && perSecond <= 1e12) {
			return wrong
		}
		l.Claims[operation] = float32(perSecond)
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (l limits) MarshalJSON() ([]byte, error) {
	given := map[string]float32{}
	for o, perSecond := range l.Claims {
		if perSecond > 0 {
			given[rate.Operation(o).String()] = perSecond
		}
	}
	return json.Marshal(given)
}

// TokenRequest is what a new token says. The zero value of a field leaves its claim out.
type TokenRequest struct {
	User     string        // required: sub
	Lifetime time.Duration // required: exp, from now
	Rooms    []string      // patterns of the rooms to enter; nil is every room
	Publish  []string      // patterns of the rooms to write to; nil is as Rooms
	Create   []string      // patterns of the rooms to create; nil is as Rooms
	Moderate []string      // patterns of the rooms to be a moderator of; nil is none
	Issuer   string
	Audience string
	ID       string // jti, by which it can be revoked alone
}

// A SigningKey signs tokens.
type SigningKey struct {
	id     string
	method jwt.SigningMethod
	key    any
}

// SigningKey returns the key of the configured HS256 secret. Public keys sign nothing: for
// those there is ReadSigningKey.
func (c Config) SigningKey() (SigningKey, error) {
	secret, err := c.hs256Secret()
	if err != nil {
		return SigningKey{}, fmt.Errorf("secret of HS256 tokens: %w", err)
	}
	if secret == nil {
		return SigningKey{}, errors.New("the configuration has no secret to sign with; set auth.hs256_secret_file, or name a private key")
	}
	return SigningKey{"", jwt.SigningMethodHS256, secret}, nil
}

// ReadSigningKey reads the private key of a PEM file: RSA signs RS256, ECDSA P-256 ES256,
// Ed25519 EdDSA. Tokens carry id as their kid, if it is not empty.
func ReadSigningKey(path, id string) (SigningKey, error) {
	data, err := readPrivate(path)
	if err != nil {
		return SigningKey{}, fmt.Errorf("private key: %w", err)
	}
	block, err := onlyBlock(path, data)
	if err != nil {
		return SigningKey{}, fmt.Errorf("private key: %w", err)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return SigningKey{}, fmt.Errorf("private key: %s holds a %s, not a PRIVATE KEY without a password", path, block.Type)
	}
	if err != nil {
		return SigningKey{}, fmt.Errorf("private key: %s is damaged: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return SigningKey{}, fmt.Errorf("private key: %s holds a key of type %T, which signs nothing", path, key)
	}
	method, err := methodOf(signer.Public())
	if err != nil {
		return SigningKey{}, fmt.Errorf("private key: %s: %w", path, err)
	}
	return SigningKey{id, method, key}, nil
}

// SignToken makes a token that an authenticator with the matching key takes.
func (k SigningKey) SignToken(r TokenRequest) (string, error) {
	if !proto.ValidName(r.User) {
		return "", fmt.Errorf("user %q: a name is 1 to %d bytes of text without control characters", r.User, proto.MaxName)
	}
	if r.Lifetime < time.Second {
		return "", fmt.Errorf("lifetime %v: a token lives a second or more", r.Lifetime)
	}
	for _, list := range []patterns{r.Rooms, r.Publish, r.Create, r.Moderate} {
		if err := list.check(); err != nil {
			return "", fmt.Errorf("token refused: %w", err)
		}
	}
	if r.ID != "" && !proto.ValidName(r.ID) {
		return "", fmt.Errorf("id %q: the id of a token is 1 to %d bytes of text without control characters", r.ID, proto.MaxName)
	}
	now := time.Now()
	claims := &tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   r.User,
			Issuer:    r.Issuer,
			ID:        r.ID,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(r.Lifetime)),
		},
		Rooms:    r.Rooms,
		Publish:  r.Publish,
		Create:   r.Create,
		Moderate: r.Moderate,
	}
	if r.Audience != "" {
		claims.Audience = jwt.ClaimStrings{r.Audience}
	}
	return k.sign(claims)
}

func (k SigningKey) sign(claims *tokenClaims) (string, error) {
	token := jwt.NewWithClaims(k.method, claims)
	if k.id != "" {
		token.Header["kid"] = k.id
	}
	signed, err := token.SignedString(k.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(signed) > maxToken {
		return "", fmt.Errorf("token of %d bytes: the server takes %d; name fewer rooms", len(signed), maxToken)
	}
	return signed, nil
}

package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Names of the algorithms, RFC 7518 section 3.1 and RFC 8037 section 3.1.
const (
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// maxKeys bounds a document; issuers have two to ten.
const maxKeys = 64

// Key is a public key and the one algorithm that it checks.
type Key struct {
	ID        string // may be empty
	Algorithm string
	Public    any // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// document is RFC 7517 section 5: "The value of the "keys" parameter is an array of JWK values."
type document struct {
	Keys []json.RawMessage `json:"keys"`
}

// member is a JWK without its private part.
type member struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

// parse gives the keys of use. "Implementations SHOULD ignore JWKs within a JWK Set that use "kty" values that
// are not understood by them, that are missing required members, or for which values are out of the supported ranges."
// (RFC 7517 section 5)
func parse(text []byte) ([]Key, error) {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("it is no JSON Web Key Set: %w", err)
	}
	if len(d.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, and more than %d are no sign of order", len(d.Keys), maxKeys)
	}
	var keys []Key
	var skipped error // the first reason
	for _, raw := range d.Keys {
		key, err := parseKey(raw)
		switch {
		case err != nil && skipped == nil:
			skipped = err
		case err == nil && !slices.ContainsFunc(keys, func(k Key) bool { return k.ID == key.ID && k.ID != "" }):
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 && skipped != nil {
		return nil, fmt.Errorf("it has no key of use: %w", skipped)
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no keys")
	}
	return keys, nil
}

func parseKey(raw json.RawMessage) (Key, error) {
	var m member
	if err := json.Unmarshal(raw, &m); err != nil {
		return Key{}, fmt.Errorf("a key is malformed: %w", err)
	}
	key := Key{ID: m.ID}
	var err error
	switch {
	case m.Use != "" && m.Use != "sig":
		return Key{}, fmt.Errorf("key %.64q is for %.20q, not for signatures", m.ID, m.Use)
	case m.Operations != nil && !slices.Contains(m.Operations, "verify"):
		return Key{}, fmt.Errorf("key %.64q is not for verifying", m.ID)
	case m.Type == "RSA":
		key.Algorithm = RS256
		key.Public, err = m.rsa()
	case m.Type == "EC" && m.Curve == "P-256":
		key.Algorithm = ES256
		key.Public, err = m.p256()
	case m.Type == "OKP" && m.Curve == "Ed25519":
		key.Algorithm = EdDSA
		key.Public, err = m.ed25519()
	default:
		return Key{}, fmt.Errorf("key %.64q of type %.20q and curve %.20q is none of RSA, P-256 and Ed25519", m.ID, m.Type, m.Curve)
	}
	if err == nil && m.Algorithm != "" && m.Algorithm != key.Algorithm {
		err = fmt.Errorf("is for %.20q, not for %s", m.Algorithm, key.Algorithm)
	}
	if err != nil {
		return Key{}, fmt.Errorf("key %.64q %w", m.ID, err)
	}
	return key, nil
}

var errNumber = errors.New("has a number that is not base64url or out of bounds")

func (m *member) rsa() (*rsa.PublicKey, error) {
	n, errN := base64.RawURLEncoding.DecodeString(m.N)
	e, errE := base64.RawURLEncoding.DecodeString(m.E)
	exponent := new(big.Int).SetBytes(e)
	if errN != nil || errE != nil || len(n) > 2048 || !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 || exponent.Bit(0) == 0 {
		return nil, errNumber
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}
	// "A key of size 2048 bits or larger MUST be used" (RFC 7518 section 3.3)
	if bits := key.N.BitLen(); bits < 2048 {
		return nil, fmt.Errorf("has %d bits and can be broken, 2048 are the least", bits)
	}
	return key, nil
}

func (m *member) p256() (*ecdsa.PublicKey, error) {
	x, errX := base64.RawURLEncoding.DecodeString(m.X)
	y, errY := base64.RawURLEncoding.DecodeString(m.Y)
	// "The length of this octet string MUST be the full size of a coordinate" (RFC 7518 section 6.2.1.2)
	if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return nil, errNumber
	}
	// It also sees to it that the point is on the curve.
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("is no point of P-256")
	}
	return key, nil
}

func (m *member) ed25519() (ed25519.PublicKey, error) {
	x, err := base64.RawURLEncoding.DecodeString(m.X)
	if err != nil || len(x) != ed25519.PublicKeySize {
		return nil, errNumber
	}
	return ed25519.PublicKey(x), nil
}

package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// minSecret is the size of HMAC-SHA256's output: "A key of the same size as the hash
// output [...] or larger MUST be used with this algorithm." (RFC 7518 section 3.2)
const minSecret = 32

// maxKeyFile is far above any key; it keeps a wrong path from being read into memory.
const maxKeyFile = 64 << 10

// maxKeys bounds the signatures that a token without a kid can make the server check.
const maxKeys = 16

// A verifyKey checks the signatures of one algorithm, which its type decides. A token
// never chooses: one that claims HS256 is not checked with the bytes of an RSA key.
type verifyKey struct {
	id     string // the kid that tokens name it by; may be empty
	method jwt.SigningMethod
	key    any
}

// validateKeys checks that there are keys, and that they can be read and used.
func (c Config) validateKeys(faults *faultList) {
	keys := c.loadKeys(faults)
	if c.Dev || len(keys) > 0 || c.Auth.JWKS != "" || c.OIDC.on() || faults.unread ||
		!faults.sound("dev", "oidc.issuer", "auth.hs256_secret", "auth.hs256_secret_file", "auth.public_keys") {
		return
	}
	faults.addText("auth: there is no key to check tokens with; set auth.hs256_secret_file, auth.public_keys or auth.jwks, " +
		"have people sign in with oidc.issuer, or run with --dev where anyone may connect under any name")
}

// loadKeys reads the keys of Auth.
func (c Config) loadKeys(faults *faultList) []verifyKey {
	refuse := func(name, text, reason string) {
		s := setting{name: name, secret: name == "auth.hs256_secret"}
		faults.add(s, c.sources[name], text, reason)
	}
	var keys []verifyKey
	secret, err := c.hs256Secret()
	switch {
	case err != nil && c.Auth.HS256SecretFile != "":
		refuse("auth.hs256_secret_file", c.Auth.HS256SecretFile, err.Error())
	case err != nil:
		refuse("auth.hs256_secret", "", err.Error())
	case secret != nil:
		keys = append(keys, verifyKey{"", jwt.SigningMethodHS256, secret})
	}
	if len(c.Auth.PublicKeys) > maxKeys {
		refuse("auth.public_keys", "…", fmt.Sprintf("has %d keys, and a token may have to be tried with each; the most is %d", len(c.Auth.PublicKeys), maxKeys))
		return keys
	}
	ids := map[string]bool{}
	for _, entry := range c.Auth.PublicKeys {
		id, path := splitKey(entry)
		key, err := readPublicKey(path)
		switch {
		case err != nil:
			refuse("auth.public_keys", entry, err.Error())
		case id != "" && ids[id]:
			refuse("auth.public_keys", entry, fmt.Sprintf("has the kid %q, which another key has; each needs its own", id))
		default:
			ids[id] = true
			key.id = id
			keys = append(keys, key)
		}
	}
	return keys
}

// splitKey splits kid=path. A "=" behind a "/" belongs to the path.
func splitKey(entry string) (id, path string) {
	id, path, ok := strings.Cut(entry, "=")
	if !ok || strings.Contains(id, "/") {
		return "", entry
	}
	return id, path
}

// hs256Secret returns the secret of HS256 tokens, nil if there is none.
func (c Config) hs256Secret() ([]byte, error) {
	secret := []byte(c.Auth.HS256Secret)
	if path := c.Auth.HS256SecretFile; path != "" {
		if len(secret) > 0 {
			return nil, errors.New("is set together with auth.hs256_secret; take one of them out")
		}
		data, err := readPrivate(path)
		if err != nil {
			return nil, err
		}
		secret = bytes.TrimRight(data, "\r\n")
	} else if len(secret) == 0 {
		return nil, nil
	}
	if len(secret) < minSecret {
		return nil, fmt.Errorf("holds %d bytes, and a secret that short can be guessed; make one of %d or more, "+
			"like head -c 32 /dev/urandom | base64", len(secret), minSecret)
	}
	return secret, nil
}

// readPublicKey reads the one public key of a PEM file.
func readPublicKey(path string) (verifyKey, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return verifyKey{}, err
	}
	block, err := onlyBlock(path, data)
	if err != nil {
		return verifyKey{}, err
	}
	var key any
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		advice := ""
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			advice = "; the server must not have the private key: openssl pkey -in private.pem -pubout"
		}
		return verifyKey{}, fmt.Errorf("%s holds a %s, not a PUBLIC KEY%s", path, block.Type, advice)
	}
	if err != nil {
		return verifyKey{}, fmt.Errorf("%s is damaged: %v", path, err)
	}
	method, err := methodOf(key)
	if err != nil {
		return verifyKey{}, fmt.Errorf("%s: %v", path, err)
	}
	return verifyKey{"", method, key}, nil
}

// methodOf pins the algorithm to the type of a public key.
func methodOf(public any) (jwt.SigningMethod, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		// "A key of size 2048 bits or larger MUST be used" (RFC 7518 section 3.3)
		if bits := key.N.BitLen(); bits < 2048 {
			return nil, fmt.Errorf("an RSA key of %d bits can be broken; make one of 2048 or more", bits)
		}
		return jwt.SigningMethodRS256, nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("ECDSA keys have to be of curve P-256, this one is %s", key.Curve.Params().Name)
		}
		return jwt.SigningMethodES256, nil
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA, nil
	}
	return nil, fmt.Errorf("a key of type %T is none of RSA, ECDSA P-256 and Ed25519", public)
}

func onlyBlock(path string, data []byte) (*pem.Block, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not a PEM file; it has to begin with -----BEGIN", path)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%s holds several keys; give each a file of its own", path)
	}
	return block, nil
}

// readPrivate reads a file with a secret, unless everybody can.
func readPrivate(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		return nil, errors.New(openToAll(path))
	}
	return readKeyFile(path)
}

func readKeyFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", path, cause(err))
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("file %s is a directory", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", path, cause(err))
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("file %s is larger than %s, so it is no key", path, formatSize(maxKeyFile))
	}
	return data, nil
}

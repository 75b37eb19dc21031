package api

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Scopes of keys: what each lets its holder do.
const (
	ScopePublish = "publish" // say something as any user, edit it
	ScopeRead    = "read"    // rooms, members, history
	ScopeRooms   = "rooms"   // create and configure rooms, change members, delete messages
	ScopeUsers   = "users"   // disconnect and ban users
	ScopeExport  = "export"  // the log as it is
	ScopeStats   = "stats"   // figures
	ScopeTrace   = "trace"   // what a user does, as it happens
)

// Scopes lists them all.
func Scopes() []string {
	return []string{ScopePublish, ScopeRead, ScopeRooms, ScopeUsers, ScopeExport, ScopeStats, ScopeTrace}
}

const (
	// minSecret is what a secret has at least: 32 characters of base64 are 192 bits.
	minSecret = 32
	// maxKeys bounds the comparisons that a request costs.
	maxKeys = 100
)

// Keys are those that open the API. They are immutable.
type Keys []key

type key struct {
	name   string
	scopes []string
	// sum is the SHA-256 of the secret: sums have one length, so that comparing them says nothing about the secret's.
	sum [sha256.Size]byte
}

// ParseKeys reads keys, one a line: a name, scopes with commas between them, the secret. Empty lines are passed over, and those that begin with
// #. An error never shows a secret.
func ParseKeys(text string) (Keys, error) {
	const want = "write a name, scopes with commas between them, and the secret, like: backend publish,read SECRET"
	var keys Keys
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d has %d words, not three; %s", n, len(fields), want)
		}
		k := key{name: fields[0], scopes: strings.Split(fields[1], ","), sum: sha256.Sum256([]byte(fields[2]))}
		for _, scope := range k.scopes {
			if !slices.Contains(Scopes(), scope) {
				return nil, fmt.Errorf("line %d has a scope that is none of %s; %s", n, strings.Join(Scopes(), ", "), want)
			}
		}
		switch {
		case len(k.name) > 64 || strings.ContainsFunc(k.name, func(r rune) bool { return !unicode.IsPrint(r) }):
			return nil, fmt.Errorf("line %d has a name that is longer than 64 bytes or not printable", n)
		case len(fields[2]) < minSecret:
			return nil, fmt.Errorf("line %d has a secret of %d bytes, which can be guessed; make one of %d or more, like head -c 32 /dev/urandom | base64",
				n, len(fields[2]), minSecret)
		}
		for _, other := range keys {
			if other.name == k.name || other.sum == k.sum {
				return nil, fmt.Errorf("line %d has the name or the secret of another key; each needs its own", n)
			}
		}
		if keys = append(keys, k); len(keys) > maxKeys {
			return nil, fmt.Errorf("there are more than %d keys", maxKeys)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the keys can't be read: %w", err)
	}
	return keys, nil
}

// find gives the key with a secret, nil if there is none. All are compared, whichever it is, each in the same time.
func (ks Keys) find(secret string) *key {
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i := range ks {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], ks[i].sum[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return &ks[found]
}

func (k *key) has(scope string) bool { return slices.Contains(k.scopes, scope) }

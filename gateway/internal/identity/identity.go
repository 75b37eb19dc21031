// Package identity is who a connection speaks for and what they may do: the outcome of
// authentication, in the form that the event loop keeps for as long as the connection
// lives. It holds no state and knows nothing of tokens; package gateway makes an Identity,
// the loop asks it.
//
// # Room patterns
//
// Rights are lists of patterns. A pattern is the name of a room, or a beginning of names
// followed by one "*": "team-*" is every room whose name begins with "team-", and "*" is
// every room. There are no other wildcards, so that a check is a comparison of prefixes.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/rate"
	"rookery/proto"
)

// The reasons for which nobody is let in. The errors that wrap them end with what to do,
// in a sentence made for the person at the other end: no key, path or stack is in it.
var (
	// ErrTokenRequired: no token, and the server is not in development mode.
	ErrTokenRequired = errors.New("a token is required")
	// ErrTokenInvalid: not a token, or not one of ours, or not for this server.
	ErrTokenInvalid = errors.New("the token is not valid")
	// ErrTokenExpired: it was good; a new one will do.
	ErrTokenExpired = errors.New("the token has expired")
	// ErrTokenRevoked: it was good, and was taken back.
	ErrTokenRevoked = errors.New("the token was revoked")
	// ErrNameRequired: development mode, and neither token nor name.
	ErrNameRequired = errors.New("a name is required")
	// ErrNameInvalid: development mode, and a name that no user can have.
	ErrNameInvalid = errors.New("the name is not valid")
)

// NotYetError says that it can't be told yet whether a token is good: the key that it names may have been published a moment
// ago. The same token may be let in later.
type NotYetError struct{ After time.Duration }

func (e *NotYetError) Error() string {
	return "the keys of the token's issuer are being fetched: connect again in a moment"
}

// Identity is a user and their rights. It is immutable and may be copied. A million of
// them may live, so that what most users don't have costs one nil pointer.
type Identity struct {
	User    string
	Expires int64   // Unix milliseconds from which it no longer holds; 0 is never
	Rights  *Rights // nil is every room

	// TokenID is HashTokenID of the token's id, 0 if it has none.
	TokenID uint64
	// Issued is when the token was issued in Unix seconds, 0 if it does not say.
	Issued uint32
}

// tokenIDKey is this process's own, or that of the process that it took its sessions over from.
var tokenIDKey atomic.Pointer[[16]byte]

func init() {
	var key [16]byte
	rand.Read(key[:]) // never fails
	tokenIDKey.Store(&key)
}

// TokenIDKey gives what HashTokenID hashes with, for a process that takes over sessions.
func TokenIDKey() [16]byte { return *tokenIDKey.Load() }

// SetTokenIDKey is called by a process that takes over sessions, before it has any of its own.
func SetTokenIDKey(key [16]byte) { tokenIDKey.Store(&key) }

// HashTokenID is what a live connection keeps of the id of its token (jti), since a million of them may live and an id may
// have 128 bytes. It only finds the connections to close when a token is revoked; at connect whole ids are compared.
// So 64 bits are enough: that one of a million connections has the hash of another's token by chance is one in 18 million
// million, and nobody can bring it about, for the key is secret. A hash of the runtime's would be quicker, and of no use to the process
// that takes over.
func HashTokenID(id string) uint64 {
	if id == "" {
		return 0
	}
	key := tokenIDKey.Load()
	sum := sha256.Sum256(append(key[:], id...))
	return max(1, binary.LittleEndian.Uint64(sum[:]))
}

// Rights are the patterns of the rooms a user may enter, write to, create and be a moderator of. An empty
// list is no room at all.
type Rights struct {
	Join     []string
	Publish  []string
	Create   []string
	Moderate []string
	// Rates are those that the token claims, nil for none.
	Rates *rate.Claims
}

// Claims gives the rates that the token claims, nil for none.
func (i *Identity) Claims() *rate.Claims {
	if i.Rights == nil {
		return nil
	}
	return i.Rights.Rates
}

// CanJoin reports whether the user may enter a room and read it.
func (i Identity) CanJoin(room string) bool {
	return i.Rights == nil || matches(i.Rights.Join, room)
}

// CanPublish reports whether the user may write to a room.
func (i Identity) CanPublish(room string) bool {
	return i.Rights == nil || matches(i.Rights.Publish, room)
}

// CanCreate reports whether the user may create a room with members.
func (i Identity) CanCreate(room string) bool {
	return i.Rights == nil || matches(i.Rights.Create, room)
}

// Moderates reports whether the user is a moderator of a room, whatever they are in it; of the whole server if it is empty.
func (i Identity) Moderates(room string) bool {
	if i.Rights == nil {
		return false
	}
	if room == "" {
		return slices.Contains(i.Rights.Moderate, "*")
	}
	return matches(i.Rights.Moderate, room)
}

func matches(patterns []string, room string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Matches(pattern, room) })
}

// Matches reports whether a pattern is for a room.
func Matches(pattern, room string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return open && strings.HasPrefix(room, prefix) || pattern == room
}

// CheckPattern says why a pattern can match no room, or nil.
func CheckPattern(pattern string) error {
	prefix := strings.TrimSuffix(pattern, "*")
	if strings.Contains(prefix, "*") {
		return fmt.Errorf("room pattern %q has a * that is not its last character", pattern)
	}
	if pattern != "*" && !proto.ValidName(prefix) {
		return fmt.Errorf("room pattern %q is not 1 to %d bytes of text", pattern, proto.MaxName)
	}
	return nil
}

package gateway

import (
	"log/slog"
	"sync"

	"rookery/gateway/internal/jwks"
)

// keySet is the key set in force, which a reload replaces only where its settings changed: what is known of the
// issuer's keys is not given up for a new rate. Safe for concurrent use.
type keySet struct {
	mu sync.Mutex // guards all below
	of AuthConfig // where set comes from
	// set is nil without auth.jwks.
	set *jwks.Set
}

// next gives the set for the settings: the one in force, a new one, or nil.
func (k *keySet) next(c AuthConfig, log *slog.Logger) *jwks.Set {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case c.JWKS == "":
		return nil
	case k.set != nil && k.of.JWKS == c.JWKS && k.of.JWKSRefresh == c.JWKSRefresh:
		return k.set
	}
	return jwks.Start(jwks.Config{Source: c.JWKS, Refresh: c.JWKSRefresh, Log: log})
}

// use puts a set in force and ends the one before.
func (k *keySet) use(c AuthConfig, set *jwks.Set) {
	k.mu.Lock()
	old := k.set
	k.of, k.set = c, set
	k.mu.Unlock()
	if old != nil && old != set {
		old.Close()
	}
}

// discard ends a set that next gave and that is not used after all.
func (k *keySet) discard(set *jwks.Set) {
	k.mu.Lock()
	mine := set != k.set
	k.mu.Unlock()
	if set != nil && mine {
		set.Close()
	}
}

func (k *keySet) close() { k.use(AuthConfig{}, nil) }

func (k *keySet) stats() (st jwks.Stats) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set != nil {
		st = k.set.Stats()
	}
	return st
}

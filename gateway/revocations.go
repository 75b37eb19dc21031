package gateway

import (
	"context"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/revocation"
	"rookery/storage/catalog"
)

// revocationStore is the catalog's revocations as package revocation declares them.
type revocationStore struct{ catalog *catalog.Catalog }

func (s revocationStore) Revocations(fn func(revocation.Entry) bool) error {
	var err error
	more := true
	for _, of := range []catalog.Revoked{catalog.RevokedToken, catalog.RevokedUser} {
		if !more || err != nil {
			break
		}
		err = s.catalog.Revocations(of, func(name string, r catalog.Revocation) bool {
			e := revocation.Entry{At: r.At, Until: r.Until}
			if of == catalog.RevokedToken {
				e.Token = name
			} else {
				e.User = name
			}
			more = fn(e)
			return more
		})
	}
	return err
}

func (s revocationStore) Revoke(ctx context.Context, e revocation.Entry) error {
	of, name := revoked(e.Key)
	return s.catalog.Update(ctx, catalog.SetRevocation(of, name, catalog.Revocation{At: e.At, Until: e.Until}))
}

func (s revocationStore) Restore(ctx context.Context, keys ...revocation.Key) error {
	changes := make([]catalog.Change, len(keys))
	for i, key := range keys {
		changes[i] = catalog.RemoveRevocation(revoked(key))
	}
	return s.catalog.Update(ctx, changes...)
}

func revoked(key revocation.Key) (of catalog.Revoked, name string) {
	if key.Token != "" {
		return catalog.RevokedToken, key.Token
	}
	return catalog.RevokedUser, key.User
}

// tellRevoked has live connections closed.
func (s *Server) tellRevoked(e revocation.Entry) {
	s.engine.Revoke(identity.HashTokenID(e.Token), e.User, e.At)
}

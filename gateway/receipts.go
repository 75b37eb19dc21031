package gateway

import (
	"context"

	"rookery/gateway/internal/receipts"
	"rookery/storage/catalog"
)

// standings are the catalog's positions as the keeper of receipts declares them. A position of another epoch is of another
// history and counts for nothing.
type standings struct {
	catalog *catalog.Catalog
	epoch   string
}

func (s standings) Standing(room, user string) (receipts.Standing, error) {
	p, _, err := s.catalog.Position(room, user)
	return s.of(p), err
}

func (s standings) Standings(room string, fn func(user string, s receipts.Standing) bool) error {
	return s.catalog.Positions(room, func(user string, p catalog.Position) bool {
		return p.Epoch != s.epoch || fn(user, s.of(p))
	})
}

func (s standings) Advance(changes []receipts.Change) error {
	updates := make([]catalog.Change, len(changes))
	for i, c := range changes {
		updates[i] = catalog.Advance(c.Room, c.User, catalog.Position{Epoch: s.epoch, Delivered: c.To.Delivered, Read: c.To.Read})
	}
	return s.catalog.Update(context.Background(), updates...)
}

func (s standings) of(p catalog.Position) receipts.Standing {
	if p.Epoch != s.epoch {
		return receipts.Standing{}
	}
	return receipts.Standing{Delivered: p.Delivered, Read: p.Read}
}

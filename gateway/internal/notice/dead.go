package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"rookery/gateway/internal/deadletter"
)

// DeadLetter is a notice that could not be delivered.
type DeadLetter struct {
	Number   uint64          `json:"-"` // names it
	ID       string          `json:"id"`
	Room     string          `json:"room"`
	Created  int64           `json:"created"` // Unix milliseconds
	Died     int64           `json:"died"`
	Attempts int             `json:"attempts"`
	Error    string          `json:"error"`
	Body     json.RawMessage `json:"body"`
}

// ErrNoLetter says that there is no such dead letter.
var ErrNoLetter = errors.New("there is no such dead letter")

// DeadLetters gives the oldest dead letters behind a number, at most so many.
func (k *Keeper) DeadLetters(ctx context.Context, after uint64, most int) (letters []DeadLetter, err error) {
	err = k.call(ctx, func() (err error) {
		if err = k.flush(); err == nil {
			letters, err = k.store.deadLetters(after, most)
		}
		return err
	})
	return letters, err
}

// Resend makes one more attempt for a dead letter, and removes it if it is taken.
func (k *Keeper) Resend(ctx context.Context, number uint64) error {
	letters, err := k.DeadLetters(ctx, number-1, 1)
	if err != nil {
		return err
	}
	if len(letters) == 0 || letters[0].Number != number {
		return ErrNoLetter
	}
	d := &letters[0]
	if _, err := k.send(ctx, &letter{ID: d.ID, Created: d.Created, Body: d.Body}); err != nil {
		return fmt.Errorf("it was not taken: %w", err)
	}
	return k.Discard(ctx, number)
}

// Discard removes a dead letter.
func (k *Keeper) Discard(ctx context.Context, number uint64) error {
	return k.call(ctx, func() error {
		if err := k.flush(); err != nil {
			return err
		}
		there, err := k.store.exhume(number)
		switch {
		case err != nil:
			return err
		case !there:
			return ErrNoLetter
		}
		k.dead--
		return nil
	})
}

// deadLetters gives those of the file behind a number.
func (s *store) deadLetters(after uint64, most int) (letters []DeadLetter, err error) {
	err = s.file.View(func(tx *bolt.Tx) error {
		return deadletter.List(tx.Bucket(bucketDead), after, func(number uint64, d DeadLetter) bool {
			d.Number = number
			letters = append(letters, d)
			return len(letters) < most
		})
	})
	return letters, err
}

func (s *store) exhume(number uint64) (there bool, err error) {
	err = s.file.Update(func(tx *bolt.Tx) error {
		there, err = deadletter.Remove(tx.Bucket(bucketDead), number)
		return err
	})
	return there, err
}

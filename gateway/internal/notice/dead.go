package notice

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
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

func deadKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// deadLetters gives those of the file behind a number.
func (s *store) deadLetters(after uint64, most int) (letters []DeadLetter, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketDead).Cursor()
		for key, value := c.Seek(deadKey(after + 1)); key != nil && len(letters) < most; key, value = c.Next() {
			d := DeadLetter{Number: binary.BigEndian.Uint64(key)}
			if err := json.Unmarshal(value, &d); err != nil {
				return fmt.Errorf("dead letter %d: %w", d.Number, err)
			}
			letters = append(letters, d)
		}
		return nil
	})
	return letters, err
}

func (s *store) exhume(number uint64) (there bool, err error) {
	err = s.update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketDead)
		there = b.Get(deadKey(number)) != nil
		return b.Delete(deadKey(number))
	})
	return there, err
}

// bury writes dead letters and gives how many there are: the oldest make room.
func bury(b *bolt.Bucket, buried []DeadLetter, dead, most int) (int, error) {
	for i := range buried {
		number, err := b.NextSequence()
		if err != nil {
			return dead, err
		}
		if err := putJSON(b, deadKey(number), &buried[i]); err != nil {
			return dead, err
		}
		dead++
	}
	for c := b.Cursor(); dead > most; dead-- {
		if key, _ := c.First(); key == nil {
			break
		}
		if err := c.Delete(); err != nil {
			return dead, err
		}
	}
	return dead, nil
}

// Package deadletter keeps what could not be delivered in a bucket of a bbolt file, as JSON, under numbers that count up: the oldest first, and no
// more than there may be. What a letter says belongs to whoever keeps it; the number is no part of it.
package deadletter

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"rookery/storage/mapped"
)

// Bury adds letters to a bucket of so many, and gives how many there are then: beyond most the oldest make room.
func Bury[T any](b *bolt.Bucket, letters []T, there, most int) (int, error) {
	for i := range letters {
		number, err := b.NextSequence()
		if err != nil {
			return there, err
		}
		if err := mapped.PutJSON(b, key(number), &letters[i]); err != nil {
			return there, err
		}
		there++
	}
	for c := b.Cursor(); there > most; there-- {
		if oldest, _ := c.First(); oldest == nil {
			break
		}
		if err := c.Delete(); err != nil {
			return there, err
		}
	}
	return there, nil
}

// List passes the letters behind a number, the oldest first, until fn returns false.
func List[T any](b *bolt.Bucket, after uint64, fn func(number uint64, letter T) bool) error {
	c := b.Cursor()
	for k, value := c.Seek(key(after + 1)); k != nil; k, value = c.Next() {
		number := binary.BigEndian.Uint64(k)
		var letter T
		if err := json.Unmarshal(value, &letter); err != nil {
			return fmt.Errorf("dead letter %d: %w", number, err)
		}
		if !fn(number, letter) {
			break
		}
	}
	return nil
}

// Remove takes a letter out, and reports whether it was there.
func Remove(b *bolt.Bucket, number uint64) (there bool, err error) {
	there = b.Get(key(number)) != nil
	return there, b.Delete(key(number))
}

func key(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

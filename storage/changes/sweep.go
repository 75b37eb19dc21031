package changes

import (
	"bytes"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

const (
	sweptRooms = 2    // rooms that a commit looks at
	sweptKeys  = 1000 // keys of each bucket that it removes of a room
)

// sweep removes what retention has made useless of the rooms behind the last one, and gives the room to go on behind.
func (x *Index) sweep(tx *bolt.Tx, last []byte) (next []byte, err error) {
	c := tx.Bucket(bucketRooms).Cursor()
	key, value := c.Seek(append(bytes.Clone(last), 0))
	for range sweptRooms {
		if key == nil {
			return nil, nil
		}
		if err := x.sweepRoom(tx, bytes.Clone(key), bytes.Clone(value)); err != nil {
			return nil, err
		}
		next = bytes.Clone(key)
		key, value = c.Seek(append(bytes.Clone(next), 0))
	}
	return next, nil
}

func (x *Index) sweepRoom(tx *bolt.Tx, room, value []byte) error {
	begin, name := x.config.Log.Begin(string(value[8:])), value[8:]
	if begin <= binary.BigEndian.Uint64(value) {
		return nil
	}
	end, whole := withSeq(room, begin), true
	// A mention is removed both ways round.
	c := tx.Bucket(bucketMentioned).Cursor()
	n := 0
	for key, _ := c.Seek(room); key != nil && bytes.Compare(key, end) < 0; key, _ = c.Seek(room) {
		if n++; n > sweptKeys {
			whole = false
			break
		}
		seq, user := key[nameBytes:nameBytes+8], key[nameBytes+8:]
		mention := append(append(bytes.Clone(room), user...), seq...)
		if err := tx.Bucket(bucketMentions).Delete(mention); err != nil {
			return err
		}
		if err := c.Delete(); err != nil {
			return err
		}
	}
	for _, bucket := range [][]byte{bucketReacted, bucketThreads, bucketPins, bucketStates, bucketMade} {
		c := tx.Bucket(bucket).Cursor()
		n := 0
		for key, _ := c.Seek(room); key != nil && bytes.Compare(key, end) < 0; key, _ = c.Seek(room) {
			if n++; n > sweptKeys {
				whole = false
				break
			}
			if err := c.Delete(); err != nil {
				return err
			}
		}
	}
	if !whole {
		return nil
	}
	return tx.Bucket(bucketRooms).Put(room, append(binary.BigEndian.AppendUint64(nil, begin), name...))
}

package changes

import (
	"bytes"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// View is a moment of the index, for one room. It is valid until the function that was given it returns, and belongs to it.
type View struct {
	tx   *bolt.Tx
	room []byte
	// Empty: nothing was ever said about a message of the room.
	Empty bool
	// damaged is the first value that could not be read.
	damaged error
}

// View calls fn with a moment of the index. An error of fn is returned; one of the index itself means that it is
// damaged and will be made again.
func (x *Index) View(room string, fn func(*View) error) error {
	return x.read(func(tx *bolt.Tx) error {
		v := &View{tx: tx, room: nameKey(room)}
		v.Empty = tx.Bucket(bucketRooms).Get(v.room) == nil
		if err := fn(v); err != nil {
			return err
		}
		return v.damaged
	})
}

// State gives what was done to a message, false if nothing.
func (v *View) State(seq uint64) (State, bool) {
	if v.Empty {
		return State{}, false
	}
	key := withSeq(v.room, seq)
	value := v.tx.Bucket(bucketStates).Get(key)
	if value == nil {
		return State{}, false
	}
	s, err := decodeState(key, value)
	if err != nil {
		v.damaged = err
	}
	return s, err == nil
}

// Err is the damage that State met; a message that it said nothing about may be one that was deleted.
func (v *View) Err() error { return v.damaged }

// Reacted reports whether a user has this reaction to a message.
func (v *View) Reacted(seq uint64, reaction, user string) bool {
	return v.tx.Bucket(bucketReacted).Get(reactedKey(withSeq(v.room, seq), reaction, user)) != nil
}

// Users gives some users of a reaction, by name.
func (v *View) Users(seq uint64, reaction string, most int) (users []string) {
	prefix := reactionPrefix(withSeq(v.room, seq), reaction)
	c := v.tx.Bucket(bucketReacted).Cursor()
	for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix) && len(users) < most; key, _ = c.Next() {
		users = append(users, string(key[len(prefix):]))
	}
	return users
}

// Range says which part of a list is wanted: behind a position, or before it, the nearest first.
type Range struct {
	Position   uint64 // exclusive; descending from 0 is from the end
	Descending bool
	Most       int
}

// Thread gives the messages of a thread, without the one that it begins with.
func (v *View) Thread(root uint64, r Range) []uint64 {
	return v.list(bucketThreads, withSeq(v.room, root), r)
}

// Pins gives the messages that are pinned.
func (v *View) Pins(r Range) []uint64 { return v.list(bucketPins, v.room, r) }

// Mentions gives the messages that mention a user, or did before they were edited.
func (v *View) Mentions(user string, r Range) []uint64 {
	return v.list(bucketMentions, append(bytes.Clone(v.room), nameKey(user)...), r)
}

// Changes gives how many of the numbers behind after, up to last, are changes and not messages: never more than there are.
func (v *View) Changes(after, last uint64) uint64 {
	if v.Empty || after >= last {
		return 0
	}
	c := v.tx.Bucket(bucketMade).Cursor()
	first, begin := c.Seek(withSeq(v.room, after+1))
	if !bytes.HasPrefix(first, v.room) || lastSeq(first) > last {
		return 0
	}
	_, end := lastBefore(c, withSeq(v.room, last+1))
	n := binary.BigEndian.Uint64(end) - binary.BigEndian.Uint64(begin) + 1
	if n == 0 || n > last-after {
		v.damaged = errState
		return 0
	}
	return n
}

// lastBefore moves to the last entry in front of a key.
func lastBefore(c *bolt.Cursor, key []byte) (before, value []byte) {
	if found, _ := c.Seek(key); found == nil {
		return c.Last()
	}
	return c.Prev()
}

// list gives numbers that stand under a prefix.
func (v *View) list(bucket, prefix []byte, r Range) (seqs []uint64) {
	if v.Empty {
		return nil
	}
	c := v.tx.Bucket(bucket).Cursor()
	var key []byte
	if !r.Descending {
		for key, _ = c.Seek(withSeq(prefix, r.Position+1)); bytes.HasPrefix(key, prefix) && len(seqs) < r.Most; key, _ = c.Next() {
			seqs = append(seqs, lastSeq(key))
		}
		return seqs
	}
	end := r.Position
	if end == 0 {
		end = 1<<64 - 1
	}
	key, _ = lastBefore(c, withSeq(prefix, end))
	for ; bytes.HasPrefix(key, prefix) && len(seqs) < r.Most; key, _ = c.Prev() {
		seqs = append(seqs, lastSeq(key))
	}
	return seqs
}

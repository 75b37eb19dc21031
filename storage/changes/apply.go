package changes

import (
	"bytes"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"

	"rookery/storage"
)

// apply adds what one record says. The transaction is followLoop's.
func apply(tx *bolt.Tx, r storage.Record, f Facts) error {
	a := application{tx: tx, room: nameKey(r.Room), record: r, facts: f}
	if tx.Bucket(bucketRooms).Get(a.room) == nil {
		a.set(bucketRooms, a.room, append(make([]byte, 8), r.Room...))
	}
	if f.Target != 0 {
		a.number()
		a.change()
		return a.err
	}
	if f.Thread != 0 {
		a.set(bucketThreads, withSeq(withSeq(a.room, f.Thread), r.Seq), nil)
		root := a.state(f.Thread)
		root.Replies++
		root.LastReply = r.Seq
		a.keep(f.Thread, root)
	}
	a.mention(r.Seq)
	return a.err
}

// application is one record on its way into the index. Its first error ends it.
type application struct {
	tx     *bolt.Tx
	room   []byte
	record storage.Record
	facts  Facts
	err    error
}

func (a *application) change() {
	target, seq := a.facts.Target, a.record.Seq
	s := a.state(target)
	if s.Deleted != 0 || a.facts.Op == OpNone || target >= seq {
		return
	}
	s.Revision = seq
	message := withSeq(a.room, target)
	switch a.facts.Op {
	case OpEdit:
		s.Edits++
		s.Edit = seq
		a.mention(target)
	case OpDelete:
		s = State{Revision: seq, Edits: s.Edits, Deleted: seq, Replies: s.Replies, LastReply: s.LastReply}
		a.remove(bucketPins, message)
		a.removeAll(bucketReacted, message)
	case OpReact:
		key := reactedKey(message, a.facts.Reaction, a.record.From)
		there := a.tx.Bucket(bucketReacted).Get(key) != nil
		switch {
		case there && a.facts.Remove:
			a.remove(bucketReacted, key)
			s.count(a.facts.Reaction, true)
		case !there && !a.facts.Remove:
			a.set(bucketReacted, key, binary.AppendUvarint(nil, seq))
			s.count(a.facts.Reaction, false)
		}
	case OpPin:
		if a.facts.Remove {
			s.Pinned = 0
			a.remove(bucketPins, message)
		} else if s.Pinned == 0 {
			s.Pinned = seq
			a.set(bucketPins, message, binary.AppendUvarint(nil, seq))
		}
	}
	a.keep(target, s)
}

// number counts the change, also one that comes to nothing: it has a number of the room in any case.
func (a *application) number() {
	c := a.tx.Bucket(bucketMade).Cursor()
	before := uint64(0)
	if key, value := lastBefore(c, withSeq(a.room, a.record.Seq)); bytes.HasPrefix(key, a.room) {
		before = binary.BigEndian.Uint64(value)
	}
	a.set(bucketMade, withSeq(a.room, a.record.Seq), binary.BigEndian.AppendUint64(nil, before+1))
}

func (a *application) mention(seq uint64) {
	for _, user := range a.facts.Mentions {
		name := nameKey(user)
		a.set(bucketMentions, withSeq(append(bytes.Clone(a.room), name...), seq), nil)
		a.set(bucketMentioned, append(withSeq(a.room, seq), name...), nil)
	}
}

func (a *application) state(seq uint64) State {
	key := withSeq(a.room, seq)
	value := a.tx.Bucket(bucketStates).Get(key)
	if value == nil {
		return State{}
	}
	s, err := decodeState(key, value)
	a.fail(err)
	return s
}

func (a *application) keep(seq uint64, s State) {
	key := withSeq(a.room, seq)
	a.set(bucketStates, key, s.encode(key))
}

func (a *application) set(bucket, key, value []byte) {
	if a.err == nil {
		a.fail(a.tx.Bucket(bucket).Put(key, value))
	}
}

func (a *application) remove(bucket, key []byte) {
	if a.err == nil {
		a.fail(a.tx.Bucket(bucket).Delete(key))
	}
}

func (a *application) removeAll(bucket, prefix []byte) {
	c := a.tx.Bucket(bucket).Cursor()
	for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix) && a.err == nil; key, _ = c.Seek(prefix) {
		a.fail(c.Delete())
	}
}

func (a *application) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

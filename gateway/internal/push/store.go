package push

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"rookery/storage/mapped"
)

var (
	bucketMeta  = []byte("meta")
	bucketUsers = []byte("users")
	bucketQueue = []byte("queue")
	bucketDead  = []byte("dead")

	keyState = []byte("state")
)

const (
	fileVersion = 1
	// persistBytes is how much of the log without anything for anybody may have to be read again.
	persistBytes = 64 << 20
)

// state is where push is in which log.
type state struct {
	Version  int    `json:"version"`
	History  string `json:"history"`
	Position int64  `json:"position"`
}

// store is the file, and what is not in it yet. It belongs to keepLoop.
type store struct {
	tree     *bolt.DB
	position int64 // as the file says

	users  map[string]bool
	items  map[string]storedItem
	buried []DeadLetter
	risen  []uint64
	moved  bool // the position may have
}

type storedItem struct {
	lane *lane
	name itemName
}

func (s *store) touch(user string) { s.users[user] = true }

func (s *store) touchItem(l *lane, it *item) {
	s.items[itemKey(it.user, l.Kind, it.device)] = storedItem{l, itemName{it.user, it.device}}
}

func (s *store) bury(d DeadLetter)    { s.buried = append(s.buried, d) }
func (s *store) exhume(number uint64) { s.risen = append(s.risen, number) }

func itemKey(user, kind, device string) string { return user + "\x00" + kind + "\x00" + device }

// update and view are bbolt's, with an error where the file is damaged.
func (s *store) update(fn func(*bolt.Tx) error) error {
	return mapped.Guarded(func() error { return s.tree.Update(fn) })
}

func (s *store) view(fn func(*bolt.Tx) error) error {
	return mapped.Guarded(func() error { return s.tree.View(fn) })
}

// open opens the file and loads what is in it.
func (k *Keeper) open() error {
	path := filepath.Join(k.cfg.Dir, "push.db")
	if err := os.MkdirAll(k.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	var tree *bolt.DB
	err := mapped.Guarded(func() (err error) {
		tree, err = bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
		return err
	})
	if err != nil {
		return fmt.Errorf("push: open %s: %w; if it is damaged move it away, which forgets who is to be told", path, err)
	}
	k.store = &store{tree: tree, users: make(map[string]bool), items: make(map[string]storedItem)}
	if err := k.load(); err != nil {
		return errors.Join(fmt.Errorf("push: read %s: %w; if it is damaged move it away to begin anew, which forgets who is to be told", path, err),
			mapped.Guarded(tree.Close))
	}
	k.show()
	return nil
}

// load reads the file, or makes it ready for this history.
func (k *Keeper) load() error {
	return k.store.update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketUsers, bucketQueue, bucketDead} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		k.dead = tx.Bucket(bucketDead).Stats().KeyN
		var at state
		known := tx.Bucket(bucketMeta).Get(keyState)
		if known != nil {
			if err := json.Unmarshal(known, &at); err != nil {
				return err
			}
			if at.Version != fileVersion {
				return fmt.Errorf("it has version %d, this program knows %d", at.Version, fileVersion)
			}
		}
		end := k.cfg.Log.End()
		if known == nil || at.History != k.cfg.History || at.Position > end {
			if known != nil {
				k.cfg.Logger.Warn("push begins at the end of the log: its file is of another history of it", "path", k.store.tree.Path())
			}
			return k.begin(tx, end)
		}
		k.next, k.store.position = at.Position, at.Position
		if err := tx.Bucket(bucketUsers).ForEach(k.loadUser); err != nil {
			return err
		}
		return tx.Bucket(bucketQueue).ForEach(k.loadItem)
	})
}

// begin makes the file one of this history, in which nobody is to be told anything.
func (k *Keeper) begin(tx *bolt.Tx, end int64) error {
	for _, name := range [][]byte{bucketUsers, bucketQueue} {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	k.next, k.store.position = end, end
	return putJSON(tx.Bucket(bucketMeta), keyState, state{fileVersion, k.cfg.History, end})
}

func (k *Keeper) loadUser(name, value []byte) error {
	u := &user{}
	if err := json.Unmarshal(value, u); err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	k.users[string(name)] = u
	k.waitingBytes += u.Conversations.size()
	return nil
}

// loadItem puts a summary into its lane. That of a sender which is not configured stays in the file, in case it is again.
func (k *Keeper) loadItem(key, value []byte) error {
	words := strings.Split(string(key), "\x00")
	if len(words) != 3 {
		return fmt.Errorf("summary %q has no user, kind and device", key)
	}
	l := k.laneOf(words[1])
	if l == nil {
		return nil
	}
	it := &item{user: words[0], device: words[2]}
	if err := json.Unmarshal(value, &it.letter); err != nil {
		return fmt.Errorf("summary %q: %w", key, err)
	}
	l.items[itemName{it.user, it.device}] = it
	l.waiting.Push(it)
	k.waitingBytes += it.Conversations.size()
	return nil
}

// flush makes durable what has changed, with the place in the log that belongs to it.
func (k *Keeper) flush() error {
	s := k.store
	position := k.next
	if len(k.pending) > 0 {
		position = k.pending[0].Place
	}
	quiet := len(s.users) == 0 && len(s.items) == 0 && len(s.buried) == 0 && len(s.risen) == 0
	if quiet && (!s.moved || position-s.position < persistBytes && !k.stopping()) {
		return nil
	}
	dead := k.dead
	err := s.update(func(tx *bolt.Tx) (err error) {
		if err := k.putWaiting(tx); err != nil {
			return err
		}
		if dead, err = k.putDead(tx); err != nil {
			return err
		}
		return putJSON(tx.Bucket(bucketMeta), keyState, state{fileVersion, k.cfg.History, position})
	})
	if err != nil {
		return fmt.Errorf("push: write %s: %w", s.tree.Path(), err)
	}
	k.counters.lost.Add(int64(k.dead + len(s.buried) - len(s.risen) - dead))
	k.dead, s.position, s.moved = dead, position, false
	clear(s.users)
	clear(s.items)
	s.buried, s.risen = nil, nil
	return nil
}

// putWaiting writes what is gathered and queued.
func (k *Keeper) putWaiting(tx *bolt.Tx) error {
	users, queue := tx.Bucket(bucketUsers), tx.Bucket(bucketQueue)
	for name := range k.store.users {
		u := k.users[name]
		if u == nil {
			if err := users.Delete([]byte(name)); err != nil {
				return err
			}
		} else if err := putJSON(users, []byte(name), u); err != nil {
			return err
		}
	}
	for key, stored := range k.store.items {
		it := stored.lane.items[stored.name]
		if it == nil {
			if err := queue.Delete([]byte(key)); err != nil {
				return err
			}
		} else if err := putJSON(queue, []byte(key), it.letter); err != nil {
			return err
		}
	}
	return nil
}

// putDead writes and removes dead letters, and gives how many there are.
func (k *Keeper) putDead(tx *bolt.Tx) (dead int, err error) {
	b := tx.Bucket(bucketDead)
	dead = k.dead
	for _, number := range k.store.risen {
		if err := b.Delete(deadKey(number)); err != nil {
			return 0, err
		}
		dead--
	}
	for _, d := range k.store.buried {
		number, err := b.NextSequence()
		if err != nil {
			return 0, err
		}
		if err := putJSON(b, deadKey(number), d); err != nil {
			return 0, err
		}
		dead++
	}
	for c := b.Cursor(); dead > k.cfg.DeadLetters; dead-- {
		if key, _ := c.First(); key == nil {
			break
		}
		if err := c.Delete(); err != nil {
			return 0, err
		}
	}
	return dead, nil
}

func deadKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// deadLetters gives those of the file behind a number.
func (s *store) deadLetters(after uint64, most int) (letters []DeadLetter, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketDead).Cursor()
		for key, value := c.Seek(deadKey(after + 1)); key != nil && len(letters) < most; key, value = c.Next() {
			var d DeadLetter
			if err := json.Unmarshal(value, &d); err != nil {
				return fmt.Errorf("dead letter %x: %w", key, err)
			}
			d.Number = binary.BigEndian.Uint64(key)
			letters = append(letters, d)
		}
		return nil
	})
	return letters, err
}

func (s *store) deadLetter(number uint64) (d DeadLetter, ok bool, err error) {
	letters, err := s.deadLetters(number-1, 1)
	if err != nil || len(letters) == 0 || letters[0].Number != number {
		return d, false, err
	}
	return letters[0], true, nil
}

func putJSON(b *bolt.Bucket, key []byte, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("BUG: what push keeps is no JSON: " + err.Error())
	}
	return b.Put(key, encoded)
}

// close writes what is left.
func (s *store) close(flush func() error) error {
	return errors.Join(flush(), mapped.Guarded(s.tree.Close))
}

package push

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"

	"rookery/gateway/internal/deadletter"
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
	file     *mapped.File
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

// open opens the file and loads what is in it.
func (k *Keeper) open() error {
	path := filepath.Join(k.cfg.Dir, "push.db")
	if err := os.MkdirAll(k.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	file, err := mapped.Open(path)
	if err != nil {
		return fmt.Errorf("push: open %s: %w; %s", path, err, mapped.Remedy(err, "who is to be told"))
	}
	k.store = &store{file: file, users: make(map[string]bool), items: make(map[string]storedItem)}
	if err := k.load(); err != nil {
		return errors.Join(fmt.Errorf("push: read %s: %w; %s", path, err, mapped.Remedy(err, "who is to be told")),
			file.Close())
	}
	k.show()
	return nil
}

// load reads the file, or makes it ready for this history.
func (k *Keeper) load() error {
	return k.store.file.Update(func(tx *bolt.Tx) error {
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
				k.cfg.Logger.Warn("push begins at the end of the log: its file is of another history of it", "path", k.store.file.Path())
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
	return mapped.PutJSON(tx.Bucket(bucketMeta), keyState, state{fileVersion, k.cfg.History, end})
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
	heap.Push(&l.waiting, it)
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
	err := s.file.Update(func(tx *bolt.Tx) (err error) {
		if err := k.putWaiting(tx); err != nil {
			return err
		}
		if dead, err = k.putDead(tx); err != nil {
			return err
		}
		return mapped.PutJSON(tx.Bucket(bucketMeta), keyState, state{fileVersion, k.cfg.History, position})
	})
	if err != nil {
		return fmt.Errorf("push: write %s: %w", s.file.Path(), err)
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
		} else if err := mapped.PutJSON(users, []byte(name), u); err != nil {
			return err
		}
	}
	for key, stored := range k.store.items {
		it := stored.lane.items[stored.name]
		if it == nil {
			if err := queue.Delete([]byte(key)); err != nil {
				return err
			}
		} else if err := mapped.PutJSON(queue, []byte(key), it.letter); err != nil {
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
		if _, err := deadletter.Remove(b, number); err != nil {
			return 0, err
		}
		dead--
	}
	return deadletter.Bury(b, k.store.buried, dead, k.cfg.DeadLetters)
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

func (s *store) deadLetter(number uint64) (d DeadLetter, ok bool, err error) {
	letters, err := s.deadLetters(number-1, 1)
	if err != nil || len(letters) == 0 || letters[0].Number != number {
		return d, false, err
	}
	return letters[0], true, nil
}

// close writes what is left.
func (s *store) close(flush func() error) error {
	return errors.Join(flush(), s.file.Close())
}

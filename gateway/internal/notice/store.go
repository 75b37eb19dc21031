package notice

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"rookery/gateway/internal/deadletter"
	"rookery/storage/mapped"
)

var (
	bucketMeta  = []byte("meta")
	bucketQueue = []byte("queue")
	bucketDead  = []byte("dead")

	keyState = []byte("state")
)

const fileVersion = 1

// state is where the keeper is in which log.
type state struct {
	Version  int    `json:"version"`
	History  string `json:"history"`
	Position uint64 `json:"position"`
}

// store is the file, and what is not in it yet. It belongs to keepLoop.
type store struct {
	file *mapped.File

	touched map[uint64]*letter // nil: it waits no more
	buried  []DeadLetter
	moved   bool // the position has
}

func (s *store) touch(l *letter)  { s.touched[l.number] = l }
func (s *store) remove(l *letter) { s.touched[l.number] = nil }

// open opens the file and loads what is in it.
func (k *Keeper) open() error {
	path := filepath.Join(k.cfg.Dir, "notices.db")
	if err := os.MkdirAll(k.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("notices of members: %w", err)
	}
	file, err := mapped.Open(path)
	if err != nil {
		return fmt.Errorf("notices of members: open %s: %w; %s", path, err, mapped.Remedy(err, "what waits"))
	}
	k.store = &store{file: file, touched: make(map[uint64]*letter)}
	if err := file.Update(k.load); err != nil {
		return errors.Join(fmt.Errorf("notices of members: read %s: %w; %s", path, err, mapped.Remedy(err, "what waits")),
			file.Close())
	}
	k.show()
	return nil
}

// load reads the file, or makes it ready for this history.
func (k *Keeper) load(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketQueue, bucketDead} {
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
	if head := k.cfg.Source.Head(); known == nil || at.History != k.cfg.History || at.Position > head {
		if known != nil {
			k.cfg.Logger.Warn("notices of members begin at the end of the log, and those that waited are forgotten: their file is of another history of it",
				"path", tx.DB().Path())
		}
		if err := tx.DeleteBucket(bucketQueue); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketQueue); err != nil {
			return err
		}
		k.position = head
		return k.putState(tx)
	}
	k.position = at.Position
	return tx.Bucket(bucketQueue).ForEach(func(key, value []byte) error {
		l := &letter{number: binary.BigEndian.Uint64(key)}
		if err := json.Unmarshal(value, l); err != nil {
			return fmt.Errorf("notice %d: %w", l.number, err)
		}
		k.enqueue(l)
		return nil
	})
}

func (k *Keeper) putState(tx *bolt.Tx) error {
	return mapped.PutJSON(tx.Bucket(bucketMeta), keyState, state{fileVersion, k.cfg.History, k.position})
}

// flush makes durable what has changed, with the position that belongs to it.
func (k *Keeper) flush() error {
	s := k.store
	if len(s.touched) == 0 && len(s.buried) == 0 && !s.moved {
		return nil
	}
	dead := k.dead
	err := s.file.Update(func(tx *bolt.Tx) (err error) {
		queue := tx.Bucket(bucketQueue)
		for number, l := range s.touched {
			key := binary.BigEndian.AppendUint64(nil, number)
			if l == nil {
				err = queue.Delete(key)
			} else {
				err = mapped.PutJSON(queue, key, l)
			}
			if err != nil {
				return err
			}
		}
		if dead, err = deadletter.Bury(tx.Bucket(bucketDead), s.buried, k.dead, k.cfg.DeadLetters); err != nil {
			return err
		}
		return k.putState(tx)
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", s.file.Path(), err)
	}
	k.counters.lost.Add(int64(k.dead + len(s.buried) - dead))
	k.dead = dead
	clear(s.touched)
	s.buried, s.moved = nil, false
	return nil
}

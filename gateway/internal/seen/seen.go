// Package seen remembers when users were last there: when the last of their sessions that has ended did.
//
// Loops note a user when a session ends, in memory. A goroutine puts what was noted into a file of its own (bbolt) at intervals, many
// users with two syncs. Who reads asks what waits first. Whether somebody has another session is not looked at: who is there now is known by
// presence, and what is stored counts when nobody is.
//
// It is no part of the log, and nothing else depends on it: a file that is damaged is set aside and begun anew, and what was noted since the
// last interval is lost with the process.
//
// # Bounds
//
// 200,000 users wait or are being written at most, about 100 bytes each; beyond that nothing is noted, which is counted. The file has an entry of some 60 bytes
// for each user that ever had a session, and is not made smaller.
package seen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"rookery/storage/mapped"
)

const (
	maxWaiting = 200_000
	// writeAt is how many wait before they are written ahead of the interval.
	writeAt = 50_000
	// batch is how many entries one transaction has: its pages are in memory until it ends.
	batch = 10_000
)

var bucket = []byte("seen")

// Config says where the file is. Only Interval has a default.
type Config struct {
	Dir      string
	Interval time.Duration // between two writes; default 5 s
	Log      *slog.Logger
}

// Seen is an open file; the nil Seen notes nothing. Its methods are safe for concurrent use; At reads the disk and is not for an event loop.
type Seen struct {
	// Set at construction.
	cfg    Config
	full   chan struct{}
	ending chan struct{}
	ended  chan struct{}

	mu      sync.Mutex // guards all below, held for memory work
	waiting map[string]int64
	writing map[string]int64 // what is being written; read only

	fileMu sync.RWMutex // held for a transaction; replaced by writeLoop alone
	file   *mapped.File // nil: it can't be opened

	failing bool // owned by writeLoop: the file can't be written, which was logged

	unnoted atomic.Int64
}

// Open opens the file, or begins one. Close ends it.
func Open(cfg Config) (*Seen, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Second
	}
	s := &Seen{cfg: cfg, full: make(chan struct{}, 1), ending: make(chan struct{}), ended: make(chan struct{}), waiting: map[string]int64{}}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("last seen: %w", err)
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("last seen: %w", err)
	}
	go s.writeLoop()
	return s, nil
}

func (s *Seen) path() string { return filepath.Join(s.cfg.Dir, "seen.db") }

// open opens the file; one that can't be believed is set aside. A full disk, a lack of rights or of descriptors, and a lock that somebody
// has say nothing of what is in it.
func (s *Seen) open() (err error) {
	if s.file, err = s.openFile(); err == nil {
		return nil
	}
	if _, refused := errors.AsType[syscall.Errno](err); refused || errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("open %s: %w", s.path(), err)
	}
	return s.beginAnew(err)
}

// beginAnew sets the file aside, which is damaged, and makes another.
func (s *Seen) beginAnew(damage error) (err error) {
	aside := s.path() + ".damaged"
	s.cfg.Log.Error("the file of when users were last seen is damaged: it is set aside, and begun anew", "file", aside, "err", damage)
	if err := os.Rename(s.path(), aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.file, err = s.openFile()
	return err
}

func (s *Seen) openFile() (*mapped.File, error) {
	file, err := mapped.Open(s.path())
	if err != nil {
		return nil, err
	}
	if err = file.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	}); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Note has the session of a user end now. It never waits for the disk.
func (s *Seen) Note(user string) {
	if s == nil {
		return
	}
	now := time.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.waiting[user]; !known && len(s.waiting)+len(s.writing) >= maxWaiting {
		s.unnoted.Add(1)
		return
	}
	s.waiting[user] = now
	if len(s.waiting) >= writeAt {
		select {
		case s.full <- struct{}{}:
		default: // it knows
		}
	}
}

// At is when a user was last seen, Unix milliseconds, 0 if never or if it can't be read.
func (s *Seen) At(user string) (at int64) {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	at, waits := s.waiting[user]
	if !waits {
		at, waits = s.writing[user]
	}
	s.mu.Unlock()
	if waits {
		return at
	}
	s.fileMu.RLock()
	defer s.fileMu.RUnlock()
	if s.file == nil {
		return 0
	}
	_ = s.file.View(func(tx *bolt.Tx) error { // writing finds the same damage, and says so
		if value := tx.Bucket(bucket).Get([]byte(user)); len(value) == 8 {
			at = int64(binary.BigEndian.Uint64(value))
		}
		return nil
	})
	return at
}

// Unnoted counts the ends of sessions that were not noted because too many waited.
func (s *Seen) Unnoted() int64 {
	if s == nil {
		return 0
	}
	return s.unnoted.Load()
}

// Close writes what waits and closes the file. What is noted after it is lost.
func (s *Seen) Close() {
	if s == nil {
		return
	}
	close(s.ending)
	<-s.ended
}

// writeLoop writes what was noted: started by Open, ended by Close.
func (s *Seen) writeLoop() {
	defer close(s.ended)
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for {
		ending := false
		select {
		case <-tick.C:
		case <-s.full:
			if s.failing {
				continue // else each session that ends would have all of them tried again
			}
		case <-s.ending:
			ending = true
		}
		s.write()
		if ending {
			s.fileMu.Lock()
			defer s.fileMu.Unlock()
			if s.file != nil {
				if err := s.file.Close(); err != nil {
					s.cfg.Log.Error("the file of when users were last seen can't be closed", "err", err)
				}
				s.file = nil
			}
			return
		}
	}
}

func (s *Seen) write() {
	s.mu.Lock()
	if len(s.waiting) == 0 {
		s.mu.Unlock()
		return
	}
	s.writing, s.waiting = s.waiting, make(map[string]int64)
	s.mu.Unlock()

	err := s.put(s.writing)
	if errors.Is(err, mapped.ErrDamaged) {
		err = s.again(err)
	}
	s.mu.Lock()
	if err != nil {
		// What was noted meanwhile is newer.
		maps.Copy(s.writing, s.waiting)
		s.waiting = s.writing
	}
	s.writing = nil
	s.mu.Unlock()
	if failing := err != nil; failing != s.failing {
		s.failing = failing
		if failing {
			s.cfg.Log.Error("when users were last seen can't be written; it is tried again", "err", err)
		} else {
			s.cfg.Log.Info("when users were last seen is written again")
		}
	}
}

// put writes entries in the order of the tree, which is cheaper by far than any other.
func (s *Seen) put(entries map[string]int64) error {
	s.fileMu.RLock()
	defer s.fileMu.RUnlock()
	if s.file == nil {
		return fmt.Errorf("%w: it could not be opened", mapped.ErrDamaged)
	}
	for users := range slices.Chunk(slices.Sorted(maps.Keys(entries)), batch) {
		err := s.file.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucket)
			for _, user := range users {
				if err := b.Put([]byte(user), binary.BigEndian.AppendUint64(nil, uint64(entries[user]))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// again goes on after damage, with another file.
func (s *Seen) again(damage error) error {
	s.fileMu.Lock()
	if s.file != nil {
		_ = s.file.Close() // of a file that is set aside
		s.file = nil
	}
	err := s.beginAnew(damage)
	s.fileMu.Unlock()
	if err != nil {
		return err
	}
	return s.put(s.writing)
}

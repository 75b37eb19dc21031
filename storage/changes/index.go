package changes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"rookery/storage/commitlog"
	"rookery/storage/mapped"
	"rookery/storage/vfs"
)

// Config is all that an index needs to know. Only Logger has a default.
type Config struct {
	// Log is an open log; it is closed after the index.
	Log *commitlog.Log
	// Dir is the directory of the files, made if it is not there. The log's lock is the lock of it too.
	Dir string
	// Read says what a body tells about other messages; false is nothing. It keeps nothing of the body.
	Read func(body []byte) (Facts, bool)
	// Logger gets the few lines that there are. Default slog.Default().
	Logger *slog.Logger
}

// ErrBehind says that the index has not come to where the log is. It does so by itself: try again.
var ErrBehind = errors.New("the index of changes is behind the log")

// ErrDamaged says that the index can't be read. It is made again by itself: try again.
var ErrDamaged = errors.New("the index of changes is damaged and is being made again")

// Index is an open index. Its methods are safe for concurrent use, but not for an event loop: they wait.
type Index struct {
	// Set at construction.
	config Config
	boot   string
	wanted chan struct{} // somebody waits
	stop   chan struct{}
	ended  chan struct{}

	// The tree. Readers hold mu for a transaction, followLoop alone to replace the tree.
	mu   sync.RWMutex
	tree *bolt.DB

	// Owned by followLoop, and by Open before it runs.
	tail      *commitlog.Tail
	persisted int64  // position up to which the tree says that the log is in it
	swept     []byte // room that was looked at last
	failing   bool   // the tree can't be written, which has been logged

	// Read by anyone.
	damaged atomic.Bool
	applied atomic.Int64
	changes atomic.Int64 // records applied
	rebuilt atomic.Int64

	waitMu sync.Mutex // guards waiters, held for memory work only
	// waiters are who waits for a position.
	waiters []waiter
}

type waiter struct {
	position int64
	done     chan struct{}
}

// Open opens the index, makes it again if it can't be believed, and returns when it is where the log is, or where a full disk lets it come: the
// log is served on such a disk, and it goes on by itself when there is room. Close ends it.
func Open(config Config) (*Index, error) {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	x := &Index{
		config: config, boot: boot(),
		wanted: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := os.MkdirAll(config.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("index of changes: %w", err)
	}
	err := x.open()
	if err != nil && !vfs.NoRoom(err) {
		return nil, fmt.Errorf("index of changes in %s: %w", config.Dir, err)
	}
	begun, from := time.Now(), x.applied.Load()
	if err != nil {
		x.damaged.Store(true) // what there is of it is thrown away
	} else if err = x.catchUp(); err != nil && !vfs.NoRoom(err) {
		err = fmt.Errorf("index of changes in %s: %w", config.Dir, err)
		if x.tree != nil { // nil: it was damaged, and can't be made again
			err = errors.Join(err, x.tree.Close())
		}
		return nil, err
	}
	if err != nil {
		x.failed(err)
	}
	if took := time.Since(begun); took > time.Second {
		config.Logger.Info("index of changes is up to date", "read_bytes", x.applied.Load()-from, "took", took.Round(time.Millisecond))
	}
	go x.followLoop()
	return x, nil
}

// open opens the tree, or an empty one where it can't be believed.
func (x *Index) open() error {
	reason := ""
	if _, err := os.Stat(x.treePath()); err == nil {
		if reason = x.believed(); reason == "" {
			if reason = x.openTree(); reason == "" {
				return x.mark(openMark + x.boot)
			}
		}
		x.config.Logger.Warn("index of changes is made again from the log", "reason", reason)
		x.rebuilt.Add(1)
	}
	return x.empty()
}

// empty begins with nothing.
func (x *Index) empty() error {
	if err := os.Remove(x.treePath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := x.mark(openMark + x.boot); err != nil {
		return err
	}
	tree, err := x.openFile()
	if err != nil {
		return err
	}
	err = tree.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return x.putMeta(tx, 0)
	})
	if err != nil {
		return errors.Join(err, tree.Close())
	}
	x.use(tree, 0)
	return nil
}

func treeOptions() *bolt.Options {
	return &bolt.Options{
		// With its list of free pages in the file: bbolt would look for them on a goroutine of its own, where nothing guards, and damage
		// would end the process at each start.
		Timeout: time.Second, NoSync: true, NoGrowSync: true, FreelistType: bolt.FreelistMapType,
	}
}

// openFile opens the file as bbolt does, or makes it; damage is an error. What bbolt had of a damaged file by then the garbage collector closes.
func (x *Index) openFile() (tree *bolt.DB, err error) {
	err = mapped.Guarded(func() (err error) {
		tree, err = bolt.Open(x.treePath(), 0o640, treeOptions())
		return err
	})
	if err != nil {
		return nil, err
	}
	tree.AllocSize = 1 << 20
	return tree, nil
}

// openTree opens the tree that is there; reason says why it can't be used.
func (x *Index) openTree() (reason string) {
	tree, err := x.openFile()
	if err != nil {
		return err.Error()
	}
	var position int64
	err = mapped.Guarded(func() error {
		return tree.View(func(tx *bolt.Tx) error {
			for _, name := range buckets {
				if tx.Bucket(name) == nil {
					return fmt.Errorf("bucket %s is missing", name)
				}
			}
			position, err = x.readMeta(tx)
			return err
		})
	})
	if err == nil && position > x.config.Log.End() {
		err = errors.New("it is ahead of the log")
	}
	if err != nil {
		return errors.Join(err, tree.Close()).Error()
	}
	x.use(tree, position)
	return ""
}

func (x *Index) use(tree *bolt.DB, position int64) {
	x.tree = tree
	x.tail = x.config.Log.NewTail(position)
	x.persisted = position
	x.swept = nil
	x.applied.Store(position)
}

const metaVersion = 2

func (x *Index) putMeta(tx *bolt.Tx, position int64) error {
	b := []byte{metaVersion}
	for _, n := range [...]uint64{x.config.Log.LogID(), x.config.Log.Epoch(), uint64(position)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return tx.Bucket(bucketMeta).Put([]byte("state"), b)
}

func (x *Index) readMeta(tx *bolt.Tx) (position int64, err error) {
	b := tx.Bucket(bucketMeta).Get([]byte("state"))
	switch {
	case len(b) != 25 || b[0] != metaVersion:
		return 0, errors.New("it is of another version")
	case binary.BigEndian.Uint64(b[1:]) != x.config.Log.LogID() || binary.BigEndian.Uint64(b[9:]) != x.config.Log.Epoch():
		return 0, errors.New("it is of another log")
	}
	if position = int64(binary.BigEndian.Uint64(b[17:])); position < 0 {
		return 0, fmt.Errorf("it says that it is at position %d", position)
	}
	return position, nil
}

// read runs a read transaction and finds damage, which the tree tells by a panic, or by a fault of the mapped file.
func (x *Index) read(fn func(tx *bolt.Tx) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.tree == nil || x.damaged.Load() {
		return ErrDamaged
	}
	err := mapped.Guarded(func() error { return x.tree.View(fn) })
	if errors.Is(err, errState) || errors.Is(err, mapped.ErrDamaged) {
		x.damage(err)
		return ErrDamaged
	}
	return err
}

func (x *Index) damage(err error) {
	if !x.damaged.Swap(true) {
		x.config.Logger.Error("index of changes is damaged; it is made again from the log", "error", err)
	}
	x.ring()
}

func (x *Index) ring() {
	select {
	case x.wanted <- struct{}{}:
	default: // it will look anyway
	}
}

// Close ends the following and marks the files as whole. Further calls do nothing good: there is one.
func (x *Index) Close() error {
	close(x.stop)
	<-x.ended
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tree == nil {
		return nil
	}
	tree := x.tree
	x.tree = nil
	err := errors.Join(x.persist(tree), tree.Sync(), tree.Close())
	if err == nil && !x.damaged.Load() {
		var sum string
		if sum, err = x.cleanMark(); err == nil {
			err = x.mark(sum)
		}
	}
	if err != nil {
		return fmt.Errorf("index of changes in %s: %w", x.config.Dir, err)
	}
	return nil
}

// persist has the tree say how far it is.
func (x *Index) persist(tree *bolt.DB) error {
	position := x.applied.Load()
	if position == x.persisted {
		return nil
	}
	err := mapped.Guarded(func() error {
		return tree.Update(func(tx *bolt.Tx) error { return x.putMeta(tx, position) })
	})
	if err == nil {
		x.persisted = position
	}
	return err
}

// Stats are counters since Open and sizes now.
type Stats struct {
	Applied int64 // records that said something
	Rebuilt int64 // times that it was made again
	Behind  int64 // bytes of the log that are not in it
}

// Stats may be called at any time.
func (x *Index) Stats() Stats {
	return Stats{x.changes.Load(), x.rebuilt.Load(), max(0, x.config.Log.End()-x.applied.Load())}
}

package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"rookery/storage"
	"rookery/storage/vfs"
)

// Log is an open log. Its methods are safe from any goroutine; a Producer belongs to one.
type Log struct {
	// Set at construction.
	config   Config
	meta     meta
	seal     seal
	lock     io.Closer
	table    *roomTable
	active   *activeRooms
	bridges  *bridges
	queue    *appendQueue
	segments *segmentList
	files    *openFiles
	counters *counters

	// Owned by the committer goroutine until it ends.
	committer     *committer
	committerDone chan struct{}

	checkpoints *checkpointer
	retention   *retention

	// Read from any goroutine.
	faulted atomic.Pointer[storage.FaultError]
	// published is the position behind the last record that the table knows.
	published atomic.Int64
	// synced is the position before which everything is synced.
	synced atomic.Int64
	closed atomic.Bool
	// turnedAt is when the committer began the batch or the sync that it is at, in nanoseconds of the clock's running time; 0 while it waits.
	turnedAt atomic.Int64

	closeOnce sync.Once
	closeErr  error
}

// Open locks the directory, reads and checks the whole log, repairs what a crash explains and
// starts the committer. The errors that a caller may tell apart: vfs.ErrLocked,
// *storage.CorruptionError; after an error the files are as they were, except for a repaired
// tail.
func Open(config Config) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("log configuration: %w", err)
	}
	lock, err := lockDirectory(config)
	if err != nil {
		return nil, err
	}
	l := &Log{
		config:        config,
		lock:          lock,
		table:         newRoomTable(),
		bridges:       newBridges(),
		queue:         newAppendQueue(config.QueueBytes),
		segments:      newSegmentList(),
		files:         newOpenFiles(config),
		counters:      newCounters(),
		committerDone: make(chan struct{}),
	}
	checkpoint, err := l.recover()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w%s", err, remedy(err)), l.files.close(), lock.Close())
	}
	l.active = newActiveRooms(l.table)
	segments := l.segments.load()
	active := segments[len(segments)-1]
	l.committer = &committer{
		log:     l,
		config:  config,
		active:  active,
		written: active.committed.Load(),
		synced:  l.meta.synced,
		headers: headerReader{urgent: true},
	}
	l.published.Store(int64(l.meta.synced))
	l.synced.Store(int64(l.meta.synced))
	l.checkpoints = newCheckpointer(l, checkpoint)
	l.retention = newRetention(l)
	go func() {
		defer close(l.committerDone)
		l.committer.commitLoop()
	}()
	l.checkpoints.start()
	l.files.supply.start()
	l.retention.start()
	return l, nil
}

func lockDirectory(config Config) (io.Closer, error) {
	if err := vfs.MakeDirectory(config.FS, filepath.Clean(config.Dir)); err != nil {
		return nil, fmt.Errorf("make log directory %s: %w%s", config.Dir, err, remedy(err))
	}
	lock, err := config.FS.Lock(filepath.Join(config.Dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("log directory %s is in use: stop the other process or give this one another directory: %w", config.Dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("log directory %s: %w%s", config.Dir, err, remedy(err))
	}
	return lock, nil
}

// remedy says what to do about the usual reasons why a directory can't be used.
func remedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return ": run as the user who owns the directory, or give the directory and its files to this one (chown -R)"
	case errors.Is(err, syscall.EROFS):
		return ": the file system is mounted read-only: mount it for writing, or choose another directory"
	case vfs.NoRoom(err):
		return ": make room on the file system, or choose a directory on another one"
	}
	return ""
}

// Epoch names this history of sequence numbers. It is made with the directory and changes
// when an end of the log may be gone that somebody has seen: then a position of the old
// epoch means nothing. It is never 0.
func (l *Log) Epoch() uint64 { return l.meta.epoch }

// Head gives the newest visible sequence number of a room, 0 for a room never seen.
func (l *Log) Head(room string) uint64 { return l.table.find(l.table.key(room)).headSeq }

// Place is where the newest record of a room lies: rooms with a higher one were written to later. 0 if it has none.
func (l *Log) Place(room string) int64 { return int64(l.table.find(l.table.key(room)).headAt) }

// Begin gives the oldest sequence number of a room that is still given: 1 for a room never seen, Head+1
// if retention took all.
func (l *Log) Begin(room string) uint64 { return l.table.find(l.table.key(room)).firstSeq }

// rolled is told of every new segment.
func (l *Log) rolled() { l.checkpoints.consider() }

// Err gives the *storage.FaultError that stopped the log for now, storage.ErrClosed after Close, or nil
// while it takes appends. After a fault the log tries every Config.HealEvery to go on.
func (l *Log) Err() error {
	if l.closed.Load() {
		return storage.ErrClosed
	}
	if fault := l.faulted.Load(); fault != nil {
		return fault
	}
	return nil
}

func (l *Log) fail(fault *storage.FaultError) {
	l.queue.fail(fault)
	l.faulted.Store(fault)
	ring(l.queue.synced)
}

// syncPublished returns when all that is visible now is synced, whatever the mode. It belongs to retention.
func (l *Log) syncPublished(stop <-chan struct{}) error {
	for want := l.published.Load(); l.synced.Load() < want; {
		if err := l.Err(); err != nil {
			return err
		}
		l.queue.syncWanted.Store(true)
		l.queue.ring()
		select {
		case <-stop:
			return errStopped
		case <-l.queue.synced:
		}
	}
	return nil
}

// Close commits what is queued, syncs in every mode, marks the log as cleanly closed and
// lets go of the directory, all files closed. A log that had a fault is closed without the mark, and the fault is
// what Close returns. Further calls return the same.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.queue.close()
		<-l.committerDone
		l.retention.close()
		l.checkpoints.stop()
		l.files.supply.stop()
		var errs []error
		if fault := l.faulted.Load(); fault != nil {
			errs = append(errs, fault)
		}
		l.closed.Store(true)
		if len(errs) == 0 {
			l.checkpoints.last()
		}
		l.files.release(l.committer.active)
		errs = append(errs, l.files.close())
		if errors.Join(errs...) == nil {
			l.meta.state, l.meta.synced = stateClosed, l.committer.end()
			errs = append(errs, l.config.saveMeta(l.meta))
		}
		errs = append(errs, l.lock.Close())
		l.closeErr = errors.Join(errs...)
	})
	return l.closeErr
}

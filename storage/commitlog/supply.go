package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"rookery/storage/vfs"
)

const (
	sparePrefix = "SPARE-"
	// startBytes is how much of a segment that no spare was ready for is written ahead.
	startBytes = 4 << 20
	// syncChunk is what background work writes between two syncs: a commit waits for so much at most.
	syncChunk = 1 << 20
)

// supply makes the next segment's file ready before it is needed, every block of it written and synced.
// A sync of a file that grows, or whose blocks were only reserved, writes the file system's metadata
// too: measured on ext4, batches of 180,000 bytes reach 780 to 1,400 a second in a file
// that grows, 690 to 880 in one reserved with fallocate, 1,800 to 2,200 in one that was written. The
// zeros are a second write of everything, made beside the commits and not in them.
type supply struct {
	// Set at construction.
	config Config
	bell   chan struct{}
	quit   chan struct{} // closed by stop
	done   chan struct{}

	// room is held for reading by what takes room on the disk for the log, as far as it can wait: making a spare, healing. Retention holds
	// it while it works in the reserve. Nobody waits for it but retention.
	room sync.RWMutex

	mu sync.Mutex // held for memory work only

	// Guarded by mu.
	ready *spare // nil while there is none
	made  int    // names given out: two spares never share one, since one may be about to be renamed
}

// spare is a file that was written ahead.
type spare struct {
	file vfs.File
	path string
}

func newSupply(config Config) *supply {
	return &supply{config: config, bell: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
}

func (s *supply) newPath() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return filepath.Join(s.config.Dir, fmt.Sprint(sparePrefix, s.made))
}

// start begins the background work; stop ends it and removes the spare.
func (s *supply) start() {
	go func() {
		defer close(s.done)
		s.supplyLoop()
	}()
}

func (s *supply) stop() {
	close(s.quit)
	<-s.done
	if ready := s.take(); ready != nil {
		s.discard(ready)
	}
}

// want asks for a spare. It never waits.
func (s *supply) want() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

func (s *supply) supplyLoop() {
	for {
		select {
		case <-s.bell:
		case <-s.quit:
			return
		}
		s.mu.Lock()
		has := s.ready != nil
		s.mu.Unlock()
		if has {
			continue
		}
		ready, err := s.prepare()
		if err != nil {
			// No fault: the committer makes a plain segment, and says so if that fails too.
			s.config.Logger.Debug("no segment can be made ready ahead", "path", s.config.Dir, "error", err)
			continue
		}
		s.offer(ready)
	}
}

// prepare writes a file full of zeros. Its name is not synced: it counts only once it is renamed.
func (s *supply) prepare() (*spare, error) {
	path := s.newPath()
	file, err := s.config.FS.Create(path)
	if err != nil {
		return nil, err
	}
	made := &spare{file: file, path: path}
	if err := fillZeros(file, s.config.SegmentBytes, s.quit, &s.room); err != nil {
		s.discard(made)
		return nil, err
	}
	return made, nil
}

// fillZeros writes a file a chunk at a time, each synced, and rests after each for as long as it took. Before it
// confirms a commit's sync the device writes all that it was given, so a commit waits for one chunk at
// most. With one sync at the end it waits for the whole segment: of 1,000 commits in a row, ten took 50 ms or more. It gives up where
// it may not take room.
func fillZeros(file vfs.File, size int64, stop <-chan struct{}, room *sync.RWMutex) error {
	for from := int64(0); ; {
		started := time.Now()
		to := min(from+syncChunk, size)
		if err := writeZerosIn(room, file, from, to); err != nil {
			return err
		}
		if from = to; from == size {
			return nil
		}
		select {
		case <-time.After(time.Since(started)):
		case <-stop:
			return errStopped
		}
	}
}

// errRoomTaken says that retention works in its reserve.
var errRoomTaken = errors.New("the room that is left is for retention")

func writeZerosIn(room *sync.RWMutex, file vfs.File, from, to int64) error {
	if room != nil {
		if !room.TryRLock() {
			return errRoomTaken
		}
		defer room.RUnlock()
	}
	return writeZeros(file, from, to)
}

func (s *supply) discard(unused *spare) {
	if err := errors.Join(unused.file.Close(), vfs.RemoveIfExists(s.config.FS, unused.path)); err != nil {
		s.config.Logger.Debug("spare segment can't be removed", "path", unused.path, "error", err)
	}
}

// offer makes a file the spare, unless there is one.
func (s *supply) offer(made *spare) {
	s.mu.Lock()
	has := s.ready != nil
	if !has {
		s.ready = made
	}
	s.mu.Unlock()
	if has {
		s.discard(made)
	}
}

// take gives the spare to the caller, nil if none is ready.
func (s *supply) take() *spare {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := s.ready
	s.ready = nil
	return ready
}

// recycle makes the file of a segment that is no more the spare, or removes it. What it holds is of
// other positions, so no checksum of it fits. A file that has another name too is a backup's.
func (s *supply) recycle(path string) error {
	s.mu.Lock()
	has := s.ready != nil
	s.mu.Unlock()
	if has {
		return s.config.FS.Remove(path)
	}
	// Renamed first: nobody makes another name of it by the old one from here on.
	made := &spare{path: s.newPath()}
	if err := s.config.FS.Rename(path, made.path); err != nil {
		return err
	}
	var err error
	if made.file, err = s.reusable(made.path); err != nil || made.file == nil {
		return errors.Join(err, s.config.FS.Remove(made.path))
	}
	s.offer(made)
	return nil
}

// reusable gives nil for a file that is too short or has another name.
func (s *supply) reusable(path string) (vfs.File, error) {
	links, err := s.config.FS.Links(path)
	if err != nil || links != 1 {
		return nil, err
	}
	file, err := s.config.FS.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil || size < s.config.SegmentBytes {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// zeros is never written to. As it is no part of the heap it costs no memory: the kernel shows its one page of zeros.
var zeros [syncChunk]byte

// writeZeros fills a part of a file and syncs.
func writeZeros(file vfs.File, from, to int64) error {
	for from < to {
		n := min(int64(len(zeros)), to-from)
		if _, err := file.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return file.Sync()
}

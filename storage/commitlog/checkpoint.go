package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"rookery/storage"
	"rookery/storage/vfs"
)

const (
	checkpointPrefix = "ROOMS-"
	checkpointMagic  = "RKRYROOM"
	// keptCheckpoints: if one can't be read, the one before it and a longer replay do.
	keptCheckpoints = 2

	checkpointHeaderBytes = 64
	segmentFactsBytes     = 32
	checkpointChunk       = 1 << 10 // entries copied under one lock
)

// checkpoint is the table as a file has it. Rooms that were written while it was made may stand
// farther than others: what is in it is true for some position from from to end, for each room, and the
// records from from on bring it to the log's end.
type checkpoint struct {
	from  position // replay begins here
	end   position // no room stands farther
	table *roomTable
	facts map[position]segmentFacts // by base
}

// segmentFacts is what is known of a segment without reading it.
type segmentFacts struct{ oldestAt, newestAt, dead int64 }

// checkpointNames gives the checkpoints among the names, newest first.
func checkpointNames(names []string) []string {
	var found []string
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, checkpointPrefix)
		if _, err := strconv.ParseUint(digits, 10, 63); ok && err == nil && len(digits) == segmentDigits {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// readCheckpoint gives a *storage.CorruptionError for anything but a whole checkpoint of this log.
func (l *Log) readCheckpoint(name string, keep bool) (*checkpoint, error) {
	path := filepath.Join(l.config.Dir, name)
	file, err := l.config.FS.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	defer file.Close() // only read from
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("measure checkpoint: %w", err)
	}
	c, err := decodeCheckpoint(&checksummedReader{file: file, buffer: make([]byte, min(size, scanBufferBytes))}, l.meta.logID, keep)
	var wrong wrongContent
	if errors.As(err, &wrong) || errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return nil, &storage.CorruptionError{Path: path, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", path, err)
	}
	return c, nil
}

// wrongContent is what a file says, as opposed to a file that can't be read.
type wrongContent string

func (w wrongContent) Error() string { return string(w) }

// decodeCheckpoint reads the file in one pass; nothing of it counts before the checksum at its end.
// The rooms are kept or only checked.
func decodeCheckpoint(r *checksummedReader, logID uint64, keep bool) (*checkpoint, error) {
	header, err := r.next(checkpointHeaderBytes)
	if err != nil {
		return nil, err
	}
	if string(header[:8]) != checkpointMagic || binary.LittleEndian.Uint32(header[8:]) != formatVersion || binary.LittleEndian.Uint64(header[16:]) != logID {
		return nil, wrongContent("not a checkpoint of this log and version")
	}
	c := &checkpoint{
		from:  position(binary.LittleEndian.Uint64(header[24:])),
		table: newRoomTable(),
		facts: map[position]segmentFacts{},
	}
	rooms, segments := binary.LittleEndian.Uint64(header[32:]), binary.LittleEndian.Uint64(header[40:])
	possible, furthest := true, c.from
	for range rooms {
		b, err := r.next(roomEntryBytes)
		if err != nil {
			return nil, err
		}
		state := roomState{
			headSeq:  binary.LittleEndian.Uint64(b[16:]),
			headAt:   position(binary.LittleEndian.Uint64(b[24:])),
			firstSeq: binary.LittleEndian.Uint64(b[32:]),
			firstAt:  position(binary.LittleEndian.Uint64(b[40:])),
		}
		possible, furthest = possible && state.possible(), max(furthest, state.headAt)
		if keep {
			c.table.update(roomKey(b[:16]), func(s *roomState) { *s = state })
		}
	}
	for range segments {
		b, err := r.next(segmentFactsBytes)
		if err != nil {
			return nil, err
		}
		facts := segmentFacts{
			oldestAt: int64(binary.LittleEndian.Uint64(b[8:])),
			newestAt: int64(binary.LittleEndian.Uint64(b[16:])),
			dead:     int64(binary.LittleEndian.Uint64(b[24:])),
		}
		possible = possible && facts.dead >= 0
		c.facts[position(binary.LittleEndian.Uint64(b))] = facts
	}
	end, err := r.next(8)
	if err != nil {
		return nil, err
	}
	c.end = position(binary.LittleEndian.Uint64(end))
	sum := r.sum
	trailer, err := r.next(4)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(trailer) != sum {
		return nil, wrongContent("checksum does not match")
	}
	if !possible || c.from < 0 || furthest > c.end || c.end > maxPosition {
		return nil, wrongContent("it has positions or numbers that are not possible")
	}
	return c, nil
}

// possible says that a room may stand so: readers and writers rely on it.
func (s *roomState) possible() bool {
	return s.headSeq > 0 && s.headSeq <= storage.MaxSeq && s.headAt > 0 &&
		s.firstSeq > 0 && s.firstSeq <= s.headSeq+1 && s.firstAt >= 0 && s.firstAt <= s.headAt
}

// checksummedReader reads a file front to back.
type checksummedReader struct {
	// Set at construction.
	file   vfs.File
	buffer []byte // longer than anything that is asked for at once, or as long as the file

	// Of what was read.
	offset int64
	rest   []byte // of buffer, not yet given
	sum    uint32
}

// next gives the next n bytes, valid until the next call.
func (r *checksummedReader) next(n int) ([]byte, error) {
	if len(r.rest) < n {
		held := copy(r.buffer, r.rest)
		got, err := r.file.ReadAt(r.buffer[held:], r.offset)
		if err = ignoreEOF(err); err != nil {
			return nil, err
		}
		r.offset += int64(got)
		if r.rest = r.buffer[:held+got]; len(r.rest) < n {
			return nil, io.ErrUnexpectedEOF
		}
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	r.sum = crc32.Update(r.sum, castagnoli, b)
	return b, nil
}

// checkpointer writes checkpoints in the background.
type checkpointer struct {
	// Set at construction.
	log  *Log
	bell chan struct{}
	done chan struct{}

	writing sync.Mutex // held over the writing of one

	// Guarded by writing.
	from position // of the newest one
}

// newCheckpointer goes on from the checkpoint that the log was opened by, not from where the log ended then: lives that end
// before a checkpoint is due would add up to what the next opening has to read.
func newCheckpointer(l *Log, from position) *checkpointer {
	return &checkpointer{log: l, bell: make(chan struct{}, 1), done: make(chan struct{}), from: from}
}

// start begins the background work, stop ends it.
func (c *checkpointer) start() {
	go func() {
		defer close(c.done)
		c.checkpointLoop()
	}()
}

func (c *checkpointer) stop() {
	close(c.bell)
	<-c.done
}

// consider is called by the committer when a segment begins.
func (c *checkpointer) consider() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

func (c *checkpointer) checkpointLoop() {
	for range c.bell {
		c.writing.Lock()
		due := position(c.log.synced.Load())-c.from >= position(c.log.config.CheckpointBytes)
		c.writing.Unlock()
		if due {
			c.last()
		}
	}
}

// last writes a checkpoint of the log as it is now; that it fails is no fault of the log, which then
// takes longer to open.
func (c *checkpointer) last() {
	if err := c.write(); err != nil {
		c.log.config.Logger.Warn("checkpoint of the rooms can't be written: opening the log would take longer", "error", err)
	}
}

// write makes a checkpoint, synced and read back, and removes old ones.
func (c *checkpointer) write() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	l := c.log
	// In the relaxed modes what is not synced may be lost in parts, so it has to be read again.
	from := position(min(l.published.Load(), l.synced.Load()))
	name := fmt.Sprintf("%s%0*d", checkpointPrefix, segmentDigits, from)
	path := filepath.Join(l.config.Dir, name)
	temporary := path + temporarySuffix
	if err := vfs.RemoveIfExists(l.config.FS, temporary); err != nil {
		return err
	}
	file, err := l.config.FS.Create(temporary)
	if err != nil {
		return err
	}
	w := &checksummedWriter{file: file}
	err = l.encodeCheckpoint(w, from)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", temporary, err), l.config.FS.Remove(temporary))
	}
	if err := l.config.FS.Rename(temporary, path); err != nil {
		return errors.Join(err, l.config.FS.Remove(temporary))
	}
	if err := l.config.FS.SyncDir(l.config.Dir); err != nil {
		return err
	}
	if _, err := l.readCheckpoint(name, false); err != nil {
		return fmt.Errorf("read back what was written: %w", err)
	}
	c.from = from
	return c.removeOld()
}

// newest gives where the newest checkpoint begins.
func (c *checkpointer) newest() position {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.from
}

func (c *checkpointer) removeOld() error {
	names, err := c.log.config.FS.List(c.log.config.Dir)
	if err != nil {
		return err
	}
	for i, name := range checkpointNames(names) {
		if i >= keptCheckpoints {
			if err := c.log.config.FS.Remove(filepath.Join(c.log.config.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// committedEnd gives the position behind the newest visible record.
func (l *Log) committedEnd() position {
	segments := l.segments.load()
	return segments[len(segments)-1].rangeEnd()
}

// encodeCheckpoint writes the table while it changes: the numbers in the header are those before
// and after the walk.
func (l *Log) encodeCheckpoint(w *checksummedWriter, from position) error {
	segments := l.segments.load()
	rooms := l.table.len() // those that come now are replayed
	b := make([]byte, checkpointHeaderBytes)
	copy(b, checkpointMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint64(b[16:], l.meta.logID)
	binary.LittleEndian.PutUint64(b[24:], uint64(from))
	binary.LittleEndian.PutUint64(b[32:], uint64(rooms))
	binary.LittleEndian.PutUint64(b[40:], uint64(len(segments)))
	w.write(b)
	chunk := make([]roomEntry, checkpointChunk)
	for done := 0; done < rooms; {
		n := l.table.copyFrom(done, chunk[:min(len(chunk), rooms-done)])
		for i := range chunk[:n] {
			w.write(appendRoomEntry(b[:0], &chunk[i]))
		}
		done += n
	}
	for _, g := range segments {
		b = binary.LittleEndian.AppendUint64(b[:0], uint64(g.base))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.oldestAt.Load()))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.newestAt.Load()))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.dead.Load()))
		w.write(b)
	}
	w.write(binary.LittleEndian.AppendUint64(b[:0], uint64(l.committedEnd())))
	w.write(binary.LittleEndian.AppendUint32(b[:0], w.sum))
	return w.flush()
}

func appendRoomEntry(b []byte, e *roomEntry) []byte {
	b = append(b, e.key[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.headSeq)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.headAt))
	b = binary.LittleEndian.AppendUint64(b, e.firstSeq)
	return binary.LittleEndian.AppendUint64(b, uint64(e.firstAt))
}

// checksummedWriter writes a file front to back, synced now and then, so that a table of a million rooms
// holds no commit up. The first error is kept for flush.
type checksummedWriter struct {
	file   vfs.File
	offset int64
	synced int64 // offset of the last sync
	buffer []byte
	sum    uint32
	err    error
}

func (w *checksummedWriter) write(b []byte) {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	if w.buffer = append(w.buffer, b...); len(w.buffer) >= scanBufferBytes {
		_ = w.flush() // kept
	}
}

func (w *checksummedWriter) flush() error {
	if w.err == nil {
		_, w.err = w.file.WriteAt(w.buffer, w.offset)
	}
	w.offset += int64(len(w.buffer))
	w.buffer = w.buffer[:0]
	if w.err == nil && w.offset-w.synced >= syncChunk {
		w.err = w.file.Sync()
		w.synced = w.offset
	}
	return w.err
}

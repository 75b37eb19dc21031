package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"rookery/storage"
	"rookery/storage/vfs"
)

// openFiles is the files of the segments that are open, a bounded number however long the log
// is. Its methods are safe from any goroutine.
//
// A file is opened by its first use and stays open behind the last one until its slot is wanted:
// then the one that is unused for the longest is closed. A file in use is never closed. The
// committer uses the active segment from its creation to its end, a reader uses a segment for one
// call of ReadAt and never over a callback.
//
// A slot is taken before a file is opened and given back when it is closed, so held is never
// less than what is open. A reader that finds all slots in use waits for a read to end; since it
// has none itself then, no two can wait for each other. The committer takes one slot too many
// instead, until the next use ends; only if another segment ends before that does it wait too.
//
// mu is the last in every lock order: nothing is locked under it, and no file is opened, read
// or closed.
type openFiles struct {
	// Set at construction; logID by recovery, before the first file is opened.
	fs    vfs.FS
	logID uint64
	seal  seal
	// Of the log.
	supply *supply
	ahead  int64 // bytes written with zeros in a new file

	mu      sync.Mutex
	changed *sync.Cond // of mu: a use, an opening or a closing has ended

	// Guarded by mu.
	limit    int        // OpenSegments, the active one, and those that are pinned
	open     []*segment // with a file, in no order
	held     int        // slots: of open, and of files being opened or closed
	clock    uint64     // counts the ends of uses
	closed   bool
	closeErr error // the first; no reader's business, so close gives it
}

func newOpenFiles(config Config) *openFiles {
	o := &openFiles{fs: config.FS, limit: config.OpenSegments + 1, supply: newSupply(config), ahead: config.ahead()}
	o.changed = sync.NewCond(&o.mu)
	return o
}

// readAt is one use of a segment for one read. The end of the file is no error here: n says it.
func (o *openFiles) readAt(g *segment, b []byte, offset int64) (n int, err error) {
	return o.read(g, b, offset, false)
}

// read is readAt; if it is urgent, as for the committer, it takes one slot too many before it waits
// for readers.
func (o *openFiles) read(g *segment, b []byte, offset int64, urgent bool) (n int, err error) {
	extra := 0
	if urgent {
		extra = 1
	}
	file, err := o.acquireWith(extra, g)
	if err != nil {
		return 0, err
	}
	n, err = file.ReadAt(b, offset)
	o.release(g)
	if err = ignoreEOF(err); err != nil {
		return n, fmt.Errorf("read %s at offset %d: %w", g.path, offset, err)
	}
	return n, nil
}

// acquire begins a use, which must end with release; an error means there is none. It may wait
// for other uses to end.
func (o *openFiles) acquire(g *segment) (vfs.File, error) { return o.acquireWith(0, g) }

func (o *openFiles) acquireWith(extra int, g *segment) (vfs.File, error) {
	o.mu.Lock()
	// Who finds the file being opened waits too: opening it twice would take two slots.
	for !o.closed && g.file == nil && (g.opening || o.held >= o.limit+extra && !o.anyUnusedLocked()) {
		o.changed.Wait()
	}
	if o.closed {
		o.mu.Unlock()
		return nil, storage.ErrClosed
	}
	if file := g.file; file != nil {
		g.uses++
		o.mu.Unlock()
		return file, nil
	}
	g.opening = true
	surplus := o.takeSlotLocked()
	o.mu.Unlock()
	o.closeFile(surplus)
	file, err := o.openFile(g)
	o.mu.Lock()
	g.opening = false
	if err == nil {
		o.addLocked(g, file)
	} else {
		o.held--
	}
	o.mu.Unlock()
	o.changed.Broadcast()
	return file, err
}

// create makes the next segment; the committer begins to use it.
func (o *openFiles) create(dir string, base, previous position) (*segment, error) {
	o.mu.Lock()
	for o.held > o.limit && !o.anyUnusedLocked() {
		o.changed.Wait()
	}
	surplus := o.takeSlotLocked()
	o.mu.Unlock()
	o.closeFile(surplus)
	g := newSegment(dir, segmentHeader{base: base, previous: previous})
	file, err := createSegment(o.fs, dir, g.path, o.logID, g.segmentHeader, o.supply.take(), o.ahead)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.held--
		o.changed.Broadcast()
		return nil, err
	}
	g.committed.Store(segmentHeaderBytes)
	o.addLocked(g, file)
	return g, nil
}

// release ends a use.
func (o *openFiles) release(g *segment) {
	o.mu.Lock()
	if g.uses == 0 {
		panic("BUG: a use of " + g.path + " ends twice")
	}
	o.clock++
	g.uses, g.lastUse = g.uses-1, o.clock
	var surplus vfs.File
	if o.held > o.limit {
		surplus = o.evictLocked()
	}
	o.mu.Unlock()
	if surplus != nil {
		o.closeFile(surplus)
		o.mu.Lock()
		o.held--
		o.mu.Unlock()
	}
	o.changed.Broadcast()
}

// pin keeps a file open that is about to lose its name, until unpin. It has a slot beside the others: the
// readers that pin waits for must not wait for it.
func (o *openFiles) pin(g *segment) error {
	o.mu.Lock()
	o.limit++
	o.mu.Unlock()
	if _, err := o.acquire(g); err != nil {
		o.mu.Lock()
		o.limit--
		o.mu.Unlock()
		return err
	}
	return nil
}

func (o *openFiles) unpin(g *segment) {
	o.mu.Lock()
	o.limit--
	o.mu.Unlock()
	o.release(g)
}

// forget closes the file of a segment that nobody can find any more.
func (o *openFiles) forget(g *segment) {
	o.mu.Lock()
	for g.opening || inUse(g) {
		o.changed.Wait()
	}
	file := g.file
	if file == nil {
		o.mu.Unlock()
		return
	}
	g.file = nil
	o.open = slices.DeleteFunc(o.open, func(other *segment) bool { return other == g })
	o.mu.Unlock()
	o.closeFile(file)
	o.mu.Lock()
	o.held--
	o.mu.Unlock()
	o.changed.Broadcast()
}

// close waits for the uses in progress, closes all files and refuses further ones.
func (o *openFiles) close() error {
	o.mu.Lock()
	o.closed = true
	o.changed.Broadcast() // for those who wait for a slot
	for o.held > len(o.open) || slices.ContainsFunc(o.open, inUse) {
		o.changed.Wait()
	}
	var files []vfs.File
	for file := o.evictLocked(); file != nil; file = o.evictLocked() {
		files = append(files, file)
	}
	o.mu.Unlock()
	for _, file := range files {
		o.closeFile(file)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = 0
	return o.closeErr
}

// count gives how many descriptors are held.
func (o *openFiles) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held
}

// openFile opens a segment again. The directory may have changed since the log was opened, so
// that it is still this segment is checked by its header, and each record by its seal.
func (o *openFiles) openFile(g *segment) (vfs.File, error) {
	file, err := o.fs.Open(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, g.corruption(0, fmt.Errorf("segment was removed while the log is open: restore it from a backup: %w", err))
	}
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", g.path, err)
	}
	header, err := readSegmentHeader(file)
	if err != nil {
		err = fmt.Errorf("open segment %s: %w", g.path, err)
	} else if h, wrong := decodeSegmentHeader(header, o.logID, g.base); errors.Is(wrong, errSegmentHeader) {
		err = nil // its records say themselves where they belong
	} else if wrong != nil {
		err = g.corruption(0, fmt.Errorf("segment was changed while the log is open: restore it from a backup: %w", wrong))
	} else if h.generation != g.generation {
		err = fmt.Errorf("open segment %s: %w", g.path, errReplaced)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// errReplaced says that retention has put another file in a segment's place since it was listed.
var errReplaced = errors.New("segment was rewritten meanwhile")

// closeFile closes a file that was taken out of open. Nothing in it waits for a sync any more.
func (o *openFiles) closeFile(file vfs.File) {
	if file == nil {
		return
	}
	if err := file.Close(); err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.closeErr == nil {
			o.closeErr = err
		}
	}
}

// addLocked takes in a file that has its slot, with its first use.
func (o *openFiles) addLocked(g *segment, file vfs.File) {
	g.file, g.uses = file, 1
	o.open = append(o.open, g)
}

// takeSlotLocked takes a free slot, or that of the file it gives, which the caller closes first.
func (o *openFiles) takeSlotLocked() (surplus vfs.File) {
	if o.held >= o.limit {
		surplus = o.evictLocked()
	}
	if surplus == nil {
		o.held++
	}
	return surplus
}

// evictLocked takes out the file that is unused for the longest, nil if all are in use. Its slot
// is still held. It looks at all of them, since a file is closed seldom and used all the time.
func (o *openFiles) evictLocked() vfs.File {
	oldest := -1
	for i, g := range o.open {
		if !inUse(g) && (oldest < 0 || g.lastUse < o.open[oldest].lastUse) {
			oldest = i
		}
	}
	if oldest < 0 {
		return nil
	}
	g := o.open[oldest]
	file := g.file
	g.file = nil
	o.open = slices.Delete(o.open, oldest, oldest+1)
	return file
}

func (o *openFiles) anyUnusedLocked() bool {
	return slices.ContainsFunc(o.open, func(g *segment) bool { return !inUse(g) })
}

func inUse(g *segment) bool { return g.uses > 0 }

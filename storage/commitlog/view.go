package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"rookery/storage"
	"rookery/storage/vfs"
)

// maxLooks bounds how often a directory is listed anew because its files changed while they were read:
// each time retention has replaced some, which takes longer than a look.
const maxLooks = 100

// View reads a log directory for tools: without its lock, also while a server writes, packs and
// recycles its files, and without changing anything. What it knows of the directory is as of the last
// look; a file that is not there any more, or is another one now, means to look again and to go on by position.
//
// The end of the log is where no whole record follows in the newest segment, as recovery has it. So a
// View also gives what a server has written and not synced yet, which a crash may keep as well as lose.
//
// A View belongs to one goroutine.
type View struct {
	// Set at construction.
	fs  vfs.FS // can't change anything
	dir string

	// As of the last look.
	log     *Log // its configuration, files and segments: it has no committer and no table
	newest  *segment
	scanner scanner
	damage  []*storage.CorruptionError // of META, segment headers and the list of segments
}

// Entry is a record with its place.
type Entry struct {
	Position int64
	End      int64 // position behind it
	// Stub: a room whose content is gone goes on behind Record.Seq; nothing else of Record is set but Room,
	// Seq and At.
	Stub   bool
	Record storage.Record
}

// OpenView reads a log directory without its lock. A directory without a log is fs.ErrNotExist; one
// that holds a file of another log, or a format that is not ours to read, is refused.
func OpenView(fsys vfs.FS, dir string) (*View, error) {
	v := &View{fs: vfs.ReadOnly(fsys), dir: dir}
	if err := v.look(); err != nil {
		return nil, fmt.Errorf("view of the log: %w", err)
	}
	return v, nil
}

// LogID tells logs apart. It is the secret of the seal: it goes into files, not to clients.
func (v *View) LogID() uint64 { return v.log.meta.logID }

// Epoch is the one that META says, 0 if META is damaged.
func (v *View) Epoch() uint64 { return v.log.meta.epoch }

// Segments gives the files in order, as of OpenView or the last Scan; the content of the last one ends
// with its last whole record.
func (v *View) Segments() []SegmentInfo {
	segments := v.log.segments.load()
	infos := make([]SegmentInfo, len(segments))
	for i, g := range segments {
		infos[i] = g.info(g != v.newest)
	}
	return infos
}

// Damage gives what the last look found wrong with META, the headers and the list of segments.
func (v *View) Damage() []*storage.CorruptionError { return v.damage }

// Scan calls each for every whole record from a position on, in log order, up to the end of the log
// as it is at the call, or later; damaged is told of every place that is skipped. Record is valid until each returns; false
// ends the scan. next is the position behind the last record given: the place to go on from.
// from is 0 or such a place; from another one, what is before the next whole record counts as damaged.
func (v *View) Scan(from int64, each func(Entry) bool, damaged func(*storage.CorruptionError)) (next int64, err error) {
	return v.walk(position(from), func(_ recordHeader, e Entry) bool { return each(e) }, damaged)
}

func (v *View) walk(from position, each func(recordHeader, Entry) bool, damaged func(*storage.CorruptionError)) (next int64, err error) {
	w := &walk{view: v, next: from, each: each, damaged: damaged, seen: map[damagedPlace]bool{}}
	for looks := 0; ; looks++ {
		if err := v.look(); err != nil {
			return int64(w.next), fmt.Errorf("read the log: %w", err)
		}
		again, err := w.pass()
		if err != nil {
			return int64(w.next), fmt.Errorf("read the log: %w", err)
		}
		if !again {
			return int64(w.next), nil
		}
		if w.progress {
			looks = 0
		} else if looks == maxLooks {
			return int64(w.next), fmt.Errorf("read the log in %s: its files change faster than they can be read", v.dir)
		}
	}
}

// Close closes the files.
func (v *View) Close() error {
	if v.newest != nil {
		v.log.files.release(v.newest)
		v.newest = nil
	}
	return v.log.files.close()
}

// find gives the segment that holds a position, nil if there is none.
func (v *View) find(at position) *segment { return v.log.segments.current.Load().find(at) }

// end gives the position behind the last whole record.
func (v *View) end() position {
	segments := v.log.segments.load()
	if len(segments) == 0 {
		return 0
	}
	return segments[len(segments)-1].rangeEnd()
}

// Look lists the directory anew. Scan does it too.
func (v *View) Look() error {
	if err := v.look(); err != nil {
		return fmt.Errorf("view of the log: %w", err)
	}
	return nil
}

// look lists the directory, reads META and the headers, and finds the end. Damage counts if it is there at a
// second look: a header may be read in the moment in which it is written.
func (v *View) look() error {
	for looks := 0; ; looks++ {
		err := v.lookOnce()
		switch {
		case changed(err) && looks < maxLooks:
		case err != nil:
			return err
		case len(v.damage) == 0 || looks > 0:
			return nil
		}
	}
}

var errNoLog = fmt.Errorf("neither META nor a segment is there: %w", fs.ErrNotExist)

// changed says that a file is not the one that was listed.
func changed(err error) bool {
	return errors.Is(err, errReplaced) || errors.Is(err, errSegmentMoved) || errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoLog)
}

func (v *View) lookOnce() error {
	config := Config{FS: v.fs, Dir: v.dir, OpenSegments: 1, Logger: slog.New(slog.DiscardHandler)}
	l := &Log{config: config, table: newRoomTable(), segments: newSegmentList(), files: newOpenFiles(config), counters: newCounters()}
	var damage []*storage.CorruptionError
	r := &recovery{log: l, fs: config.FS, scanner: scanner{files: l.files, buffer: v.scanner.buffer}, readOnly: true}
	r.found = func(path, message string) {
		damage = append(damage, &storage.CorruptionError{Path: path, Err: errors.New(message)})
	}
	err := r.load()
	if err == nil {
		err = r.isStill()
	}
	if err == nil && r.newest != nil {
		err = r.findEnd()
	}
	if err == nil && v.log != nil && v.log.meta.logID != l.meta.logID {
		err = fmt.Errorf("%s holds another log now", v.dir)
	}
	if err != nil {
		if r.newest != nil {
			l.files.release(r.newest)
		}
		return errors.Join(err, l.files.close())
	}
	if v.log != nil {
		if err := v.Close(); err != nil {
			return err
		}
	}
	v.log, v.newest, v.scanner, v.damage = l, r.newest, r.scanner, damage
	return nil
}

// isStill says errReplaced if there are other segments than when they were listed. A file that was rewritten
// since then may lack records for the sake of newer ones, which must not be in a segment that was not
// listed. Those in the newest one are there: its end is looked for afterwards.
func (r *recovery) isStill() error {
	names, err := r.fs.List(r.log.config.Dir)
	if err != nil {
		return fmt.Errorf("list log directory %s: %w", r.log.config.Dir, err)
	}
	if !slices.Equal(namesOfSegments(names), namesOfSegments(r.names)) {
		return fmt.Errorf("list log directory %s: %w", r.log.config.Dir, errReplaced)
	}
	return nil
}

func namesOfSegments(names []string) (segments []string) {
	for _, name := range names {
		if _, ok := parseSegmentName(name); ok {
			segments = append(segments, name)
		}
	}
	return segments
}

// findEnd sets where the newest segment ends. What is damaged before is told when it is read.
func (r *recovery) findEnd() error {
	g := r.newest
	size, err := r.newestLimit()
	if err != nil {
		return err
	}
	from := min(max(segmentHeaderBytes, int64(r.meta.synced-g.base)), size)
	end, _, err := r.scanner.scanNewest(g, from, size, r.meta.synced,
		func(recordHeader, storage.Record, position) error { return nil }, func(int64, int64, error) {})
	g.committed.Store(end)
	return err
}

// walk is one Scan.
type walk struct {
	view     *View
	each     func(recordHeader, Entry) bool
	damaged  func(*storage.CorruptionError)
	next     position
	progress bool // this pass gave a record or found something new

	// seen are the places that looked damaged: true if they were told. A place is told when it looks so again
	// behind another look at the directory, since a file may be reused, or be in the middle of a write,
	// while it is read.
	seen map[damagedPlace]bool
}

type damagedPlace struct {
	path       string
	generation uint32
	offset     int64
}

var errAgain = errors.New("look again")

// pass reads from next on; again asks for another one behind another look.
func (w *walk) pass() (again bool, err error) {
	w.progress = false
	v := w.view
	segments := v.log.segments.load()
	for _, g := range segments {
		if g.rangeEnd() <= w.next {
			continue
		}
		err := w.segment(g)
		switch {
		case err == errStop:
			return false, nil
		case err == errAgain || changed(err):
			return true, nil
		case err != nil:
			return false, err
		}
		w.next = max(w.next, g.rangeEnd())
	}
	if err := v.log.meta.wrongEnd(v.end()); err != nil && len(segments) > 0 {
		last := segments[len(segments)-1]
		if !w.tell(last, last.size(), err) {
			return true, nil
		}
	}
	return false, nil
}

// segment reads one segment from next on.
func (w *walk) segment(g *segment) error {
	doubt := false
	err := w.view.scanner.scanAll(g, w.next, func(h recordHeader, record storage.Record, at position) error {
		if doubt {
			return errAgain
		}
		w.next, w.progress = at+position(h.size), true
		if h.kind&ignorableBit != 0 {
			return nil
		}
		if !w.each(h, Entry{Position: int64(at), End: int64(w.next), Stub: h.kind == kindStub, Record: record}) {
			return errStop
		}
		return nil
	}, func(offset int64, cause error) {
		doubt = doubt || !w.tell(g, offset, cause)
	})
	if err == nil && doubt {
		err = errAgain
	}
	return err
}

// tell is false if the place has to be looked at once more.
func (w *walk) tell(g *segment, offset int64, cause error) bool {
	at := damagedPlace{g.path, g.generation, offset}
	told, seen := w.seen[at]
	if !seen {
		w.seen[at], w.progress = false, true
		return false
	}
	if !w.view.unchanged(g) {
		return false
	}
	if !told {
		w.seen[at] = true
		w.damaged(&storage.CorruptionError{Path: g.path, Offset: offset, Err: cause})
	}
	return true
}

// unchanged says whether the file that is open is still the segment's: a file that retention has no use
// for is given to the segment that comes next, its header first.
func (v *View) unchanged(g *segment) bool {
	if g.lost {
		return true
	}
	header := make([]byte, segmentHeaderBytes)
	n, err := v.log.files.readAt(g, header, 0)
	if err != nil {
		return !changed(err)
	}
	h, err := decodeSegmentHeader(header[:n], v.log.meta.logID, g.base)
	return err == nil && h == g.segmentHeader || errors.Is(err, errSegmentHeader)
}

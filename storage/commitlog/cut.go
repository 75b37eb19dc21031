package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"rookery/storage"
	"rookery/storage/vfs"
)

// RestoringName is a file that stands in a directory while a log is restored into it: Open refuses the
// directory, which holds a part of a log and could not tell.
const RestoringName = "RESTORING"

// Identity says which segment a file holds.
type Identity struct {
	LogID      uint64
	Base       int64
	Generation uint32
}

// Identify reads a segment's header.
func Identify(file vfs.File) (Identity, error) {
	b, err := readSegmentHeader(file)
	if err != nil {
		return Identity{}, err
	}
	id, ok := logIDOf(b)
	if !ok {
		return Identity{}, errSegmentHeader
	}
	h, err := decodeSegmentHeader(b, id, position(binary.LittleEndian.Uint64(b[24:])))
	if err != nil {
		return Identity{}, err
	}
	return Identity{LogID: id, Base: int64(h.base), Generation: h.generation}, nil
}

// SegmentName gives the name of the file of a segment.
func SegmentName(base int64) string { return segmentName(position(base)) }

// MarkClosed writes META for a directory of segments that were copied from a log, as of a clean end.
func MarkClosed(fsys vfs.FS, dir string, logID, epoch uint64, end int64) error {
	return writeMeta(fsys, dir, meta{logID: logID, epoch: epoch, synced: position(end), state: stateClosed})
}

// Cut ends the log in a directory that nobody has open at a position: behind the last record that ends there or
// before. The log is marked as closed and gets a new epoch, since the numbers of what is cut off will be
// given out again; checkpoints are removed, since they may know of it. It gives the end and the epoch.
func Cut(fsys vfs.FS, dir string, until int64) (end int64, epoch uint64, err error) {
	v, err := OpenView(fsys, dir)
	if err != nil {
		return 0, 0, fmt.Errorf("cut the log: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	c := &cut{fs: fsys, view: v, until: position(until)}
	if err := c.removeCheckpoints(); err != nil {
		return 0, 0, fmt.Errorf("cut the log: %w", err)
	}
	last, err := c.segments()
	if err == nil {
		err = c.believe(last)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cut the log: %w", err)
	}
	m := meta{logID: v.log.meta.logID, epoch: v.log.meta.epoch, synced: last, state: stateClosed}
	for m.epoch == v.log.meta.epoch {
		m.epoch = randomNumber()
	}
	return int64(last), m.epoch, writeMeta(fsys, dir, m)
}

// cut is one Cut.
type cut struct {
	fs    vfs.FS
	view  *View
	until position
}

func (c *cut) removeCheckpoints() error {
	names, err := c.fs.List(c.view.dir)
	if err != nil {
		return fmt.Errorf("list log directory %s: %w", c.view.dir, err)
	}
	for _, name := range checkpointNames(names) {
		if err := c.fs.Remove(filepath.Join(c.view.dir, name)); err != nil {
			return fmt.Errorf("remove a checkpoint: %w", err)
		}
	}
	return c.fs.SyncDir(c.view.dir)
}

// segments removes what is behind the cut, newest first, and cuts the one that holds it.
func (c *cut) segments() (end position, err error) {
	segments := c.view.log.segments.load()
	for i := len(segments) - 1; i >= 0; i-- {
		g := segments[i]
		if g.lost {
			continue // a log can't end with what is not there
		}
		end, err := c.lastEnd(g)
		switch {
		case err != nil:
			return 0, err
		case i > 0 && end == g.base+segmentHeaderBytes:
			if err := c.remove(g); err != nil {
				return 0, err
			}
			continue
		case g.rangeEnd() <= c.until:
			return g.rangeEnd(), c.trim(g)
		}
		return c.inside(g, end)
	}
	return 0, errors.New("there is no segment")
}

func (c *cut) remove(g *segment) error {
	if err := c.fs.Remove(g.path); err != nil {
		return fmt.Errorf("remove a segment behind the cut: %w", err)
	}
	return c.fs.SyncDir(c.view.dir)
}

// inside cuts the segment that holds the place, behind the record that ends at end.
func (c *cut) inside(g *segment, end position) (position, error) {
	if !g.packed() {
		g.committed.Store(int64(end - g.base))
		return end, c.trim(g)
	}
	behind, err := c.hasRecordsFrom(g, end)
	switch {
	case err != nil:
		return 0, err
	case !behind:
		return g.rangeEnd(), nil
	case end == g.base+segmentHeaderBytes:
		return end, c.makeEmpty(g)
	}
	return end, c.repack(g, end)
}

// repack writes a packed segment again without what is behind end.
func (c *cut) repack(g *segment, end position) (err error) {
	v := c.view
	h := g.segmentHeader
	h.end, h.needs = end, min(h.needs, end)
	h.generation++
	header := encodeSegmentHeader(v.log.meta.logID, h)
	p := &packing{log: v.log, buffer: header, facts: packedFacts{oldestAt: math.MaxInt64, newestAt: math.MinInt64}}
	path := g.path + temporarySuffix
	if err := vfs.RemoveIfExists(c.fs, path); err != nil {
		return err
	}
	if p.file, err = c.fs.Create(path); err != nil {
		return err
	}
	err = v.scanner.scanAll(g, 0, func(h recordHeader, record storage.Record, at position) error {
		if at >= end {
			return errStop
		}
		return p.keep(h, record, at, v.scanner.raw)
	}, func(int64, error) {})
	if err == nil || err == errStop {
		err = p.finish(header)
	}
	if err := errors.Join(err, p.file.Close()); err != nil {
		return fmt.Errorf("cut segment %s: %w", g.path, err)
	}
	if err := c.fs.Rename(path, g.path); err != nil {
		return fmt.Errorf("cut segment %s: %w", g.path, err)
	}
	return c.fs.SyncDir(v.dir)
}

// believe makes packed segments, which name the checkpoint that knows what was dropped from them, content
// with one that begins at the end: the first that is made of the log reads all of it.
func (c *cut) believe(end position) error {
	for _, g := range c.view.log.segments.load() {
		if g.lost || !g.packed() || g.needs <= end || g.rangeEnd() > end { // the last are gone or written again
			continue
		}
		h := g.segmentHeader
		h.needs = end
		header := encodeSegmentHeader(c.view.log.meta.logID, h)
		file, err := c.fs.Open(g.path)
		if err != nil {
			return err
		}
		_, err = file.WriteAt(header, 0)
		if err == nil {
			_, err = file.WriteAt(header, g.size()-segmentHeaderBytes)
		}
		if err == nil {
			err = file.Sync()
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("write the header of %s: %w", g.path, err)
		}
	}
	return nil
}

// lastEnd gives where the last record ends that ends at the cut or before.
func (c *cut) lastEnd(g *segment) (position, error) {
	end := g.base + segmentHeaderBytes
	err := c.view.scanner.scanAll(g, 0, func(h recordHeader, _ storage.Record, at position) error {
		if at+position(h.size) > c.until {
			return errStop
		}
		end = at + position(h.size)
		return nil
	}, func(int64, error) {})
	if err == errStop {
		err = nil
	}
	return end, err
}

func (c *cut) hasRecordsFrom(g *segment, from position) (found bool, err error) {
	err = c.view.scanner.scanAll(g, from, func(recordHeader, storage.Record, position) error {
		found = true
		return errStop
	}, func(int64, error) {})
	if err == errStop {
		err = nil
	}
	return found, err
}

// makeEmpty puts a segment without records in the place of a packed one.
func (c *cut) makeEmpty(g *segment) error {
	if err := c.fs.Remove(g.path); err != nil {
		return fmt.Errorf("remove a segment behind the cut: %w", err)
	}
	file, err := createSegment(c.fs, c.view.dir, g.path, c.view.log.meta.logID, segmentHeader{base: g.base, previous: g.previous}, nil, segmentHeaderBytes)
	if err != nil {
		return fmt.Errorf("create segment %s: %w", g.path, err)
	}
	return file.Close()
}

// trim makes the file of a raw segment as long as its content: what is behind was cut off, and records
// in it would seem to go on from the new end.
func (c *cut) trim(g *segment) error {
	if g.packed() {
		return nil
	}
	file, err := c.fs.Open(g.path)
	if err != nil {
		return fmt.Errorf("open the last segment: %w", err)
	}
	size, err := file.Size()
	if err == nil && size > g.size() {
		err = file.Truncate(g.size())
	}
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("cut %s at offset %d: %w", g.path, g.size(), err)
	}
	return nil
}

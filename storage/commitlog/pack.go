package commitlog

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"rookery/storage"
	"rookery/storage/vfs"
)

// errLeftAlone says that a segment is not rewritten because a part of it can't be read: what it still
// holds would be all that a person has to go by.
var errLeftAlone = errors.New("segment is damaged and is not rewritten: restore it from a backup")

// packChunk is how much is written and synced at a time: a commit that comes in between waits for no
// more than that. It is also about the longest extent.
const packChunk = 1 << 20

// packing is one rewriting of a run of neighbouring sealed segments as one packed file, without what is
// not given any more. Its steps:
//
//  1. copy: the records that are still given go into extents, at their positions; the newest
//     record of a room that has none left goes in as a stub.
//  2. prove: the new file is synced, opened by its name on the way and read in full.
//  3. swap: it takes the name of the run's first segment, in one step, then the place of the run in
//     the list.
//  4. release: when nobody reads the old files any more they are removed, or one of them
//     becomes the next spare.
//
// After a crash before the name is taken the unfinished file is removed when the log is opened; after one
// behind it the rest of the run is, since the new file's range covers it. Punching holes into
// the old files was not taken: a block is given back only when all records in it are gone, and
// those of rooms that keep different times lie between each other.
type packing struct {
	// Set at construction.
	log    *Log
	run    []*segment
	header segmentHeader
	path   string // until it takes its name
	pace   *pace

	file    vfs.File
	buffer  []byte
	offset  int64 // of the buffer in the file
	current extent
	extents []extent
	facts   packedFacts

	// Of the record copied last, since neighbours are often of one room.
	room  string
	key   roomKey
	known bool
}

func newPacking(l *Log, run []*segment, needs position, pace *pace) *packing {
	p := &packing{log: l, run: run, pace: pace, facts: packedFacts{oldestAt: math.MaxInt64, newestAt: math.MinInt64}}
	p.header = segmentHeader{base: run[0].base, end: run[len(run)-1].rangeEnd(), previous: run[0].previous, needs: needs}
	for _, g := range run {
		p.header.generation = max(p.header.generation, g.generation+1)
	}
	p.path = filepath.Join(l.config.Dir, segmentName(p.header.base)+temporarySuffix)
	return p
}

// do gives the bytes that the rewriting gave back.
func (p *packing) do() (freed int64, err error) {
	before := int64(0)
	for _, g := range p.run {
		before += g.size()
	}
	next, err := p.copy()
	if err == nil {
		err = p.prove(next)
	}
	if p.file != nil {
		err = errors.Join(err, p.file.Close())
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("rewrite segment %s: %w", p.run[0].path, err), vfs.RemoveIfExists(p.log.config.FS, p.path))
	}
	if err := p.swap(next); err != nil {
		return 0, fmt.Errorf("rewrite segment %s: %w", p.run[0].path, err)
	}
	return before - next.size(), p.release()
}

// copy writes the file and syncs it.
func (p *packing) copy() (*segment, error) {
	fsys := p.log.config.FS
	if err := vfs.RemoveIfExists(fsys, p.path); err != nil {
		return nil, err
	}
	var err error
	if p.file, err = fsys.Create(p.path); err != nil {
		return nil, err
	}
	header := encodeSegmentHeader(p.log.meta.logID, p.header)
	p.buffer = append(p.buffer, header...)
	scanner := scanner{seal: p.log.seal, files: p.log.files}
	for _, g := range p.run {
		var damaged error
		err := scanner.scanAll(g, 0, func(h recordHeader, record storage.Record, at position) error {
			if damaged != nil {
				return damaged
			}
			return p.add(h, record, at, scanner.raw)
		}, func(offset int64, cause error) {
			g.leftAlone.Store(true)
			damaged = fmt.Errorf("%w: %s at offset %d: %w", errLeftAlone, g.path, offset, cause)
		})
		if err := errors.Join(err, damaged); err != nil {
			return nil, err
		}
	}
	if err := p.finish(header); err != nil {
		return nil, err
	}
	next := newSegment(p.log.config.Dir, p.header)
	next.committed.Store(p.offset)
	next.oldestAt.Store(p.facts.oldestAt)
	next.newestAt.Store(p.facts.newestAt)
	return next, nil
}

// finish puts the index behind the records, and syncs.
func (p *packing) finish(header []byte) error {
	p.endExtent()
	blocks := p.offset + int64(len(p.buffer))
	p.buffer = appendIndex(p.buffer, p.log.seal, blocks, p.extents, p.facts, header)
	return p.flush()
}

// add puts a record behind the others, if it is still needed.
func (p *packing) add(h recordHeader, record storage.Record, at position, raw []byte) error {
	switch p.verdict(h, record) {
	case dropRecord:
	case stubRecord:
		p.startExtent(at)
		p.buffer = appendStub(p.buffer, p.log.seal, at, &record, 0, h.total)
		p.current.bytes += int64(recordBytes(&storage.Record{Room: record.Room}))
		// It is shorter than the record was, so nothing stands right behind it.
		p.endExtent()
		p.count(h, record)
	default:
		if err := p.keep(h, record, at, raw); err != nil {
			return err
		}
	}
	return p.pace.rest()
}

// keep puts a record behind the others as it is.
func (p *packing) keep(h recordHeader, record storage.Record, at position, raw []byte) error {
	if len(p.buffer) > packChunk {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.startExtent(at)
	p.buffer = append(p.buffer, raw...)
	p.current.bytes += int64(len(raw))
	p.count(h, record)
	return nil
}

func (p *packing) count(h recordHeader, record storage.Record) {
	p.facts.records++
	if h.kind&ignorableBit == 0 {
		p.facts.oldestAt = min(p.facts.oldestAt, record.At)
		p.facts.newestAt = max(p.facts.newestAt, record.At)
	}
}

type verdict uint8

const (
	keepRecord verdict = iota
	stubRecord
	dropRecord
)

func (p *packing) verdict(h recordHeader, record storage.Record) verdict {
	if h.kind&ignorableBit != 0 {
		return keepRecord
	}
	if !p.known || record.Room != p.room {
		p.room = string(append([]byte(nil), record.Room...))
		p.key, p.known = p.log.table.key(record.Room), true
	}
	first, head := p.log.retention.proven(p.key)
	switch {
	case h.kind == kindMessage && record.Seq >= first:
		return keepRecord
	case record.Seq != head && (p.log.config.Sync == SyncAlways || record.Seq+1 != first):
		return dropRecord
	case h.kind == kindStub:
		return keepRecord
	}
	// It is the room's newest, or was when its beginning moved: in the relaxed modes power loss may take
	// what came behind it, and the numbers have to go on from here.
	return stubRecord
}

// startExtent begins an extent unless the record at a position stands right behind those of the one that is
// going on. Its header is filled in when its length is known.
func (p *packing) startExtent(at position) {
	if p.current.bytes > 0 && p.current.at+position(p.current.bytes) == at {
		return
	}
	p.endExtent()
	p.current = extent{at: at, offset: p.offset + int64(len(p.buffer))}
	p.buffer = append(p.buffer, make([]byte, extentHeaderBytes)...)
}

// endExtent fills in the header. An extent is never flushed before its end.
func (p *packing) endExtent() {
	if p.current.bytes == 0 {
		return
	}
	header := appendExtentHeader(nil, p.log.seal, p.current)
	copy(p.buffer[p.current.offset-p.offset:], header)
	p.extents = append(p.extents, p.current)
	p.current = extent{}
}

// flush writes the buffer and syncs it.
func (p *packing) flush() error {
	p.endExtent()
	if _, err := p.file.WriteAt(p.buffer, p.offset); err != nil {
		return err
	}
	p.offset += int64(len(p.buffer))
	p.buffer = p.buffer[:0]
	return p.file.Sync()
}

// prove reads the new file as a later opening would.
func (p *packing) prove(next *segment) error {
	check := newSegment(p.log.config.Dir, p.header)
	check.path = p.path
	check.committed.Store(next.size())
	defer p.log.files.forget(check)
	if err := p.log.files.openPacked(check); err != nil {
		return fmt.Errorf("read back what was written: %w", err)
	}
	scanner := scanner{seal: p.log.seal, files: p.log.files}
	records, damaged := uint64(0), error(nil)
	err := scanner.scanAll(check, 0, func(_ recordHeader, _ storage.Record, at position) error {
		if e, err := p.log.files.findExtent(check, at, false); err != nil || at < e.at {
			return fmt.Errorf("find position %d: %w", at, errors.Join(errIndex, err))
		}
		records++
		return p.pace.rest()
	}, func(offset int64, cause error) { damaged = check.corruption(offset, cause) })
	if err := errors.Join(err, damaged); err != nil {
		return fmt.Errorf("read back what was written: %w", err)
	}
	if records != p.facts.records {
		return fmt.Errorf("read back what was written: %d records instead of %d", records, p.facts.records)
	}
	next.index.Store(check.index.Load())
	return nil
}

// swap makes the new file the log's. The first of the old files loses its name here, so it is kept
// open for those who still read it.
func (p *packing) swap(next *segment) error {
	l := p.log
	if err := l.files.pin(p.run[0]); err != nil {
		return err
	}
	err := l.config.FS.Rename(p.path, next.path)
	if err == nil {
		err = l.config.FS.SyncDir(l.config.Dir)
	}
	if err != nil {
		// Whether the name stands for the old file or the new one is not known, and either is right when the log
		// is opened again. Until then the old one stays open.
		l.retention.inDoubt(p.run)
		return err
	}
	l.segments.replace(p.run, next)
	return nil
}

// release removes what nobody reads any more.
func (p *packing) release() error {
	l := p.log
	l.segments.wait()
	l.files.unpin(p.run[0])
	var errs []error
	for i, g := range p.run {
		l.files.forget(g)
		if i > 0 {
			errs = append(errs, l.files.supply.recycle(g.path))
		}
	}
	return errors.Join(errs...)
}

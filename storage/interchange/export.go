package interchange

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
)

const (
	writeBytes = 256 << 10
	// progressEvery is how many records lie between two looks at the clock of whoever shows progress.
	progressEvery = 1 << 10
)

// Source is a log that is read in its order. commitlog.View is one.
type Source interface {
	LogID() uint64
	Epoch() uint64
	// Scan gives the records from a position on, and the places that can't be read.
	Scan(from int64, each func(commitlog.Entry) bool, damaged func(*storage.CorruptionError)) (next int64, err error)
}

// ExportConfig says what is exported.
type ExportConfig struct {
	Filter
	// Start is the position to begin at: 0, or the end that the footer of an export before this one has.
	Start int64
	// Contents must be set.
	Contents Contents
	// Progress is told now and then how far it is; may be nil.
	Progress func(position int64, s ExportSummary)
}

// ExportSummary is what was written, over all runs that a file took.
type ExportSummary struct {
	Messages uint64 // records of rooms
	System   uint64 // records of the system
	Damaged  uint64 // places that could not be read
	Bytes    int64
	End      int64 // position to go on from
}

func (s *ExportSummary) add(l *line) {
	switch l.kind {
	case kindMessage:
		s.Messages++
	case kindSystem:
		s.System++
	case kindDamaged:
		s.Damaged++
	}
}

// exporter is the state of one export. It belongs to one goroutine.
type exporter struct {
	// Set at construction.
	config  ExportConfig
	source  Source
	out     *bufio.Writer
	encoder encoder

	line  []byte
	rooms map[string]*exportRoom

	// Of what was written.
	lines   uint64
	sum     uint32
	summary ExportSummary
	err     error // the first one

	// Of a resumed export, until the first record is there.
	last *line
	seen uint64 // records given, for progress
}

// exportRoom is what is kept of a room: some 80 bytes with its name.
type exportRoom struct{ last uint64 }

// Export writes a whole export to out. After an error, of the context too, what was written is the
// beginning of one, up to the end of a line if out took that much; Resume goes on with it.
func Export(ctx context.Context, source Source, out io.Writer, config ExportConfig) (ExportSummary, error) {
	e := newExporter(source, out, config)
	e.write(&line{kind: kindHeader, header: e.header()})
	return e.run(ctx, config.Start)
}

func newExporter(source Source, out io.Writer, config ExportConfig) *exporter {
	return &exporter{
		config: config, source: source,
		out:     bufio.NewWriterSize(out, writeBytes),
		encoder: encoder{contents: config.Contents},
		rooms:   map[string]*exportRoom{},
	}
}

func (e *exporter) header() header {
	return header{
		Version: version, Log: logName(e.source.LogID()), Epoch: strconv.FormatUint(e.source.Epoch(), 16),
		Start: e.config.Start, At: time.Now().UnixMilli(), Filter: e.config.Filter,
	}
}

// logName names a log without giving its id away: who knows the id can make bytes that look like
// records of that log, and exports are handed on.
func logName(id uint64) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("rookery export of log "), id))
	return hex.EncodeToString(sum[:8])
}

// run writes what is in the log from a position on, and the footer.
func (e *exporter) run(ctx context.Context, from int64) (ExportSummary, error) {
	next, err := e.source.Scan(from, func(entry commitlog.Entry) bool {
		if e.err == nil {
			e.err = ctx.Err()
		}
		if e.err != nil {
			return false
		}
		e.entry(&entry)
		return e.err == nil
	}, e.damaged)
	if err == nil {
		err = e.err
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		// A failed write has said so already.
		if flushed := e.out.Flush(); !errors.Is(err, flushed) {
			err = errors.Join(err, flushed)
		}
		return e.summary, err
	}
	e.summary.End = next
	foot := footer{Lines: e.lines, Damaged: e.summary.Damaged, End: next, Checksum: checksumText(e.sum)}
	e.write(&line{kind: kindFooter, footer: foot})
	if e.err == nil {
		e.err = e.out.Flush()
	}
	return e.summary, e.err
}

// entry writes the lines of one record.
func (e *exporter) entry(entry *commitlog.Entry) {
	if e.last != nil && e.resumed(entry) {
		return
	}
	if e.seen++; e.seen%progressEvery == 0 && e.config.Progress != nil {
		e.config.Progress(entry.Position, e.summary)
	}
	r := &entry.Record
	if !e.config.room(r.Room) || e.config.User != "" && (entry.Stub || r.From != e.config.User) {
		return
	}
	// What one user said has holes everywhere, and none of them means anything.
	if e.config.User == "" && !e.follow(r, entry.Stub) || entry.Stub {
		return
	}
	kind := kindMessage
	if isSystem(r.Room) {
		kind = kindSystem
	}
	e.write(&line{kind: kind, Position: entry.Position, Record: *r})
}

// follow writes what is to be said about the numbers between a room's last record and this one.
// false: the record has no place in the file.
func (e *exporter) follow(r *storage.Record, stub bool) bool {
	room := e.rooms[r.Room]
	if room == nil {
		room = &exportRoom{}
		// A copy, since the record's is a view that dies.
		e.rooms[strings.Clone(r.Room)] = room
	}
	if r.Seq <= room.last {
		if !stub || r.Seq < room.last {
			what := fmt.Sprintf("record %d stands behind record %d of the room", r.Seq, room.last)
			e.write(&line{kind: kindDamaged, Record: storage.Record{Room: r.Room}, damage: damage{What: what}})
		}
		return false
	}
	first := r.Seq
	if stub {
		first++
	}
	switch {
	case first == room.last+1:
	case !stub && e.summary.Damaged > 0 && (room.last > 0 || e.config.Start == 0):
		e.write(&line{kind: kindGap, Record: storage.Record{Room: r.Room}, First: room.last + 1, Last: first - 1})
	default:
		// Retention took what is between, and then nothing before counts either.
		e.write(&line{kind: kindBegin, Record: storage.Record{Room: r.Room}, First: first})
	}
	room.last = r.Seq
	return true
}

func (e *exporter) damaged(err *storage.CorruptionError) {
	if e.err != nil {
		return
	}
	e.write(&line{kind: kindDamaged, damage: damage{File: filepath.Base(err.Path), Offset: err.Offset, What: err.Err.Error()}})
}

// write appends a line to the output.
func (e *exporter) write(l *line) {
	if e.err != nil {
		return
	}
	e.line = e.encoder.append(e.line[:0], l)
	if _, err := e.out.Write(e.line); err != nil {
		e.err = err
		return
	}
	e.count(l, e.line)
}

// count takes a line as written.
func (e *exporter) count(l *line, line []byte) {
	e.lines++
	e.sum = crc32.Update(e.sum, castagnoli, line)
	e.summary.Bytes += int64(len(line))
	e.summary.add(l)
}

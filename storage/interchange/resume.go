package interchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"rookery/storage"
	"rookery/storage/commitlog"
)

// File is an export that is gone on with. *os.File is one.
type File interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
}

var (
	// ErrComplete says that an export has its footer already.
	ErrComplete = errors.New("the export is complete already")
	// ErrOtherExport says that a file is not the beginning of the export that is asked for.
	ErrOtherExport = errors.New("the file is not the beginning of this export")
)

// Resume goes on with an export that was cut short, behind its last whole record. What is in the file
// is read and checked first; what can't be read is an error, so is a file of another log, of another
// epoch or with another filter (ErrOtherExport), and one that has its footer (ErrComplete, with its
// summary). An empty file is begun.
func Resume(ctx context.Context, source Source, file File, config ExportConfig) (ExportSummary, error) {
	e := newExporter(source, file, config)
	kept, err := e.reread(ctx, file)
	if err != nil {
		return e.summary, err
	}
	if err := file.Truncate(kept); err != nil {
		return e.summary, err
	}
	if _, err := file.Seek(kept, io.SeekStart); err != nil {
		return e.summary, err
	}
	from := config.Start
	if kept == 0 {
		e.write(&line{kind: kindHeader, header: e.header()})
	} else if e.last != nil {
		from = e.last.Position
	}
	return e.run(ctx, from)
}

// pendingLine is a line about what follows it, of which nothing has followed yet.
type pendingLine struct {
	kind lineKind
	room string
	last uint64
}

// reread takes the state of the export that is in a file, and gives how much of the file stays: all
// up to its last record. Lines behind that one are written again, since they are about what follows.
func (e *exporter) reread(ctx context.Context, file io.Reader) (kept int64, err error) {
	r := newReader(file, e.config.Contents)
	want := e.header()
	var lines [2]line // the newest record is kept while the next line is read
	var pending []pendingLine
	for turn := 0; ; {
		l := &lines[turn]
		switch err := r.next(l); {
		case err == ErrCutShort:
			return kept, nil
		case err != nil && err != io.EOF:
			return 0, err
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err == io.EOF:
			return 0, ErrComplete
		}
		switch l.kind {
		case kindHeader:
			if err := want.begins(&l.header); err != nil {
				return 0, err
			}
		case kindMessage, kindSystem:
			for _, p := range pending {
				e.take(p)
			}
			pending = pending[:0]
			e.take(pendingLine{l.kind, l.Record.Room, l.Record.Seq})
			e.last = l
			turn = 1 - turn
		case kindFooter:
			e.summary.End = l.End
			for _, p := range pending {
				e.take(p)
			}
			pending = nil
			continue
		case kindGap:
			pending = append(pending, pendingLine{l.kind, l.Record.Room, l.Last})
			continue
		default:
			pending = append(pending, pendingLine{l.kind, l.Record.Room, l.First - 1})
			continue
		}
		kept = r.bytes
		e.lines, e.sum, e.summary.Bytes = r.lines, r.sum, r.bytes
	}
}

// take counts a line that is in the file already.
func (e *exporter) take(p pendingLine) {
	e.summary.add(&line{kind: p.kind})
	if p.kind == kindDamaged || e.config.User != "" {
		return
	}
	if e.rooms[p.room] == nil {
		e.rooms[p.room] = &exportRoom{}
	}
	e.rooms[p.room].last = p.last
}

// begins says why a header is not that of this export, which is nil if it is.
func (h *header) begins(found *header) error {
	what := ""
	switch {
	case found.Log != h.Log:
		what = "it is of another log"
	case found.Epoch != h.Epoch:
		what = fmt.Sprintf("its epoch is %s and the log's is %s: the log has lost an end since", found.Epoch, h.Epoch)
	case found.Start != h.Start:
		what = fmt.Sprintf("it starts at position %d, not %d", found.Start, h.Start)
	case !found.Filter.equal(&h.Filter):
		what = "it is about other rooms or another user"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrOtherExport, what)
}

// resumed reports whether a record is the one that the file ends with. If the log has it no more,
// retention took it, and what comes is all new.
func (e *exporter) resumed(entry *commitlog.Entry) bool {
	last := e.last
	e.last = nil
	if entry.Position != last.Position {
		return false
	}
	if !entry.Stub && !sameRecord(&entry.Record, &last.Record) {
		e.err = fmt.Errorf("%w: the log has another record at position %d", ErrOtherExport, last.Position)
	}
	return true
}

func sameRecord(a, b *storage.Record) bool {
	return a.Room == b.Room && a.Seq == b.Seq && a.At == b.At && a.From == b.From && a.Key == b.Key && bytes.Equal(a.Body, b.Body)
}

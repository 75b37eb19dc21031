package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"rookery/proto"
	"rookery/storage"
	"rookery/storage/catalog"
	"rookery/storage/commitlog"
	"rookery/storage/interchange"
	"rookery/storage/vfs"
)

const importUsage = `Usage: rookery import [FLAGS]

Appends the records of an export, as rookery export writes it, to the log in a directory that no
server is running on; a directory that is missing or empty gets a new log. Rooms, numbers, times,
names, keys and contents stay as they are, but clients that come back from another log begin anew.

What is there already is compared and passed over, and the first difference ends the import. So after
an interruption, a crash or a full disk the same command goes on where it ended. Everything
before a line that can't be imported is in the log then. docs/export.md says more.

`

// importFlags is what import was asked for.
type importFlags struct {
	data     string
	in       string
	renumber bool
}

// source is what the input is called.
func (f *importFlags) source() string {
	if f.in == "" {
		return "standard input"
	}
	return f.in
}

// importLog appends an export to a log; named so since import is a word of Go.
func importLog(ctx context.Context, args []string, p process) int {
	var f importFlags
	set := newFlagSet("import", p)
	data := addData(set, p.environ)
	set.StringVar(&f.in, "in", "", "read this `file`; otherwise the standard input")
	set.BoolVar(&f.renumber, "renumber", false, "where messages are missing because the exported log was damaged, number what follows without them")
	rest, status, done := parse(set, importUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("import", "argument %q: everything is a flag, --in FILE", rest[0])
	}
	f.data = *data
	ctx, stop := untilSignal(ctx)
	defer stop()
	in, size := io.Reader(&patientReader{ctx: ctx, in: p.stdin}), int64(0)
	if f.in != "" {
		file, err := os.Open(f.in)
		if err != nil {
			return p.refuse("import", "%v", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil {
			size = info.Size()
		}
		in = file
	}

	show := newProgress(p, true)
	summary, err := f.append(ctx, in, interchange.ImportConfig{
		Contents: proto.StoredContents{}, Renumber: f.renumber,
		Progress: func(read int64, s interchange.ImportSummary) {
			show.line("%s records appended, %s were there already, %.0f%%", withCommas(s.Appended), withCommas(s.Present), 100*float64(read)/float64(max(size, read, 1)))
		},
	}, newLogger("text", slog.LevelWarn, p.stderr))
	show.end()
	if summary.Lines > 0 {
		fmt.Fprintf(p.stderr, "rookery import: %s records appended, %s were there already, in %s rooms\n",
			withCommas(summary.Appended), withCommas(summary.Present), withCommas(summary.Rooms))
	}
	if summary.Damaged > 0 {
		fmt.Fprintf(p.stderr, "rookery import: the log that was exported is damaged in %d places; what they held is not in the export\n", summary.Damaged)
	}
	if summary.Closed > 0 {
		fmt.Fprintf(p.stderr, "rookery import: %s numbers of missing messages were given to those that follow\n", withCommas(summary.Closed))
	}
	if err != nil {
		return p.fail("import", f.explain(err))
	}
	return exitOK
}

// append opens the log, appends and closes it, and so all of it is synced.
func (f *importFlags) append(ctx context.Context, in io.Reader, config interchange.ImportConfig, logger *slog.Logger) (s interchange.ImportSummary, err error) {
	logConfig := commitlog.Config{Dir: f.data, Logger: logger}
	view, err := commitlog.OpenView(vfs.Disk(), f.data)
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		// Nobody has seen its epoch, so a crash may change it, and nothing waits for a sync.
		logConfig.Sync = commitlog.SyncInterval
	} else if err == nil {
		err = view.Close()
	}
	if err != nil && !isNew {
		return s, err
	}
	log, err := commitlog.Open(logConfig)
	if err != nil {
		return s, err
	}
	defer func() {
		closed := log.Close()
		if _, told := errors.AsType[*storage.FaultError](err); !told {
			err = errors.Join(err, closed)
		}
	}()
	if !isNew {
		// Again, since opening cuts off what a crash left.
		if view, err = commitlog.OpenView(vfs.Disk(), f.data); err != nil {
			return s, err
		}
		defer view.Close()
		config.Existing = view
	}
	if s, err = interchange.Import(ctx, log, in, config); err != nil {
		return s, err
	}
	if err := catalog.Check(log); err != nil {
		return s, fmt.Errorf("all is imported, but no server will start on %s: %w; if the export began with --from, import the one before it first, into a new directory, or export messages only (--room '*')", f.data, err)
	}
	return s, nil
}

// explain says where it is and what to do.
func (f *importFlags) explain(err error) error {
	wrong, isLine := errors.AsType[*interchange.LineError](err)
	_, isFault := errors.AsType[*storage.FaultError](err)
	switch {
	case isLine:
		return fmt.Errorf("%s:%d: %w", f.source(), wrong.Line, wrong.Err)
	case errors.Is(err, interchange.ErrCutShort):
		return fmt.Errorf("%s: %w; what it has is imported: finish it with rookery export --resume, or get all of it, and import it again", f.source(), err)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted; the same command goes on")
	case isFault:
		return fmt.Errorf("%w; once that is mended, the same command goes on", err)
	}
	return err
}

// patientReader reads in the background, because nothing can interrupt a read of the standard
// input: its goroutine ends with the input, or at the first bytes after ctx. It belongs to one
// goroutine.
type patientReader struct {
	ctx context.Context
	in  io.Reader

	chunks chan []byte // closed at the end, when err is why
	err    error
	chunk  []byte // what is left of the last one
}

const chunkBytes = 64 << 10

func (r *patientReader) Read(b []byte) (int, error) {
	if r.chunks == nil {
		r.chunks = make(chan []byte)
		go r.readLoop()
	}
	if len(r.chunk) == 0 {
		select {
		case chunk, ok := <-r.chunks:
			if !ok {
				return 0, r.err
			}
			r.chunk = chunk
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
	n := copy(b, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// readLoop is started by Read.
func (r *patientReader) readLoop() {
	defer close(r.chunks)
	for {
		chunk := make([]byte, chunkBytes)
		n, err := r.in.Read(chunk)
		if n > 0 {
			select {
			case r.chunks <- chunk[:n]:
			case <-r.ctx.Done():
				r.err = r.ctx.Err()
				return
			}
		}
		if err != nil {
			r.err = err
			return
		}
	}
}

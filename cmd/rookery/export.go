package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"rookery/proto"
	"rookery/storage/interchange"
	"rookery/storage/vfs"
)

const exportUsage = `Usage: rookery export [FLAGS]

Writes the log as lines of JSON, also while a server runs on it: nothing is locked and nothing
is written there. Without --room and --user it is everything, which rookery import makes the same
log of in another directory. docs/export.md says what the lines mean.

A pattern is the name of a room or a beginning of names with one * behind it, like team-*. With one
the server's own records are left out.

An export that was interrupted, or ended by a full disk, goes on with the same flags and --resume. The
exit status is 1 if a part of the log can't be read; the file says which.

`

// exportFlags is what export was asked for.
type exportFlags struct {
	filter interchange.Filter
	from   int64
	out    string
	resume bool
}

func (f *exportFlags) fault(rest []string) string {
	switch {
	case len(rest) > 0:
		return fmt.Sprintf("argument %q: everything is a flag, --room NAME", rest[0])
	case f.from < 0:
		return fmt.Sprintf("--from %d: a position is 0 or more", f.from)
	case f.resume && f.out == "":
		return "--resume goes on with a file, and there is no --out FILE"
	case f.filter.User != "" && !proto.ValidName(f.filter.User):
		return fmt.Sprintf("--user %q is no name of a user", f.filter.User)
	}
	for _, pattern := range f.filter.Rooms {
		if name := strings.TrimSuffix(pattern, "*"); strings.Contains(name, "*") {
			return fmt.Sprintf("--room %q has a * that is not its last character", pattern)
		} else if pattern != "*" && !proto.ValidName(name) {
			return fmt.Sprintf("--room %q is no name of a room", pattern)
		}
	}
	return ""
}

// export writes the log as lines.
func export(ctx context.Context, args []string, p process) int {
	var f exportFlags
	set := newFlagSet("export", p)
	data := addData(set, p.environ)
	set.Func("room", "only rooms of this `pattern`; may be repeated", func(pattern string) error {
		f.filter.Rooms = append(f.filter.Rooms, pattern)
		return nil
	})
	set.StringVar(&f.filter.User, "user", "", "only what the user of this `name` said; such a file can't be imported")
	set.Int64Var(&f.from, "from", 0, "begin at a `position`: the end that an export before this one told")
	set.StringVar(&f.out, "out", "", "write to a new `file`, only for its owner to read; otherwise to the standard output")
	set.BoolVar(&f.resume, "resume", false, "go on with the file of --out, if it is there")
	rest, status, done := parse(set, exportUsage, args, p)
	if done {
		return status
	}
	if given(set, "user") && f.filter.User == "" {
		return p.refuse("export", "--user is empty: whose messages are meant?")
	}
	if fault := f.fault(rest); fault != "" {
		return p.refuse("export", "%s", fault)
	}
	view, status, done := openView("export", *data, p)
	if done {
		return status
	}
	defer view.Close()
	ctx, stop := untilSignal(ctx)
	defer stop()

	end := int64(0)
	for _, segment := range view.Segments() {
		end = segment.End
	}
	show := newProgress(p, f.out != "")
	config := interchange.ExportConfig{Filter: f.filter, Start: f.from, Contents: proto.StoredContents{}}
	config.Progress = func(position int64, s interchange.ExportSummary) {
		show.line("%s messages, %s bytes, %.0f%%", withCommas(s.Messages), withCommas(s.Bytes), 100*float64(position)/float64(max(end, position, 1)))
	}
	summary, err := f.write(ctx, view, p.stdout, config)
	show.end()
	switch {
	case errors.Is(err, interchange.ErrComplete):
		fmt.Fprintf(p.stderr, "rookery export: %s is complete already; the next one begins with --from %d\n", f.out, summary.End)
	case err != nil:
		return p.fail("export", f.explain(err))
	default:
		fmt.Fprintf(p.stderr, "rookery export: %s messages, %s records of the server, %s bytes; the next one begins with --from %d\n",
			withCommas(summary.Messages), withCommas(summary.System), withCommas(summary.Bytes), summary.End)
	}
	if summary.Damaged > 0 {
		return p.fail("export", fmt.Errorf("%d places in the log can't be read; the export has a line for each, rookery log verify says more", summary.Damaged))
	}
	return exitOK
}

// write writes the export where it was asked for.
func (f *exportFlags) write(ctx context.Context, source interchange.Source, stdout io.Writer, config interchange.ExportConfig) (s interchange.ExportSummary, err error) {
	if f.out == "" {
		return interchange.Export(ctx, source, stdout, config)
	}
	mode := os.O_RDWR | os.O_CREATE
	if !f.resume {
		mode |= os.O_EXCL
	}
	file, err := os.OpenFile(f.out, mode, 0o600)
	if err != nil {
		return s, err
	}
	// Also what a failed one left: it is gone on with.
	defer func() {
		err = errors.Join(err, file.Sync(), file.Close(), vfs.Disk().SyncDir(filepath.Dir(f.out)))
	}()
	if f.resume {
		return interchange.Resume(ctx, source, file, config)
	}
	return interchange.Export(ctx, source, file, config)
}

// explain says what to do.
func (f *exportFlags) explain(err error) error {
	wrong, isLine := errors.AsType[*interchange.LineError](err)
	path, isPath := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, context.Canceled) && f.out == "":
		return errors.New("interrupted; what was written has no end")
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted; the same command with --resume goes on with %s", f.out)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s is there already; choose another name, or go on with it by --resume", f.out)
	case errors.Is(err, interchange.ErrOtherExport):
		return fmt.Errorf("%s: %w; choose another name", f.out, err)
	case isLine:
		return fmt.Errorf("%s:%d: %w; it can't be gone on with, choose another name", f.out, wrong.Line, wrong.Err)
	case isPath && path.Op == "open":
		return err
	case f.out != "":
		return fmt.Errorf("%w; once that is mended, the same command with --resume goes on", err)
	}
	return err
}

// untilSignal ends at SIGINT or SIGTERM; a second one ends the process at once.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

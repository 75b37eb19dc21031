package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// Until says where a restored log ends. The zero value keeps everything.
type Until struct {
	// Position keeps the records that end there or before. 0 is no bound.
	Position int64
	// At, in Unix milliseconds, keeps the records before the first one, in the order of the log, whose time is
	// later. Where the clock was set back, records behind that one may have earlier times: they are not
	// kept either, so that what is kept is the log as it once was, and RestoreResult counts them. 0 is no bound.
	At int64
}

// RestoreConfig is what a restore needs to know. FS and To must be set.
type RestoreConfig struct {
	FS vfs.FS
	// To is the log's directory: missing or empty.
	To    string
	Until Until
	// AcceptDamage restores what can be read of a backup that is damaged. Default: end with the first damage.
	AcceptDamage bool
	// Logger gets what opening the restored log says. Default slog.Default().
	Logger *slog.Logger
}

// RestoreResult says what was done.
type RestoreResult struct {
	Files   int
	Bytes   int64
	Records uint64
	// End is the position behind the last record, EndAt its time in Unix milliseconds, 0 without records.
	End, EndAt int64
	Epoch      Number
	// Cut are the records behind the end that were not kept, as far as they were read; CutEarlier those of them
	// whose time is not later than Until.At.
	Cut, CutEarlier uint64
	Damage          []*storage.CorruptionError
}

// restoring is one Restore. Its steps:
//
//  1. prepare: an empty directory, with a mark that no server opens it.
//  2. copy: the files under their names in a log, compared with their sizes and checksums.
//  3. verify: every record is read, and where the log is to end is found.
//  4. cut: the end goes, the log gets its new epoch.
//  5. open: the mark goes, and the log is opened and closed as a server does, which also makes its checkpoint.
type restoring struct {
	RestoreConfig
	source   Source
	manifest *Manifest
	result   RestoreResult
}

// Restore makes a log of what a source has. After an error the directory is of no use but to be removed; a server
// refuses it.
func Restore(ctx context.Context, source Source, config RestoreConfig) (RestoreResult, error) {
	r := &restoring{RestoreConfig: config, source: source}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	var err error
	if r.manifest, err = source.Manifest(ctx); err != nil {
		return r.result, fmt.Errorf("restore: %w", err)
	}
	if err := r.manifest.check(); err != nil {
		return r.result, fmt.Errorf("restore: %w", err)
	}
	if r.Until.Position > r.manifest.End {
		return r.result, fmt.Errorf("restore: position %d is behind the end of the backup, %d", r.Until.Position, r.manifest.End)
	}
	for _, step := range []func(context.Context) error{r.prepare, r.copy, r.cut, r.open} {
		if err := step(ctx); err != nil {
			return r.result, fmt.Errorf("restore to %s: %w", r.To, err)
		}
	}
	return r.result, nil
}

func (r *restoring) prepare(context.Context) error {
	names, err := r.FS.List(r.To)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(names) > 0:
		for _, name := range names {
			if name == commitlog.RestoringName {
				return errors.New("a restore into it did not end: remove the directory and restore again")
			}
		}
		return fmt.Errorf("it is not empty (%s is there): a log is restored into a new or an empty directory only", names[0])
	}
	if err := vfs.MakeDirectory(r.FS, filepath.Clean(r.To)); err != nil {
		return err
	}
	mark, err := r.FS.Create(filepath.Join(r.To, commitlog.RestoringName))
	if err != nil {
		return err
	}
	return errors.Join(mark.Close(), r.FS.SyncDir(r.To))
}

// copy brings the files that hold something of what is kept.
func (r *restoring) copy(ctx context.Context) error {
	end := int64(0)
	for _, f := range r.manifest.Files {
		if r.Until.Position > 0 && f.Base >= r.Until.Position && end > 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.file(ctx, f); err != nil {
			return err
		}
		r.result.Files++
		r.result.Bytes += f.Bytes
		end = f.End
	}
	if err := r.FS.SyncDir(r.To); err != nil {
		return err
	}
	return commitlog.MarkClosed(r.FS, r.To, uint64(r.manifest.LogID), uint64(r.manifest.Epoch), end)
}

// file copies one and compares it with what the manifest says.
func (r *restoring) file(ctx context.Context, f File) error {
	from, err := r.source.Open(ctx, f)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return r.damaged(f, fmt.Errorf("file is missing: %w", err))
		}
		return err
	}
	path := filepath.Join(r.To, commitlog.SegmentName(f.Base))
	sum, n, err := copyFile(r.FS, path, io.LimitReader(from, f.Bytes))
	if err := errors.Join(err, from.Close()); err != nil {
		return err
	}
	switch {
	case n < f.Bytes:
		return r.damaged(f, fmt.Errorf("file has %d bytes of %d", n, f.Bytes))
	case f.Checksum != "" && f.Checksum != sum:
		return r.damaged(f, fmt.Errorf("checksum of the file is %s, the manifest says %s", sum, f.Checksum))
	}
	return r.identify(f, path)
}

// identify looks whether a file is the segment that the manifest says, and not one that is whole and another.
func (r *restoring) identify(f File, path string) error {
	file, err := r.FS.OpenRead(path)
	if err != nil {
		return err
	}
	id, err := commitlog.Identify(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return r.damaged(f, err) // its records say where they belong
	}
	want := commitlog.Identity{LogID: uint64(r.manifest.LogID), Base: f.Base, Generation: f.Generation}
	if id == want {
		return nil
	}
	err = fmt.Errorf("it holds the segment at %d in generation %d, the manifest says %d in generation %d", id.Base, id.Generation, want.Base, want.Generation)
	if err := r.damaged(f, err); err != nil {
		return err
	}
	return r.FS.Remove(path)
}

// damaged notes damage of the backup and goes on if that was asked for.
func (r *restoring) damaged(f File, cause error) error {
	damage := &storage.CorruptionError{Path: f.Name, Err: cause}
	r.result.Damage = append(r.result.Damage, damage)
	if r.AcceptDamage {
		return nil
	}
	return damage
}

// cut reads every record, and ends the log where it is to end.
func (r *restoring) cut(ctx context.Context) error {
	view, err := commitlog.OpenView(r.FS, r.To)
	if err != nil {
		return err
	}
	end, err := r.verify(ctx, view)
	if err := errors.Join(err, view.Close()); err != nil {
		return err
	}
	var epoch uint64
	r.result.End, epoch, err = commitlog.Cut(r.FS, r.To, end)
	r.result.Epoch = Number(epoch)
	return err
}

// verify gives the position behind the last record that is kept.
func (r *restoring) verify(ctx context.Context, view *commitlog.View) (end int64, err error) {
	damage := append([]*storage.CorruptionError(nil), view.Damage()...)
	cutting := false
	next, err := view.Scan(0, func(e commitlog.Entry) bool {
		cutting = cutting || r.isBehind(e)
		switch {
		case ctx.Err() != nil:
			return false
		case !cutting:
			end = e.End
			r.result.Records++
			r.result.EndAt = e.Record.At
		default:
			r.result.Cut++
			if e.Record.At <= r.Until.At {
				r.result.CutEarlier++
			}
		}
		return true
	}, func(c *storage.CorruptionError) { damage = append(damage, c) })
	switch {
	case err != nil:
		return 0, err
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	r.result.Damage = append(r.result.Damage, damage...)
	if len(damage) > 0 && !r.AcceptDamage {
		return 0, damage[0]
	}
	if !cutting && len(damage) == 0 {
		end = next
	}
	return end, nil
}

// isBehind says whether a record is not kept.
func (r *restoring) isBehind(e commitlog.Entry) bool {
	return r.Until.Position > 0 && e.End > r.Until.Position || r.Until.At > 0 && e.Record.At > r.Until.At
}

// open takes the mark away and opens the log once.
func (r *restoring) open(context.Context) error {
	if err := r.FS.Remove(filepath.Join(r.To, commitlog.RestoringName)); err != nil {
		return err
	}
	if err := r.FS.SyncDir(r.To); err != nil {
		return err
	}
	l, err := commitlog.Open(commitlog.Config{FS: r.FS, Dir: r.To, Logger: r.Logger})
	if err != nil {
		return err
	}
	r.result.Epoch = Number(l.Epoch())
	return l.Close()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"syscall"
	"time"

	"rookery/storage/backup"
	"rookery/storage/vfs"
)

const backupUsage = `Usage: rookery backup --to DIR [FLAGS]

Brings a backup of the log up to now, also while the server runs. Only what is new since the
backup before is added; on the same file system as the log that takes seconds and next to no
space, since full segments are hard links. The backup before stays usable until the next one is
complete. docs/backup.md says how to keep several, and how to restore.

`

// backUp makes a backup.
func backUp(ctx context.Context, args []string, p process) int {
	set := newFlagSet("backup", p)
	data := addData(set, p.environ)
	config := backup.Config{FS: vfs.Disk()}
	set.StringVar(&config.To, "to", "", "`directory` of the backup (required)")
	set.BoolVar(&config.AcceptDamage, "accept-damage", false, "make a backup also of a log that lacks segments")
	rest, status, done := parse(set, backupUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("backup", "argument %q: everything is a flag, --to DIR", rest[0])
	case config.To == "":
		return p.refuse("backup", "--to is missing: where is the backup to be?")
	}
	config.From = *data
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	r, err := backup.Make(ctx, config)
	if errors.Is(err, fs.ErrNotExist) {
		return p.refuse("backup", "%v; is --data right?", err)
	}
	if err != nil {
		return p.fail("backup", err)
	}
	_, err = fmt.Fprintf(p.stdout, "files: %d linked, %d cloned, %d copied (%s bytes), %d kept, %d removed\nbackup ends at position %d, %s; made in %s\n",
		r.Linked, r.Cloned, r.Copied, withCommas(r.CopiedBytes), r.Kept, r.Removed,
		r.Manifest.End, timeOfEnd(r.Manifest.EndAt), time.Since(begin).Round(time.Millisecond))
	if err != nil {
		return p.fail("backup", err)
	}
	return exitOK
}

// timeOfEnd shows the time of the last record, 0 if there is none.
func timeOfEnd(at int64) string {
	if at == 0 {
		return "without a record"
	}
	return time.UnixMilli(at).UTC().Format(timeWithMillis)
}

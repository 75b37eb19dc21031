package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rookery/storage/backup"
	"rookery/storage/ship"
	"rookery/storage/vfs"
)

const restoreUsage = `Usage: rookery restore --from DIR|s3://BUCKET/PREFIX --to DIR [FLAGS]

Makes a log of a backup, or of what a server has shipped (setting ship.to), in a directory that is
missing or empty, and reads every record on the way. With --until the log ends before the backup does:

  --until 2026-01-02T15:04:05Z   before the first message that is later
  --until 1767366245000ms        the same, in Unix milliseconds
  --until 4194304                at a position: behind the last message that ends there

The log gets a new epoch, so that clients that come back are told to start anew where messages
that they have seen are gone.

`

// restore makes a log of a backup.
func restore(ctx context.Context, args []string, p process) int {
	set := newFlagSet("restore", p)
	config := backup.RestoreConfig{FS: vfs.Disk(), Logger: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	var store ship.S3Config
	from := set.String("from", "", "`place` of the backup, /path, file:///path or s3://bucket/prefix (required)")
	set.StringVar(&store.Endpoint, "s3-endpoint", lookup(p.environ, "ROOKERY_SHIP_S3_ENDPOINT"), "address of the store, `https://host:port`; empty is Amazon's")
	set.StringVar(&store.Region, "s3-region", lookup(p.environ, "ROOKERY_SHIP_S3_REGION"), "`region` of the bucket; empty asks the store")
	set.StringVar(&config.To, "to", "", "`directory` of the log that is made (required)")
	set.Var((*untilFlag)(&config.Until), "until", "where the log is to end: `time or position`; without it with the backup")
	set.BoolVar(&config.AcceptDamage, "accept-damage", false, "restore what can be read of a damaged backup")
	rest, status, done := parse(set, restoreUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("restore", "argument %q: everything is a flag, --from DIR", rest[0])
	case *from == "":
		return p.refuse("restore", "--from is missing: which backup?")
	case config.To == "":
		return p.refuse("restore", "--to is missing: where is the log to be?")
	}
	source, err := restoreSource(*from, store, config.AcceptDamage)
	if err != nil {
		return p.refuse("restore", "--from %q: %v", *from, err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	r, err := backup.Restore(ctx, source, config)
	if err != nil {
		return p.fail("restore", err)
	}
	for _, damage := range r.Damage {
		fmt.Fprintf(p.stderr, "rookery restore: passed over: %v\n", damage)
	}
	_, err = fmt.Fprintf(p.stdout, "restored %s records of %d files, %s bytes; every one was read\nlog ends at position %d, %s; epoch %v; made in %s\n",
		withCommas(r.Records), r.Files, withCommas(r.Bytes), r.End, timeOfEnd(r.EndAt), r.Epoch, time.Since(begin).Round(time.Millisecond))
	if err == nil && r.Cut > 0 {
		_, err = fmt.Fprintf(p.stdout, "not restored: %s records behind the end%s\n", withCommas(r.Cut), earlier(r))
	}
	if err != nil {
		return p.fail("restore", err)
	}
	return exitOK
}

// restoreSource gives what --from names: a backup, or the place where a log was shipped to.
func restoreSource(from string, store ship.S3Config, acceptDamage bool) (backup.Source, error) {
	location, err := ship.ParseLocation(from)
	if err != nil {
		return nil, err
	}
	if location.Bucket == "" && !ship.IsShipped(vfs.Disk(), location.Directory) {
		return backup.Directory(vfs.Disk(), location.Directory), nil
	}
	target, err := location.Open(store)
	if err != nil {
		return nil, err
	}
	return &ship.Source{Target: target, AcceptDamage: acceptDamage}, nil
}

// earlier says that a clock has gone back, which whoever gave a time has to know.
func earlier(r backup.RestoreResult) string {
	if r.CutEarlier == 0 {
		return ""
	}
	return fmt.Sprintf("; %s of them have a time before that of --until, since the clock had been set back: a position keeps them", withCommas(r.CutEarlier))
}

// untilFlag is a time or a position.
type untilFlag backup.Until

func (u *untilFlag) String() string { return "" }

func (u *untilFlag) Set(text string) error {
	*u = untilFlag{}
	if digits, found := strings.CutSuffix(text, "ms"); found {
		at, err := strconv.ParseInt(digits, 10, 64)
		u.At = at
		return positive(at, err)
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		u.At = at.UnixMilli()
		return positive(u.At, nil)
	}
	position, err := strconv.ParseInt(text, 10, 64)
	u.Position = position
	return positive(position, err)
}

func positive(n int64, err error) error {
	if err != nil || n <= 0 {
		return errors.New("write a time like 2026-01-02T15:04:05Z or 1767366245000ms, or a position above 0")
	}
	return nil
}

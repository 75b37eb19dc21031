// Biglog makes a log of a size that an operator may have after years, and prints how fast it opens,
// what memory it takes and how fast it is read: the table that docs/storage.md shows.
//
//	make figures-log
//	go run ./test/biglog --binary bin/rookery [--messages N] [--rooms N] [--dir DIR] [--keep]
//
// The messages are what chat is: texts of 100 to 128 bytes, a retry key, 20,000 users. Rooms are
// skewed as rooms are (Zipf: of 100,000 rooms the busiest gets a twelfth, half of them get
// under 100 of 50 million messages), but a room's messages are not close in time: every read of a
// quiet room goes all over the log, which is the worst case. The times of the messages are spread
// evenly over --span.
//
// Each figure is measured in a process of its own, this program started again with "child" (or the server),
// so that nothing of the making is in its memory. What is called warm was read into the page
// cache before; a log larger than the memory is not warm, whatever is done.
//
//	main.go     flags, order, end
//	child.go    this program started again for one figure
//	fill.go     rooms, messages, and the log made of them
//	open.go     opening and memory; a process that is killed while it writes
//	pages.go    the newest messages of random rooms
//	catchup.go  rooms read from their start
//	serve.go    the server on this log, from start to ready
//	cache.go    what the page cache holds
//	report.go   Markdown
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rookery/bench/watch"
	"rookery/test/measure"
)

const (
	// longest ends a run that hangs.
	longest = time.Hour
	// rounds is how often each opening is measured.
	rounds = 3

	logName   = "log"
	emptyName = "empty"
	madeName  = "made.json"
)

// options say what is made and measured.
type options struct {
	binary string // the server
	dir    string
	keep   bool
	reads  int // of pages
	made
}

// made is what a log was made of; it lies beside the log, so that one that was kept is measured again.
type made struct {
	Messages     int           `json:"messages"`
	Rooms        int           `json:"rooms"`
	SegmentBytes int64         `json:"segment_bytes"`
	Span         time.Duration `json:"span_ns"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if isChild(os.Args) {
		if err := runChild(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "biglog child:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "biglog:", err)
		}
		os.Exit(1)
	}
}

// run makes a log, measures, and writes the report to out; what it is doing goes to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	r, err := measureAll(ctx, o, progress)
	if err != nil {
		return err
	}
	r.Command = strings.Join(append([]string{"biglog"}, args...), " ")
	return r.writeMarkdown(out)
}

func measureAll(ctx context.Context, o options, progress io.Writer) (r report, err error) {
	r = report{When: time.Now().UTC(), made: o.made}
	if r.Machine, err = watch.LookAtMachine(); err != nil {
		return r, err
	}
	if r.Version, err = measure.Version(ctx, o.binary); err != nil {
		return r, err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "rookery-biglog-"); err != nil {
			return r, err
		}
	} else if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return r, err
	}
	defer func() {
		if !o.keep {
			err = errors.Join(err, removeMade(o.dir))
		}
	}()
	steps := []struct {
		what string
		do   func(context.Context, options, *report) error
	}{
		{fmt.Sprintf("making %d messages in %d rooms", o.Messages, o.Rooms), fill},
		{"opening after a clean stop, and memory", measureOpen},
		{"start of the server after a clean stop", measureServe},
		{"newest messages of random rooms", measurePages},
		{"catch-up", measureCatchUp},
		{"opening after kill -9", measureKilled},
		{"start of the server after kill -9", measureServeKilled},
	}
	for _, step := range steps {
		begun := time.Now()
		fmt.Fprint(progress, step.what)
		if err := step.do(ctx, o, &r); err != nil {
			return r, fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(progress, ", %.1f s\n", time.Since(begun).Seconds())
	}
	return r, nil
}

// removeMade removes what a run made in a directory, and the directory if nothing else is in it.
func removeMade(dir string) error {
	for _, name := range []string{logName, emptyName, madeName} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		return err
	}
	return os.Remove(dir)
}

// kept says whether a log of an earlier run can be measured again.
func kept(o options) (bool, error) {
	b, err := os.ReadFile(filepath.Join(o.dir, madeName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	var was made
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err == nil && was != o.made {
		err = fmt.Errorf("%s holds a log of other flags (%+v): remove it, or name another --dir", o.dir, was)
	}
	return err == nil, err
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("biglog", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.binary, "binary", "bin/rookery", "the server to start on the log")
	flags.IntVar(&o.Messages, "messages", 50_000_000, "messages; each takes 220 bytes of disk")
	flags.IntVar(&o.Rooms, "rooms", 100_000, "rooms")
	flags.StringVar(&o.dir, "dir", "", "where the log is made (default: a temporary directory)")
	flags.BoolVar(&o.keep, "keep", false, "leave the log in --dir; a run with the same flags measures it again")
	flags.IntVar(&o.reads, "reads", 20_000, "rooms whose newest messages are read")
	flags.Int64Var(&o.SegmentBytes, "segment-bytes", 128<<20, "size of a segment; checkpoints come every two, as by default")
	flags.DurationVar(&o.Span, "span", 30*24*time.Hour, "time that the messages are spread over, up to now")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; --help lists the flags", flags.Arg(0))
	case o.Rooms < 10 || o.Rooms > 10_000_000:
		return o, fmt.Errorf("--rooms is %d: use 10 to 10000000", o.Rooms)
	case o.Messages < o.Rooms || o.Messages > 1_000_000_000:
		return o, fmt.Errorf("--messages is %d: use as many as rooms or more, up to 1000000000", o.Messages)
	case o.SegmentBytes < 2<<20 || o.SegmentBytes > 1<<30:
		return o, fmt.Errorf("--segment-bytes is %d: use 2097152 to 1073741824", o.SegmentBytes)
	case o.reads < 1 || o.reads > 10_000_000:
		return o, fmt.Errorf("--reads is %d: use 1 to 10000000", o.reads)
	case o.Span < 0:
		return o, fmt.Errorf("--span is %v: use a positive time", o.Span)
	case o.keep && o.dir == "":
		return o, errors.New("--keep needs --dir, so that the log is found again")
	}
	return o, nil
}

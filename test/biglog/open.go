package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"rookery/storage/commitlog"
	"rookery/test/measure"
)

// opened is one opening of a log in a process of its own.
type opened struct {
	Took     time.Duration
	Bytes    int64
	Rooms    int
	Segments int
	// After a collection.
	HeapBytes     int64 // live, and stacks
	ResidentBytes int64
}

func openChild(t task, _ io.Writer) (any, error) {
	begun := time.Now()
	l, err := t.open(commitlog.SyncAlways)
	if err != nil {
		return nil, err
	}
	o := opened{Took: time.Since(begun)}
	stats := l.Stats()
	o.Bytes, o.Rooms, o.Segments = stats.Bytes, stats.Rooms, stats.Segments
	runtime.GC()
	debug.FreeOSMemory() // a second collection, which frees what the first one finalized
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	o.HeapBytes = int64(memory.HeapAlloc + memory.StackInuse)
	if o.ResidentBytes, err = measure.Kibibytes("/proc/self/status", "VmRSS"); err != nil {
		return nil, err
	}
	runtime.KeepAlive(l)
	return o, l.Close()
}

// measureOpen opens the log as a clean stop left it, from the page cache and without it, and an
// empty one for comparison.
func measureOpen(ctx context.Context, o options, r *report) (err error) {
	t := o.task()
	if r.Empty, err = measured[opened](ctx, "open", task{Dir: filepath.Join(o.dir, emptyName), Made: o.made}); err != nil {
		return err
	}
	for range rounds {
		round, err := measured[opened](ctx, "open", t)
		if err != nil {
			return err
		}
		r.Open = append(r.Open, round)
	}
	if err := cool(t.Dir); err != nil {
		return err
	}
	r.OpenCold, err = measured[opened](ctx, "open", t)
	return err
}

// measureKilled opens the log after its writer was killed.
func measureKilled(ctx context.Context, o options, r *report) error {
	for range rounds {
		written, err := kill(ctx, o)
		if err != nil {
			return err
		}
		round, err := measured[opened](ctx, "open", o.task())
		if err != nil {
			return err
		}
		r.WrittenBytes = written
		r.Killed = append(r.Killed, round)
	}
	return nil
}

// kill starts a child that writes, and kills it when it has written as much as opening must read at most.
func kill(ctx context.Context, o options) (written int64, err error) {
	c, err := command(ctx, "write", o.task())
	if err != nil {
		return 0, err
	}
	said, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	c.Process.Kill() // an error means that it has ended, and then the line is short
	status := c.Wait()
	if err != nil {
		return 0, fmt.Errorf("the writer ended by itself: %w", childError(status))
	}
	_, err = fmt.Sscanf(line, "written %d\n", &written)
	return written, err
}

// writeChild writes synced batches up to just before the end of the segment with which the next
// checkpoint comes, says so, and goes on slowly until it is killed.
func writeChild(t task, out io.Writer) (any, error) {
	l, err := t.open(commitlog.SyncAlways)
	if err != nil {
		return nil, err
	}
	base, n := l.Committed()
	begin := base + n
	const window = 2000
	traffic := newTraffic(t.Made.Rooms, seed+uint64(begin))
	for i, room := range traffic.rooms {
		traffic.heads[i] = l.Head(room)
	}
	a := newAppender(l, window)
	said := false
	for {
		if err := a.append(traffic.message(traffic.any(), time.Now())); err != nil {
			return nil, err
		}
		base, n := l.Committed()
		if said {
			if err := a.await(0); err != nil { // one at a time
				return nil, err
			}
			continue
		}
		last := base+t.Made.SegmentBytes-begin >= checkpointSegments*t.Made.SegmentBytes
		// Two windows may be on their way, of records of 256 bytes at most.
		if last && n > t.Made.SegmentBytes-min(2*window*256, t.Made.SegmentBytes/2) {
			said = true
			if _, err := fmt.Fprintf(out, "written %d\n", base+n-begin); err != nil {
				return nil, err
			}
		}
	}
}

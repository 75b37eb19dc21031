package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rookery/storage/vfs"
)

const (
	// clockSlack is how far the wall clock may be ahead of what is believed: a step of NTP or a pause of a virtual machine.
	clockSlack = time.Minute
	// clockHold is how long a clock that has jumped farther must go on steadily before retention believes it.
	clockHold = time.Hour
)

// clock gives the wall clock, and how long it has been running: a time that nobody can set.
type clock func() (wall time.Time, running time.Duration)

func newClock() clock {
	started := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(started)
	}
}

// ageClock is the time by which retention takes messages for their age, since what it takes on the word of a wrong clock is
// gone. It goes back with the wall clock at once, which keeps more. Ahead it follows it only as far as time has run since the
// last look or, at first, since the newest record; where the wall clock is farther ahead it is believed
// after clockHold. What is doubted when the log is closed, or at a crash, is doubted by the next life (doubtName). NTP's word, as the kernel
// has it (adjtimex), was not taken: it says nothing of a clock that was set by hand or by a hypervisor, and a service manager may kill who
// asks (@clock of systemd). Nor that of a file's times, which are of the same clock. A clock that is right, after a suspended machine or a quiet night, so costs an hour. It belongs to one goroutine.
type ageClock struct {
	// Set at construction.
	read clock

	believed  time.Time
	at        time.Duration // when it was believed
	ahead     time.Duration // the wall clock of it, while that is doubted; else 0
	doubtedAt time.Duration
	jumps     int // doubts since the start
}

// newAgeClock begins at the newest record of a log, zero where there is none, or where the life before has left a doubt: then the wall clock may be
// as far ahead still, and have dated that record.
func newAgeClock(read clock, newest time.Time, doubt time.Duration) *ageClock {
	wall, running := read()
	c := &ageClock{read: read, believed: wall, at: running}
	if !newest.IsZero() && newest.Before(wall) {
		c.believed = newest
	}
	if before := wall.Add(-doubt); before.Before(c.believed) {
		c.believed = before
	}
	c.now()
	c.jumps = 0
	return c
}

func (c *ageClock) now() time.Time {
	wall, running := c.read()
	now := c.believed.Add(running - c.at)
	ahead := wall.Sub(now)
	if ahead > clockSlack {
		if c.ahead == 0 || (ahead-c.ahead).Abs() > clockSlack {
			c.ahead, c.doubtedAt = ahead, running
			c.jumps++
		}
		if running-c.doubtedAt < clockHold {
			return now
		}
	}
	c.believed, c.at, c.ahead = wall, running, 0
	return wall
}

// doubtName is a file that says by how many milliseconds the wall clock is ahead of what is believed. It is there as long as that is doubted, or a
// start within the hour would take the clock at the word of messages that it has dated itself.
const doubtName = "CLOCK"

// readDoubt gives 0 if there is no doubt.
func readDoubt(fsys vfs.FS, dir string) (time.Duration, error) {
	path := filepath.Join(dir, doubtName)
	file, err := fsys.OpenRead(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	b := make([]byte, 32)
	n, err := file.ReadAt(b, 0)
	if err := errors.Join(ignoreEOF(err), file.Close()); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	ahead, err := strconv.ParseInt(strings.TrimSpace(string(b[:n])), 10, 64)
	if err != nil || ahead < 0 || ahead > math.MaxInt64/int64(time.Millisecond) {
		return 0, fmt.Errorf("read %s: it holds %q, want a number of milliseconds", path, b[:n])
	}
	return time.Duration(ahead) * time.Millisecond, nil
}

// writeDoubt replaces the file in one step, or removes it.
func writeDoubt(fsys vfs.FS, dir string, ahead time.Duration) error {
	path := filepath.Join(dir, doubtName)
	temporary := path + temporarySuffix
	if ahead == 0 {
		return errors.Join(vfs.RemoveIfExists(fsys, path), fsys.SyncDir(dir))
	}
	if err := vfs.RemoveIfExists(fsys, temporary); err != nil {
		return err
	}
	file, err := fsys.Create(temporary)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(fmt.Appendln(nil, ahead.Milliseconds()), 0)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = fsys.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, vfs.RemoveIfExists(fsys, temporary))
	}
	return fsys.SyncDir(dir)
}

// newestTime gives the time of the newest record, or of a younger one in its segment; zero if nothing is known.
func newestTime(segments []*segment) time.Time {
	for _, g := range slices.Backward(segments) {
		if at := g.newestAt.Load(); at != math.MinInt64 && at != math.MaxInt64 {
			return time.UnixMilli(at)
		}
	}
	return time.Time{}
}

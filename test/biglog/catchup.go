package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/test/measure"
)

const (
	// catchUpRooms is how many random rooms are read from their start to their end.
	catchUpRooms = 1000
	// catchUpMessages bounds what is read of the busiest room.
	catchUpMessages = 1_000_000
)

// replay bounds a page as the gateway does for members that are behind.
var replay = storage.PageLimit{Records: 1000, Bytes: 64 << 10}

// catchUp is how fast rooms are read from their start.
type catchUp struct {
	Messages  int // in all
	Took      time.Duration
	BodyBytes int64
}

func (c catchUp) perSecond() float64 { return float64(c.Messages) / c.Took.Seconds() }

// catchUps are those of one process.
type catchUps struct {
	Hot, Cold catchUp
	// ResidentBytes is before, PeakBytes the most that there were.
	ResidentBytes, PeakBytes int64
}

func measureCatchUp(ctx context.Context, o options, r *report) (err error) {
	if err := warm(o.task().Dir); err != nil {
		return err
	}
	r.CatchUp, err = measured[catchUps](ctx, "catchup", o.task())
	return err
}

func catchUpChild(t task, _ io.Writer) (any, error) {
	l, err := t.open(commitlog.SyncAlways)
	if err != nil {
		return nil, err
	}
	var c catchUps
	// The peak begins anew: opening has its own.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return nil, err
	}
	if c.ResidentBytes, err = measure.Kibibytes("/proc/self/status", "VmRSS"); err != nil {
		return nil, err
	}
	if err := c.Hot.read(l, roomName(0), catchUpMessages); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, 3))
	for range catchUpRooms {
		if err := c.Cold.read(l, roomName(random.IntN(t.Made.Rooms)), catchUpMessages); err != nil {
			return nil, err
		}
	}
	if c.PeakBytes, err = measure.Kibibytes("/proc/self/status", "VmHWM"); err != nil {
		return nil, err
	}
	return c, l.Close()
}

// read reads a room page by page, and checks that nothing is left out.
func (c *catchUp) read(l *commitlog.Log, room string, most uint64) error {
	begun := time.Now()
	last, end := uint64(0), min(most, l.Head(room))
	for last < end {
		before := last
		err := l.ReadAfter(room, last, replay, func(r storage.Record) bool {
			if r.Seq != last+1 {
				return false
			}
			last = r.Seq
			c.BodyBytes += int64(len(r.Body))
			return true
		})
		if err == nil && last == before {
			err = fmt.Errorf("%s has %d messages, the page behind %d gave another one or none", room, end, last)
		}
		if err != nil {
			return err
		}
	}
	c.Messages += int(last)
	c.Took += time.Since(begun)
	return nil
}

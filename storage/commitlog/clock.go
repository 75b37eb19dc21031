package commitlog

import (
	"math"
	"slices"
	"time"
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
// after clockHold. A clock that is right, after a suspended machine or a quiet night, so costs an hour. It belongs to one goroutine.
type ageClock struct {
	// Set at construction.
	read clock

	believed  time.Time
	at        time.Duration // when it was believed
	ahead     time.Duration // the wall clock of it, while that is doubted; else 0
	doubtedAt time.Duration
	jumps     int // doubts since the start
}

// newAgeClock begins at the newest record of a log, zero where there is none.
func newAgeClock(read clock, newest time.Time) *ageClock {
	wall, running := read()
	c := &ageClock{read: read, believed: wall, at: running}
	if !newest.IsZero() && newest.Before(wall) {
		c.believed = newest
		c.now()
		c.jumps = 0
	}
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

// newestTime gives the time of the newest record, or of a younger one in its segment; zero if nothing is known.
func newestTime(segments []*segment) time.Time {
	for _, g := range slices.Backward(segments) {
		if at := g.newestAt.Load(); at != math.MinInt64 && at != math.MaxInt64 {
			return time.UnixMilli(at)
		}
	}
	return time.Time{}
}

package loop

import "time"

const (
	// behindAfter is how many ticks in a row more than leastWaiting has to wait for the loop before it is behind: neither a burst
	// nor a moment without a processor is an overload.
	behindAfter = 10
	// leastWaiting is what may always wait, in bytes.
	leastWaiting = 128 << 10
	// waitTicks is how long what waits may take to be worked off: a quarter of a second.
	waitTicks = 2.5
	// wellGathered is how many messages leave of a room at a time where it is the writes that take the loop's time, and not what is in them.
	wellGathered = 4
	// gatheredWaiting is what may wait of a room then, in bytes: some fifty short messages make a write half again as long.
	gatheredWaiting = 32 << 10
	// fanOutShare is how much of a loop's time fan-out may take before rooms pause for it, where much is gathered.
	fanOutShare = 0.5
	// firstPause is how long rooms pause when fan-out takes all the time, longestPause what it comes to if it goes on.
	firstPause, longestPause = 20 * time.Millisecond, 200 * time.Millisecond
)

// load is how fast a loop works off what waits for it. Bytes alone bound the memory of a mailbox and not the time in it: with
// small messages 32 MiB are ten seconds. So a loop that is behind bounds its mailbox to what it works off in waitTicks; the shards
// refuse publishes beyond that, with a code that says to come again, and what was accepted is not late.
//
// That helps where fewer messages are fewer writes. Where many leave of each room at a time there are as many writes with half of them, so to
// refuse some has nothing leave earlier and costs writes of its own: the loop works off less, for which its bound would become smaller,
// and so on until it gathers nothing. Therefore each room may have so much waiting then.
type load struct {
	done   int64   // bytes since the last tick
	rate   float64 // bytes a tick, smoothed
	behind int     // ticks in a row
	at     moment  // of the last tick
	// batches is how often a room had its turn since the last tick, together how many messages left in these.
	batches, together int
	gathered          bool // many left in each of them, of the last tick that had any
	// fanningOut is the time that fan-out took since the last tick, with what the processor did meanwhile for others; it is only looked at where
	// much is gathered. pause is how long rooms gather for it, see pace.
	fanningOut, pause time.Duration
	paused            time.Duration // the longest pause that may still be in effect
	// gathering is what waits in rooms that have a window, in bytes: on purpose, however long that is. windows is how many of the busy rooms that
	// are: of these nothing else waits.
	gathering int64
	windows   int
}

// done gives back the bytes of something that was worked off.
func (l *Loop) done(size int) {
	l.inbox.Release(size)
	l.load.done += int64(size)
}

// bound is called on each tick.
func (l *Loop) bound() {
	o := &l.load
	passed := float64(max(1, l.now-o.at))
	rate := float64(o.done) / passed
	if o.batches > 0 { // one of a large room may last for several ticks
		o.gathered = o.together >= wellGathered*o.batches
	}
	o.pace(time.Duration(passed) * tick)
	o.done, o.batches, o.together, o.fanningOut, o.at = 0, 0, 0, 0, l.now
	if l.inbox.Held()-o.gathering < leastWaiting {
		if o.behind >= behindAfter {
			l.inbox.Bound(1 << 62)
		}
		o.behind = 0
		return
	}
	if o.behind++; o.behind == 1 {
		o.rate = rate
	}
	o.rate += (rate - o.rate) / 4
	if o.behind >= behindAfter {
		// What pauses does so on purpose, and is worked off behind that.
		most := max(leastWaiting, int64(o.rate*(waitTicks+o.paused.Seconds()/tick.Seconds())))
		if o.gathered {
			most = max(most, int64(l.busy.len()+len(l.gathering)-o.windows)*gatheredWaiting)
		}
		l.inbox.Bound(o.gathering + most)
	}
}

// pace has rooms pause between their turns where fan-out takes most of the loop's time and many messages leave of a room anyway. A loop that is
// always ready to write takes all of the processors: each write holds less, and who else needs them, the committer, the shards, the clients on the
// same machine, is late by more than the pause. The pause is in proportion to the share, so that it settles where the share is fanOutShare.
func (o *load) pace(passed time.Duration) {
	share := float64(o.fanningOut) / float64(passed)
	o.paused = max(o.pause, o.paused-passed)
	if !o.gathered || o.pause == 0 && share <= fanOutShare {
		o.pause = 0
		return
	}
	pause := time.Duration(float64(o.pause+firstPause)*share/fanOutShare) - firstPause
	o.pause = min(max(0, pause.Truncate(time.Millisecond)), longestPause)
}

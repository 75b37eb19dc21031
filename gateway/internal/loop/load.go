package loop

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
	// gathering is what waits in rooms that have a window, in bytes: on purpose, however long that is.
	gathering int64
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
	o.done, o.batches, o.together, o.at = 0, 0, 0, l.now
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
		most := max(leastWaiting, int64(o.rate*waitTicks))
		if o.gathered {
			most = max(most, int64(l.busy.len())*gatheredWaiting)
		}
		l.inbox.Bound(o.gathering + most)
	}
}

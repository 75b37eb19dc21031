package crowd

import (
	"math"

	"rookery/bench/internal/ledger"
)

// closed begins a load in which each room has a number of messages under way. From then on a message that is back with its sender
// is the moment for the next one; one that is refused, or lost with its connection, has none.
type closed struct {
	at   int64 // when it begins, or goes on beginning; math.MaxInt64: it has begun, or there is none
	next int   // message that is to begin
}

func (c *Crowd) dueClosed(now int64) int64 {
	k := &c.underWay
	if k.at > now {
		return k.at
	}
	rooms := min(c.part.Plan.Rooms.Count, c.part.Plan.Clients.Connections)
	for n := 0; k.next < rooms*c.part.Plan.Publish.Closed; k.next++ {
		if n == turn {
			return now
		}
		number, room := c.sender(k.next)
		if slot := c.slot(number); slot >= 0 {
			c.send(slot, room, now)
			n++
		}
	}
	k.at = math.MaxInt64
	return math.MaxInt64
}

// sendNext is for a message that came.
func (c *Crowd) sendNext(slot, room int, stamp ledger.Stamp, now int64) {
	if c.part.Plan.Publish.Closed > 0 && stamp.User == c.users[slot].session.User && stamp.Due >= c.load.from && now < c.load.to {
		c.send(slot, room, now)
	}
}

package crowd

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
)

// load is the schedule of sends. Message number m of the run goes to room m modulo their number, by the next of its
// senders. The schedule goes on whatever the server does.
type load struct {
	begun         bool
	from          int64 // when the first is due
	countFrom, to int64 // what counts: [countFrom, to)
	random        *rand.Rand
	number        int   // of the next message
	next          int64 // when it is due, math.MaxInt64: there is none
	elapsed       float64
}

// Load begins the load at a moment.
func (c *Crowd) Load(from int64) {
	t := c.part.Plan.Time
	l := &c.load
	l.begun, l.from, l.countFrom = true, from, from+int64(t.Warmup)
	l.to = l.countFrom + int64(t.Duration)
	if c.part.Plan.Publish.Rate > 0 {
		c.schedule()
	}
	c.beginTrouble(from)
}

// End makes the load end now, before its time.
func (c *Crowd) End(now int64) {
	c.load.to = min(c.load.to, now)
	c.load.next = math.MaxInt64
	c.trouble.churns.at, c.trouble.moves.at, c.trouble.cutAt = math.MaxInt64, math.MaxInt64, math.MaxInt64
	c.trouble.stallFrom = math.MaxInt64
	c.trouble.stallTo = min(c.trouble.stallTo, now)
	c.trouble.next = now
}

// schedule sets when the next message is due. Every worker draws the same numbers.
func (c *Crowd) schedule() {
	l, publish := &c.load, &c.part.Plan.Publish
	if publish.Arrivals == "poisson" {
		l.elapsed += l.random.ExpFloat64() / publish.Rate
	} else {
		l.elapsed = float64(l.number) / publish.Rate
	}
	if l.next = l.from + int64(l.elapsed*float64(time.Second)); l.next >= l.to {
		l.next = math.MaxInt64
	}
}

// sender gives the user that sends a message. Where there are more rooms than users, nobody is the first member of the last rooms, and
// nothing is sent to them.
func (c *Crowd) sender(message int) (number, room int) {
	rooms, publish := &c.part.Plan.Rooms, &c.part.Plan.Publish
	used := min(rooms.Count, c.part.Plan.Clients.Connections)
	room = message % used
	members := (c.part.Plan.Clients.Connections - room + rooms.Count - 1) / rooms.Count
	senders := members
	if publish.Senders > 0 {
		senders = min(members, publish.Senders)
	}
	return room + rooms.Count*(message/used%senders), room
}

func (c *Crowd) dueSends(now int64) int64 {
	l := &c.load
	// Messages of other workers cost little, but after a pause there may be millions.
	for n, looked := 0, 0; l.next <= now; looked++ {
		if n == turn || looked == 64*turn {
			return now
		}
		due := l.next
		number, room := c.sender(l.number)
		l.number++
		c.schedule()
		if slot := c.slot(number); slot >= 0 {
			c.send(slot, room, due)
			n++
		}
	}
	return l.next
}

// send publishes a message that was due at a moment.
func (c *Crowd) send(slot, room int, due int64) {
	u := &c.users[slot]
	if u.state != online || c.perUser > 0 && !c.accounts[slot*c.perUser].Opened {
		c.counts.Unsent++
		return
	}
	p := dialect.Publish{Room: room, Key: u.sent + 1}
	c.body = c.finder.Append(c.body[:0], ledger.Stamp{User: u.session.User, Room: uint32(room), Seq: p.Key, Due: due}, c.part.Plan.Publish.Size)
	p.Body = c.body
	if c.traits.Acknowledges {
		p.ID = c.request(slot, publishRequest, room, due)
		c.requests[p.ID-1].seq = p.Key
	}
	c.out = c.dialect(slot).AppendPublish(c.out[:0], &u.session, p)
	if len(c.out) == 0 { // the dialect has no room for one more without an answer
		c.unsent(slot, p.ID)
		return
	}
	if err := c.loop.Write(slot, c.out); err != nil {
		c.unsent(slot, p.ID)
		if !errors.Is(err, engine.ErrFull) && !errors.Is(err, engine.ErrBroken) {
			c.loop.Close(slot, engine.Orderly)
			c.broken(slot, err)
		}
		return
	}
	u.sent++
	c.counts.Sent++
	if !c.traits.Numbered {
		c.heads[room]++
	}
	late := since(due, c.now())
	c.second.SendLate.Record(late)
	if c.counted(due) {
		c.total.SendLate.Record(late)
	}
}

// unsent counts a message that was due and not sent, and forgets its request.
func (c *Crowd) unsent(slot int, id uint32) {
	c.answered(slot, id)
	c.counts.Unsent++
}

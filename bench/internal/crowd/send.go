package crowd

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
)

// load is the schedule of sends. Message number m of the run goes to room m modulo their number, by the next of its
// senders. The schedule goes on whatever the server does.
type load struct {
	begun         bool
	from          int64 // when the first is due
	countFrom, to int64 // what counts: [countFrom, to)
	schedule
	typing schedule // the same, plan.TypingAhead before
}

// schedule is when the next message is due.
type schedule struct {
	random  *rand.Rand
	number  int   // of the next message
	next    int64 // when it is due, math.MaxInt64: there is none
	elapsed float64
}

// begin makes a schedule that draws the same numbers in every worker.
func (s *schedule) begin(run uint32) {
	s.random, s.next = rand.New(rand.NewPCG(uint64(run), 1)), math.MaxInt64
}

// Load begins the load at a moment.
func (c *Crowd) Load(from int64) {
	t := c.part.Plan.Time
	l := &c.load
	l.begun, l.from, l.countFrom = true, from, from+int64(t.Warmup)
	l.to = l.countFrom + int64(t.Duration)
	c.underWay.at = math.MaxInt64
	if publish := c.part.Plan.Publish; publish.Closed > 0 {
		c.underWay.at = from
	} else if publish.Rate > 0 {
		c.schedule(&l.schedule, 0)
		if publish.Typing > 0 && c.traits.Ephemeral {
			c.schedule(&l.typing, plan.TypingAhead)
		}
	}
	c.beginTrouble(from)
}

// End makes the load end now, before its time.
func (c *Crowd) End(now int64) {
	c.load.to = min(c.load.to, now)
	c.load.next, c.load.typing.next, c.underWay.at = math.MaxInt64, math.MaxInt64, math.MaxInt64
	c.trouble.churns.at, c.trouble.moves.at, c.trouble.cutAt = math.MaxInt64, math.MaxInt64, math.MaxInt64
	c.trouble.stallFrom = math.MaxInt64
	c.trouble.stallTo = min(c.trouble.stallTo, now)
	c.trouble.next = now
}

// schedule sets when the next message is due, or what comes so long ahead of it.
func (c *Crowd) schedule(s *schedule, ahead time.Duration) {
	l, publish := &c.load, &c.part.Plan.Publish
	if publish.Arrivals == "poisson" {
		s.elapsed += s.random.ExpFloat64() / publish.Rate
	} else {
		s.elapsed = float64(s.number) / publish.Rate
	}
	if s.next = l.from + int64(s.elapsed*float64(time.Second)); s.next >= l.to {
		s.next = math.MaxInt64
		return
	}
	s.next = max(l.from, s.next-int64(ahead))
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
		c.schedule(&l.schedule, 0)
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
	if c.part.Plan.Publish.Ephemeral {
		p.Ephemeral = ephemeralKey
	}
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

// Keys of ephemeral messages. Every sender has one value, of which the newest counts.
const (
	ephemeralKey = "value"
	typingKey    = "typing"
)

// dueTyping has the senders of some of the next messages say that they type.
func (c *Crowd) dueTyping(now int64) int64 {
	s := &c.load.typing
	for n, looked := 0, 0; s.next <= now; looked++ {
		if n == turn || looked == 64*turn {
			return now
		}
		number, room := c.sender(s.number)
		types := scatter(s.number, forTyping) < c.part.Plan.Publish.Typing
		s.number++
		c.schedule(s, plan.TypingAhead)
		if slot := c.slot(number); types && slot >= 0 {
			c.typing(slot, room)
			n++
		}
	}
	return s.next
}

// typing tells a room that somebody types. Where that is not possible now nobody misses it.
func (c *Crowd) typing(slot, room int) {
	u := &c.users[slot]
	if u.state != online || !c.accounts[slot*c.perUser].Opened {
		return
	}
	c.body = c.finder.Append(c.body[:0], ledger.Stamp{User: u.session.User, Room: uint32(room), Seq: u.sent + 1}, ledger.StampBytes)
	c.out = c.dialect(slot).AppendPublish(c.out[:0], &u.session, dialect.Publish{Room: room, Ephemeral: typingKey, Body: c.body})
	switch err := c.loop.Write(slot, c.out); {
	case err == nil:
		c.counts.Typing++
	case !errors.Is(err, engine.ErrFull) && !errors.Is(err, engine.ErrBroken):
		c.loop.Close(slot, engine.Orderly)
		c.broken(slot, err)
	}
}

// unsent counts a message that was due and not sent, and forgets its request.
func (c *Crowd) unsent(slot int, id uint32) {
	c.answered(slot, id)
	c.counts.Unsent++
}

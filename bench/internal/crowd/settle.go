package crowd

import (
	"math"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
)

// News is what is new of rooms: of each that is named the largest number of its messages, or, where the server gives no
// numbers, how many were sent to it. What is not named is as it was.
type News struct {
	Rooms []int   `json:"rooms,omitempty"`
	Heads []int64 `json:"heads,omitempty"`
	// Untaken are publishes that were refused, or of which nobody knows; only where the server gives no numbers.
	Untaken []ledger.Number `json:"untaken,omitempty"`
}

// Empty reports whether nothing is new.
func (n News) Empty() bool { return len(n.Rooms)+len(n.Untaken) == 0 }

// News gives what is new of the rooms since it was last called: the largest numbers that this worker has seen, or how many messages
// more its users have sent (less, where some were not taken). The coordinator makes the maximum or the sum of all workers'.
// The caller owns it.
func (c *Crowd) News() (n News) {
	if c.told == nil {
		c.told = make([]uint64, len(c.heads))
	}
	for room, head := range c.heads {
		if head == c.told[room] {
			continue
		}
		news := int64(head)
		if !c.traits.Numbered {
			news = int64(head - c.told[room])
		}
		n.Rooms, n.Heads = append(n.Rooms, room), append(n.Heads, news)
		c.told[room] = head
	}
	n.Untaken, c.untold = c.untold, nil
	return n
}

// Learn takes in what is new of the rooms by all workers.
func (c *Crowd) Learn(n News) {
	if c.known == nil {
		c.known = make([]uint64, len(c.heads))
	}
	for i, room := range n.Rooms {
		c.known[room] = uint64(n.Heads[i])
	}
	for _, number := range n.Untaken {
		c.untaken.Add(number)
	}
	if !n.Empty() {
		c.complete = 0
	}
}

// Numbered says which of the two it is.
func (c *Crowd) Numbered() bool { return c.traits.Numbered }

// owed is how many messages an account must have got in the end, by the heads of all workers.
func (c *Crowd) owed(slot, k int, account *ledger.Account) uint64 {
	room := c.room(c.number(slot), k)
	if last := account.Series.Last(); c.traits.Numbered {
		return account.Got + account.Missing(&c.untaken) + max(c.known[room], last) - last // not what the server said is gone
	}
	if c.mayMiss(slot) {
		newest := account.Newest(&c.untaken)
		if account.Base > 0 {
			return account.Got
		}
		return account.Got + max(c.known[room], newest) - newest
	}
	if account.Base > 0 {
		return account.Got + account.Missing(&c.untaken) // it began somewhere
	}
	own := uint64(0)
	if k == 0 {
		own = uint64(c.users[slot].sent)
	}
	switch c.traits.Reaches {
	case dialect.Sender:
		return own
	case dialect.RoomOthers, dialect.Others:
		return c.known[room] - own
	}
	return c.known[room]
}

// mayMiss reports whether newer messages may come in place of older ones to a user: ephemeral ones to who stops reading as
// the plan says. The newest of each sender is owed all the same, and to everybody else all are.
func (c *Crowd) mayMiss(slot int) bool {
	return c.part.Plan.Publish.Ephemeral && scatter(c.number(slot), forStall) < c.part.Plan.Trouble.Stall.Share
}

// Complete reports whether everybody has got what is owed, by the heads of all workers. It is asked again and again, so it goes
// on where it ended: whatever makes an account incomplete that was complete begins it anew.
func (c *Crowd) Complete() bool {
	for ; c.complete < len(c.accounts); c.complete++ {
		account := &c.accounts[c.complete]
		if account.Opened && account.Got < c.owed(c.complete/c.perUser, c.complete%c.perUser, account) {
			return false
		}
	}
	return true
}

// Settle closes all accounts by the heads of all workers, and adds what is owed, lost and missing to the counts. Nothing counts from
// then on: what comes after the final figures must not be in the seconds.
func (c *Crowd) Settle() {
	for i := range c.accounts {
		account := &c.accounts[i]
		if !account.Opened {
			continue
		}
		owed := int64(c.owed(i/c.perUser, i%c.perUser, account))
		got := int64(account.Got)
		gaps, dropped := int64(account.Missing(&c.untaken)), int64(0)
		if c.mayMiss(i / c.perUser) {
			gaps, dropped = 0, gaps
		}
		c.counts.Dropped += dropped
		c.counts.Expected += max(owed, got) + dropped
		// What is not in a gap may still be on its way.
		missing := max(owed-got, 0)
		lost := min(gaps, missing)
		c.lose(lost)
		c.miss(missing - lost)
		*account = ledger.Account{}
	}
	for i := range c.closed {
		c.settleClosed(&c.closed[i])
	}
	c.closed = nil
	c.counts.Unanswered += c.waiting
	if c.marking > 0 {
		c.faultTimes("mark", "marks were not answered until the end", c.marking)
	}
	for slot := range c.users {
		u := &c.users[slot]
		u.requests = 0
		if u.lost > 0 {
			c.counts.StayedAway++
		}
	}
	c.requests, c.free, c.waiting, c.marking = nil, 0, 0, 0
	c.counts, c.settled = c.Counts(), true
}

// Leave has everybody close in good order. It begins it; Status tells when all have left.
func (c *Crowd) Leave() {
	c.connects.queue, c.timers = nil, nil
	c.leaving = true
}

// dueLeaves closes a turn of the connections: all of some hundred thousand at once would keep the loop from answering for longer than
// anybody waits for it.
func (c *Crowd) dueLeaves(now int64) int64 {
	for n := 0; c.leaver < len(c.users); c.leaver++ {
		if n == turn {
			return now
		}
		if s := &c.users[c.leaver].state; *s == online || *s == connecting {
			c.goodBye(c.leaver)
			*s = absent
			n++
		}
	}
	for slot, fd := range c.detached {
		engine.CloseDetached(fd)
		delete(c.detached, slot)
	}
	return math.MaxInt64
}

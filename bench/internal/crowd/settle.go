package crowd

import (
	"math"
	"slices"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
)

// Heads gives, for each room, the largest number that this worker has seen, or how many messages its users sent where the
// server gives no numbers. The coordinator makes the maximum or the sum of all workers'. The caller owns it.
func (c *Crowd) Heads() []uint64 { return slices.Clone(c.heads) }

// Numbered says which of the two it is.
func (c *Crowd) Numbered() bool { return c.traits.Numbered }

// owed is how many messages an account must have got in the end, by the heads of all workers.
func (c *Crowd) owed(slot, k int, account *ledger.Account, heads []uint64) uint64 {
	room := c.room(c.number(slot), k)
	if last := account.Series.Last(); c.traits.Numbered {
		return account.Got + account.Missing() + max(heads[room], last) - last // not what the server said is gone
	}
	if account.Base > 0 {
		return account.Got + account.Missing() // it began somewhere
	}
	own := uint64(0)
	if k == 0 {
		own = uint64(c.users[slot].sent)
	}
	switch c.traits.Reaches {
	case dialect.Sender:
		return own
	case dialect.RoomOthers, dialect.Others:
		return heads[room] - own
	}
	return heads[room]
}

// Complete reports whether everybody has got what is owed, by the heads of all workers.
func (c *Crowd) Complete(heads []uint64) bool {
	for i := range c.accounts {
		account := &c.accounts[i]
		if account.Opened && account.Got < c.owed(i/c.perUser, i%c.perUser, account, heads) {
			return false
		}
	}
	return true
}

// Settle closes all accounts by the heads of all workers, and adds what is owed and what is lost to the counts. Nothing counts from
// then on: what comes after the final figures must not be in the seconds.
func (c *Crowd) Settle(heads []uint64) {
	for i := range c.accounts {
		account := &c.accounts[i]
		if !account.Opened {
			continue
		}
		owed := int64(c.owed(i/c.perUser, i%c.perUser, account, heads))
		got := int64(account.Got)
		c.counts.Expected += max(owed, got)
		c.lose(owed - got)
		*account = ledger.Account{}
	}
	c.counts.Unanswered += c.waiting
	for slot := range c.users {
		c.users[slot].requests = 0
	}
	c.requests, c.free, c.waiting = nil, 0, 0
	c.counts, c.settled = c.Counts(), true
}

// Leave has everybody close in good order, and nobody come any more.
func (c *Crowd) Leave() {
	for slot := range c.users {
		if s := &c.users[slot].state; *s == online || *s == connecting {
			c.goodBye(slot)
			*s = absent
		}
	}
	for slot, fd := range c.detached {
		engine.CloseDetached(fd)
		delete(c.detached, slot)
	}
	c.online, c.connects.pending = 0, 0
	c.connects.at, c.connects.queue, c.timers = math.MaxInt64, nil, nil
	c.load.next, c.trouble.next = math.MaxInt64, math.MaxInt64
}

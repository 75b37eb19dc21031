package crowd

import (
	"container/heap"
	"math"
	"time"

	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
)

// trouble is what goes wrong on purpose, on a schedule that all workers draw alike.
type trouble struct {
	next               int64 // when something is due, math.MaxInt64: never
	stallFrom, stallTo int64
	cutAt              int64
	churns, moves      series
	stalling           bool
	share              float64 // of the users that stall while stalling
}

// series is something that happens a number of times a second.
type series struct {
	gap float64 // seconds, 0: never
	n   int     // how often it has happened
	at  int64   // when it is due again
}

// begin has it happen rate times a second from a moment until another.
func (s *series) begin(from, to int64, rate float64) {
	s.at = math.MaxInt64
	if rate > 0 {
		s.gap, s.n = 1/rate, -1
		s.step(from, to)
	}
}

func (s *series) step(from, to int64) {
	s.n++
	if s.at = from + int64(float64(s.n+1)*s.gap*float64(time.Second)); s.at >= to {
		s.at = math.MaxInt64
	}
}

func (c *Crowd) beginTrouble(from int64) {
	plan, t := &c.part.Plan.Trouble, &c.trouble
	t.stallFrom, t.stallTo, t.cutAt = math.MaxInt64, math.MaxInt64, math.MaxInt64
	if plan.Stall.Share > 0 {
		t.share, t.stallFrom = plan.Stall.Share, from+int64(plan.Stall.At)
		t.stallTo = t.stallFrom + int64(plan.Stall.For)
	}
	if plan.Cut.Share > 0 {
		t.cutAt = from + int64(plan.Cut.At)
	}
	t.churns.begin(from, c.load.to, plan.Churn)
	t.moves.begin(from, c.load.to, plan.Moves)
	t.next = from
}

func (c *Crowd) dueTrouble(now int64) int64 {
	t := &c.trouble
	if now < t.next {
		return t.next
	}
	if t.stallFrom <= now {
		t.stallFrom, t.stalling = math.MaxInt64, true
		c.stall(true)
	}
	if t.stallTo <= now {
		t.stallTo, t.stalling = math.MaxInt64, false
		c.stall(false)
	}
	if t.cutAt <= now {
		c.cut(t.cutAt)
		t.cutAt = math.MaxInt64
	}
	for ; t.churns.at <= now; t.churns.step(c.load.from, c.load.to) {
		c.churn(t.churns.n, t.churns.at)
	}
	for ; t.moves.at <= now; t.moves.step(c.load.from, c.load.to) {
		c.move(t.moves.n, t.moves.at)
	}
	t.next = min(t.stallFrom, t.stallTo, t.cutAt, t.churns.at, t.moves.at)
	return t.next
}

// scatter gives a number in [0, 1) that looks drawn and is the same in every worker.
func scatter(n int, what uint64) float64 {
	x := uint64(n)*0x9e3779b97f4a7c15 + what*0xbf58476d1ce4e5b9
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11) / (1 << 53)
}

// What scatter is for: each draws other users.
const (
	forStall = iota
	forCut
	forReturn
	forChurn
	forMove
	forTyping
)

// stalled reports whether a user does not read now.
func (t *trouble) stalled(number int) bool {
	return t.stalling && scatter(number, forStall) < t.share
}

func (c *Crowd) stall(begin bool) {
	for slot := range c.users {
		if scatter(c.number(slot), forStall) >= c.trouble.share || c.users[slot].state != online {
			continue
		}
		if begin {
			c.loop.Pause(slot)
		} else {
			c.loop.Resume(slot)
		}
	}
}

func (c *Crowd) cut(at int64) {
	cut := &c.part.Plan.Trouble.Cut
	for slot := range c.users {
		number := c.number(slot)
		if scatter(number, forCut) >= cut.Share || c.users[slot].state != online {
			continue
		}
		switch cut.How {
		case "reset":
			c.loop.Close(slot, engine.Reset)
		case "silent":
			c.detached[slot] = c.loop.Detach(slot)
		default:
			c.goodBye(slot)
		}
		c.online--
		c.abandon(slot)
		c.users[slot].lost = at
		c.comeBack(slot, at+int64(scatter(number, forReturn)*float64(cut.Within)))
	}
}

// goodBye closes in good order.
func (c *Crowd) goodBye(slot int) {
	if c.out = c.dialect(slot).AppendClose(c.out[:0], &c.users[slot].session); len(c.out) > 0 {
		c.loop.Write(slot, c.out) // what becomes of it does not matter
	}
	c.loop.Close(slot, engine.Orderly)
}

// churn replaces a user by a new one.
func (c *Crowd) churn(n int, at int64) {
	number := int(scatter(n, forChurn) * float64(c.part.Plan.Clients.Connections))
	slot := c.slot(number)
	if slot < 0 || c.users[slot].state != online {
		return
	}
	c.goodBye(slot)
	c.online--
	c.abandon(slot)
	u := &c.users[slot]
	u.life++
	u.sent = 0
	for k := range c.perUser {
		c.settleAccount(slot, k)
	}
	c.comeBack(slot, at)
}

// move has a user leave a room; when that is answered it joins again.
func (c *Crowd) move(n int, at int64) {
	number := int(scatter(n, forMove) * float64(c.part.Plan.Clients.Connections))
	slot := c.slot(number)
	if slot < 0 || c.perUser == 0 || c.users[slot].state != online || !c.traits.Answers {
		return
	}
	k := n % c.perUser
	account := &c.accounts[slot*c.perUser+k]
	if !account.Opened || account.Leaving {
		return
	}
	account.Leaving = true
	id := c.request(slot, leaveRequest, k, at)
	c.out = c.dialect(slot).AppendLeave(c.out[:0], &c.users[slot].session, id, c.room(number, k))
	c.write(slot, c.out)
}

// left is the answer to a leave.
func (c *Crowd) left(slot, k int) {
	c.settleAccount(slot, k)
	c.out = c.out[:0]
	c.appendJoin(slot, k)
	c.write(slot, c.out)
}

// outside is for a user that is online and was not let back into a room: it asks again, by the waits of one that comes back.
func (c *Crowd) outside(slot, k int) {
	account := &c.accounts[slot*c.perUser+k]
	account.Joining = false
	account.Refusals = min(account.Refusals, math.MaxUint8-1) + 1
	heap.Push(&c.timers, timer{at: c.now() + c.backoff(int(account.Refusals)), slot: slot, room: int32(k), join: true})
}

// rejoin asks again. A user that was away meanwhile, or is a new one, has asked for all of its rooms already.
func (c *Crowd) rejoin(slot, k int) {
	if account := &c.accounts[slot*c.perUser+k]; c.users[slot].state == online && !account.Opened && !account.Joining {
		c.out = c.out[:0]
		c.appendJoin(slot, k)
		c.write(slot, c.out)
	}
}

// settleAccount closes an account before the end: owed is what came and what is missing in between.
func (c *Crowd) settleAccount(slot, k int) {
	account := &c.accounts[slot*c.perUser+k]
	if !account.Opened {
		return
	}
	if account.Target > 0 {
		c.behind--
	}
	if ended := (ended{*account, c.mayMiss(slot)}); !c.traits.Numbered && c.traits.Acknowledges && account.Missing(&c.untaken) > 0 {
		c.closed = append(c.closed, ended) // which of it was refused is known in the end
	} else {
		c.settleClosed(&ended)
	}
	*account = ledger.Account{}
}

// ended is an account that was closed before the end, of a member that may have missed messages or not.
type ended struct {
	account ledger.Account
	mayMiss bool
}

func (c *Crowd) settleClosed(e *ended) {
	gaps := int64(e.account.Missing(&c.untaken))
	c.counts.Expected += int64(e.account.Got) + gaps
	if e.mayMiss {
		c.counts.Dropped += gaps
	} else {
		c.lose(gaps)
	}
}

func (c *Crowd) lose(n int64) {
	if n > 0 {
		c.counts.Lost += n
		c.fault("lost", "messages never came to a member that got later ones")
	}
}

func (c *Crowd) miss(n int64) {
	if n > 0 {
		c.counts.Missing += n
		c.fault("missing", "messages had not come to a member when the wait for them was over, and none behind them")
	}
}

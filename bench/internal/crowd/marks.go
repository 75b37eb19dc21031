package crowd

import (
	"container/heap"
	"math"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/ledger"
)

// read has a member mark what it has got after a while, if it is not about to, and does not wait for the answer to its last mark.
func (c *Crowd) read(slot, room int, account *ledger.Account, now int64) {
	within := int64(c.part.Plan.Publish.Receipts)
	if within == 0 || account.Marking != ledger.MarkNone || !c.traits.Receipts {
		return
	}
	account.Marking = ledger.MarkPlanned
	heap.Push(&c.marks, timer{at: now + within/2 + c.waits.Int64N(within/2+1), slot: slot, room: int32(room)})
}

func (c *Crowd) dueMarks(now int64) int64 {
	for n := 0; len(c.marks) > 0 && c.marks[0].at <= now; n++ {
		if n == turn {
			return now
		}
		t := heap.Pop(&c.marks).(timer)
		c.mark(t.slot, int(t.room), t.at)
	}
	if len(c.marks) == 0 {
		return math.MaxInt64
	}
	return c.marks[0].at
}

// mark says what a member has read, while the load lasts: what is sent behind it could be unanswered when the run is
// settled. One that is away does it when the next message has come. A membership that has ended left its timer
// behind: the next one's mark is early then, and its own timer finds nothing planned.
func (c *Crowd) mark(slot, room int, due int64) {
	account := c.account(slot, room)
	if account.Marking != ledger.MarkPlanned {
		return
	}
	account.Marking = ledger.MarkNone
	seq := account.Series.Last()
	if !account.Opened || account.Leaving || c.users[slot].state != online || seq == 0 || c.now() >= c.load.to {
		return
	}
	id := c.request(slot, markRequest, room, due)
	c.requests[id-1].seq = uint32(seq)
	c.out = c.dialect(slot).AppendMark(c.out[:0], &c.users[slot].session, id, room, seq)
	account.Marking = ledger.MarkAsked
	if c.write(slot, c.out) == nil { // else it was abandoned with the connection
		c.counts.Marks++
	}
}

// marked is the server's answer: it has stored that the user has read so far, or further, by a connection that was lost.
func (c *Crowd) marked(slot int, e *dialect.Event, now int64) {
	r, ok := c.answered(slot, e.ID)
	if !ok || r.kind != markRequest {
		c.foreign("an answer to nothing that was asked")
		return
	}
	account := c.account(slot, int(r.room))
	account.Marking = ledger.MarkNone
	if uint32(e.Seq) < r.seq {
		c.foreign("the server has stored less than was marked")
	} else {
		c.counts.Marked++
	}
	if account.Opened && account.Series.Last() > e.Seq {
		c.read(slot, int(r.room), account, now) // what came meanwhile
	}
}

package crowd

import (
	"errors"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
)

// Received takes what came on a connection, event by event.
func (c *Crowd) Received(slot int, in []byte) (n int) {
	if c.settled {
		return len(in)
	}
	if slot == len(c.users) {
		return c.fillReceived(in)
	}
	u, d, e := &c.users[slot], c.dialect(slot), &c.event
	now := c.now()
	if c.alike.same(&u.session, in) {
		return c.takeAlike(slot, now)
	}
	c.alike.begin(&u.session)
	for n < len(in) {
		opened := u.session.Opened()
		size, err := d.Read(&u.session, in[n:], e)
		n += size
		if err != nil {
			c.loop.Close(slot, engine.Orderly)
			c.broken(slot, err)
			return n
		}
		switch {
		case c.traits.Pipelines && !opened && u.session.Opened():
			c.out = append(c.out[:0], e.Out...)
			u.waiting = 1 // for the answer to the login
			c.ready(slot)
		case len(e.Out) > 0:
			c.write(slot, e.Out)
		}
		if u.state != online && u.state != connecting {
			return n // a write failed
		}
		if e.Kind == dialect.None {
			if len(e.Out) > 0 {
				c.alike.read(e, n)
			}
			if size == 0 {
				return n
			}
			continue
		}
		c.take(slot, e, now)
		if u.state != online && u.state != connecting {
			return n // a write failed
		}
		c.alike.read(e, n)
	}
	c.alike.end(&u.session, in)
	return n
}

func (c *Crowd) take(slot int, e *dialect.Event, now int64) {
	switch e.Kind {
	case dialect.Message:
		c.message(slot, e, now)
	case dialect.Acknowledged:
		r, ok := c.answered(slot, e.ID)
		if !ok || r.kind != publishRequest {
			c.foreign("an answer to nothing that was asked")
			return
		}
		c.counts.Acknowledged++
		c.seen(int(r.room), e.Seq)
		took := since(r.due, now)
		c.second.Ack.Record(took)
		if c.counted(r.due) {
			c.total.Ack.Record(took)
		}
	case dialect.Refused:
		c.refused(slot, e)
	case dialect.Marked:
		c.marked(slot, e, now)
	case dialect.Receipt:
		c.counts.Receipts++
	case dialect.Presence:
		c.counts.Presence++
	case dialect.Ready:
		if c.traits.Pipelines {
			c.answeredOne(slot)
			return
		}
		c.out = c.out[:0]
		c.ready(slot)
	case dialect.Joined:
		r, ok := c.answered(slot, e.ID)
		if !ok || r.kind != joinRequest {
			c.foreign("an answer to nothing that was asked")
			return
		}
		c.joined(slot, int(r.room), e.Seq)
		c.answeredOne(slot)
	case dialect.Left:
		if r, ok := c.answered(slot, e.ID); ok && r.kind == leaveRequest {
			c.left(slot, int(r.room))
		}
	case dialect.Gap:
		if account := c.member(slot, e.Room); account != nil {
			account.Series.Excuse(e.Seq, e.Last)
			c.complete = 0
			c.fault("gap", "the server says that messages are gone: "+e.Reason)
			c.caughtUp(account)
		}
	case dialect.GoAway:
		c.fault("closed", "the server asks to go away: "+e.Reason)
	}
}

// member is account for a room that the server named, nil also if it is none.
func (c *Crowd) member(slot, room int) *ledger.Account {
	if room < 0 || room >= c.part.Plan.Rooms.Count {
		return nil
	}
	if account := c.account(slot, room); account != nil && account.Opened {
		return account
	}
	return nil
}

// early opens the account of a room for a message that came before the answer to the join, as MQTT 3.8.4 allows and others
// do: they say nothing of where the membership began, so the answer is not missed.
func (c *Crowd) early(slot, room int) *ledger.Account {
	if room < 0 || room >= c.part.Plan.Rooms.Count {
		return nil
	}
	account := c.account(slot, room)
	if account == nil || !account.Joining {
		return nil
	}
	account.Open(c.lateness())
	return account
}

func (c *Crowd) message(slot int, e *dialect.Event, now int64) {
	stamp, ok := c.finder.Find(e.Body)
	if !ok {
		c.foreign("a message that was not sent in this run, or damaged")
		return
	}
	m := delivery{room: e.Room, seq: e.Seq, ephemeral: e.Ephemeral, stamp: stamp}
	c.alike.add(&m)
	c.deliver(slot, &m, now)
}

// deliver enters a message of this run.
func (c *Crowd) deliver(slot int, m *delivery, now int64) {
	room, stamp := m.room, m.stamp
	if !c.traits.Numbered && room < 0 {
		room = int(stamp.Room)
	}
	account := c.member(slot, room)
	if account == nil && !c.traits.Numbered {
		account = c.early(slot, room)
	}
	if account == nil || room != int(stamp.Room) {
		c.foreign("a message of a room that was not joined, or in the wrong one")
		return
	}
	switch {
	case m.ephemeral && !c.part.Plan.Publish.Ephemeral && c.part.Plan.Publish.Typing > 0:
		c.counts.TypingDelivered++
		return
	case m.ephemeral != c.part.Plan.Publish.Ephemeral:
		c.foreign("a stored message for an ephemeral one, or the other way round")
		return
	}
	if c.traits.Reaches == dialect.Sender && stamp.User != c.users[slot].session.User {
		c.foreign("a message that somebody else sent")
		return
	}
	var outcome ledger.Outcome
	if c.traits.Numbered {
		outcome = account.Take(m.seq)
		c.seen(room, m.seq)
	} else {
		outcome = account.TakeFrom(stamp.User, uint64(stamp.Seq), account.Base == 0)
	}
	switch outcome {
	case ledger.Duplicate:
		c.counts.Duplicated++
		c.fault("duplicated", "a message came again")
		return
	case ledger.Late:
		c.counts.Reordered++
		c.fault("reordered", "a message came after a later one")
	case ledger.Ahead:
		c.counts.Gaps++
		c.complete = 0
	}
	c.counts.Delivered++
	c.caughtUp(account)
	c.read(slot, room, account, now)
	c.sendNext(slot, room, stamp, now)
	if stamp.Due < c.load.from || !c.load.begun {
		c.caughtN++
		return
	}
	took := since(stamp.Due, now)
	c.second.Delivery.Record(took)
	if c.counted(stamp.Due) {
		c.total.Delivery.Record(took)
	}
}

// caughtUp notices that an account has reached what was there when it was joined.
func (c *Crowd) caughtUp(account *ledger.Account) {
	if account.Target > 0 && account.Series.Last() >= account.Target {
		account.Target = 0
		c.behind--
	}
}

func (c *Crowd) foreign(what string) {
	c.counts.Foreign++
	c.fault("foreign", what)
}

// refused is an answer that says no.
func (c *Crowd) refused(slot int, e *dialect.Event) {
	r, ok := c.answered(slot, e.ID)
	switch {
	case !ok:
		c.fault("refused", e.Reason)
	case r.kind == publishRequest:
		c.counts.Refused++
		c.notOwed(slot, r)
		c.fault("publish", e.Reason)
	case r.kind == markRequest:
		c.account(slot, int(r.room)).Marking = ledger.MarkNone
		c.fault("mark", e.Reason)
	case r.kind == leaveRequest:
		c.accounts[slot*c.perUser+int(r.room)].Leaving = false // it stays, and may be drawn for a move again
		c.fault("leave", e.Reason)
	case c.users[slot].state == connecting:
		c.counts.JoinsRefused++
		c.loop.Close(slot, engine.Orderly)
		c.broken(slot, errors.New("join was refused: "+e.Reason))
	default:
		c.counts.JoinsRefused++
		c.fault("join", e.Reason)
		c.outside(slot, int(r.room))
	}
}

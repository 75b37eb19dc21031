package loop

import (
	"slices"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// localRoom is a room as one loop sees it: its own members and what they still have to be
// given.
type localRoom struct {
	name string
	// refs counts the subscriptions that point here, joining ones among them.
	refs int
	// members are slots of the table. While a batch is being handed out a member that
	// leaves becomes a hole, so that nobody is skipped or served twice.
	members []uint32
	holes   int
	// seq is the last message that the shard has sent to this loop.
	seq uint64
	// pending are messages that no batch has taken yet, ascending up to seq.
	pending []*proto.Encoded
	batch   *batch
	queued  bool // in loop.busy
}

const hole = ^uint32(0)

// find returns the index of the subscription to a room that no leave has ended, -1 if there
// is none.
func (c *conn) find(room string) int {
	return slices.IndexFunc(c.subscriptions, func(s subscription) bool { return s.room.name == room && !s.gone })
}

// answered returns the index of the subscription that a join's answer is for: the shard
// answers in order, so it is the oldest.
func (c *conn) answered(room string) int {
	return slices.IndexFunc(c.subscriptions, func(s subscription) bool { return s.room.name == room && s.member == joining })
}

// subscribe notes that a Join is on its way.
func (l *Loop) subscribe(c *conn, name string) {
	r := l.rooms[name]
	if r == nil {
		r = &localRoom{name: name}
		l.rooms[name] = r
		l.counted.Rooms.Add(1)
	}
	r.refs++
	c.subscriptions = append(c.subscriptions, subscription{room: r, member: joining})
	l.counted.Subscriptions.Add(1)
}

// joined makes the connection a member. From here on it is given every message after e.Seq
// as it comes, and what lies between its position and there from the log.
func (l *Loop) joined(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil || c.phase != connected {
		return // unsubscribe has told the shard
	}
	i := c.answered(e.Room)
	r := c.subscriptions[i].room
	reply := &v1.Joined{Room: r.name, Epoch: l.cfg.Epoch, Head: e.Seq, Begin: e.Begin}
	if e.HasAfter {
		reply.Recovered = &e.Recovered
	}
	l.reply(c, &v1.ServerFrame{Id: e.ID, Op: &v1.ServerFrame_Joined{Joined: reply}})
	if c.subscriptions[i].gone {
		l.remove(c, i)
		return
	}

	if len(r.members) == r.holes {
		// Nobody was here to be sent what came before, and it was not kept.
		l.drop(r)
		r.seq = e.Seq
	}
	if r.seq != e.Seq {
		panic("BUG: a join of room " + r.name + " and its deliveries crossed")
	}
	c.subscriptions[i].member = int32(len(r.members))
	r.members = append(r.members, c.handle.Slot)

	position := e.Seq
	if e.Recovered {
		position = e.After
	}
	if position < r.seq || r.unserved() {
		l.fallBehind(c, r, position)
	}
}

// left answers a leave.
func (l *Loop) left(e *handoff.Event) {
	if c := l.conn(e.To); c != nil {
		l.reply(c, &v1.ServerFrame{Id: e.ID, Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: e.Room}}})
	}
}

// unsubscribe ends all memberships of a connection that goes, also those that the shard has
// not heard of yet: it will have when it comes to this.
func (l *Loop) unsubscribe(c *conn) {
	for i := len(c.subscriptions) - 1; i >= 0; i-- {
		if s := c.subscriptions[i]; !s.gone {
			l.cfg.Rooms.Send(handoff.Command{Kind: handoff.Gone, From: c.handle, Room: s.room.name})
		}
		l.remove(c, i)
	}
	c.subscriptions, c.replay = nil, nil
}

// remove takes subscription i off the connection and its membership off the room.
func (l *Loop) remove(c *conn, i int) {
	s := c.subscriptions[i]
	c.subscriptions = slices.Delete(c.subscriptions, i, i+1)
	l.counted.Subscriptions.Add(-1)
	r := s.room
	if s.member != joining {
		l.caughtUp(c, r)
		if r.batch != nil {
			r.members[s.member] = hole
			r.holes++
		} else {
			l.fill(r, int(s.member))
		}
	}
	r.refs--
	l.retire(r)
}

// fill closes the gap at index i with the last member.
func (l *Loop) fill(r *localRoom, i int) {
	last := len(r.members) - 1
	moved := r.members[last]
	r.members = r.members[:last]
	if i == last {
		return
	}
	r.members[i] = moved
	c := l.slots[moved].conn
	for j := range c.subscriptions {
		if c.subscriptions[j].room == r && c.subscriptions[j].member == int32(last) {
			c.subscriptions[j].member = int32(i)
			return
		}
	}
	panic("BUG: a member of room " + r.name + " has no subscription to it")
}

// sweep closes the holes that a batch left behind.
func (l *Loop) sweep(r *localRoom) {
	for i := len(r.members) - 1; i >= 0 && r.holes > 0; i-- {
		if r.members[i] == hole {
			r.holes--
			l.fill(r, i)
		}
	}
}

// retire forgets a room that nobody here points to.
func (l *Loop) retire(r *localRoom) {
	if r.refs > 0 || l.rooms[r.name] != r {
		return
	}
	delete(l.rooms, r.name)
	l.counted.Rooms.Add(-1)
	l.drop(r)
}

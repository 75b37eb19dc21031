package loop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// localRoom is a room as one loop sees it: its own members and what they still have to be
// given.
type localRoom struct {
	name string
	// refs counts the subscriptions that point here, joining ones among them.
	refs  int32
	holes int32 // in members
	// members are slots of the table. While a batch is being handed out a member that
	// leaves becomes a hole, so that nobody is skipped or served twice.
	members []uint32
	// membership is nil in plain rooms, and until the keeper of members has admitted somebody.
	membership *membership
	// seq is the last message that the shard has sent to this loop.
	seq uint64
	// pending are messages that no batch has taken yet, in the order in which they came: those of the
	// log, ascending up to seq, and ephemeral ones among them.
	pending []*proto.Encoded
	batch   *batch
	// replies to publishers go when what is pending does, the newest is the first of the list.
	replies *publishReply
	// ephemerals are nil nearly always: while none waits and nobody is behind with them.
	ephemerals *ephemerals
	stored     int32  // how many of pending are of the log
	window     uint16 // milliseconds that messages gather before they are fanned out
	queued     bool   // in loop.busy or loop.gathering
	gathers    bool   // many messages left in its last turn, see wellGathered
	ordered    bool   // the shard was asked for its deliveries
	observed   bool   // the keeper of presence is told who comes and goes
	// begin is the oldest message that was there when the shard was last asked, at the moment asked.
	begin uint64
	asked moment
}

// knownFor is how long the loop answers joins by itself after the shard was asked: so long may the beginning of a
// room that retention moves be told as it was.
const knownFor = 10 * time.Second

// leaving is where a request to leave waits for the answer to a join. A search among all that wait on the loop would cost the square
// of their number: each of its connections may have a thousand.
type leaving struct {
	from handoff.Handle
	room *localRoom
}

const hole = ^uint32(0)

// find returns the index of the subscription to a room that no leave has ended, -1 if there
// is none.
func (c *conn) find(room string) int {
	return c.findIn(c.loop.rooms[room])
}

// findIn is find of a room that the loop has, nil: it has none. Rooms are compared and not their names: a connection may have a
// thousand, and each name lies somewhere else in memory.
func (c *conn) findIn(r *localRoom) int {
	if r == nil {
		return -1
	}
	return slices.IndexFunc(c.subscriptions, func(s subscription) bool { return s.room == r && !s.gone })
}

// standsAt reports whether the loop can answer a join itself: it has members, so it is given the room's
// deliveries and knows which was the last. The shard is asked where the client has seen more than this loop, and where
// an earlier join of the connection is not answered yet.
func (l *Loop) standsAt(c *conn, j *v1.Join) bool {
	r := l.rooms[j.Room]
	return r != nil && len(r.members) > int(r.holes) && l.now < r.asked.add(knownFor) &&
		j.GetAfter() <= r.seq && c.answered(r, joining) < 0
}

// joinHere makes subscription i, which is joining, a member's without the shard.
func (l *Loop) joinHere(c *conn, id uint64, i int, j *v1.Join) {
	r := c.subscriptions[i].room
	recovered := j.After != nil && (j.Epoch == "" || j.Epoch == l.cfg.Epoch)
	l.welcome(c, id, r, r.seq, j.After != nil, recovered)
	position := r.seq
	if recovered {
		position = j.GetAfter()
	}
	l.enter(c, i, position)
}

// answered returns the index of the subscription that an answer is for, of the shard where it is joining, of the keeper of members where
// it is entering: they answer in order, so it is the oldest. -1 if there is none.
func (c *conn) answered(r *localRoom, member int32) int {
	return slices.IndexFunc(c.subscriptions, func(s subscription) bool { return s.room == r && s.member == member })
}

// sendJoin asks the shard where the room stands, and for its deliveries.
func (l *Loop) sendJoin(c *conn, id uint64, r *localRoom, j *v1.Join) (taken bool) {
	taken = l.cfg.Rooms.Send(handoff.Command{
		Kind: handoff.Join, From: c.handle, ID: id, Room: r.name, Ephemeral: l.cfg.Ephemeral(r.name),
		HasAfter: j.After != nil, After: j.GetAfter(), Epoch: strings.Clone(j.Epoch),
	})
	r.ordered = r.ordered || taken
	return taken
}

// local returns what the loop has of a room, new if it had nothing. The name is kept.
func (l *Loop) local(name string) *localRoom {
	r := l.rooms[name]
	if r == nil {
		_, observed := l.observed[name]
		r = &localRoom{name: name, window: uint16(l.cfg.Window(name).Milliseconds()), observed: observed}
		l.rooms[name] = r
		l.counted.Rooms.Add(1)
	}
	return r
}

// refer adds a subscription that is not a member's yet, joining or entering.
func (l *Loop) refer(c *conn, r *localRoom, member int32) (i int) {
	r.refs++
	c.subscriptions = append(c.subscriptions, subscription{room: r, member: member})
	l.counted.Subscriptions.Add(1)
	return len(c.subscriptions) - 1
}

// joined makes the connection a member. From here on it is given every message after e.Seq
// as it comes, and what lies between its position and there from the log.
func (l *Loop) joined(e *handoff.Event) {
	if e.ID == 0 {
		l.returned(e)
		return
	}
	c := l.conn(e.To)
	if c == nil || c.phase != connected {
		return // its subscription has ended
	}
	r := l.rooms[e.Room]
	i := c.answered(r, joining)
	r.begin, r.asked = e.Begin, l.now
	if c.subscriptions[i].removed {
		l.fail(c, e.ID, proto.ErrNotMember, fmt.Sprintf("You are not a member of %q any more.", r.name))
		l.remove(c, i)
		return
	}
	l.welcome(c, e.ID, r, e.Seq, e.HasAfter, e.Recovered)
	if c.subscriptions[i].gone {
		l.answerLeave(c, r)
		l.remove(c, i)
		return
	}

	if len(r.members) == int(r.holes) {
		// Nobody was here to be sent what came before, and it was not kept.
		l.drop(r)
		r.seq = e.Seq
	}
	if r.seq != e.Seq {
		panic("BUG: a join of room " + r.name + " and its deliveries crossed")
	}
	position := e.Seq
	if e.Recovered {
		position = e.After
	}
	l.enter(c, i, position)
}

// welcome answers a join.
func (l *Loop) welcome(c *conn, id uint64, r *localRoom, head uint64, hasAfter, recovered bool) {
	reply := &v1.Joined{
		Room: r.name, Epoch: l.cfg.Epoch, Head: head, Begin: r.begin, Ephemeral: l.cfg.Ephemeral(r.name), Receipts: l.cfg.KeepsReceipts(r.name),
		Membership: r.info(c.identity.User),
	}
	if hasAfter {
		reply.Recovered = &recovered
	}
	l.reply(c, &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Joined{Joined: reply}})
}

// enter makes subscription i a member's, which is owed what follows position.
func (l *Loop) enter(c *conn, i int, position uint64) {
	r := c.subscriptions[i].room
	c.subscriptions[i].member = int32(len(r.members))
	r.members = append(r.members, c.handle.Slot)
	l.tellPresence(c, r, handoff.Came)
	l.startEphemeral(c, r)
	if position < r.seq || r.unserved() {
		l.fallBehind(c, r, position)
	}
}

// left answers a leave.
func (l *Loop) left(c *conn, id uint64, room string) {
	l.reply(c, &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: room}}})
}

// leaveForbidden ends the memberships that the connection's new identity does not allow. The client is told by a left of no
// request's.
func (l *Loop) leaveForbidden(c *conn) {
	for i := len(c.subscriptions) - 1; i >= 0; i-- {
		s := &c.subscriptions[i]
		switch {
		case s.gone || c.identity.CanJoin(s.room.name):
		case s.member < 0: // joining or entering
			l.leaveLater(c, s, 0)
		default:
			l.left(c, 0, s.room.name)
			l.remove(c, i)
		}
	}
}

// leaveLater has a request to leave, or 0 for none, wait for the answer to the join of a subscription.
func (l *Loop) leaveLater(c *conn, s *subscription, id uint64) {
	s.gone = true
	key := leaving{c.handle, s.room}
	l.leaves[key] = append(l.leaves[key], id)
}

// answerLeave answers the oldest leave of a room that waits for the answer to a join.
func (l *Loop) answerLeave(c *conn, r *localRoom) {
	key := leaving{c.handle, r}
	ids := l.leaves[key]
	l.left(c, ids[0], r.name)
	if len(ids) == 1 {
		delete(l.leaves, key)
		return
	}
	l.leaves[key] = ids[1:]
}

// unsubscribe ends all memberships of a connection that goes.
func (l *Loop) unsubscribe(c *conn) {
	for i := len(c.subscriptions) - 1; i >= 0; i-- {
		if s := &c.subscriptions[i]; s.gone {
			delete(l.leaves, leaving{c.handle, s.room})
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
	if r.membership != nil && s.member != entering {
		r.absent(c)
	}
	l.endPresence(c, &s)
	if s.member >= 0 {
		if s.removed {
			l.tellPresence(c, r, handoff.Expelled)
		} else {
			l.tellPresence(c, r, handoff.Went)
		}
		l.caughtUp(c, r)
		l.forgo(c, r, s.member)
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

// retire forgets a room that nobody here points to. Its shard may not have come to the join yet: it will have when it
// comes to this.
func (l *Loop) retire(r *localRoom) {
	if r.refs > 0 || l.rooms[r.name] != r {
		return
	}
	if r.ordered {
		l.cfg.Rooms.Send(handoff.Command{Kind: handoff.Gone, From: handoff.Handle{Loop: l.index}, Room: r.name})
	}
	delete(l.rooms, r.name)
	delete(l.returning, r.name)
	l.counted.Rooms.Add(-1)
	l.drop(r)
}

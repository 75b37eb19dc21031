package loop

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// frame is one request. Its strings may be views into the socket's buffer: what goes
// further is copied.
func (l *Loop) frame(c *conn, b []byte) {
	l.counted.FramesIn.Add(1)
	l.requests++
	f, err := l.reused.decode(c.codec, b)
	if err != nil {
		l.close(c, proto.CloseBadFrame, "a frame could not be read: "+err.Error())
		return
	}
	if c.traced {
		l.traceIn(c, f, len(b))
	}
	if f.Id == 0 && !l.needsNoReply(f) || f.Id > proto.MaxInteger {
		l.fail(c, f.Id, proto.ErrBadRequest, "Every request needs an id from 1 to 2^53-1; only an ephemeral publish, a mark and typing may have none.")
		return
	}
	l.carryOut(c, f, len(b))
}

// carryOut does what a request asks for, of size bytes.
func (l *Loop) carryOut(c *conn, f *v1.ClientFrame, size int) {
	if connect := f.GetConnect(); connect != nil {
		switch {
		case l.admit(c, f, size):
			l.connect(c, f.Id, connect)
		case c.phase != connected:
			l.close(c, proto.CloseOverloaded, proto.ErrRateLimited.Name)
		}
		return
	}
	if c.phase != connected {
		l.fail(c, f.Id, proto.ErrNotConnected, "The first request of a connection is connect.")
		l.close(c, proto.CloseNotConnected, "")
		return
	}
	if l.refusing {
		l.fail(c, f.Id, proto.ErrDraining, "The server is shutting down; send again after reconnecting.")
		return
	}
	if !l.admit(c, f, size) {
		return
	}
	switch op := f.Op.(type) {
	case *v1.ClientFrame_Join:
		l.join(c, f.Id, op.Join)
	case *v1.ClientFrame_Leave:
		l.leave(c, f.Id, op.Leave)
	case *v1.ClientFrame_Publish:
		l.publish(c, f.Id, op.Publish)
	case *v1.ClientFrame_History:
		l.history(c, f.Id, op.History)
	case *v1.ClientFrame_Sync:
		l.sync(c, f.Id, op.Sync)
	case *v1.ClientFrame_Mark:
		l.mark(c, f.Id, op.Mark)
	case *v1.ClientFrame_Receipts:
		l.receipts(c, f.Id, op.Receipts)
	case *v1.ClientFrame_Create:
		l.create(c, f.Id, op.Create)
	case *v1.ClientFrame_Configure:
		l.configure(c, f.Id, op.Configure)
	case *v1.ClientFrame_Member:
		l.changeMember(c, f.Id, op.Member)
	case *v1.ClientFrame_Members:
		l.listMembers(c, f.Id, op.Members)
	case *v1.ClientFrame_Rooms:
		l.listRooms(c, f.Id, op.Rooms)
	case *v1.ClientFrame_Notify:
		l.notify(c, f.Id, op.Notify)
	case *v1.ClientFrame_Device:
		l.device(c, f.Id, op.Device)
	case *v1.ClientFrame_Presence:
		l.askPresence(c, f.Id, op.Presence)
	case *v1.ClientFrame_State:
		l.state(c, f.Id, op.State)
	case *v1.ClientFrame_Typing:
		l.typing(c, f.Id, op.Typing)
	case *v1.ClientFrame_Ping:
		l.reply(c, &v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Pong{Pong: &v1.Pong{}}})
	default:
		l.fail(c, f.Id, proto.ErrUnknownOperation, "This server knows no such operation, or the frame holds none.")
	}
}

// needsNoReply: sixty messages a second are not acknowledged one by one, and of marks only the last counts. An error still
// comes, without an id.
func (l *Loop) needsNoReply(f *v1.ClientFrame) bool {
	switch op := f.Op.(type) {
	case *v1.ClientFrame_Publish:
		return op.Publish.Ephemeral || l.cfg.Ephemeral(op.Publish.Room)
	case *v1.ClientFrame_Mark, *v1.ClientFrame_Typing:
		return true
	}
	return false
}

// connect authenticates. On a connection that is authenticated it renews the token.
func (l *Loop) connect(c *conn, id uint64, r *v1.Connect) {
	who, err := l.engine.rules.Load().Auth.Authenticate(r.Token, strings.Clone(r.Name))
	if err != nil {
		// An address that names somebody any page can have its visitors' browsers ask for, and must not have them banned by it.
		l.turnAway(c, id, err, id == ofServer && r.Token == "")
		return
	}
	if until := l.cfg.Members.Banned(who.User); until != 0 {
		l.failBanned(c, id, until)
		return
	}
	if c.phase == connected {
		switch {
		case who.User != c.identity.User:
			l.fail(c, id, proto.ErrUserChanged, fmt.Sprintf("This connection belongs to %q; open another one for %q.", c.identity.User, who.User))
		case !l.asks(c, id, who):
			l.renew(c, id, who)
		}
		return
	}
	if !l.admitUser(c, id, who.User, who.Claims()) {
		l.close(c, proto.CloseOverloaded, proto.ErrRateLimited.Name)
		return
	}
	user := l.engine.admission.login(who.User, false)
	if user == nil {
		l.deny(c, deniedUserConnections, nil)
		l.fail(c, id, proto.ErrTooManyUserConns, "This user has as many connections as the server allows; close another one first.")
		l.close(c, proto.CloseOverloaded, proto.ErrTooManyUserConns.Name)
		return
	}
	c.user = user
	if !l.asks(c, id, who) {
		l.enterSession(c, id, who)
	}
}

// enterSession begins the session.
func (l *Loop) enterSession(c *conn, id uint64, who identity.Identity) {
	l.identify(c, &who)
	c.phase = connected
	c.due = 0
	l.countSession(c, 1)
	if len(l.traces) > 0 {
		l.markOne(c)
	}
	l.greet(c, id)
	if c.events {
		l.enterNamed(c)
	}
	if l.draining && int(c.handle.Slot) < l.askedToGo {
		l.goaway(c)
	}
}

// renew puts another token in force.
func (l *Loop) renew(c *conn, id uint64, who identity.Identity) {
	l.identify(c, &who)
	l.greet(c, id)
	l.leaveForbidden(c)
}

func (l *Loop) failBanned(c *conn, id uint64, until int64) {
	l.fail(c, id, proto.ErrBanned, fmt.Sprintf("You are banned from this server%s.", handoff.UntilWhen(until)))
	l.deny(c, deniedBanned, nil)
	l.close(c, proto.CloseBanned, "")
}

// turnAway ends a connection that could not be authenticated; untold is without a line about it.
func (l *Loop) turnAway(c *conn, id uint64, err error, untold bool) {
	if notYet, ok := errors.AsType[*identity.NotYetError](err); ok {
		l.failFor(c, id, proto.ErrKeysPending, sentence(err), notYet.After)
		l.close(c, proto.CloseOverloaded, proto.ErrKeysPending.Name)
		return
	}
	code, last := proto.ErrUnauthorized, proto.CloseUnauthorized
	switch {
	case errors.Is(err, identity.ErrTokenExpired):
		code, last = proto.ErrTokenExpired, proto.CloseTokenExpired
	case errors.Is(err, identity.ErrTokenRevoked):
		code, last = proto.ErrTokenRevoked, proto.CloseTokenRevoked
	}
	l.fail(c, id, code, sentence(err))
	if !untold {
		l.deny(c, denialOf(err), err)
	}
	l.close(c, last, "")
}

func (l *Loop) greet(c *conn, id uint64) {
	l.reply(c, &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{
		User:            c.identity.User,
		Session:         c.name(),
		HeartbeatMs:     uint32(l.cfg.Heartbeat.Milliseconds()),
		MaxMessageBytes: uint32(l.cfg.MessageBytes),
	}}})
}

// join makes the connection a member at once where the loop knows where the room stands, and asks the room's shard
// where it does not; see joined for what follows.
func (l *Loop) join(c *conn, id uint64, r *v1.Join) {
	switch {
	case !l.mayRead(c, id, r.Room):
	case c.find(r.Room) >= 0:
		l.fail(c, id, proto.ErrAlreadyJoined, fmt.Sprintf("This connection has joined %q already.", r.Room))
	case len(c.subscriptions) >= l.cfg.RoomsPerConnection:
		l.fail(c, id, proto.ErrTooManyRooms, fmt.Sprintf("A connection may join %d rooms; leave one first.", l.cfg.RoomsPerConnection))
	case r.GetAfter() > proto.MaxInteger || len(r.Epoch) > proto.MaxName:
		l.fail(c, id, proto.ErrBadRequest, "after is at most 2^53-1, epoch what a joined has said.")
	case l.cfg.Kind(r.Room) != handoff.Plain:
		l.requestEntry(c, id, r)
	case l.standsAt(c, r):
		l.joinHere(c, id, l.refer(c, l.rooms[r.Room], joining), r)
	default:
		i := l.refer(c, l.local(strings.Clone(r.Room)), joining)
		if !l.sendJoin(c, id, c.subscriptions[i].room, r) {
			l.overloaded(c, id)
			l.remove(c, i)
		}
	}
}

// leave ends a membership at once. Where the join is not answered yet the leave is answered right after it.
func (l *Loop) leave(c *conn, id uint64, r *v1.Leave) {
	i := c.find(r.Room)
	if i < 0 {
		l.fail(c, id, proto.ErrNotJoined, fmt.Sprintf("This connection has not joined %q.", r.Room))
		return
	}
	s := &c.subscriptions[i]
	if s.member < 0 {
		l.leaveLater(c, s, id)
		return
	}
	l.left(c, id, s.room.name)
	l.remove(c, i)
}

func (l *Loop) publish(c *conn, id uint64, r *v1.Publish) {
	ephemeral := r.Ephemeral || l.cfg.Ephemeral(r.Room)
	switch {
	case !l.validRoom(c, id, r.Room):
		return
	case !c.identity.CanPublish(r.Room):
		l.fail(c, id, proto.ErrPublishForbidden, fmt.Sprintf("Your token does not allow publishing in %q.", r.Room))
		return
	case r.Change != nil && ephemeral:
		l.fail(c, id, proto.ErrBadRequest, "What is ephemeral is not stored, so there is nothing to change.")
		return
	}
	if fault := proto.CheckPublish(r); fault != "" {
		l.fail(c, id, proto.ErrBadRequest, fault)
		return
	}
	slow, ok := l.maySpeak(c, id, r)
	if !ok {
		return
	}
	if l.inbox.Full() || l.late(c) {
		// The shard would refuse it, after as much as it takes to order it. Here it is answered in the write behind this read.
		l.counted.PushedBack.Add(1)
		l.fail(c, id, proto.ErrOverloaded, "The server is busy delivering; send again later.")
		return
	}
	room := strings.Clone(r.Room)
	who := speaker{room, c.identity.User}
	counts := false
	if slow > 0 {
		var wait time.Duration
		if wait, counts = l.engine.slow.take(who, r.Key, slow, time.Now()); wait > 0 {
			l.failFor(c, id, proto.ErrSlowMode, fmt.Sprintf("%q is in slow mode: one message in %v.", room, slow), wait)
			return
		}
	}
	command := handoff.Command{
		Kind: handoff.Publish, From: c.handle, ID: id, Ephemeral: ephemeral,
		Room: room, User: c.identity.User, Key: strings.Clone(r.Key),
		Content: proto.AppendContent(nil, r), Refers: max(r.ReplyTo, r.Thread),
	}
	if r.Change != nil {
		command.Kind, command.Change = handoff.Alter, l.change(c, r)
	}
	if l.cfg.Asks(room) && proto.BringsContent(r) {
		command.Ask, command.Moderates = true, l.moderates(c, room)
	}
	if !l.cfg.Rooms.Send(command) {
		if counts {
			l.engine.slow.giveBack(who)
		}
		l.overloaded(c, id)
		return
	}
	if !r.Ephemeral && r.Change == nil {
		l.wrote(c, room)
	}
}

// change is what the room has to know of who asks for a change.
func (l *Loop) change(c *conn, r *v1.Publish) *handoff.Change {
	change := &handoff.Change{
		Change:    &v1.Change{Target: r.Change.Target, Op: r.Change.Op},
		Moderates: l.moderates(c, r.Room),
		Pins:      l.cfg.MembersPin(r.Room),
	}
	if react := r.Change.GetReact(); react != nil {
		change.Op = &v1.Change_React{React: &v1.React{Reaction: strings.Clone(react.Reaction), Remove: react.Remove}}
	}
	return change
}

func (l *Loop) history(c *conn, id uint64, r *v1.HistoryRequest) {
	read := handoff.Read{
		Kind: handoff.HistoryBefore, To: c.handle, ID: id, Position: r.GetBefore(),
		Limit: int(r.Limit), Codec: c.codec, User: c.identity.User, Root: r.Thread,
	}
	lists := 0
	list := func(l handoff.ReadList, wanted bool) {
		if wanted {
			read.List = l
			lists++
		}
	}
	list(handoff.Thread, r.Thread != 0)
	list(handoff.Pinned, r.Pinned)
	list(handoff.Mentions, r.Mentions)
	if r.After != nil {
		read.Kind, read.Position = handoff.HistoryAfter, r.GetAfter()
	}
	if read.Limit == 0 {
		read.Limit = proto.DefaultHistory
	}
	switch {
	case !l.mayRead(c, id, r.Room) || !l.isInside(c, id, r.Room):
		return
	case r.Before != nil && r.After != nil:
		l.fail(c, id, proto.ErrBadRequest, "history takes before or after, not both.")
		return
	case r.Before != nil && r.GetBefore() == 0 || read.Position > proto.MaxInteger:
		l.fail(c, id, proto.ErrBadRequest, "before is 1 to 2^53-1, after 0 to 2^53-1.")
		return
	case lists > 1 || r.Thread > proto.MaxInteger:
		l.fail(c, id, proto.ErrBadRequest, "history takes one of thread, 1 to 2^53-1, pinned and mentions.")
		return
	case read.Limit > proto.MaxHistory:
		l.fail(c, id, proto.ErrBadRequest, fmt.Sprintf("limit is at most %d.", proto.MaxHistory))
		return
	case c.readings >= maxReadings:
		l.fail(c, id, proto.ErrRateLimited, "Wait for the answers to your earlier requests for history, receipts and presence.")
		return
	}
	if l.cfg.Ephemeral(r.Room) {
		l.reply(c, &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_History{
			History: &v1.History{Room: r.Room, Epoch: l.cfg.Epoch, Begin: 1, Ephemeral: true},
		}})
		return
	}
	read.Room = strings.Clone(r.Room)
	c.readings++
	l.asking.push(read)
}

// mark tells the keeper of receipts how far the user has come.
func (l *Loop) mark(c *conn, id uint64, r *v1.Mark) {
	switch {
	case !l.hasReceipts(c, id, r.Room):
		return
	case c.find(r.Room) < 0:
		l.fail(c, id, proto.ErrNotJoined, fmt.Sprintf("This connection has not joined %q.", r.Room))
		return
	case r.Epoch != "" && r.Epoch != l.cfg.Epoch:
		l.fail(c, id, proto.ErrBadRequest, "The mark is of another epoch than the room's.")
		return
	case r.Delivered == 0 && r.Read == 0 || r.Delivered > proto.MaxInteger || r.Read > proto.MaxInteger:
		l.fail(c, id, proto.ErrBadRequest, "A mark has delivered or read, 1 to 2^53-1.")
		return
	}
	l.toKeeper(c, handoff.Mark{From: c.handle, ID: id, Delivered: r.Delivered, Read: r.Read}, r.Room)
}

// receipts asks the keeper how far everybody has come.
func (l *Loop) receipts(c *conn, id uint64, r *v1.ReceiptsRequest) {
	switch {
	case !l.hasReceipts(c, id, r.Room):
	case c.readings >= maxReadings:
		l.fail(c, id, proto.ErrRateLimited, "Wait for the answers to your earlier requests for history, receipts and presence.")
	case l.toKeeper(c, handoff.Mark{From: c.handle, ID: id, Ask: true}, r.Room):
		c.readings++
	}
}

// answer is the finished reply to a request that counts among the connection's readings: history, receipts or presence.
// What is of a room is given to whoever may have it now: it may have been read after the user was removed from the room, or
// lost it with a new token, and hold what happened since.
func (l *Loop) answer(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil {
		return
	}
	c.readings--
	if c.identity == nil {
		return // it is closing: nobody is there who may have anything
	}
	if e.Room != "" && (!l.mayRead(c, e.ID, e.Room) || !l.isInside(c, e.ID, e.Room)) {
		return
	}
	if e.Frames == nil {
		l.fail(c, e.ID, e.Code, e.Text)
		return
	}
	l.frames(c, e.Frames)
}

func (l *Loop) toKeeper(c *conn, m handoff.Mark, room string) (taken bool) {
	m.Codec, m.Room, m.User = c.codec, strings.Clone(room), c.identity.User
	if taken = l.cfg.Receipts.Mark(m); !taken {
		l.overloaded(c, m.ID)
	}
	return taken
}

// hasReceipts reports whether the user may have a part in the receipts of a room, and answers if not.
func (l *Loop) hasReceipts(c *conn, id uint64, room string) bool {
	if !l.mayRead(c, id, room) || !l.isInside(c, id, room) {
		return false
	}
	if !l.cfg.KeepsReceipts(room) {
		l.fail(c, id, proto.ErrBadRequest, fmt.Sprintf("The room %q keeps no receipts.", room))
		return false
	}
	return true
}

// mayRead reports whether the user may enter and read a room, and answers if not.
func (l *Loop) mayRead(c *conn, id uint64, room string) bool {
	if !l.validRoom(c, id, room) {
		return false
	}
	if !c.identity.CanJoin(room) {
		l.fail(c, id, proto.ErrRoomForbidden, fmt.Sprintf("Your token does not allow the room %q.", room))
		return false
	}
	return true
}

func (l *Loop) validRoom(c *conn, id uint64, room string) bool {
	if proto.ValidName(room) {
		return true
	}
	l.fail(c, id, proto.ErrBadRequest, "room is 1 to 128 bytes of UTF-8 without control characters.")
	return false
}

func (l *Loop) overloaded(c *conn, id uint64) {
	l.fail(c, id, proto.ErrOverloaded, "The server has too much waiting; send again later.")
}

// sentence makes an error's text one for a human: with a capital and a full stop.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// machine is the state machine of docs/client.md. Its loop is the only one to touch what
// it owns; calls of the application, timers and sockets are functions that the loop runs.
// The loop never waits for anything but the next of them.
type machine struct {
	// Set at construction.
	config  Config
	random  func() float64 // uniform in [0, 1)
	mailbox chan func()    // unbuffered: what is accepted is run
	done    chan struct{}  // closed when the loop has ended
	notices *notices[StateChange]
	news    *notices[RoomEvent]
	wait    sync.WaitGroup // the loop, tries, sockets

	// Owned by the loop.
	state      State
	failures   int // tries and connections in a row that did not last
	rooms      map[string]*room
	outbox     outbox
	reads      reads
	passing    map[chan error]bool // PublishEphemeral calls that wait
	attempt    *attempt            // while Connecting, until its socket is open
	connection *connection         // from then on
	retry      *alarm              // while Waiting
	deadline   *alarm              // while Connecting
	stable     *alarm              // while Connected
	maxMessage int                 // of the last connection, 0 before
	away       bool                // nobody sits here, the application says
	user       string              // the server's name for this client, of the last connection

	// Written by the loop before done is closed, read after.
	closed *ClosedError
}

func startMachine(config Config) *machine {
	return startMachineWith(config, rand.Float64)
}

func startMachineWith(config Config, random func() float64) *machine {
	m := &machine{
		config: config, random: random,
		mailbox: make(chan func()), done: make(chan struct{}),
		notices: newNotices(config.OnState), news: newNotices(config.OnRoom),
		rooms:   make(map[string]*room),
		passing: make(map[chan error]bool),
	}
	m.outbox = newOutbox(m)
	m.reads = newReads(m)
	m.wait.Go(m.loop)
	return m
}

// loop is started by startMachine and ends itself when the machine is closed.
func (m *machine) loop() {
	defer close(m.done)
	m.waitFor(m.spread(m.config.InitialSpread), nil)
	for m.closed == nil {
		(<-m.mailbox)()
	}
}

// post has the loop run event, and returns when it begins to, or false when the loop has
// ended.
func (m *machine) post(event func()) bool {
	select {
	case m.mailbox <- event:
		return true
	case <-m.done:
		return false
	}
}

// call is post for the application, who may stop waiting.
func (m *machine) call(ctx context.Context, event func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case m.mailbox <- event:
		return nil
	case <-m.done:
		return m.closed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alarm is a timer whose function the loop runs; not at all once it is stopped.
type alarm struct {
	timer   *time.Timer
	stopped bool // owned by the loop
}

func (m *machine) after(d time.Duration, event func()) *alarm {
	a := &alarm{}
	a.timer = time.AfterFunc(d, func() {
		m.post(func() {
			if !a.stopped {
				event()
			}
		})
	})
	return a
}

func (a *alarm) stop() {
	if a != nil {
		a.stopped = true
		a.timer.Stop()
	}
}

// The transitions, in the order of a connection's life.

func (m *machine) waitFor(delay time.Duration, cause error) {
	m.state = Waiting
	m.notices.add(StateChange{State: Waiting, RetryIn: delay, Err: cause})
	m.retry = m.after(delay, m.connect)
}

func (m *machine) connect() {
	m.retry.stop()
	m.state = Connecting
	m.notices.add(StateChange{State: Connecting})
	m.deadline = m.after(m.config.ConnectTimeout, func() {
		m.lost(errors.New("the server did not answer within "+m.config.ConnectTimeout.String()), 0)
	})
	m.attempt = m.startAttempt()
}

// opened has the socket; what is left is to say who we are.
func (m *machine) opened(c *connection, token string) {
	m.attempt = nil
	m.connection = c
	m.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{
		Connect: &v1.Connect{Token: token, Name: m.config.Name},
	}}, func(reply *v1.ServerFrame) {
		switch op := reply.Op.(type) {
		case *v1.ServerFrame_Connected:
			m.welcomed(op.Connected)
		case *v1.ServerFrame_Error:
			m.unwelcome(newRequestError(op.Error))
		default:
			m.faulty("the reply to connect is none")
		}
	})
}

func (m *machine) welcomed(reply *v1.Connected) {
	m.deadline.stop()
	m.state = Connected
	m.maxMessage = int(reply.MaxMessageBytes)
	m.user = reply.User
	m.connection.limit(m.maxMessage)
	m.notices.add(StateChange{State: Connected, User: reply.User, Session: reply.Session})
	m.stable = m.after(m.config.StableAfter, func() { m.failures = 0 })
	m.startHeartbeat(time.Duration(reply.HeartbeatMs) * time.Millisecond)
	m.watchRooms()
	if m.away {
		m.sayState() // a connection begins online
	}
	m.joinAll()
	m.outbox.sendAll()
	m.reads.sendAll()
}

func (m *machine) unwelcome(err *RequestError) {
	renewable := err.Name == proto.ErrTokenExpired.Name && m.config.TokenSource != nil
	if err.Retry || renewable {
		m.endConnection(proto.CloseNormal.Code, "")
		m.lost(err, err.RetryAfter)
		return
	}
	m.shut(err)
}

// ended is the end of the socket by the other side.
func (m *machine) ended(err *CloseError) {
	m.endConnection(proto.CloseNormal.Code, "")
	final := !proto.Reconnect(err.Code) ||
		err.Code == proto.CloseTokenExpired.Code && m.config.TokenSource == nil
	if final {
		m.shut(err)
		return
	}
	m.lost(err, 0)
}

// faulty ends a connection whose other side does not keep to the protocol.
func (m *machine) faulty(what string) {
	m.endConnection(proto.CloseBadFrame.Code, what)
	m.lost(errors.New("protocol fault: "+what), 0)
}

// lost goes back to Waiting; hint is what the server asked for.
func (m *machine) lost(cause error, hint time.Duration) {
	var delay time.Duration
	if c := m.connection; c != nil && c.goingAway {
		m.failures = 0
		delay = m.spread(max(c.window, m.config.BackoffBase))
	} else {
		delay = m.backoff(m.failures, hint)
		m.failures++
	}
	m.disconnect()
	m.waitFor(delay, cause)
}

// disconnect forgets the try or the connection and all that lives as long as it does. Its
// socket is cut, unless endConnection has given it a second to say goodbye.
func (m *machine) disconnect() {
	if m.attempt != nil {
		m.attempt.cancel()
		m.attempt = nil
	}
	m.deadline.stop()
	m.stable.stop()
	if c := m.connection; c != nil {
		m.connection = nil
		c.heartbeat.stop()
		c.departure.stop()
		c.drop()
	}
	for _, r := range m.rooms {
		r.disconnected()
	}
	m.outbox.disconnected()
	m.reads.disconnected()
	m.givePassingUp()
}

func (m *machine) endConnection(code uint16, reason string) {
	if m.connection != nil {
		m.connection.end(code, reason)
	}
}

// shut is final. reason is nil when the application asked for it.
func (m *machine) shut(reason error) {
	m.endConnection(proto.CloseNormal.Code, "")
	m.disconnect()
	m.retry.stop()
	m.state = Closed
	m.closed = &ClosedError{Reason: reason}
	for _, r := range m.rooms {
		r.finish(m.closed)
	}
	m.outbox.rejectAll(m.closed)
	m.reads.rejectAll(m.closed)
	m.notices.add(StateChange{State: Closed, Err: reason})
}

func (m *machine) wakeUp() {
	switch m.state {
	case Waiting:
		m.connect()
	case Connected:
		m.probe(wakeTimeout)
	}
}

// ready reports whether new requests may be sent.
func (m *machine) ready() bool { return m.state == Connected && !m.connection.goingAway }

// request sends a frame; answer is run with its reply, unless the connection ends first.
func (m *machine) request(frame *v1.ClientFrame, answer func(*v1.ServerFrame)) {
	m.number(frame, answer)
	m.connection.send(proto.AppendClientFrame(nil, proto.Binary, frame))
}

func (m *machine) number(frame *v1.ClientFrame, answer func(*v1.ServerFrame)) {
	c := m.connection
	c.lastID++
	frame.Id = c.lastID
	c.requests[frame.Id] = answer
}

// received looks at what the server sent in one go.
func (m *machine) received(c *connection, frames []*v1.ServerFrame) {
	c.heard = time.Now()
	c.received++
	for _, frame := range frames {
		m.frame(c, frame)
		if m.connection != c {
			return // this frame has ended the connection
		}
	}
}

func (m *machine) frame(c *connection, frame *v1.ServerFrame) {
	if frame.Id != 0 {
		answer := c.requests[frame.Id]
		delete(c.requests, frame.Id)
		if answer != nil {
			answer(frame)
		}
		return
	}
	switch op := frame.Op.(type) {
	case *v1.ServerFrame_Message:
		m.message(op.Message)
	case *v1.ServerFrame_Gap:
		m.gap(op.Gap)
	case *v1.ServerFrame_Receipt:
		m.receipt(op.Receipt)
	case *v1.ServerFrame_Receipts:
		m.counted(op.Receipts)
	case *v1.ServerFrame_Room:
		m.news.add(RoomEvent{Room: newRoomInfo(op.Room)})
	case *v1.ServerFrame_Member:
		m.news.add(RoomEvent{Member: newMemberChange(op.Member)})
	case *v1.ServerFrame_Removed:
		m.removed(op.Removed)
	case *v1.ServerFrame_PresenceChange:
		m.presenceChanged(op.PresenceChange)
	case *v1.ServerFrame_Typing:
		m.typed(op.Typing)
	case *v1.ServerFrame_Goaway:
		m.goAway(op.Goaway)
	case *v1.ServerFrame_Ping:
		m.sendPing()
	case *v1.ServerFrame_Close:
		m.ended(&CloseError{Code: uint16(op.Close.Code), Reason: op.Close.Reason})
	}
}

// goAway: the server wants this connection to end in a while.
func (m *machine) goAway(g *v1.GoAway) {
	c := m.connection
	c.departure.stop()
	c.goingAway = true
	c.window = time.Duration(g.WindowMs) * time.Millisecond
	cause := errors.New("the server is going away: " + g.Reason)
	c.departure = m.after(time.Duration(g.AfterMs)*time.Millisecond, func() {
		m.endConnection(proto.CloseNormal.Code, "")
		m.lost(cause, 0)
	})
}

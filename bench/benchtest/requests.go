package benchtest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// heartbeat is what clients are told. The server itself never probes.
const heartbeat = 25 * time.Second

// retryAfter is what a refused publish is told to wait.
const retryAfter = 100 * time.Millisecond

// request answers one frame. An error ends the connection.
func (c *conn) request(frame []byte) error {
	var f v1.ClientFrame
	if err := proto.DecodeClientFrame(&f, c.codec, frame); err != nil {
		return &closing{proto.CloseBadFrame, err.Error()}
	}
	if f.Id == 0 && !f.GetPublish().GetEphemeral() && f.GetMark() == nil || f.Id > proto.MaxInteger {
		c.refuse(0, proto.ErrBadRequest, "A request needs an id, 1 to 2^53-1.")
		return nil
	}
	if op, ok := f.Op.(*v1.ClientFrame_Connect); ok {
		return c.connect(f.Id, op.Connect)
	}
	if c.user == "" {
		c.refuse(f.Id, proto.ErrNotConnected, "The first request must be connect.")
		return &closing{proto.CloseNotConnected, "the first request must be connect"}
	}
	switch op := f.Op.(type) {
	case *v1.ClientFrame_Join:
		c.join(f.Id, op.Join)
	case *v1.ClientFrame_Leave:
		c.leave(f.Id, op.Leave)
	case *v1.ClientFrame_Publish:
		c.publish(f.Id, op.Publish)
	case *v1.ClientFrame_History:
		c.history(f.Id, op.History)
	case *v1.ClientFrame_Mark:
		c.mark(f.Id, op.Mark)
	case *v1.ClientFrame_Ping:
		c.reply(&v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Pong{Pong: &v1.Pong{}}}, 0)
	default:
		c.refuse(f.Id, proto.ErrUnknownOperation, "The frame holds no operation that this server knows.")
	}
	return nil
}

// reply queues a frame that adds to counts when it is sent.
func (c *conn) reply(frame *v1.ServerFrame, delay time.Duration, counts ...*atomic.Int64) {
	i := &item{kind: kindOf(c.codec), payload: proto.AppendServerFrame(nil, c.codec, frame)}
	copy(i.counts[:], counts)
	c.out.push(delay, i)
}

func (c *conn) refuse(id uint64, code proto.ErrorCode, message string) {
	c.reply(code.Frame(id, message), 0)
}

// named answers a request with a room's name that can be none, and returns false.
func (c *conn) named(id uint64, room string) bool {
	if !proto.ValidName(room) {
		c.refuse(id, proto.ErrBadRequest, "room must be 1 to 128 bytes of UTF-8 without control characters.")
		return false
	}
	return true
}

func (c *conn) connect(id uint64, request *v1.Connect) error {
	if want := c.server.config.Token; want != "" && request.Token != want {
		c.refuse(id, proto.ErrUnauthorized, "The test asks for another token.")
		return &closing{proto.CloseUnauthorized, "the test asks for another token"}
	}
	session := c.socket.RemoteAddr().String()
	user := request.Name
	if request.Token != "" {
		user = subject(request.Token, session)
	}
	if !proto.ValidName(user) {
		c.refuse(id, proto.ErrUnauthorized, "A token, or a name of 1 to 128 bytes of UTF-8 without control characters.")
		return &closing{proto.CloseUnauthorized, "no token and no name"}
	}
	if c.user != "" && c.user != user {
		c.refuse(id, proto.ErrUserChanged, "The connection is another user's.")
		return nil
	}
	c.user = user
	c.reply(&v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{
		User: user, Session: session, HeartbeatMs: uint32(heartbeat.Milliseconds()), MaxMessageBytes: maxMessage,
	}}}, 0, &c.server.tally.connected)
	return nil
}

// subject is who a token says its bearer is. Nobody signed it for this server, so nothing is checked; one
// that is no JSON Web Token names nobody, and is another user each time.
func subject(token, session string) string {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.Subject == "" {
		return session
	}
	return claims.Subject
}

func (c *conn) join(id uint64, request *v1.Join) {
	if !c.named(id, request.Room) {
		return
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.rooms[request.Room] != nil {
		c.refuse(id, proto.ErrAlreadyJoined, "The connection has joined the room already.")
		return
	}
	r := s.roomLocked(request.Room)
	if r.joins++; every(s.faults.RefuseJoin, r.joins) {
		c.reply(proto.ErrRateLimited.Frame(id, "The test asks for a refusal."), 0, &s.tally.joinsRefused)
		return
	}
	joined := &v1.Joined{Room: r.name, Epoch: s.epoch, Head: r.head(), Begin: r.begin}
	from := r.head() + 1
	if request.After != nil {
		recovered := (request.Epoch == "" || request.Epoch == s.epoch) && *request.After <= r.head()
		joined.Recovered = &recovered
		if recovered {
			from = *request.After + 1
		}
	}
	c.reply(&v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Joined{Joined: joined}}, 0, &s.tally.joined)
	s.enterLocked(c, r, from)
}

func (c *conn) leave(id uint64, request *v1.Leave) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	m := c.rooms[request.Room]
	if m == nil {
		c.refuse(id, proto.ErrNotJoined, "The connection has not joined the room.")
		return
	}
	m.leaveLocked()
	// Behind all deliveries of the room that wait for their time: none may come after it.
	c.reply(&v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: request.Room}}}, s.faults.Delay)
}

func (c *conn) publish(id uint64, request *v1.Publish) {
	if !c.named(id, request.Room) {
		return
	}
	if len(request.Key) > proto.MaxKey {
		c.refuse(id, proto.ErrBadRequest, fmt.Sprintf("key must not be longer than %d bytes.", proto.MaxKey))
		return
	}
	s := c.server
	s.gate.publish()
	if request.Ephemeral {
		c.pass(id, request)
		return
	}
	s.tally.published.Add(1)
	key := ""
	if request.Key != "" {
		key = c.user + "\x00" + request.Key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roomLocked(request.Room)
	if earlier := r.keys[key]; earlier != nil {
		s.tally.repeated.Add(1)
		c.acknowledge(id, earlier, nil)
		return
	}
	r.publishes++
	if every(s.faults.Refuse, r.publishes) {
		refusal := proto.ErrRateLimited.Frame(id, "The test asks for a refusal.")
		after := uint32(retryAfter.Milliseconds())
		refusal.GetError().RetryAfterMs = &after
		c.reply(refusal, 0, &s.tally.refused)
		return
	}
	lose := every(s.faults.LoseAck, r.publishes)
	lie := !lose && every(s.faults.AckLie, r.publishes)
	m := r.next(c.user, proto.AppendContent(nil, request))
	m.key, m.lied = key, lie
	s.addLocked(r, m)
	// Behind the deliveries, though the real server mostly answers first: who has the answer finds all that
	// became of the publish in Truth, but for what waits for its time.
	switch {
	case lose:
		s.tally.acksLost.Add(1)
	case lie:
		c.acknowledge(id, m, &s.tally.lied)
	default:
		c.acknowledge(id, m, nil)
	}
}

// pass delivers an ephemeral message to who is there.
func (c *conn) pass(id uint64, request *v1.Publish) {
	s := c.server
	s.tally.ephemeral.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roomLocked(request.Room)
	r.publishes++
	if every(s.faults.Refuse, r.publishes) {
		c.reply(proto.ErrOverloaded.Frame(id, "The test asks for a refusal."), 0, &s.tally.refused)
		return
	}
	h := proto.Header{Room: r.name, At: time.Now().UnixMilli(), From: c.user, Ephemeral: true, Key: request.Key}
	content := proto.AppendContent(nil, request)
	m := &message{header: h, content: content, encoded: proto.Encode(h, content)}
	for member := range r.members {
		member.deliverLocked(m)
	}
	if id != 0 {
		c.acknowledge(id, m, nil)
	}
}

// mark tells the members at once. Where the user stands is not kept: what is marked is what is answered.
func (c *conn) mark(id uint64, request *v1.Mark) {
	if !c.named(id, request.Room) {
		return
	}
	s := c.server
	s.tally.marks.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roomLocked(request.Room)
	read := request.Read
	delivered := max(read, request.Delivered)
	if delivered == 0 || delivered > r.head() {
		c.refuse(id, proto.ErrBadRequest, "A mark is 1 to the number of the room's newest message.")
		return
	}
	r.marks++
	for m := range r.members {
		m.conn.reply(&v1.ServerFrame{Op: &v1.ServerFrame_Receipt{Receipt: &v1.Receipt{
			Room: r.name, User: c.user, Delivered: delivered, Read: read,
		}}}, 0, &s.tally.receipts)
	}
	switch {
	case id == 0:
		return
	case every(s.faults.LoseMark, r.marks):
		s.tally.marksLost.Add(1)
		return
	case every(s.faults.MarkLie, r.marks):
		s.tally.marksLied.Add(1)
		read--
	}
	c.reply(&v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Marked{Marked: &v1.Marked{
		Room: r.name, Delivered: delivered, Read: read,
	}}}, 0, &s.tally.marked)
}

func (c *conn) acknowledge(id uint64, m *message, fault *atomic.Int64) {
	c.reply(&v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Published{Published: &v1.Published{
		Room: m.header.Room, Seq: m.header.Seq, At: uint64(m.header.At),
	}}}, c.server.faults.AckDelay, &c.server.tally.acknowledged, fault)
}

func (c *conn) history(id uint64, request *v1.HistoryRequest) {
	switch {
	case !c.named(id, request.Room):
		return
	case request.Before != nil && request.After != nil:
		c.refuse(id, proto.ErrBadRequest, "before or after, not both.")
		return
	case request.Limit > proto.MaxHistory:
		c.refuse(id, proto.ErrBadRequest, fmt.Sprintf("limit must not be over %d.", proto.MaxHistory))
		return
	}
	limit := uint64(request.Limit)
	if limit == 0 {
		limit = proto.DefaultHistory
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roomLocked(request.Room)
	page := proto.NewHistory(c.codec, id, r.name, s.epoch, r.begin)
	size, added := 0, uint64(0)
	// add takes a message into the page, or says that the page is full.
	add := func(m *message) bool {
		if m.lied {
			return true
		}
		if added == limit || added > 0 && size+len(m.content) > proto.MaxPageBytes {
			return false
		}
		page.Add(m.header, m.content)
		added++
		size += len(m.content)
		return true
	}
	more := false
	descending := request.After == nil
	if descending {
		last := r.head()
		if request.Before != nil {
			last = min(last, max(*request.Before, 1)-1)
		}
		for seq := last; seq >= r.begin && !more; seq-- {
			more = !add(r.at(seq))
		}
	} else {
		for seq := max(*request.After+1, r.begin); seq <= r.head() && !more; seq++ {
			more = !add(r.at(seq))
		}
	}
	c.out.push(0, &item{kind: kindOf(c.codec), payload: page.Append(nil, descending, more)})
}

package loop

// books are kept beside the model of model_test.go: each ephemeral message is owed to each member whose turn with it came, and is either
// delivered or counted as dropped. They know nothing of how the loop remembers who has stopped: what they look at is who is a member, and
// what of a room still waits for its turn.
type books struct {
	given  map[string]int // by room: ephemeral messages that the loop was given
	unread map[string]int // by room: those of them that are still in its mailbox
	asked  map[stay]int   // messages before the shard's answer to the join that is on its way
	begun  map[stay]int   // messages before the membership
	owed   int
	came   int
}

// stay is a client in a room.
type stay struct {
	client *modelClient
	room   string
}

func newBooks() books {
	return books{given: map[string]int{}, unread: map[string]int{}, asked: map[stay]int{}, begun: map[stay]int{}}
}

// give is for a message that is put into the loop's mailbox.
func (b *books) give(room string) {
	b.given[room]++
	b.unread[room]++
}

// worked notes that the loop has had a turn: it has read its mailbox, and answers to joins that were in it have made members.
func (m *model) worked() {
	clear(m.books.unread)
	for _, c := range m.clients {
		for _, room := range m.rooms {
			m.enters(c, room, m.books.asked[stay{c, room}])
		}
	}
}

// enters notes that a client has become a member, if it has.
func (m *model) enters(c *modelClient, room string, before int) {
	at := stay{c, room}
	if _, known := m.books.begun[at]; !known && m.subscription(c, room) != nil {
		m.books.begun[at] = before
	}
}

// entersHere is for a join that the loop may have answered by itself: what is in its mailbox comes after it.
func (m *model) entersHere(c *modelClient, room string) {
	m.enters(c, room, m.books.given[room]-m.books.unread[room])
}

// subscription is a client's membership of a room, nil if there is none.
func (m *model) subscription(c *modelClient, room string) *subscription {
	conn := c.socket.context.(*conn)
	for i := range conn.subscriptions {
		if s := &conn.subscriptions[i]; s.room.name == room && s.member >= 0 {
			return s
		}
	}
	return nil
}

// leaves adds up what was owed to a member that is about to go: not what waits for its turn still.
func (m *model) leaves(c *modelClient, room string) {
	at := stay{c, room}
	s := m.subscription(c, room)
	if s == nil {
		return
	}
	waiting := m.books.unread[room]
	for _, p := range s.room.pending {
		if p.Ephemeral {
			waiting++
		}
	}
	if batch := s.room.batch; batch != nil && int(s.member) >= batch.next {
		waiting += len(batch.ephemeral.messages)
	}
	m.books.owed += max(0, m.books.given[room]-waiting-m.books.begun[at]) // what waits may be of before it came
	delete(m.books.begun, at)
}

// ends has a client go, when it has read what it was sent.
func (m *model) ends(c *modelClient) {
	c.socket.room = 1 << 30
	_ = c.socket.Flush()
	m.check(c)
	for _, room := range m.rooms {
		m.leaves(c, room)
	}
	m.rig.events.Close(c.socket)
}

// balance compares the books with what the loop has counted, when everybody is gone.
func (m *model) balance() {
	delivered, behind, left := int64(0), int64(0), int64(0)
	for _, counted := range append(m.ended, m.rig.loop.counted) {
		delivered += counted.EphemeralDelivered.Load()
		behind += counted.EphemeralDropped[dropBehind].Load()
		left += counted.EphemeralDropped[dropLeft].Load()
	}
	if delivered != int64(m.books.came) || delivered+behind+left != int64(m.books.owed) {
		m.t.Errorf("%d ephemeral messages were owed and %d came; counted are %d delivered, %d dropped for who was behind, %d for who left",
			m.books.owed, m.books.came, delivered, behind, left)
	}
}

package loop

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

const (
	// surveySteps bounds what a turn looks at for a survey: connections, and their rooms.
	surveySteps = 4096
	// mostBehind and mostRooms are how many of each list a loop tells, topRooms how many are left of all. A loop tells more, since a
	// room that is large on all loops together need not be among the largest of one.
	mostBehind, mostRooms, topRooms = 10, 64, 10
	// talliedFor is how long deliveries are counted by room after somebody has asked for them, talliedRooms of how many rooms.
	talliedFor   = 15 * time.Second
	talliedRooms = 4096
)

// Survey is what only the tables of the loops know: who is behind, and which rooms are large or busy.
type Survey struct {
	Loops    int // that were asked
	Answered int // of them, in time
	// Behind are the connections with most outbound waiting, and those that have taken nothing for longest.
	Behind []Straggler
	// Largest are the rooms with most members here, Busiest those with most deliveries in Over. What is beyond talliedRooms of a loop is only in Untallied.
	Largest, Busiest []RoomFigure
	Over             time.Duration
	Untallied        int64
}

// Straggler is a connection that does not take what it is sent.
type Straggler struct {
	User     string
	Session  string
	Protocol string
	Waiting  int64         // bytes that its socket has not taken
	Stalled  time.Duration // since it last took some
	Rooms    int           // that it is served from the log
}

// RoomFigure is a room and how much there is of what was asked.
type RoomFigure struct {
	Room  string
	Count int64
}

// surveying is a survey under way.
type surveying struct {
	mu     sync.Mutex // guards all below
	sum    Survey
	rooms  map[string]int64
	counts map[string]int64
	done   chan struct{} // closed when all have answered
}

// Survey asks the loops, and waits for their answers or for ctx; then those that are there count. One at a time. It has
// deliveries be counted by room until nobody has asked for a while.
func (e *Engine) Survey(ctx context.Context) Survey {
	loops := *e.loops.Load()
	s := &surveying{sum: Survey{Loops: len(loops)}, rooms: map[string]int64{}, counts: map[string]int64{}, done: make(chan struct{})}
	e.surveying.Store(s)
	for _, l := range loops {
		l.inbox.PutAlways(handoff.Event{Kind: handoff.Survey}, 0)
	}
	if len(loops) > 0 {
		select {
		case <-s.done:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.Largest, s.sum.Busiest = largest(s.rooms, topRooms), largest(s.counts, topRooms)
	slices.SortFunc(s.sum.Behind, func(a, b Straggler) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.Stalled, a.Stalled), cmp.Compare(b.Rooms, a.Rooms), cmp.Compare(a.Session, b.Session))
	})
	// The most of all loops by either are among the most of one.
	longest := slices.Clone(s.sum.Behind)
	slices.SortStableFunc(longest, func(a, b Straggler) int { return cmp.Compare(b.Stalled, a.Stalled) })
	kept := map[string]bool{}
	for _, list := range [][]Straggler{s.sum.Behind, longest} {
		for _, straggler := range list[:min(mostBehind, len(list))] {
			kept[straggler.Session] = true
		}
	}
	s.sum.Behind = slices.DeleteFunc(s.sum.Behind, func(st Straggler) bool { return !kept[st.Session] })
	return s.sum
}

// largest are the n rooms with the most, the most first.
func largest(counts map[string]int64, n int) []RoomFigure {
	top := top[RoomFigure]{most: n, compare: func(a, b RoomFigure) int {
		return cmp.Or(cmp.Compare(a.Count, b.Count), cmp.Compare(b.Room, a.Room))
	}}
	for room, count := range counts {
		top.show(RoomFigure{room, count})
	}
	return top.items
}

// answer takes what a loop has found.
func (s *surveying) answer(found *survey, tallied *tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range []top[Straggler]{found.waiting, found.stalled} {
		for _, straggler := range list.items {
			if !slices.ContainsFunc(s.sum.Behind, func(other Straggler) bool { return other.Session == straggler.Session }) {
				s.sum.Behind = append(s.sum.Behind, straggler)
			}
		}
	}
	for _, r := range found.rooms.items {
		s.rooms[r.Room] += r.Count
	}
	for _, r := range largest(tallied.rooms, mostRooms) {
		s.counts[r.Room] += r.Count
	}
	s.sum.Untallied += tallied.others
	if over := time.Since(tallied.since); tallied.began {
		s.sum.Over = max(s.sum.Over, over)
	}
	if s.sum.Answered++; s.sum.Answered == s.sum.Loops {
		close(s.done)
	}
}

// survey is how far a loop is with one.
type survey struct {
	asked *surveying
	next  int // slot to look at
	waiting,
	stalled top[Straggler]
	rooms top[RoomFigure]
}

// survey begins to look through the table. One that was not finished when the next is asked for is given up.
func (l *Loop) survey() {
	l.surveyed = &survey{
		asked: l.engine.surveying.Load(),
		waiting: top[Straggler]{most: mostBehind, compare: func(a, b Straggler) int {
			return cmp.Or(cmp.Compare(a.Waiting, b.Waiting), cmp.Compare(a.Rooms, b.Rooms))
		}},
		stalled: top[Straggler]{most: mostBehind, compare: func(a, b Straggler) int { return cmp.Compare(a.Stalled, b.Stalled) }},
		rooms:   top[RoomFigure]{most: mostRooms, compare: func(a, b RoomFigure) int { return cmp.Compare(a.Count, b.Count) }},
	}
	if l.tally == nil {
		l.tally = &tally{rooms: map[string]int64{}, since: time.Now()}
	}
	l.tally.until = l.now.add(talliedFor)
}

// surveySome looks at a part of the table, and answers when it has seen all of it.
func (l *Loop) surveySome() {
	s := l.surveyed
	if s == nil {
		return
	}
	for steps := surveySteps; s.next < len(l.slots); s.next++ {
		if steps <= 0 {
			return
		}
		steps--
		if c := l.slots[s.next].conn; c != nil && c.identity != nil {
			steps -= len(c.subscriptions)
			l.surveyOne(s, c)
		}
	}
	s.asked.answer(s, l.tally)
	l.surveyed = nil
	l.tally.begin()
}

func (l *Loop) surveyOne(s *survey, c *conn) {
	if c.backed || c.replay != nil {
		straggler := Straggler{User: c.identity.User, Session: c.name(), Protocol: protocolNames[c.protocol()]}
		if c.backed {
			straggler.Waiting, straggler.Stalled = int64(c.buffered), time.Duration(l.now-c.took)*tick
		}
		if c.replay != nil {
			straggler.Rooms = len(c.replay.entries)
		}
		s.waiting.show(straggler)
		if straggler.Stalled > 0 {
			s.stalled.show(straggler)
		}
	}
	for i := range c.subscriptions {
		// A room is counted where its first member is, so once. While one that has just left is a hole there, it is not.
		if sub := &c.subscriptions[i]; sub.member == 0 {
			s.rooms.show(RoomFigure{sub.room.name, int64(len(sub.room.members) - int(sub.room.holes))})
		}
	}
}

// tally counts deliveries by room while somebody looks.
type tally struct {
	rooms  map[string]int64
	others int64 // of rooms beyond talliedRooms
	since  time.Time
	began  bool // it counts since then; false: nobody has asked before
	until  moment
}

func (t *tally) begin() {
	clear(t.rooms)
	t.others, t.since, t.began = 0, time.Now(), true
}

func (t *tally) add(room string, deliveries int) {
	if _, known := t.rooms[room]; !known && len(t.rooms) == talliedRooms {
		t.others += int64(deliveries)
		return
	}
	t.rooms[room] += int64(deliveries)
}

// tallyLess ends the count when nobody has asked for a while.
func (l *Loop) tallyLess() {
	if l.tally != nil && l.surveyed == nil && l.now >= l.tally.until {
		l.tally = nil
	}
}

// top keeps those that are most of what it is shown, the most first.
type top[T any] struct {
	most    int
	compare func(a, b T) int
	items   []T
}

func (t *top[T]) show(item T) {
	if len(t.items) == t.most {
		if t.compare(item, t.items[t.most-1]) <= 0 {
			return
		}
		t.items = t.items[:t.most-1]
	}
	i, _ := slices.BinarySearchFunc(t.items, item, func(a, b T) int { return t.compare(b, a) })
	t.items = slices.Insert(t.items, i, item)
}

// Protocols of sessions, by index in Counters.Protocols.
const (
	overTCP = iota
	overBinary
	overJSON
	overEvents
)

var protocolNames = [...]string{"raw TCP", "WebSocket, binary", "WebSocket, JSON", "Server-Sent Events"}

// ProtocolNames gives them by index in Counters.Protocols.
func ProtocolNames() []string { return protocolNames[:] }

// protocol is for who has said connect: what it speaks does not change any more.
func (c *conn) protocol() int {
	switch {
	case c.stream:
		return overTCP
	case c.events:
		return overEvents
	case c.codec == proto.JSON:
		return overJSON
	}
	return overBinary
}

// countSession counts a session that begins, 1, or ends, -1.
func (l *Loop) countSession(c *conn, change int64) {
	l.counted.Sessions.Add(change)
	l.counted.Protocols[c.protocol()].Add(change)
}

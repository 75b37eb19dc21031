package loop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// openAs makes a connection of a user.
func (r *rig) openAs(user string, stream bool, codec proto.Codec) *fakeSocket {
	r.t.Helper()
	s := &fakeSocket{room: 1 << 30, loop: r.events}
	r.loop.accept(s)
	c := s.context.(*conn)
	c.stream, c.codec, c.phase = stream, codec, opened
	r.request(s, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: user, Token: "a secret token"}}})
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetConnected() == nil {
		r.t.Fatalf("connect was answered with %v", frames)
	}
	return s
}

// survey asks the rig's loop, which is the only one, and has it work until it has answered.
func (r *rig) survey() Survey {
	r.t.Helper()
	e := r.loop.engine
	e.loops.Store(&[]*Loop{r.loop})
	answer := make(chan Survey)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rung := make(chan struct{}, 1)
	r.loop.inbox.Listen(func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	})
	defer r.loop.inbox.Listen(func() {})
	go func() { answer <- e.Survey(ctx) }()
	<-rung
	r.work()
	return <-answer
}

func TestSurveyKnowsTheRooms(t *testing.T) {
	r := newRig(t, nil)
	for i := range 30 {
		s := r.open(i%2 == 0, proto.Binary)
		for room := range 12 {
			if i%(room+1) == 0 {
				r.join(s, fmt.Sprint("room-", room), 0)
			}
		}
	}
	first := r.survey()
	var want []RoomFigure
	for room := range 12 {
		want = append(want, RoomFigure{fmt.Sprint("room-", room), int64(29/(room+1) + 1)})
	}
	slices.SortFunc(want, func(a, b RoomFigure) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Room, b.Room)) })
	want = want[:topRooms]
	if !slices.Equal(first.Largest, want) {
		t.Errorf("the largest rooms are %v, want %v", first.Largest, want)
	}
	if len(first.Busiest) != 0 || first.Over != 0 || first.Loops != 1 || first.Answered != 1 || len(first.Behind) != 0 {
		t.Errorf("the first survey says %+v", first)
	}
	r.deliver("room-3", 1)
	r.deliver("room-3", 2)
	r.deliver("room-9", 1)
	r.pass("room-11", "bob", "", 1)
	r.work()
	second := r.survey()
	if got, want := fmt.Sprint(second.Busiest), "[{room-3 16} {room-11 3} {room-9 3}]"; got != want || second.Over <= 0 {
		t.Errorf("the busiest rooms are %s over %v, want %s", got, second.Over, want)
	}
	if deliveries := r.loop.counted.Deliveries.Load(); deliveries != 19 {
		t.Errorf("%d deliveries were counted, of which 3 ephemeral ones are not", deliveries)
	}
	if third := r.survey(); len(third.Busiest) != 0 {
		t.Errorf("what was told once is told again: %v", third.Busiest)
	}
	// Nobody asks any more: nothing is counted any more.
	r.loop.now = r.loop.now.add(talliedFor)
	r.loop.tallyLess()
	if r.loop.tally != nil {
		t.Error("deliveries are counted although nobody asks")
	}
}

func TestSurveyKnowsWhoIsBehind(t *testing.T) {
	r := newRig(t, nil)
	var stuck []string
	for i := range 30 {
		s := r.openAs(fmt.Sprint("user-", i), false, proto.JSON)
		if i%2 == 1 {
			continue
		}
		c := s.context.(*conn)
		if i == 4 {
			r.join(s, "r", 0)
		}
		s.room = 0
		r.loop.write(c, make([]byte, 1000+i))
		r.loop.flush()
		c.took = r.loop.now - moment(30-i)
		stuck = append(stuck, c.identity.User)
	}
	r.deliver("r", 1)
	r.work()
	got := r.survey()
	if len(got.Behind) != len(stuck) || got.Behind[0].User != "user-28" || got.Behind[0].Waiting != 1028 || got.Behind[0].Stalled != 200*time.Millisecond {
		t.Errorf("of %d that are stuck these are told: %+v", len(stuck), got.Behind)
	}
	if i := slices.IndexFunc(got.Behind, func(s Straggler) bool { return s.User == "user-4" }); i < 0 || got.Behind[i].Rooms != 1 || got.Behind[i].Protocol != "WebSocket, JSON" {
		t.Errorf("who is behind in a room is not told as that: %+v", got.Behind)
	}
	// More than both lists hold: those with most waiting, and those that have waited longest.
	for i := 1; i < 30; i += 2 {
		s := r.openAs(fmt.Sprint("more-", i), true, proto.Binary)
		s.room = 0
		r.loop.write(s.context.(*conn), make([]byte, 5))
		r.loop.flush()
	}
	got = r.survey()
	if len(got.Behind) > 2*mostBehind || got.Behind[0].User != "user-28" || !slices.ContainsFunc(got.Behind, func(s Straggler) bool { return s.User == "user-0" }) {
		t.Errorf("told are %d: %+v", len(got.Behind), got.Behind)
	}
}

// TestASurveyIsMadeInSlices: a loop with very many connections serves the others in between.
func TestASurveyIsMadeInSlices(t *testing.T) {
	r := newRig(t, nil)
	const connections = 2*surveySteps + 10
	for range connections {
		r.open(true, proto.Binary)
	}
	e := r.loop.engine
	asked := &surveying{sum: Survey{Loops: 1}, rooms: map[string]int64{}, counts: map[string]int64{}, done: make(chan struct{})}
	e.surveying.Store(asked)
	r.put(handoff.Event{Kind: handoff.Survey})
	turns := 0
	for asked.sum.Answered == 0 {
		r.rung = false
		r.loop.work()
		turns++
		if asked.sum.Answered == 0 && !r.rung {
			t.Fatal("the loop does not go on by itself")
		}
	}
	if turns != 3 {
		t.Errorf("it took %d turns, want 3", turns)
	}
}

func TestTallyIsBounded(t *testing.T) {
	counts := tally{rooms: map[string]int64{}}
	for i := range talliedRooms + 100 {
		counts.add(fmt.Sprint(i), 2)
		counts.add("0", 1)
	}
	if len(counts.rooms) != talliedRooms || counts.others != 200 || counts.rooms["0"] != talliedRooms+102 {
		t.Errorf("%d rooms are counted, %d of others, %d of the first", len(counts.rooms), counts.others, counts.rooms["0"])
	}
}

func TestASurveyOfALoopThatDoesNotAnswer(t *testing.T) {
	r := newRig(t, nil)
	r.loop.engine.loops.Store(&[]*Loop{r.loop})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got := r.loop.engine.Survey(ctx); got.Loops != 1 || got.Answered != 0 {
		t.Errorf("it says %+v", got)
	}
	r.work() // it answers later, to nobody
	if got := r.survey(); got.Answered != 1 {
		t.Errorf("the next one says %+v", got)
	}
}

func TestSessionsAreCountedByProtocol(t *testing.T) {
	r := newRig(t, nil)
	var sockets []*fakeSocket
	sockets = append(sockets, r.open(true, proto.Binary), r.open(false, proto.Binary), r.open(false, proto.JSON), r.open(false, proto.JSON))
	count := func() (n [3]int64) {
		for i := range n {
			n[i] = r.loop.counted.Protocols[i].Load()
		}
		return n
	}
	if got := count(); got != [3]int64{1, 1, 2} {
		t.Errorf("%v", got)
	}
	for _, s := range sockets {
		r.events.Close(s)
	}
	if got := count(); got != [3]int64{} {
		t.Errorf("%v are left", got)
	}
}

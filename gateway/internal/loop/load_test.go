package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestWhatGathersIsNoOverload: a room with a window holds its messages on purpose, for longer than a loop that is behind may.
func TestWhatGathersIsNoOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](32 << 20)}
			c.Window = func(string) time.Duration { return 2 * time.Second }
		})
		s := r.open(true, proto.Binary)
		r.join(s, "r", 0)
		l := r.loop
		most := int64(0)
		for seq := uint64(1); seq <= 60*100; seq++ {
			r.deliver("r", seq)
			if seq%100 == 0 {
				r.work()
				time.Sleep(tick)
				l.tick()
				most = max(most, l.inbox.Held())
			}
			if l.inbox.Full() {
				t.Fatalf("%d bytes are refused that gather for two seconds", l.inbox.Held())
			}
		}
		if most < 2*leastWaiting {
			t.Fatalf("only %d bytes gathered, which shows nothing", most)
		}
		r.deliver("r", 60*100+1)
		r.work()
		r.events.Close(s)
		time.Sleep(2 * time.Second)
		r.work()
		if l.load.gathering != 0 || l.load.windows != 0 || l.inbox.Held() != 0 {
			t.Errorf("%d bytes gather in %d rooms and %d are held for nobody", l.load.gathering, l.load.windows, l.inbox.Held())
		}
	})
}

// TestALoopThatIsBehindBoundsWhatWaits: to a quarter of a second of what it works off, and only once it has been behind for a while.
func TestALoopThatIsBehindBoundsWhatWaits(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](32 << 20)}
	})
	l := r.loop
	// pass is a tick in which so much comes and so much is worked off.
	pass := func(come, done int) {
		l.inbox.PutAlways(handoff.Event{}, come)
		l.done(done)
		l.engine.started = l.engine.started.Add(-tick)
		l.tick()
	}
	pass(4<<20, 1<<20)
	pass(2<<20, 1<<20)
	if l.inbox.Full() {
		t.Fatal("a burst is refused")
	}
	for range 20 {
		pass(1<<20, 1<<20)
	}
	// It works off 1 MiB a tick, and 4 MiB wait.
	if !l.inbox.Full() {
		t.Errorf("%d bytes wait for a loop that works off 1 MiB a tick, and more is taken", l.inbox.Held())
	}
	for l.inbox.Held() > 2<<20 {
		pass(0, 1<<20)
	}
	if l.inbox.Full() {
		t.Errorf("%d bytes are refused that take two ticks", l.inbox.Held())
	}
	for l.inbox.Held() >= leastWaiting {
		pass(0, min(1<<20, int(l.inbox.Held())))
	}
	pass(0, 0)
	pass(31<<20, 0)
	if l.inbox.Full() {
		t.Error("a loop that has caught up refuses a burst")
	}
}

// TestALoopThatIsFullRefusesPublishes: by itself, before their room is asked, and nothing else.
func TestALoopThatIsFullRefusesPublishes(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	r.join(s, "r", 0)
	publish := func(id uint64) {
		r.request(s, &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "hi"}}}})
	}
	sent := len(r.rooms.commands)
	r.loop.inbox.PutAlways(handoff.Event{}, 1<<30)
	publish(2)
	r.mustFail(s, 2, proto.ErrOverloaded)
	r.request(s, &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetPong() == nil {
		t.Errorf("a ping was answered with %v", frames)
	}
	if n := r.loop.counted.PushedBack.Load(); n != 1 || len(r.rooms.commands) != sent {
		t.Errorf("%d publishes are counted, the room was given %v", n, r.rooms.commands[sent:])
	}
	r.loop.done(1 << 30)
	if publish(4); len(r.rooms.commands) != sent+1 {
		t.Errorf("a loop that has caught up sent %v", r.sent(s))
	}
}

// TestWhatPausesIsNoOverload: a loop that is behind may have more waiting while its rooms pause, and for as long as a pause lasts after that.
func TestWhatPausesIsNoOverload(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](32 << 20)}
	})
	l := r.loop
	pass := func(come int, pause time.Duration) {
		l.load.pause = pause
		l.inbox.PutAlways(handoff.Event{}, come)
		l.done(1 << 20)
		l.engine.started = l.engine.started.Add(-tick)
		l.tick()
	}
	pass(4<<20, longestPause)
	for range 2 * behindAfter {
		pass(1<<20, longestPause)
	}
	// It works off 1 MiB a tick, and 3 MiB wait.
	if l.inbox.Full() {
		t.Errorf("%d bytes are refused, of which most pauses", l.inbox.Held())
	}
	pass(1<<20, 0)
	if l.load.pause != 0 || l.inbox.Full() {
		t.Errorf("a tick later %d bytes are refused", l.inbox.Held())
	}
	for range 3 {
		pass(1<<20, 0)
	}
	if !l.inbox.Full() {
		t.Errorf("%d bytes wait for a loop that does not pause any more, and more is taken", l.inbox.Held())
	}
}

// TestWhatLeavesTogetherMayWait: where many messages leave of a room at a time, to refuse some would make no write less, so each busy room may
// have some waiting, whatever the loop works off.
func TestWhatLeavesTogetherMayWait(t *testing.T) {
	const rooms = 20
	for _, test := range []struct {
		name     string
		together int // messages that leave of a room at a time
		full     bool
	}{
		{"few", wellGathered - 1, true},
		{"many", wellGathered, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(c *Config) {
				c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](32 << 20)}
			})
			l := r.loop
			for n := range rooms {
				r.join(r.open(true, proto.Binary), fmt.Sprint(n), 0)
			}
			// What waits beside is the same in both: over what a loop that works off so little may have, and under what its rooms may.
			const waiting = rooms/2*gatheredWaiting - leastWaiting/2
			l.inbox.PutAlways(handoff.Event{}, waiting)
			seq := uint64(0)
			for range 2 * behindAfter {
				for range test.together {
					seq++
					for n := range rooms {
						r.deliver(fmt.Sprint(n), seq)
					}
				}
				l.taken = l.inbox.Take(l.taken)
				for i := range l.taken {
					l.take(&l.taken[i])
				}
				l.taken = l.taken[:0]
				l.fanOut(rooms / 2) // the other half is busy when the tick comes
				l.engine.started = l.engine.started.Add(-tick)
				l.tick()
				l.fanOut(rooms)
				l.flush()
			}
			if l.inbox.Held() < leastWaiting {
				t.Fatalf("only %d bytes wait, which shows nothing", l.inbox.Held())
			}
			if full := l.inbox.Full(); full != test.full {
				t.Errorf("with %d messages of a room at a time and %d bytes waiting it is full: %v, want %v", test.together, l.inbox.Held(), full, test.full)
			}
		})
	}
}

// TestRoomsWithWindowsHaveNoMoreWaiting than what gathers in them, which counts as it is.
func TestRoomsWithWindowsHaveNoMoreWaiting(t *testing.T) {
	const rooms = 20
	r := newRig(t, func(c *Config) {
		c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](32 << 20)}
		c.Window = func(string) time.Duration { return 10 * time.Second }
	})
	l := r.loop
	for n := range rooms {
		r.join(r.open(true, proto.Binary), fmt.Sprint(n), 0)
		r.deliver(fmt.Sprint(n), 1)
	}
	r.work()
	l.load.gathered = true
	l.inbox.PutAlways(handoff.Event{}, leastWaiting+1)
	for range 2 * behindAfter {
		l.engine.started = l.engine.started.Add(-tick)
		l.tick()
	}
	if !l.inbox.Full() {
		t.Errorf("beside %d bytes that gather in %d rooms, %d more wait, and more is taken", l.load.gathering, l.load.windows, l.inbox.Held()-l.load.gathering)
	}
}

// TestWhoLeavesAmidABatch of a room with a window: when its last member goes, the room is no more one of those that wait.
func TestWhoLeavesAmidABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Window = func(string) time.Duration { return time.Second } })
		members := []*fakeSocket{r.open(true, proto.Binary), r.open(true, proto.Binary)}
		for _, s := range members {
			r.join(s, "r", 0)
		}
		r.loop.slice = 1
		r.deliver("r", 1)
		r.work()
		time.Sleep(time.Second)
		r.loop.work() // which serves one of the two
		if r.loop.rooms["r"].batch == nil {
			t.Fatal("the batch has been handed out, which shows nothing")
		}
		for _, s := range members {
			r.events.Close(s)
		}
		r.work()
		if r.loop.load.windows != 0 || r.loop.busy.len() != 0 {
			t.Errorf("%d rooms with windows wait, %d are busy", r.loop.load.windows, r.loop.busy.len())
		}
	})
}

// TestALoopThatStandsStillIsSilent: for as long as it takes no ticks, and no longer.
func TestALoopThatStandsStillIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		e := r.loop.engine
		if silent := e.Silent(); silent != 0 {
			t.Errorf("without a loop %v", silent)
		}
		e.loops.Store(&[]*Loop{r.loop})
		time.Sleep(time.Minute)
		if silent := e.Silent(); silent != time.Minute {
			t.Errorf("a loop that took nothing for a minute has been silent for %v", silent)
		}
		r.put(handoff.Event{Kind: handoff.Tick})
		r.work()
		if silent := e.Silent(); silent != 0 {
			t.Errorf("a loop that took a tick has been silent for %v", silent)
		}
	})
}

// TestPace: where fan-out takes most of the time and gathers, rooms pause in proportion; not where it gathers little.
func TestPace(t *testing.T) {
	o := load{gathered: true}
	pass := func(share float64) time.Duration {
		o.fanningOut = time.Duration(share * float64(tick))
		o.pace(tick)
		return o.pause
	}
	if pause := pass(fanOutShare); pause != 0 {
		t.Errorf("rooms pause for %v at a share that needs none", pause)
	}
	if pause := pass(1); pause != firstPause {
		t.Errorf("rooms pause for %v at first, want %v", pause, firstPause)
	}
	if pause := pass(fanOutShare); pause != firstPause {
		t.Errorf("rooms pause for %v where %v was right", pause, firstPause)
	}
	for range 20 {
		pass(1)
	}
	if o.pause != longestPause {
		t.Errorf("rooms pause for %v when nothing helps, want %v", o.pause, longestPause)
	}
	if pause := pass(fanOutShare / 2); pause == 0 || pause >= longestPause {
		t.Errorf("rooms pause for %v when half of it does", pause)
	}
	for range 20 {
		pass(fanOutShare / 10)
	}
	if o.pause != 0 {
		t.Errorf("rooms pause for %v when there is little to do", o.pause)
	}
	pass(1)
	o.gathered = false
	if pause := pass(1); pause != 0 {
		t.Errorf("rooms pause for %v though little leaves at a time", pause)
	}
}

// TestALoopThatPacesItself: what comes to a busy room during the pause leaves together, the replies to publishers too, and the pause ends with the load.
func TestALoopThatPacesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		l := r.loop
		var members []*fakeSocket
		for range 2 * sliceWrites {
			members = append(members, r.open(true, proto.Binary))
			r.join(members[len(members)-1], "r", 0)
		}
		last := members[len(members)-1]
		pair := r.open(true, proto.Binary)
		r.join(pair, "pair", 0)
		l.load.gathered, l.load.pause = true, 50*time.Millisecond
		l.rooms["r"].gathers = true
		publish := func(seq uint64) {
			r.deliver("r", seq)
			r.put(handoff.Event{Kind: handoff.Published, To: last.context.(*conn).handle, ID: seq, Room: "r", Seq: seq, Size: handoff.ReplySize})
			r.work()
		}
		before := last.writes
		publish(1)
		publish(2)
		if r.ringsIn != 50*time.Millisecond || last.writes != before {
			t.Fatalf("the loop is rung in %v, after %d writes", r.ringsIn, last.writes-before)
		}
		r.deliver("pair", 1)
		r.work()
		r.mustGet(pair, upTo(1, 1)) // a room where little is said waits for nobody
		time.Sleep(50 * time.Millisecond)
		r.work()
		if frames := r.sent(last); last.writes != before+1 || len(frames) != 4 {
			t.Errorf("%d frames left in %d writes", len(frames), last.writes-before)
		}
		r.mustGet(members[0], upTo(1, 2))

		l.rooms["r"].gathers = true
		publish(3)
		r.work()
		time.Sleep(tick)
		l.tick() // a tick in which fan-out took no time
		if l.load.pause >= 50*time.Millisecond {
			t.Fatalf("the pause is %v still", l.load.pause)
		}
		r.work()
		r.mustGet(members[0], upTo(3, 3))
		for range 5 {
			time.Sleep(tick)
			l.tick()
		}
		publish(4)
		r.mustGet(members[0], upTo(4, 4))
	})
}

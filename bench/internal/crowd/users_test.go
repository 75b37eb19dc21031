package crowd

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
	"rookery/bench/result"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestTriesExpireByThemselves: who is tried again does not keep the others from timing out.
func TestTriesExpireByThemselves(t *testing.T) {
	s := stand(t, func(*plan.Plan) {})
	s.ask(func() {
		c := s.crowd
		due := c.users[0].due
		c.loop.Close(0, engine.Orderly)
		c.broken(0, errors.New("lost"))
		c.dueTimers(c.timers[0].at)
		if c.users[0].state != connecting || c.users[0].due != due {
			t.Errorf("the second try is in state %d and was due %v after the first", c.users[0].state, time.Duration(c.users[0].due-due))
		}
		c.dueConnects(c.users[1].expires)
		if c.users[1].state != away || c.users[0].state != connecting || c.counts.ConnectsFailed != 2 {
			t.Errorf("states %d and %d, %d failed: the second user's time is over and the first one's is not",
				c.users[0].state, c.users[1].state, c.counts.ConnectsFailed)
		}
		c.dueConnects(c.users[0].expires)
		if c.users[0].state != away || len(c.connects.queue) != 0 || c.connects.pending != 0 {
			t.Errorf("state %d, queue %v, %d pending after all are over", c.users[0].state, c.connects.queue, c.connects.pending)
		}
	})
}

// TestPipelining: joins are asked for before the login is answered, and a user is online when all is answered.
func TestPipelining(t *testing.T) {
	s := standWith(t, func(p *plan.Plan) {
		p.Server.Targets = []string{"tcp://127.0.0.1:1"}
		p.Clients.Connections, p.Rooms.Count, p.Rooms.PerConnection = 1, 2, 2
	}, true)
	s.ask(func() {
		u := &s.crowd.users[0]
		if n := len(s.requested(0, joinRequest)); n != 2 || u.waiting != 3 {
			t.Fatalf("%d joins are asked for, %d answers awaited", n, u.waiting)
		}
		s.tell(0, dialect.Event{Kind: dialect.Ready})
		if u.state != connecting || len(s.requested(0, joinRequest)) != 2 {
			t.Errorf("state %d when the login is answered", u.state)
		}
		s.admit(0, 0)
		if u.state != online || s.crowd.online != 1 {
			t.Errorf("state %d when all is answered", u.state)
		}
	})
}

// TestBackoff: waits are anywhere between nothing and a bound that doubles up to a limit.
func TestBackoff(t *testing.T) {
	c, err := New(newPart(t, func(p *plan.Plan) { p.Clients.Retry = plan.Retry{First: time.Second, Most: 7 * time.Second} }))
	if err != nil {
		t.Fatal(err)
	}
	for tries, bound := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 2: 4 * time.Second, 3: 7 * time.Second, 255: 7 * time.Second} {
		shortest, longest := int64(math.MaxInt64), int64(0)
		for range 1000 {
			wait := c.backoff(tries)
			shortest, longest = min(shortest, wait), max(longest, wait)
		}
		if longest > int64(bound) || longest < int64(bound)*9/10 || shortest < 0 || shortest > int64(bound)/10 {
			t.Errorf("after %d tries the waits are %v to %v, want 0 to %v", tries, time.Duration(shortest), time.Duration(longest), bound)
		}
	}
}

// TestHowLongAUserTries: to the end of the run, or as long as the plan says from when it was lost.
func TestHowLongAUserTries(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Hour} {
		s := stand(t, func(p *plan.Plan) { p.Clients.Connections, p.Clients.Retry.For = 1, limit })
		s.ask(func() {
			c := s.crowd
			s.welcome(0, 0)
			lost := c.now()
			c.loop.Close(0, engine.Orderly)
			c.broken(0, errors.New("lost"))
			for range 300 {
				c.timers = nil
				c.dial(0, c.now())
				c.loop.Close(0, engine.Orderly)
				c.broken(0, errors.New("again"))
			}
			if u := c.users[0]; u.state != away || c.connects.gone != 0 || u.lost < lost {
				t.Errorf("limit %v: after 300 tries in a moment the user is in state %d, %d gave up", limit, u.state, c.connects.gone)
			}
			// The clock goes on, rather than the loss back: it counts from the machine's start, which may be a minute ago.
			c.part.Clock += int64(2 * time.Hour)
			c.timers = nil
			c.dial(0, c.now())
			c.loop.Close(0, engine.Orderly)
			c.broken(0, errors.New("again"))
			if gone := c.users[0].state == absent; gone != (limit > 0) || gone != (c.connects.gone == 1) || len(c.timers) != 1-c.connects.gone {
				t.Errorf("limit %v: two hours after the loss the user is in state %d, %d gave up", limit, c.users[0].state, c.connects.gone)
			}
			if limit == 0 {
				c.dial(0, c.now())
			}
		})
		s.until("the connection is back", func() bool { return limit > 0 || s.loop.Open(0) })
		s.ask(func() {
			c := s.crowd
			if limit == 0 {
				s.welcome(0, 0)
				if c.counts.CameBack != 1 || c.total.Away.Quantile(1) < 9*time.Minute {
					t.Errorf("it came back %d times, after %v at most", c.counts.CameBack, c.total.Away.Quantile(1))
				}
			}
			c.Learn(c.News())
			if c.Settle(); c.counts.StayedAway != int64(c.connects.gone) {
				t.Errorf("limit %v: %d stayed away", limit, c.counts.StayedAway)
			}
		})
	}
}

// TestWays: targets and sources are combined in every way.
func TestWays(t *testing.T) {
	part := newPart(t, func(p *plan.Plan) { p.Clients.Sources = []string{"127.0.0.0/30"} })
	part.Targets = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")}
	c, err := New(part)
	if err != nil {
		t.Fatal(err)
	}
	type way struct {
		target netip.AddrPort
		source netip.Addr
	}
	ways := map[way]int{}
	for number := range 100 {
		target, source, _ := c.way(number)
		ways[way{target, source}]++
	}
	for w, n := range ways {
		if n != 25 {
			t.Errorf("%v is gone %d times of 100", w, n)
		}
	}
	if len(ways) != 4 {
		t.Errorf("there are %d ways from 2 sources to 2 targets", len(ways))
	}
}

// TestWhatCanNotBeWritten: a message is counted once, and its user is gone once.
func TestWhatCanNotBeWritten(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Clients.Connections = 4 })
	s.ask(func() {
		c := s.crowd
		for slot := range 3 {
			s.welcome(slot, 0)
		}
		c.loop.Close(0, engine.Orderly)
		c.send(0, 0, c.now())
		s.want("a message to a connection that broke", result.Counts{Unsent: 1, Disconnected: 1})

		full := make([]byte, 64<<20)
		c.loop.Write(1, full)
		c.send(1, 0, c.now())
		s.want("a message to a connection that takes nothing", result.Counts{Unsent: 2, Disconnected: 1})
		if c.Waiting() != 0 || c.users[1].state != online {
			t.Errorf("%d publishes wait, the user is in state %d", c.Waiting(), c.users[1].state)
		}

		c.loop.Write(2, full)
		c.accounts[1].Leaving = true // so that it is not drawn
		for n := 0; !c.accounts[2].Leaving; n++ {
			c.move(n, c.now())
		}
		if c.users[2].state != away || c.users[2].requests != 0 {
			t.Errorf("who can't be told to leave is in state %d", c.users[2].state)
		}

		c.traits.Answers = false // the fourth is not ready
		c.loop.Close(3, engine.Orderly)
		s.tell(3, dialect.Event{Kind: dialect.Ready})
		if c.users[3].state != away || c.connects.pending != 0 || c.online != 1 {
			t.Errorf("whose joins can't be written is in state %d; %d online, %d pending", c.users[3].state, c.online, c.connects.pending)
		}
	})
}

// TestWhatArrivedBeforeAWriteFailedCounts: the server sends a message and resets; the user notices when it writes.
func TestWhatArrivedBeforeAWriteFailedCounts(t *testing.T) {
	for name, writes := range map[string]func(*Crowd){
		"a message": func(c *Crowd) { c.send(0, 0, c.now()) },
		"typing":    func(c *Crowd) { c.typing(0, 0) },
	} {
		t.Run(name, func(t *testing.T) { arrivedBefore(t, writes) })
	}
}

func arrivedBefore(t *testing.T, writes func(*Crowd)) {
	s := stand(t, func(p *plan.Plan) { p.Clients.Connections = 1 })
	peer := <-s.peers
	s.ask(func() {
		s.welcome(0, 10)
		body := s.crowd.finder.Append(nil, ledger.Stamp{User: 1, Seq: 1}, ledger.StampBytes)
		content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: string(body)}})
		message := proto.AppendMessage(nil, proto.Binary, proto.Header{Room: "r-0", Seq: 11, At: 1, From: "x"}, content)
		if n, err := peer.Write(message); n != len(message) || err != nil {
			t.Errorf("the peer wrote %d, %v", n, err)
		}
		peer.SetLinger(0)
		peer.Close()
		for s.crowd.users[0].state == online && !errors.Is(s.crowd.loop.Write(0, nil), engine.ErrBroken) { // until the reset is there
			writes(s.crowd)
		}
		writes(s.crowd)
	})
	s.until("the user has noticed", func() bool { return s.crowd.counts.Disconnected == 1 })
	s.ask(func() {
		if n := s.crowd.counts; n.Delivered != 1 || n.Foreign != 0 {
			t.Errorf("counts are %+v, want the message that arrived: %v", n, s.crowd.Faults())
		}
	})
}

// TestCutWhileLeaving: the answer to the leave never comes, and the user goes on as it was.
func TestCutWhileLeaving(t *testing.T) {
	s := stand(t, func(p *plan.Plan) {
		p.Clients.Connections = 1
		p.Trouble.Cut = plan.Cut{Share: 1, How: "reset"}
	})
	s.ask(func() {
		s.welcome(0, 5)
		s.deliver(0, 6, ledger.Stamp{User: 1, Seq: 1})
		s.crowd.move(0, 0)
		s.crowd.cut(s.crowd.now())
		s.crowd.dueTimers(s.crowd.now())
	})
	s.until("the connection is back", func() bool { return s.loop.Open(0) })
	s.ask(func() {
		s.welcome(0, 7)
		s.deliver(0, 7, ledger.Stamp{User: 1, Seq: 2})
		if a := s.crowd.accounts[0]; a.Leaving || a.Joining || s.crowd.behind != 0 {
			t.Errorf("the account is %+v, %d are behind", a, s.crowd.behind)
		}
		s.know(7)
		s.crowd.Settle()
		s.want("both messages", result.Counts{Expected: 2, Delivered: 2, CameBack: 1})
	})
}

// TestARefusedRejoin: who left a room and is not let in again asks again, and what is sent meanwhile is not owed to it.
func TestARefusedRejoin(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Clients.Connections = 1 })
	s.ask(func() {
		c := s.crowd
		refuse := func(kind requestKind) {
			for _, id := range s.requested(0, kind) {
				s.tell(0, dialect.Event{Kind: dialect.Refused, ID: id, Reason: "rate_limited"})
			}
		}
		s.welcome(0, 5)
		s.deliver(0, 6, ledger.Stamp{User: 1, Seq: 1})
		c.move(0, 0)
		refuse(leaveRequest)
		s.deliver(0, 7, ledger.Stamp{User: 1, Seq: 2})
		c.move(0, 0)
		for _, id := range s.requested(0, leaveRequest) {
			s.tell(0, dialect.Event{Kind: dialect.Left, ID: id})
		}
		for n := range 3 {
			refuse(joinRequest)
			if c.dueTimers(c.timers[0].at - 1); len(s.requested(0, joinRequest)) != 0 {
				t.Errorf("after refusal %d it asked before its time", n+1)
			}
			if c.dueTimers(c.timers[0].at); len(s.requested(0, joinRequest)) != 1 {
				t.Fatalf("after refusal %d it did not ask again", n+1)
			}
		}
		s.admit(0, 9)
		s.deliver(0, 10, ledger.Stamp{User: 1, Seq: 5})
		if a := c.accounts[0]; !a.Opened || a.Joining || a.Refusals != 0 || len(c.timers) != 0 {
			t.Errorf("the account is %+v, the timers %v", a, c.timers)
		}
		s.know(10)
		c.Settle()
		s.want("6, 7 and 10, with 8 and 9 while it was outside", result.Counts{Expected: 3, Delivered: 3, JoinsRefused: 3})
	})
}

// TestARefusedRejoinAndALostConnection: the new connection joins every room, and the timer of the old one finds it done.
func TestARefusedRejoinAndALostConnection(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Clients.Connections = 1 })
	s.ask(func() {
		c := s.crowd
		s.welcome(0, 5)
		c.settleAccount(0, 0)
		c.outside(0, 0)
		at := c.timers[0].at
		c.loop.Close(0, engine.Orderly)
		c.broken(0, errors.New("lost"))
		c.dueTimers(at + int64(time.Minute))
	})
	s.until("the connection is back", func() bool { return s.loop.Open(0) })
	s.ask(func() {
		s.welcome(0, 5)
		if c := s.crowd; !c.accounts[0].Opened || len(c.timers) != 0 || c.counts.Joined != 2 || c.counts.Foreign != 0 {
			t.Errorf("the account is %+v, counts are %+v", c.accounts[0], c.counts)
		}
	})
}

// TestWithoutNumbers: a server that gives none answers joins late, and refuses publishes.
func TestWithoutNumbers(t *testing.T) {
	s := stand(t, func(*plan.Plan) {})
	s.ask(func() {
		c := s.crowd
		c.traits = dialect.Traits{Acknowledges: true, Answers: true}
		s.welcome(0, 0)
		s.tell(1, dialect.Event{Kind: dialect.Ready})
		c.send(0, 0, c.now())
		for slot := range 2 {
			s.deliver(slot, 0, ledger.Stamp{User: 0, Seq: 1})
		}
		s.admit(1, 0)
		for _, id := range s.requested(0, publishRequest) {
			s.tell(0, dialect.Event{Kind: dialect.Acknowledged, ID: id})
		}
		c.send(0, 0, c.now())
		for _, id := range s.requested(0, publishRequest) {
			s.tell(0, dialect.Event{Kind: dialect.Refused, ID: id})
		}
		c.send(1, 0, c.now())
		c.loop.Close(1, engine.Reset)
		c.broken(1, errors.New("lost"))
		c.Learn(c.News()) // of one worker
		if !c.Complete() {
			t.Error("more is owed than what was acknowledged")
		}
		c.Settle()
		s.want("one of three messages was taken", result.Counts{
			Sent: 3, Acknowledged: 1, Refused: 1, Unanswered: 1, Expected: 2, Delivered: 2, Disconnected: 1, StayedAway: 1,
		})
	})
}

// TestARefusedPublishIsNoLoss: its number is a hole for who gets the messages around it, whenever the member came or went.
func TestARefusedPublishIsNoLoss(t *testing.T) {
	for _, c := range []struct {
		name  string
		fate  func(s *standing, id uint32) // of the second of three publishes
		lost  int64
		count result.Counts
	}{
		{"refused", func(s *standing, id uint32) { s.tell(0, dialect.Event{Kind: dialect.Refused, ID: id}) }, 0, result.Counts{Refused: 1}},
		{"without an answer, on a lost connection", func(s *standing, _ uint32) { s.crowd.abandon(0) }, 0, result.Counts{Unanswered: 1}},
		{"acknowledged", func(s *standing, id uint32) { s.tell(0, dialect.Event{Kind: dialect.Acknowledged, ID: id}) }, 3, result.Counts{Acknowledged: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stand(t, func(p *plan.Plan) { p.Clients.Connections = 3 })
			s.ask(func() {
				crowd := s.crowd
				crowd.traits = dialect.Traits{Acknowledges: true, Answers: true}
				s.welcome(0, 0)
				crowd.Load(crowd.now())
				s.welcome(1, 0) // they come within the load
				s.welcome(2, 0)
				for n := range uint32(3) {
					crowd.send(0, 0, crowd.now())
					id := s.requested(0, publishRequest)[0]
					if n == 1 {
						c.fate(s, id)
						continue
					}
					for slot := range 3 {
						s.deliver(slot, 0, ledger.Stamp{User: 0, Seq: n + 1})
					}
					s.tell(0, dialect.Event{Kind: dialect.Acknowledged, ID: id})
				}
				crowd.settleAccount(2, 0) // as churn does
				crowd.Learn(crowd.News())
				if crowd.Complete() != (c.lost == 0) {
					t.Errorf("complete: %v", crowd.Complete())
				}
				crowd.Settle()
				want := c.count
				want.Sent, want.Acknowledged, want.Gaps = 3, want.Acknowledged+2, 3
				want.Expected, want.Delivered, want.Lost = 6+c.lost, 6, c.lost
				s.want("three publishes to three members, the second never delivered", want)
			})
		})
	}
}

// TestMoreRoomsThanUsers: the rate is that of the plan, in the rooms that have somebody.
func TestMoreRoomsThanUsers(t *testing.T) {
	c, err := New(newPart(t, func(p *plan.Plan) { p.Rooms.Count, p.Clients.Connections = 10, 3 }))
	if err != nil {
		t.Fatal(err)
	}
	for message := range 20 {
		if number, room := c.sender(message); number != message%3 || room != number {
			t.Errorf("message %d is sent by user %d to room %d", message, number, room)
		}
	}
}

// TestTroubleEndsWithTheLoad: nothing goes wrong on purpose after it, whether it ends as planned or early.
func TestTroubleEndsWithTheLoad(t *testing.T) {
	s := stand(t, func(p *plan.Plan) {
		p.Time = plan.Time{Duration: 10 * time.Second}
		p.Trouble = plan.Trouble{Churn: 0.05, Moves: 0.05, Stall: plan.Stall{Share: 1, At: time.Second, For: time.Second}}
	})
	s.ask(func() {
		c := s.crowd
		c.Load(0)
		if c.trouble.churns.at != math.MaxInt64 || c.trouble.moves.at != math.MaxInt64 {
			t.Errorf("churn is due at %v and a move at %v, and the load ends at 10s",
				time.Duration(c.trouble.churns.at), time.Duration(c.trouble.moves.at))
		}
		c.End(int64(500 * time.Millisecond))
		c.dueTrouble(int64(600 * time.Millisecond))
		if next := c.dueTrouble(int64(time.Hour)); c.trouble.stalling || next != math.MaxInt64 {
			t.Errorf("after an early end it stalls: %v, and something is due at %v", c.trouble.stalling, time.Duration(next))
		}
		c.part.Plan.Trouble.Churn = 1
		c.Load(0)
		if at := c.trouble.churns.at; at != int64(time.Second) {
			t.Errorf("one a second is first due at %v", time.Duration(at))
		}
	})
}

// TestTurns: a schedule that is far behind lets the sockets be looked at, and leaves nothing out.
func TestTurns(t *testing.T) {
	for _, c := range []struct{ workers, most int }{{1, turn}, {1000, 64 * turn}} {
		part := newPart(t, func(p *plan.Plan) {
			p.Clients.Connections, p.Rooms.Count, p.Publish.Rate = 1000, 1000, 100_000
			p.Time = plan.Time{Duration: time.Second}
		})
		part.Workers = c.workers
		crowd, err := New(part)
		if err != nil {
			t.Fatal(err)
		}
		crowd.Load(0)
		for at := 0; crowd.load.next < math.MaxInt64; at = crowd.load.number {
			if crowd.dueSends(int64(time.Hour)); crowd.load.number-at > c.most {
				t.Fatalf("%d workers: %d messages in one turn, want %d at most", c.workers, crowd.load.number-at, c.most)
			}
		}
		if want := int64(100_000 / c.workers); crowd.counts.Unsent != want || crowd.load.number != 100_000 {
			t.Errorf("%d workers: %d of %d messages were the worker's, want %d of 100000", c.workers, crowd.counts.Unsent, crowd.load.number, want)
		}
	}
}

// TestNews: only what has changed is told, and what another worker tells is as good as if it had been seen here.
func TestNews(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Rooms.Count, p.Clients.Connections = 3, 3 })
	expect := func(what string, rooms []int, heads []int64) {
		t.Helper()
		if got := s.crowd.News(); !slices.Equal(got.Rooms, rooms) || !slices.Equal(got.Heads, heads) {
			t.Errorf("%s: the news are %+v, want %v and %v", what, got, rooms, heads)
		}
	}
	s.ask(func() {
		c := s.crowd
		for slot := range 3 {
			s.welcome(slot, 10)
		}
		expect("everybody has joined", []int{0, 1, 2}, []int64{10, 10, 10})
		expect("nothing has happened", nil, nil)
		s.deliver(1, 12, ledger.Stamp{User: 1, Room: 1, Seq: 2})
		expect("a message came", []int{1}, []int64{12})

		c.Learn(News{Rooms: []int{0, 1, 2}, Heads: []int64{10, 12, 10}})
		if c.Complete() || c.complete != 1 {
			t.Errorf("it is complete up to account %d, and 11 is missing in the second", c.complete)
		}
		s.deliver(1, 11, ledger.Stamp{User: 1, Room: 1, Seq: 1})
		if !c.Complete() || c.complete != 3 {
			t.Errorf("it is complete up to account %d of 3, and nothing is missing", c.complete)
		}
		c.Learn(News{})
		if !c.Complete() {
			t.Error("it is not complete any more, and there was no news")
		}
		c.Learn(News{Rooms: []int{0}, Heads: []int64{11}})
		if c.Complete() {
			t.Error("it is complete, and another worker has seen one more message")
		}
		s.deliver(0, 11, ledger.Stamp{User: 0, Seq: 1})
		if !c.Complete() {
			t.Error("it is not complete after that message came")
		}
		// What looked complete is so no more: a later message is there, the one before it is not.
		s.deliver(0, 13, ledger.Stamp{User: 0, Seq: 3})
		if c.Complete() {
			t.Error("it is complete, and 12 is missing")
		}

		c.traits.Numbered = false
		c.News()
		c.send(2, 2, c.now())
		c.send(2, 2, c.now())
		expect("two messages were sent", []int{2}, []int64{2})
		c.notOwed(2, request{room: 2, seq: 2})
		expect("one of them was refused", []int{2}, []int64{-1})
	})
}

package crowd

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
	"rookery/bench/result"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newPart has two users in one room, and what the test changes.
func newPart(t *testing.T, change func(*plan.Plan)) Part {
	t.Helper()
	p, err := plan.Named("chat")
	if err != nil {
		t.Fatal(err)
	}
	p.Server.Targets = []string{"tcp://127.0.0.1:1"}
	p.Clients.Connections, p.Rooms.Count, p.Rooms.Prefix = 2, 1, "r-"
	p.Publish.Rate, p.Publish.Arrivals, p.Trouble = 0, "even", plan.Trouble{}
	change(&p)
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return Part{Plan: p, Run: floorRun, Workers: 1}
}

// standing is a crowd whose connections go to a server that reads and says nothing: what a server would say, the test gives
// to the crowd as events.
type standing struct {
	*crowdRunner
	t     *testing.T
	peers chan *net.TCPConn // the server's ends, as they are accepted
}

// stand returns when all users are connected, before anything was answered. They wait for the answer to the login.
func stand(t *testing.T, change func(*plan.Plan)) *standing { return standWith(t, change, false) }

func standWith(t *testing.T, change func(*plan.Plan), pipelined bool) *standing {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, peers := make(chan struct{}), make(chan *net.TCPConn, 10)
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			select {
			case peers <- conn.(*net.TCPConn):
			default: // nobody asks for so many
			}
			go func() {
				io.Copy(io.Discard, conn)
				conn.Close()
			}()
		}
	}()
	part := newPart(t, change)
	part.Targets = []netip.AddrPort{listener.Addr().(*net.TCPAddr).AddrPort()}
	// Ended behind the crowd, whose connections it waits for.
	t.Cleanup(func() {
		listener.Close()
		<-served
	})
	s := &standing{runCrowd(t, part), t, peers}
	c, l := s.crowd, s.loop
	s.ask(func() {
		c.traits.Pipelines = pipelined
		c.Connect(engine.Now())
	})
	s.until("connections are open", func() bool {
		for slot := range c.users {
			if !l.Open(slot) {
				return false
			}
		}
		return true
	})
	return s
}

// until asks on the loop until something is so.
func (s *standing) until(what string, so func() bool) {
	s.t.Helper()
	for from, ok := time.Now(), false; !ok; runtime.Gosched() {
		if s.ask(func() { ok = so() }); time.Since(from) > time.Minute {
			s.t.Fatalf("waited for a minute: %s", what)
		}
	}
}

// Below: to be called on the loop.

func (s *standing) tell(slot int, e dialect.Event) { s.crowd.take(slot, &e, s.crowd.now()) }

// requested gives the ids of a user's requests of a kind that are not answered.
func (s *standing) requested(slot int, kind requestKind) (ids []uint32) {
	for i, r := range s.crowd.requests {
		if int(r.user) == slot && r.kind == kind {
			ids = append(ids, uint32(i)+1)
		}
	}
	return ids
}

// welcome logs a user in and answers its joins.
func (s *standing) welcome(slot int, head uint64) {
	s.tell(slot, dialect.Event{Kind: dialect.Ready})
	s.admit(slot, head)
}

func (s *standing) admit(slot int, head uint64) {
	for _, id := range s.requested(slot, joinRequest) {
		s.tell(slot, dialect.Event{Kind: dialect.Joined, ID: id, Seq: head})
	}
}

// deliver gives a user a message with the room's number and the sender's.
func (s *standing) deliver(slot int, seq uint64, stamp ledger.Stamp) {
	body := s.crowd.finder.Append(nil, stamp, ledger.StampBytes)
	s.tell(slot, dialect.Event{Kind: dialect.Message, Room: int(stamp.Room), Seq: seq, Body: body})
}

func (s *standing) want(what string, want result.Counts) {
	s.t.Helper()
	got := s.crowd.Counts()
	want.Connects, want.Connected, want.Joined, want.BytesIn, want.BytesOut = got.Connects, got.Connected, got.Joined, got.BytesIn, got.BytesOut
	if got != want {
		s.t.Errorf("%s: counts are %+v\nwant %+v\nfaults %v", what, got, want, s.crowd.Faults())
	}
}

// know has the crowd learn the head of the first room from all workers.
func (s *standing) know(head int64) { s.crowd.Learn(News{Rooms: []int{0}, Heads: []int64{head}}) }

// TestGapIsNotOwed: what the server says is gone is neither owed nor lost, however an account ends.
func TestGapIsNotOwed(t *testing.T) {
	s := stand(t, func(*plan.Plan) {})
	s.ask(func() {
		for slot := range 2 {
			s.welcome(slot, 10)
			s.deliver(slot, 11, ledger.Stamp{User: 1, Seq: 1})
			s.tell(slot, dialect.Event{Kind: dialect.Gap, Room: 0, Seq: 12, Last: 15, Reason: "retention"})
			s.deliver(slot, 17, ledger.Stamp{User: 1, Seq: 7})
		}
		s.know(18)
		if s.crowd.Complete() {
			t.Error("complete without the numbers 16 and 18")
		}
		s.crowd.settleAccount(0, 0) // as churn does
		s.know(18)
		s.crowd.Settle()
		s.want("11 and 17 came, 16 did not, and 18 is owed only to who stayed", result.Counts{
			Expected: 3 + 4, Delivered: 4, Lost: 1 + 1, Missing: 1, Gaps: 2,
		})
	})
}

// TestMoveInARoomWithBacklog: who comes back to a room asks for what it has an account of.
func TestMoveInARoomWithBacklog(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Rooms.Backlog, p.Clients.Connections = 3, 1 })
	s.ask(func() {
		s.welcome(0, 3)
		for seq := range uint64(3) {
			s.deliver(0, seq+1, ledger.Stamp{User: 9, Seq: uint32(seq) + 1})
		}
		s.crowd.move(0, 0)
		for _, id := range s.requested(0, leaveRequest) {
			s.tell(0, dialect.Event{Kind: dialect.Left, ID: id})
		}
		sent := string(s.crowd.out)
		s.crowd.out = nil
		s.crowd.appendJoin(0, 0)
		if want := string(s.crowd.out); len(sent) != len(want) {
			t.Errorf("the join behind a leave is %q, one that asks for the backlog %q", sent, want)
		}
		s.admit(0, 3)
		for seq := range uint64(3) {
			s.deliver(0, seq+1, ledger.Stamp{User: 9, Seq: uint32(seq) + 1})
		}
		if n := s.crowd.Status().Behind; n != 0 {
			t.Errorf("%d accounts are behind", n)
		}
		s.know(3)
		s.crowd.Settle()
		s.want("three messages twice", result.Counts{Expected: 6, Delivered: 6})
	})
}

// TestWhatIsHandedOutStaysAsItIs: reports are written while the loop goes on.
func TestWhatIsHandedOutStaysAsItIs(t *testing.T) {
	s := stand(t, func(p *plan.Plan) {})
	s.ask(func() {
		s.welcome(0, 10)
		news := s.crowd.News()
		s.deliver(0, 11, ledger.Stamp{User: 1, Seq: 1})
		if len(news.Heads) != 1 || news.Heads[0] != 10 {
			t.Errorf("the heads that were handed out changed to %v", news)
		}
		s.know(11)
		s.crowd.Settle()
		s.crowd.Leave()
		s.crowd.Due(engine.Now())
		for slot := range s.crowd.users {
			if s.loop.Open(slot) {
				t.Errorf("user %d has a connection after everybody left: what it gets would change the final figures", slot)
			}
		}
		if next := s.crowd.Due(engine.Now()); next < engine.Now()+int64(time.Hour) {
			t.Errorf("something is due in %v after everybody left", time.Duration(next-engine.Now()))
		}
	})
}

// TestLeavingInTurns: the loop answers while a large crowd leaves.
func TestLeavingInTurns(t *testing.T) {
	const users = 2*turn + 10
	s := stand(t, func(p *plan.Plan) { p.Clients.Connections = users })
	s.ask(func() {
		for slot := range users {
			s.welcome(slot, 0)
		}
		s.know(0)
		s.crowd.Settle()
		s.crowd.Leave()
		for _, want := range []int{users - turn, users - 2*turn, 0} {
			s.crowd.Due(engine.Now())
			open := 0
			for slot := range users {
				if s.loop.Open(slot) {
					open++
				}
			}
			if left := s.crowd.Status().Left; open != want || left != (want == 0) {
				t.Errorf("%d connections are open, and all have left: %v; want %d", open, left, want)
			}
		}
	})
}

// TestWhatAUserCosts: what is kept for each of hundreds of thousands of users, with the 32 bytes of the engine for its socket.
func TestWhatAUserCosts(t *testing.T) {
	const most = 256
	if size := unsafe.Sizeof(user{}) + unsafe.Sizeof(ledger.Account{}) + unsafe.Sizeof(try{}) + 32; size > most {
		t.Errorf("a user in one room takes %d bytes, want %d at most", size, most)
	}
}

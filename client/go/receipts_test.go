package client

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// keeping answers a join of a room that keeps receipts.
func keeping(epoch string, head uint64) func(*v1.ClientFrame) *v1.ServerFrame {
	return func(f *v1.ClientFrame) *v1.ServerFrame {
		reply := joinedFrame(f, epoch, head, nil)
		reply.GetJoined().Receipts = true
		return reply
	}
}

// rejoin answers the join of a new connection.
func (p *peer) rejoin(room, epoch string, after int, head uint64, recovered *bool) {
	p.t.Helper()
	reply := joinedFrame(p.expectJoin(room, "e1", after), epoch, head, recovered)
	reply.GetJoined().Receipts = true
	p.send(reply)
}

func (p *peer) expectMark(room string, delivered, read uint64) {
	p.t.Helper()
	synctest.Wait()
	f := p.next()
	if m := f.GetMark(); f.Id != 0 || m.GetEpoch() == "" || m.GetRoom() != room || m.GetDelivered() != delivered || m.GetRead() != read {
		p.t.Fatalf("got %v; want a mark of %s at %d and %d", f, room, delivered, read)
	}
}

func receiptFrame(room, user string, delivered, read uint64) *v1.ServerFrame {
	return &v1.ServerFrame{Op: &v1.ServerFrame_Receipt{Receipt: &v1.Receipt{Room: room, User: user, Delivered: delivered, Read: read}}}
}

func TestMarksOfASecondAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, keeping("e1", 9))
		if !room.KeepsReceipts() {
			t.Error("joined says that the room keeps receipts")
		}
		room.Mark(Standing{Delivered: 5})
		p.expectMark("lobby", 5, 0)
		for _, to := range []Standing{{6, 0}, {0, 4}, {8, 0}, {7, 3}} {
			room.Mark(to)
		}
		time.Sleep(999 * time.Millisecond)
		p.quiet()
		time.Sleep(time.Millisecond)
		p.expectMark("lobby", 8, 4)
		time.Sleep(10 * time.Second)
		room.Mark(Standing{Delivered: 8, Read: 1})
		p.send(receiptFrame("lobby", "alice", 8, 8)) // another device of this user
		synctest.Wait()
		room.Mark(Standing{Read: 7})
		p.quiet()
		room.Mark(Standing{Read: 9})
		p.expectMark("lobby", 9, 9)
		room.Mark(Standing{Read: 10})
		room.Leave()
		p.expectLeave("lobby")
		room.Mark(Standing{Read: 11})
		time.Sleep(10 * time.Second)
		p.quiet()
	})
}

func TestNothingIsMarkedWhereNoReceiptsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, live("e1", 9))
		room.Mark(Standing{Read: 9})
		time.Sleep(10 * time.Second)
		p.quiet()
		if room.KeepsReceipts() {
			t.Error("joined says that the room keeps none")
		}
	})
}

func TestMarksAfterALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, keeping("e1", 9))
		room.Mark(Standing{Delivered: 9, Read: 7})
		p.expectMark("lobby", 9, 7)
		p.drop()
		room.Mark(Standing{Read: 8})
		p = s.welcome()
		room.Mark(Standing{Read: 8}) // which history this is is not known yet
		p.quietUntilJoin(func() { p.rejoin("lobby", "e1", 9, 9, &yes) })
		p.expectMark("lobby", 9, 8)

		// What was told is stored, and needs no second mark.
		p.send(receiptFrame("lobby", "alice", 9, 8))
		synctest.Wait()
		p.drop()
		p = s.welcome()
		p.rejoin("lobby", "e1", 9, 9, &yes)
		time.Sleep(10 * time.Second)
		p.quiet()

		// While the server goes away it waits for the next connection.
		p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Goaway{Goaway: &v1.GoAway{AfterMs: 1000, WindowMs: 1000}}})
		synctest.Wait()
		room.Mark(Standing{Read: 9})
		p.quiet()
		p = s.welcome()
		p.rejoin("lobby", "e1", 9, 9, &yes)
		p.expectMark("lobby", 9, 9)

		// Another history has marks of its own.
		p.drop()
		p = s.welcome()
		p.rejoin("lobby", "e2", 9, 2, &no)
		p.quiet()
		room.Mark(Standing{Read: 2})
		p.expectMark("lobby", 2, 2)
	})
}

// quietUntilJoin checks that nothing but the join comes before it is answered.
func (p *peer) quietUntilJoin(answer func()) {
	p.t.Helper()
	synctest.Wait()
	if n := len(p.requests); n != 1 {
		p.t.Fatalf("%d requests have come; want the join alone", n)
	}
	answer()
}

func TestReceiptsAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, keeping("e1", 9))
		type result struct {
			receipts Receipts
			err      error
		}
		ask := func(ctx context.Context) chan result {
			done := make(chan result, 1)
			go func() {
				receipts, err := room.Receipts(ctx)
				done <- result{receipts, err}
			}()
			return done
		}
		reply := func(f *v1.ClientFrame) *v1.ServerFrame {
			if f.GetReceipts().GetRoom() != "lobby" {
				t.Fatalf("asked %v", f)
			}
			return &v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Receipts{Receipts: &v1.Receipts{
				Room: "lobby", Head: 9, Users: 2, Own: &v1.Receipt{User: "alice", Delivered: 8, Read: 8},
				Receipts: []*v1.Receipt{{User: "alice", Delivered: 8, Read: 8}, {User: "bob", Delivered: 9, Read: 2}},
				Counts:   []*v1.ReceiptCount{{Seq: 9, Delivered: 2, Read: 1}},
			}}}
		}
		alice := Receipt{"alice", Standing{8, 8}}
		want := Receipts{Head: 9, Own: alice, Users: 2, Named: []Receipt{alice, {"bob", Standing{9, 2}}}, Counts: []ReceiptCount{{9, 2, 1}}}

		// A lost connection costs it nothing but time.
		done := ask(t.Context())
		p.next()
		p.drop()
		p = s.welcome()
		p.rejoin("lobby", "e1", 9, 9, &yes)
		p.send(reply(p.next()))
		if got := <-done; got.err != nil || !reflect.DeepEqual(got.receipts, want) {
			t.Errorf("got %+v, %v; want %+v", got.receipts, got.err, want)
		}
		room.Mark(Standing{Read: 8})
		p.quiet() // the answer says that it is stored

		done = ask(t.Context())
		p.send(proto.ErrBadRequest.Frame(p.next().Id, "No."))
		var refused *RequestError
		if got := <-done; !errors.As(got.err, &refused) || !containsText(got.err, `ask for receipts of room "lobby"`) {
			t.Errorf("refused: %v", got.err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done = ask(ctx)
		late := p.next()
		cancel()
		if got := <-done; !errors.Is(got.err, context.Canceled) {
			t.Errorf("given up: %v", got.err)
		}
		p.send(reply(late))
		p.quiet()
		c.Close()
		if got := <-ask(t.Context()); !errors.Is(got.err, ErrClosed) {
			t.Errorf("closed: %v", got.err)
		}
	})
}

func TestReceiptUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, keeping("e1", 9))
		next := func() Receipts {
			t.Helper()
			for receipts, err := range room.ReceiptUpdates(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				return receipts
			}
			t.Fatal("the updates have ended")
			return Receipts{}
		}
		want := func(want Receipts) {
			t.Helper()
			if got := next(); !reflect.DeepEqual(got, want) {
				t.Errorf("told %+v; want %+v", got, want)
			}
		}
		p.send(receiptFrame("lobby", "bob", 5, 3))
		want(Receipts{Named: []Receipt{{"bob", Standing{5, 3}}}})

		// Who is slow gets the newest of each; what would go back is dropped.
		for seq := range uint64(1000) {
			p.send(receiptFrame("lobby", "bob", seq, 0), receiptFrame("lobby", "carol", seq, seq))
		}
		p.send(receiptFrame("lobby", "carol", 500, 500), receiptFrame("lobby", "bob", 600, 4), receiptFrame("attic", "dan", 1, 1))
		synctest.Wait()
		want(Receipts{Named: []Receipt{{"carol", Standing{999, 999}}, {"bob", Standing{999, 4}}}})

		p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Receipts{Receipts: &v1.Receipts{Room: "lobby", Head: 8, Users: 311}}})
		p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Receipts{Receipts: &v1.Receipts{
			Room: "lobby", Head: 9, Users: 312, Counts: []*v1.ReceiptCount{{Seq: 9, Delivered: 299, Read: 7}},
		}}})
		synctest.Wait()
		want(Receipts{Head: 9, Users: 312, Counts: []ReceiptCount{{9, 299, 7}}})

		// What waits of a history that is not this one is of no use.
		p.send(receiptFrame("lobby", "carol", 1000, 1000))
		synctest.Wait()
		p.drop()
		p = s.welcome()
		p.rejoin("lobby", "e2", 9, 0, &no)
		p.send(receiptFrame("lobby", "bob", 1, 0))
		synctest.Wait()
		want(Receipts{Named: []Receipt{{"bob", Standing{1, 0}}}})

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range room.ReceiptUpdates(ctx) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		}
		p.send(receiptFrame("lobby", "bob", 2, 0))
		synctest.Wait()
		room.Leave()
		p.expectLeave("lobby")
		for receipts, err := range room.ReceiptUpdates(t.Context()) {
			t.Errorf("after leave: %v, %v", receipts, err)
		}
	})
}

func TestReceiptUpdatesEndWithTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		room := join(c, s.welcome(), "lobby", JoinOptions{}, keeping("e1", 9))
		ended := make(chan error, 1)
		go func() {
			for _, err := range room.ReceiptUpdates(t.Context()) {
				ended <- err
			}
			close(ended)
		}()
		synctest.Wait()
		c.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	})
}

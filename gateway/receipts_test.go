package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage/catalog"
	"rookery/storage/commitlog"
)

// mark sends a mark and returns its id.
func (p *peer) mark(room string, delivered, read uint64) uint64 {
	p.t.Helper()
	return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Delivered: delivered, Read: read}}})
}

// receipts asks how far everybody has come in a room.
func (p *peer) receipts(room string) *v1.Receipts {
	p.t.Helper()
	id := p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: room}}})
	f := p.must()
	if f.Id != id || f.GetReceipts() == nil {
		p.t.Fatalf("receipts were answered with %v", f)
	}
	return f.GetReceipts()
}

// wantReceipt takes the next frame, which tells where a user stands.
func (p *peer) wantReceipt(room, user string, delivered, read uint64) {
	p.t.Helper()
	if r := p.must().GetReceipt(); r.GetRoom() != room || r.GetUser() != user || r.GetDelivered() != delivered || r.GetRead() != read {
		p.t.Fatalf("told %v, want %s in %s at %d and %d", r, user, room, delivered, read)
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "receipts " + w.name
		alice, bob, phone := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob"), login(t, srv.Addr(), w, "bob")
		if j := alice.enter(room); !j.GetReceipts() {
			t.Fatalf("joined says %v", j)
		}
		bob.enter(room)
		phone.enter(room)
		for i := range 3 {
			alice.publish(room, "", fmt.Sprint(i))
			alice.must() // published, and its own
			alice.must()
			bob.must()
			phone.must()
		}

		// Without an id nobody is answered; the members are told, the other device among them.
		if err := bob.send(&v1.ClientFrame{Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Delivered: 3, Read: 2}}}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*peer{alice, bob, phone} {
			p.wantReceipt(room, "bob", 3, 2)
		}
		// With one the answer comes, and says what both devices have marked.
		id := phone.mark(room, 0, 3)
		if f := phone.must(); f.Id != id || f.GetMarked().GetRoom() != room || f.GetMarked().GetDelivered() != 3 || f.GetMarked().GetRead() != 3 {
			t.Fatalf("marked is %v", f)
		}
		for _, p := range []*peer{alice, bob, phone} {
			p.wantReceipt(room, "bob", 3, 3)
		}
		r := alice.receipts(room)
		if r.GetRoom() != room || r.GetHead() != 3 || r.GetUsers() != 1 || r.GetOwn().GetUser() != "alice" || r.GetOwn().GetRead() != 0 ||
			len(r.GetReceipts()) != 1 || r.GetReceipts()[0].GetUser() != "bob" || r.GetReceipts()[0].GetRead() != 3 || len(r.GetCounts()) != 0 {
			t.Fatalf("receipts are %v", r)
		}

		// What can't be, and a mark without an id that fails.
		alice.mark(room, 4, 0)
		alice.mustFail(proto.ErrBadRequest)
		alice.mark(room, 0, 0)
		alice.mustFail(proto.ErrBadRequest)
		alice.mark("", 1, 0)
		alice.mustFail(proto.ErrBadRequest)
		alice.mark("elsewhere", 1, 0)
		alice.mustFail(proto.ErrNotJoined)
		alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Read: 1, Epoch: "another"}}})
		alice.mustFail(proto.ErrBadRequest)
		if err := alice.send(&v1.ClientFrame{Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Read: 4}}}); err != nil {
			t.Fatal(err)
		}
		if f := alice.must(); f.Id != 0 || f.GetError().GetName() != proto.ErrBadRequest.Name {
			t.Fatalf("a mark beyond the head, without an id, brought %v", f)
		}
		alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: "\x01catalog"}}})
		alice.mustFail(proto.ErrBadRequest)
	})
}

// TestReceiptsSurviveARestart: what was told is in the log.
func TestReceiptsSurviveARestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	in := func(c *gateway.Config) { c.Data = data }
	srv := gatewaytest.Start(t, in)
	w := wires[0]
	alice := login(t, srv.Addr(), w, "alice")
	alice.enter("lobby")
	alice.publish("lobby", "", "hi")
	alice.must() // published, and its own
	alice.must()
	alice.mark("lobby", 1, 0)
	if f := alice.must(); f.GetMarked().GetDelivered() != 1 {
		t.Fatalf("marked is %v", f)
	}
	// This one waits when the server is asked to go: it is stored and answered.
	id := alice.mark("lobby", 0, 1)
	go srv.Stop()
	for {
		f := alice.must()
		if f.Id == id {
			if f.GetMarked().GetRead() != 1 {
				t.Fatalf("the last mark was answered with %v", f)
			}
			break
		}
	}
	srv.Stop()

	srv = gatewaytest.Start(t, in)
	bob := login(t, srv.Addr(), w, "bob")
	r := bob.receipts("lobby")
	named := r.GetReceipts()
	if r.GetHead() != 1 || len(named) != 1 || named[0].GetUser() != "alice" || named[0].GetDelivered() != 1 || named[0].GetRead() != 1 {
		t.Fatalf("after the restart: %v", r)
	}
}

// TestRoomsWithoutReceipts: the setting, ephemeral rooms, and rights.
func TestRoomsWithoutReceipts(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Rooms.Receipts = []string{"team-*", "game"}
		c.Rooms.Ephemeral = []string{"game"}
	})
	alice := login(t, srv.Addr(), wires[0], "alice")
	for room, keeps := range map[string]bool{"team-a": true, "lobby": false, "game": false} {
		if j := alice.enter(room); j.GetReceipts() != keeps {
			t.Errorf("joined of %s says %v", room, j)
		}
		if keeps {
			continue
		}
		alice.mark(room, 1, 1)
		alice.mustFail(proto.ErrBadRequest)
		alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: room}}})
		alice.mustFail(proto.ErrBadRequest)
	}
}

// TestLargeRoomsAreCounted: with more than a hundred users nobody is named.
func TestLargeRoomsAreCounted(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	w := wires[0]
	watcher := login(t, srv.Addr(), w, "watcher")
	watcher.enter("plaza")
	watcher.publish("plaza", "", "hello")
	watcher.must()
	watcher.must()
	for i := range 101 {
		p := login(t, srv.Addr(), w, fmt.Sprint("user", i))
		p.enter("plaza")
		p.mark("plaza", 1, uint64(i%2))
	}
	for deadline := time.Now().Add(waitLimit); ; {
		if r := watcher.must().GetReceipts(); r.GetUsers() == 101 {
			if len(r.GetReceipts()) != 0 || len(r.GetCounts()) != 1 || r.GetCounts()[0].GetSeq() != 1 ||
				r.GetCounts()[0].GetDelivered() != 101 || r.GetCounts()[0].GetRead() != 50 || r.GetOwn() != nil {
				t.Fatalf("told %v", r)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never told counts")
		}
	}

	// The user's own devices are told, those that watch their rooms.
	phone, idle := login(t, srv.Addr(), wires[1], "user7"), login(t, srv.Addr(), w, "user8")
	phone.myRooms(true)
	laptop := login(t, srv.Addr(), w, "user7")
	laptop.enter("plaza")
	watcher.publish("plaza", "", "more")
	laptop.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetSeq() == 2 })
	if f := laptop.answer(laptop.mark("plaza", 2, 2)); f.GetMarked() == nil {
		t.Fatalf("the mark is answered %v", f)
	}
	phone.wantReceipt("plaza", "user7", 2, 2)
	if id := idle.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}); idle.must().Id != id {
		t.Error("another user is told")
	}
}

// TestPositionsOfAnotherEpoch count for nothing: their numbers are those of another history.
func TestPositionsOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	log, err := commitlog.Open(commitlog.Config{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c, err := catalog.Open(catalog.Config{Log: log, Synced: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Update(t.Context(), catalog.Advance("lobby", "alice", catalog.Position{Epoch: "another", Delivered: 9, Read: 9}))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}

	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = data })
	alice := login(t, srv.Addr(), wires[0], "alice")
	alice.enter("lobby")
	alice.publish("lobby", "", "hi")
	alice.must() // published, and its own
	alice.must()
	if r := alice.receipts("lobby"); r.GetUsers() != 0 || r.GetOwn().GetRead() != 0 || len(r.GetReceipts()) != 0 {
		t.Errorf("receipts are %v", r)
	}
	alice.mark("lobby", 0, 1)
	if f := alice.must(); f.GetMarked().GetRead() != 1 {
		t.Errorf("marked is %v", f)
	}
}

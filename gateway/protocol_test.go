package gateway_test

import (
	"strconv"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestPublishReachesEveryMemberAndIsAnswered(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "path " + w.name
		alice, bob := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob")
		if j := alice.enter(room); j.Head != 0 || j.Epoch == "" || j.Recovered != nil {
			t.Fatalf("joined an empty room: %v", j)
		}
		bob.enter(room)
		for seq := uint64(1); seq <= 3; seq++ {
			id := alice.publish(room, "", "hello "+strconv.FormatUint(seq, 10))
			reply := alice.must()
			if p := reply.GetPublished(); reply.Id != id || p.GetSeq() != seq || p.GetRoom() != room || p.GetAt() == 0 {
				t.Fatalf("publish %d was answered with %v", seq, reply)
			}
			for _, member := range []*peer{alice, bob} {
				m := member.must().GetMessage()
				if m.GetSeq() != seq || m.GetFrom() != "alice" || m.GetText() != "hello "+strconv.FormatUint(seq, 10) || m.GetAt() != reply.GetPublished().At {
					t.Fatalf("message %d arrived as %v", seq, m)
				}
			}
		}
	})
}

func TestDataIsCarriedAsItIs(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		p := login(t, srv.Addr(), w, "alice")
		p.enter("data " + w.name)
		data := []byte{0, 1, 0xff, '"', '\n', 0x80}
		p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
			Room: "data " + w.name, Content: &v1.Publish_Data{Data: data},
		}}})
		p.must()
		if got := p.must().GetMessage(); string(got.GetData()) != string(data) {
			t.Errorf("got %x, want %x", got.GetData(), data)
		}
	})
}

func TestJoinContinuesAfterAPosition(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "resume " + w.name
		alice := login(t, srv.Addr(), w, "alice")
		for i := range 10 {
			alice.publish(room, "", strconv.Itoa(i+1))
			alice.must()
		}
		bob := login(t, srv.Addr(), w, "bob")
		bob.join(room, ptr(uint64(4)), "")
		joined := bob.must().GetJoined()
		if joined.GetHead() != 10 || !joined.GetRecovered() {
			t.Fatalf("joined: %v", joined)
		}
		for seq := uint64(5); seq <= 10; seq++ {
			if m := bob.must().GetMessage(); m.GetSeq() != seq || m.GetText() != strconv.FormatUint(seq, 10) {
				t.Fatalf("catch-up gave %v, want %d", m, seq)
			}
		}
		alice.publish(room, "", "live")
		if m := bob.must().GetMessage(); m.GetSeq() != 11 || m.GetText() != "live" {
			t.Fatalf("after the seam came %v", m)
		}
	})
}

func TestJoinWithAPositionThatMeansNothing(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	w := wires[0]
	p := login(t, srv.Addr(), w, "alice")
	p.publish("r", "", "one")
	p.must()
	for name, c := range map[string]struct {
		after uint64
		epoch string
	}{"another epoch": {1, "beef"}, "not reached": {2, ""}} {
		t.Run(name, func(t *testing.T) {
			q := login(t, srv.Addr(), w, "bob")
			q.join("r", &c.after, c.epoch)
			if j := q.must().GetJoined(); j.Recovered == nil || *j.Recovered || j.Head != 1 {
				t.Fatalf("joined: %v", j)
			}
		})
	}
}

func TestHistoryPagesInBothDirections(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "history " + w.name
		p := login(t, srv.Addr(), w, "alice")
		for i := range 10 {
			p.publish(room, "", strconv.Itoa(i+1))
			p.must()
		}
		ask := func(r *v1.HistoryRequest) *v1.History {
			t.Helper()
			r.Room = room
			id := p.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: r}})
			f := p.must()
			if f.Id != id || f.GetHistory() == nil {
				t.Fatalf("history was answered with %v", f)
			}
			return f.GetHistory()
		}
		for _, c := range []struct {
			name        string
			request     *v1.HistoryRequest
			first, last uint64
			more        bool
		}{
			{"newest", &v1.HistoryRequest{Limit: 3}, 8, 10, true},
			{"all", &v1.HistoryRequest{}, 1, 10, false},
			{"before", &v1.HistoryRequest{Before: ptr(uint64(8)), Limit: 3}, 5, 7, true},
			{"first page", &v1.HistoryRequest{Before: ptr(uint64(4)), Limit: 3}, 1, 3, false},
			{"after", &v1.HistoryRequest{After: ptr(uint64(0)), Limit: 4}, 1, 4, true},
			{"last page", &v1.HistoryRequest{After: ptr(uint64(7)), Limit: 3}, 8, 10, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				h := ask(c.request)
				if len(h.Messages) == 0 || h.Messages[0].Seq != c.first || h.Messages[len(h.Messages)-1].Seq != c.last || h.More != c.more {
					t.Fatalf("got %v, want %d to %d, more %v", h, c.first, c.last, c.more)
				}
				for i, m := range h.Messages {
					if m.Seq != c.first+uint64(i) || m.Room != room || m.From != "alice" || m.GetText() != strconv.FormatUint(m.Seq, 10) {
						t.Errorf("message %d of the page is %v", i, m)
					}
				}
			})
		}
		if h := ask(&v1.HistoryRequest{After: ptr(uint64(10))}); len(h.Messages) != 0 || h.More {
			t.Errorf("after the head came %v", h)
		}
	})
}

func TestRetryKeyGivesTheSameAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := wires[0]
	inDir := func(c *gateway.Config) { c.Data = dir }
	srv := gatewaytest.Start(t, inDir)
	p := login(t, srv.Addr(), w, "alice")
	p.publish("r", "k1", "first")
	first := p.must().GetPublished()
	p.publish("r", "k1", "first, again")
	if again := p.must().GetPublished(); again.GetSeq() != first.GetSeq() || again.GetAt() != first.GetAt() {
		t.Errorf("the retry was answered with %v, the first with %v", again, first)
	}
	bob := login(t, srv.Addr(), w, "bob")
	bob.publish("r", "k1", "another user's key")
	if got := bob.must().GetPublished().GetSeq(); got != 2 {
		t.Errorf("another user's key was taken for alice's: seq %d", got)
	}
	// Both in one write: the second comes while the first waits for its commit.
	two := []byte{}
	for id := uint64(100); id < 102; id++ {
		two = proto.AppendClientFrame(two, w.codec, &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Publish{
			Publish: &v1.Publish{Room: "r", Key: "k2", Content: &v1.Publish_Text{Text: "x"}},
		}})
	}
	if err := p.sendBytes(two); err != nil {
		t.Fatal(err)
	}
	if a, b := p.must().GetPublished().GetSeq(), p.must().GetPublished().GetSeq(); a != 3 || b != 3 {
		t.Errorf("a publish and its retry in flight were answered with %d and %d, want 3 twice", a, b)
	}
	srv.Stop()

	srv = gatewaytest.Start(t, inDir)
	p = login(t, srv.Addr(), w, "alice")
	p.publish("r", "k1", "first, after a restart")
	if again := p.must().GetPublished(); again.GetSeq() != first.GetSeq() || again.GetAt() != first.GetAt() {
		t.Errorf("after a restart the retry was answered with %v, the first with %v", again, first)
	}
	p.publish("r", "k3", "new")
	if got := p.must().GetPublished().GetSeq(); got != 4 {
		t.Errorf("after a restart the next number is %d, want 4", got)
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "leave " + w.name
		alice, bob := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob")
		alice.enter(room)
		bob.enter(room)
		leave := &v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}}
		bob.request(leave)
		if bob.must().GetLeft().GetRoom() != room {
			t.Fatal("leave was not answered with left")
		}
		alice.publish(room, "", "x")
		alice.must()
		alice.must()
		// The next thing that bob hears is this answer, not the message.
		bob.request(leave)
		bob.mustFail(proto.ErrNotJoined)
		// Join and leave sent together are answered in order, and the room can be joined anew.
		both := proto.AppendClientFrame(nil, w.codec, &v1.ClientFrame{Id: 90, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}})
		both = proto.AppendClientFrame(both, w.codec, &v1.ClientFrame{Id: 91, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}})
		if err := bob.sendBytes(both); err != nil {
			t.Fatal(err)
		}
		if f := bob.must(); f.GetJoined() == nil || f.Id != 90 {
			t.Fatalf("first answer: %v", f)
		}
		if f := bob.must(); f.GetLeft() == nil || f.Id != 91 {
			t.Fatalf("second answer: %v", f)
		}
		if j := bob.enter(room); j.Head != 1 {
			t.Errorf("joined anew at %d, want 1", j.Head)
		}
		// So are a leave and a join right behind it, with the join's position.
		both = proto.AppendClientFrame(nil, w.codec, &v1.ClientFrame{Id: 92, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}})
		both = proto.AppendClientFrame(both, w.codec, &v1.ClientFrame{Id: 93, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room, After: ptr(uint64(0))}}})
		if err := bob.sendBytes(both); err != nil {
			t.Fatal(err)
		}
		if f := bob.must(); f.GetLeft() == nil || f.Id != 92 {
			t.Fatalf("first answer: %v", f)
		}
		if f := bob.must(); !f.GetJoined().GetRecovered() || f.Id != 93 {
			t.Fatalf("second answer: %v", f)
		}
		if m := bob.must().GetMessage(); m.GetSeq() != 1 {
			t.Errorf("after the join came %v", m)
		}
	})
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.RoomsPerConnection = 2 })
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			p := login(t, srv.Addr(), w, "alice")
			p.enter("one")
			join := func(r *v1.Join) *v1.ClientFrame {
				return &v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: r}}
			}
			publish := func(r *v1.Publish) *v1.ClientFrame {
				return &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: r}}
			}
			history := func(r *v1.HistoryRequest) *v1.ClientFrame {
				return &v1.ClientFrame{Op: &v1.ClientFrame_History{History: r}}
			}
			text := &v1.Publish_Text{Text: "x"}
			for _, c := range []struct {
				name  string
				frame *v1.ClientFrame
				want  proto.ErrorCode
			}{
				{"no operation", &v1.ClientFrame{}, proto.ErrUnknownOperation},
				{"join without a room", join(&v1.Join{}), proto.ErrBadRequest},
				{"join of a long name", join(&v1.Join{Room: strings.Repeat("x", 129)}), proto.ErrBadRequest},
				{"join of a name with a control character", join(&v1.Join{Room: "a\nb"}), proto.ErrBadRequest},
				{"join twice", join(&v1.Join{Room: "one"}), proto.ErrAlreadyJoined},
				{"leave of another room", &v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: "two"}}}, proto.ErrNotJoined},
				{"publish without content", publish(&v1.Publish{Room: "one"}), proto.ErrBadRequest},
				{"publish with a long key", publish(&v1.Publish{Room: "one", Key: strings.Repeat("k", 129), Content: text}), proto.ErrBadRequest},
				// The server's own rooms, the catalog among them.
				{"join of a system room", join(&v1.Join{Room: "\x01catalog", After: ptr(uint64(0))}), proto.ErrBadRequest},
				{"publish to a system room", publish(&v1.Publish{Room: "\x01catalog", Content: text}), proto.ErrBadRequest},
				{"history of a system room", history(&v1.HistoryRequest{Room: "\x01catalog", After: ptr(uint64(0))}), proto.ErrBadRequest},
				{"publish without a room", publish(&v1.Publish{Content: text}), proto.ErrBadRequest},
				{"history both ways", history(&v1.HistoryRequest{Room: "one", Before: ptr(uint64(1)), After: ptr(uint64(1))}), proto.ErrBadRequest},
				{"history before nothing", history(&v1.HistoryRequest{Room: "one", Before: ptr(uint64(0))}), proto.ErrBadRequest},
				{"history of too many", history(&v1.HistoryRequest{Room: "one", Limit: 201}), proto.ErrBadRequest},
				{"another user's login", &v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "bob"}}}, proto.ErrUserChanged},
			} {
				t.Run(c.name, func(t *testing.T) {
					p.t = t
					p.request(c.frame)
					p.mustFail(c.want)
				})
			}
			p.t = t
			p.enter("two")
			p.join("three", nil, "")
			p.mustFail(proto.ErrTooManyRooms)
			// After all that the connection still works.
			p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
			if p.must().GetPong() == nil {
				t.Error("ping was not answered with pong")
			}
		})
	}
}

func TestFramesThatEndTheConnection(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			t.Run("a request before connect", func(t *testing.T) {
				p := open(t, srv.Addr(), w)
				p.join("one", nil, "")
				p.mustFail(proto.ErrNotConnected)
				p.mustClose(proto.CloseNotConnected)
			})
			t.Run("no name", func(t *testing.T) {
				p := open(t, srv.Addr(), w)
				p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{}}})
				p.mustFail(proto.ErrUnauthorized)
				p.mustClose(proto.CloseUnauthorized)
			})
			t.Run("no id", func(t *testing.T) {
				p := login(t, srv.Addr(), w, "alice")
				if err := p.send(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}); err != nil {
					t.Fatal(err)
				}
				p.mustFail(proto.ErrBadRequest)
			})
			t.Run("garbage", func(t *testing.T) {
				p := login(t, srv.Addr(), w, "alice")
				garbage := []byte{3, 0xff, 0xff, 0xff}
				if w.codec == proto.JSON {
					garbage = []byte(`{"id":1,"join":`)
				}
				if err := p.sendBytes(garbage); err != nil {
					t.Fatal(err)
				}
				p.mustClose(proto.CloseBadFrame)
			})
			t.Run("too long", func(t *testing.T) {
				p := login(t, srv.Addr(), w, "alice")
				// The server may end the connection before it has taken all of it.
				err := p.send(&v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
					Room: "one", Content: &v1.Publish_Text{Text: strings.Repeat("x", 70_000)},
				}}})
				if !w.events {
					p.mustClose(proto.CloseTooBig)
				} else if err == nil || !strings.Contains(err.Error(), "413") {
					t.Errorf("a long POST was answered with %v", err) // it was never the session's
				}
			})
		})
	}
	t.Run("the other kind of message", func(t *testing.T) {
		p := login(t, srv.Addr(), wires[0], "alice")
		p.wire.codec = proto.JSON
		p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
		p.mustClose(proto.CloseUnsupported)
	})
	t.Run("another version of the preface", func(t *testing.T) {
		p := open(t, srv.Addr(), wires[2])
		q := *p
		q.conn = dialPlain(t, srv.Addr(), "ROOKERY\x02")
		q.in.Reset(q.conn)
		q.mustClose(proto.CloseVersion)
	})
}

func TestUnknownFieldsPass(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	p := login(t, srv.Addr(), wires[1], "alice")
	p.sendBytes([]byte(`{"id":5,"join":{"room":"one","color":"red","nested":{"a":[1,null]}},"trace":"x"}` + "\n"))
	if p.must().GetJoined().GetRoom() != "one" {
		t.Error("a join with unknown fields was not answered with joined")
	}
	p.sendBytes([]byte(`{"id":6,"dance":{"with":"wolves"}}`))
	p.mustFail(proto.ErrUnknownOperation)

	q := login(t, srv.Addr(), wires[2], "bob")
	// id 7, operation 100 with a length of 2.
	q.sendBytes([]byte{7, 0x08, 7, 0xa2, 0x06, 2, 1, 1})
	q.mustFail(proto.ErrUnknownOperation)
}

func TestCodecIsDecidedByTheFirstMessage(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	conn, in := upgrade(t, srv.Addr(), "/ws")
	p := &peer{t: t, conn: conn, in: in, wire: wires[1]}
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice"}}})
	if p.must().GetConnected().GetUser() != "alice" {
		t.Error("JSON without a subprotocol was not understood")
	}
}

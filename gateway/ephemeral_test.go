package gateway_test

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// ephemeral sends an ephemeral publish, without an id if id is 0.
func (p *peer) ephemeral(id uint64, room, key, text string) {
	p.t.Helper()
	err := p.send(&v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: room, Key: key, Ephemeral: true, Content: &v1.Publish_Text{Text: text},
	}}})
	if err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

func TestEphemeralMessages(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "ephemeral " + w.name
		alice, bob := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob")
		alice.enter(room)
		bob.enter(room)
		for i := range 60 {
			alice.ephemeral(0, room, "cursor", strconv.Itoa(i)) // no reply, so the next frames are messages
		}
		for _, p := range []*peer{alice, bob} {
			for i := range 60 {
				m := p.must().GetMessage()
				if !m.GetEphemeral() || m.GetSeq() != 0 || m.GetText() != strconv.Itoa(i) || m.GetKey() != "cursor" || m.GetFrom() != "alice" || m.GetAt() == 0 {
					t.Fatalf("message %d came as %v", i, m)
				}
			}
		}
		alice.ephemeral(900, room, "", "answered")
		reply, own := alice.must(), alice.must()
		if reply.GetMessage() != nil {
			reply, own = own, reply
		}
		if p := reply.GetPublished(); reply.Id != 900 || p.GetRoom() != room || p.GetSeq() != 0 || p.GetAt() == 0 || own.GetMessage().GetText() != "answered" {
			t.Fatalf("answered with %v and %v", reply, own)
		}
		bob.must()

		// The room's order knows nothing of them.
		alice.publish(room, "cursor", "stored")
		if p := alice.must().GetPublished(); p.GetSeq() != 1 {
			t.Fatalf("the first stored message is %v", p)
		}
		if m := bob.must().GetMessage(); m.GetSeq() != 1 || m.GetEphemeral() || m.GetKey() != "" {
			t.Fatalf("the first stored message came as %v", m)
		}
		carol := login(t, srv.Addr(), w, "carol")
		carol.join(room, ptr(uint64(0)), "")
		if j := carol.must().GetJoined(); j.GetHead() != 1 || j.GetEphemeral() {
			t.Fatalf("joined: %v", j)
		}
		if m := carol.must().GetMessage(); m.GetSeq() != 1 {
			t.Fatalf("caught up with %v", m)
		}
		carol.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: room}}})
		if h := carol.must().GetHistory(); len(h.GetMessages()) != 1 || h.GetEphemeral() {
			t.Fatalf("history: %v", h)
		}
	})
}

func TestEphemeralPublishIsCheckedLikeAnyOther(t *testing.T) {
	srv := gatewaytest.Start(t, production, func(c *gateway.Config) {
		c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1, 10
	})
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			p := open(t, srv.Addr(), w)
			connect(p, signed(t, jwt.MapClaims{
				"sub": "user of " + w.name, "exp": time.Now().Add(time.Hour).Unix(), "rooms": []string{"a"}, "publish": []string{"a"},
			}), "")
			p.must()
			p.ephemeral(0, "b", "", "x")
			if e := p.mustFail(proto.ErrPublishForbidden); e.Retry {
				t.Error("retry")
			}
			p.ephemeral(0, "", "", "x")
			p.mustFail(proto.ErrBadRequest)
			p.ephemeral(0, "a", strings.Repeat("k", 129), "x")
			p.mustFail(proto.ErrBadRequest)
			if err := p.send(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "a", Ephemeral: true}}}); err != nil {
				t.Fatal(err)
			}
			p.mustFail(proto.ErrBadRequest)
			if err := p.send(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "a", Content: &v1.Publish_Text{Text: "x"}}}}); err != nil {
				t.Fatal(err)
			}
			p.mustFail(proto.ErrBadRequest) // stored, and without an id
			p.enter("a")
			for range 200 { // a bucket fills while a slow machine is at it
				p.ephemeral(0, "a", "", "x")
				if f := p.must(); f.GetError() != nil {
					if f.Id != 0 || f.GetError().Name != proto.ErrRateLimited.Name || f.GetError().GetRetryAfterMs() == 0 {
						t.Fatalf("refused with %v", f)
					}
					return
				}
			}
			t.Error("200 messages at once were taken from a user who may send one a second")
		})
	}
}

func TestEphemeralRooms(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Ephemeral = []string{"game-*", "ticker"} })
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			room := "game-" + w.name
			alice := login(t, srv.Addr(), w, "alice")
			j := alice.enter(room)
			if !j.Ephemeral || j.Head != 0 || j.Begin != 1 {
				t.Fatalf("joined: %v", j)
			}
			// Neither the mark nor an id is needed here.
			if err := alice.send(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: "one"}}}}); err != nil {
				t.Fatal(err)
			}
			if m := alice.must().GetMessage(); m.GetText() != "one" || !m.GetEphemeral() || m.GetSeq() != 0 {
				t.Fatalf("came as %v", m)
			}
			alice.publish(room, "key", "two")
			for range 2 {
				f := alice.must()
				if f.GetPublished().GetSeq() != 0 || f.GetMessage().GetSeq() != 0 || f.GetError() != nil {
					t.Fatalf("sent %v", f)
				}
			}
			for _, ask := range []*v1.HistoryRequest{{Room: room}, {Room: room, After: ptr(uint64(0))}, {Room: room, Before: ptr(uint64(9))}} {
				alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: ask}})
				if h := alice.must().GetHistory(); !h.GetEphemeral() || len(h.GetMessages()) != 0 || h.GetMore() || h.GetBegin() != 1 || h.GetEpoch() != j.Epoch {
					t.Fatalf("history: %v", h)
				}
			}
			// Who comes back has missed nothing that is kept; who knows of a stored past is told that it is gone.
			for after, recovered := range map[uint64]bool{0: true, 5: false} {
				bob := login(t, srv.Addr(), w, "bob")
				bob.join(room, &after, j.Epoch)
				if j := bob.must().GetJoined(); j.GetHead() != 0 || j.Recovered == nil || *j.Recovered != recovered || !j.GetEphemeral() {
					t.Errorf("joined after %d: %v", after, j)
				}
			}
			if j := alice.enter("lobby"); j.Ephemeral {
				t.Errorf("joined: %v", j)
			}
		})
	}
	if n := metric(t, srv, "rookery_log_records_total"); n != 0 {
		t.Errorf("the log has %v records", n)
	}
	if n := metric(t, srv, "rookery_ephemeral_messages_total"); n != float64(2*len(everyWire)) {
		t.Errorf("%v ephemeral messages are counted", n)
	}
}

// TestWhoStallsGetsTheNewestEphemeralMessages: while it reads nothing everybody else gets everything,
// and the sum of what was delivered and dropped is what was owed.
func TestWhoStallsGetsTheNewestEphemeralMessages(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Heartbeat = time.Hour })
	const keys, size = 5, 8000
	for _, w := range everyWire {
		t.Run(w.name, func(t *testing.T) {
			room := "stall " + w.name
			before := metrics(t, srv)
			sender, live, slow := login(t, srv.Addr(), w, "sender"), login(t, srv.Addr(), w, "live"), login(t, srv.Addr(), w, "slow")
			_ = slow.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			live.enter(room)
			slow.enter(room)
			number := func(p *peer) (int, string) {
				m := p.must().GetMessage()
				if !m.GetEphemeral() {
					t.Fatalf("sent %v", m)
				}
				text, _, _ := strings.Cut(m.GetText(), " ")
				n, err := strconv.Atoi(text)
				if err != nil {
					t.Fatal(err)
				}
				return n, m.Key
			}
			sent := 0
			send := func() {
				sent++
				text := fmt.Sprintf("%d %s", sent, strings.Repeat("x", size))
				sender.ephemeral(0, room, fmt.Sprintf("key %d", sent%keys), text)
				if n, key := number(live); n != sent || key != fmt.Sprintf("key %d", sent%keys) {
					t.Fatalf("%d of %s came, want %d", n, key, sent)
				}
			}
			dropped := func() float64 {
				name := `rookery_ephemeral_dropped_total{reason="behind"}`
				return metrics(t, srv)[name] - before[name]
			}
			// The kernel's buffers take some megabytes before a socket is full.
			for metrics(t, srv)["rookery_ephemeral_kept_bytes"] == 0 {
				for range 100 {
					send()
				}
				if sent > 10_000 {
					t.Fatal("the socket never was full")
				}
			}
			for range 10 * keys {
				send()
			}
			got, last := 0, 0
			newest := map[string]int{}
			for last < sent {
				n, key := number(slow)
				if n <= last {
					t.Fatalf("%d came after %d", n, last)
				}
				got, last, newest[key] = got+1, n, n
			}
			var seen []int
			for _, n := range newest {
				seen = append(seen, n)
			}
			slices.Sort(seen)
			if len(seen) != keys || seen[0] != sent-keys+1 {
				t.Errorf("of %d messages the newest seen are %v", sent, seen)
			}
			if got == sent {
				t.Error("nothing was dropped: the test did not reach what it is for")
			}
			eventually(t, "the drops are counted", func() bool { return dropped() == float64(sent-got) })
			after := metrics(t, srv)
			delivered := after["rookery_ephemeral_delivered_total"] - before["rookery_ephemeral_delivered_total"]
			if delivered != float64(sent+got) || after["rookery_ephemeral_kept_bytes"] != 0 {
				t.Errorf("%v deliveries are counted, want %d; %v bytes are kept", delivered, sent+got, after["rookery_ephemeral_kept_bytes"])
			}
			for _, p := range []*peer{sender, live, slow} {
				p.conn.Close()
			}
		})
	}
}

package loop

import (
	"slices"
	"strings"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// BenchmarkPublish is a publish from the socket to the shard's mailbox.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct {
		name  string
		rules Rules
	}{
		{"unlimited", Rules{Auth: anyone{}}},
		{"one rate", oneRate(Rules{Auth: anyone{}})},
		{"rates as by default", threeRates()},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, func(cfg *Config) { cfg.Rules = c.rules })
			s := r.open(true, proto.Binary)
			in := proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
				Room: "lobby", Key: "a1-0001", Content: &v1.Publish_Text{Text: "hello, this is a message of some length"},
			}}})
			at := s.context.(*conn)
			b.ReportAllocs()
			for b.Loop() {
				s.in = in
				r.loop.traffic(at)
				r.rooms.commands = r.rooms.commands[:0]
			}
			if len(s.out) > 0 {
				b.Fatal("a publish was answered by the loop")
			}
		})
	}
}

func oneRate(rules Rules) Rules {
	rules.Rates.Of[rate.User][rate.Publish] = rate.PerSecond(1e9, 1e9)
	return rules
}

// threeRates are those that a publish meets with the settings' defaults.
func threeRates() Rules {
	rules := oneRate(Rules{Auth: anyone{}})
	rules.Rates.Of[rate.User][rate.Bytes] = rate.PerSecond(1e12, 1e12)
	rules.Rates.Of[rate.Room][rate.Publish] = rate.PerSecond(1e9, 1e9)
	return rules
}

// request is one of a rate's operation.
type request struct {
	name  string
	of    rate.Operation
	room  bool // the rate of its room counts too
	frame *v1.ClientFrame
}

// requests are one of each that the protocol has.
func requests(user, room string) []request {
	return []request{
		{"connect", rate.Connect, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: user}}}},
		{"join", rate.Join, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}}},
		{"leave", rate.Join, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}}},
		{"publish", rate.Publish, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Publish{
			Publish: &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: "x"}},
		}}},
		{"history", rate.Read, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: room}}}},
		{"ping", rate.Other, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}},
		{"mark", rate.Mark, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Read: 1}}}},
		{"receipts", rate.Read, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: room}}}},
		{"create", rate.Publish, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Create{Create: &v1.Create{User: "carol"}}}},
		{"configure", rate.Publish, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Configure{Configure: &v1.Configure{Room: room}}}},
		{"member", rate.Publish, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Member{
			Member: &v1.ChangeMember{Room: room, User: "carol", Action: "kick"},
		}}},
		{"members", rate.Read, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{Room: room}}}},
		{"presence", rate.Read, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: room}}}},
		{"state", rate.Mark, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: "away"}}}},
		{"typing", rate.Mark, true, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Typing{Typing: &v1.TypingRequest{Room: room}}}},
		{"sync", rate.Read, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Sync{Sync: &v1.SyncRequest{}}}},
		{"notify", rate.Publish, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Notify{Notify: &v1.NotifyPreference{Room: room}}}},
		{"device", rate.Publish, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Device{Device: &v1.SetDevice{Id: "phone"}}}},
		{"rooms", rate.Read, false, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{}}}},
	}
}

// TestEveryRequestIsOfARate: one that the protocol gets has to be put somewhere, and is not by itself among those that cost their
// bytes only.
func TestEveryRequestIsOfARate(t *testing.T) {
	fields := (&v1.ClientFrame{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	known := requests("alice", "r")
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		at := slices.IndexFunc(known, func(q request) bool { return q.name == name })
		if at < 0 {
			t.Errorf("the test does not know the request %s", name)
			continue
		}
		q := known[at]
		if set := q.frame.ProtoReflect().WhichOneof(fields.Get(i).ContainingOneof()); set == nil || string(set.Name()) != name {
			t.Errorf("the frame of %s is of another request", name)
		}
		if o, room := operationOf(q.frame); o != q.of || (room != "") != q.room {
			t.Errorf("%s is of the rate %v and the room %q, want %v and a room %v", name, o, room, q.of, q.room)
		}
	}
}

// limited reports whether a request is refused for its rate, and checks that the time told is the rate's.
func (r *rig) limited(s *fakeSocket, f *v1.ClientFrame, perSecond float64) bool {
	r.t.Helper()
	r.request(s, f)
	for _, got := range r.sent(s) {
		e := got.GetError()
		if e.GetName() != proto.ErrRateLimited.Name || e.RetryAfterMs == nil {
			continue
		}
		if ms := float64(e.GetRetryAfterMs()); got.Id != f.Id || ms > 1000/perSecond || ms < 900/perSecond {
			r.t.Errorf("refused with %v, want %v ms or little less", got, 1000/perSecond)
		}
		return true
	}
	return false
}

// TestEachOperationHasItsRates over each way to the server, of a user, an address and a room: who shares the bucket shares
// the rate, and nobody else.
func TestEachOperationHasItsRates(t *testing.T) {
	const perSecond = 0.01
	ways := []struct {
		stream bool
		codec  proto.Codec
	}{{true, proto.Binary}, {false, proto.Binary}, {false, proto.JSON}}
	for _, scope := range []rate.Scope{rate.User, rate.Address, rate.Room} {
		for i, q := range requests("alice", "r") {
			o, f, limits := q.of, q.frame, q.of
			if o == rate.Other {
				limits = rate.Bytes
			}
			if _, _, err := rate.Parse(scope.String(), limits.String()); err != nil || scope == rate.Room && !q.room {
				continue
			}
			t.Run(scope.String()+" "+q.name, func(t *testing.T) {
				r := newRig(t, nil)
				var sockets []*fakeSocket
				for _, w := range ways {
					sockets = append(sockets, r.open(w.stream, w.codec))
				}
				rules := Rules{Auth: anyone{}}
				burst := 2.0
				if limits == rate.Bytes {
					burst = 1 // less than a request, of which a whole bucket is taken then
				}
				rules.Rates.Of[scope][limits] = rate.PerSecond(perSecond, burst)
				r.loop.engine.SetRules(rules)
				let := 0
				for _, s := range sockets {
					if !r.limited(s, f, perSecond) {
						let++
					}
				}
				if let != int(burst) {
					t.Errorf("%d of 3 were let in", let)
				}
				other := r.as(nil, "bob")
				other.from = "192.0.2.77"
				r.sent(other)
				g := requests("bob", "other")[i].frame
				if scope != rate.Address && o == rate.Connect {
					return // bob has connected just now
				}
				if r.limited(other, g, perSecond) {
					t.Error("another user at another address in another room was limited too")
				}
			})
		}
	}
}

// TestAClaimChangesAUsersRate, up to what the rules allow.
func TestAClaimChangesAUsersRate(t *testing.T) {
	known := tokens{
		"slow": {User: "slow", Rights: &identity.Rights{Join: []string{"*"}, Publish: []string{"*"}, Rates: &rate.Claims{rate.Publish: 0.001}}},
		"fast": {User: "fast", Rights: &identity.Rights{Join: []string{"*"}, Publish: []string{"*"}, Rates: &rate.Claims{rate.Publish: 100}}},
	}
	rules := Rules{Auth: known}
	rules.Rates.Of[rate.User][rate.Publish] = rate.PerSecond(0.01, 10)
	rules.Rates.Raise = 3
	r := newRig(t, func(c *Config) { c.Rules = rules })
	for name, want := range map[string]int{"slow": 1, "alice": 10, "fast": 30} {
		s := r.as(nil, name)
		r.sent(s)
		if n := r.publishes(s, 50); n != want {
			t.Errorf("%s published %d at once, want %d", name, n, want)
		}
	}
	rules.Rates = rate.Rules{}
	r.loop.engine.SetRules(rules)
	s := r.as(nil, "slow")
	r.sent(s)
	r.publishes(s, 2)
	if n := r.publishes(s, 5); n != 0 {
		t.Errorf("without a rate of the server a token's own is not held: %d went through", n)
	}
}

// TestWhoNeverWaitsIsClosed: each refusal costs an answer.
func TestWhoNeverWaitsIsClosed(t *testing.T) {
	rules := Rules{Auth: anyone{}}
	rules.Rates.Of[rate.User][rate.Publish] = rate.PerSecond(0.0001, 1)
	r := newRig(t, func(c *Config) { c.Rules = rules })
	s, patient := r.open(true, proto.Binary), r.open(true, proto.Binary)
	for range 3000 {
		r.request(s, publishFrame(7))
	}
	if code := closedWith(s); code != proto.CloseOverloaded.Code {
		t.Errorf("after 3,000 publishes too many it is closed with %d", code)
	}
	r.publishes(patient, 20)
	if code := closedWith(patient); code != 0 {
		t.Errorf("another connection of the user is closed with %d", code)
	}
}

func TestConnectionsOfAnAddressHaveARate(t *testing.T) {
	rules := Rules{Auth: anyone{}}
	rules.Rates.Of[rate.Address][rate.Open] = rate.PerSecond(0.1, 3)
	r := newRig(t, func(c *Config) { c.Rules = rules })
	opens := func(from string) (refused refusal, answer string) {
		s := &fakeSocket{room: 1 << 30, loop: r.events, from: from}
		r.loop.accept(s)
		c := s.context.(*conn)
		refused = c.refused
		s.in = []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		r.loop.traffic(c)
		return refused, string(s.out)
	}
	for i := range 5 {
		refused, answer := opens("192.0.2.1")
		if want := i >= 3; (refused == refusedRate) != want {
			t.Errorf("connection %d: refused %d", i, refused)
		}
		if refused != refusedNot && (!strings.HasPrefix(answer, "HTTP/1.1 503 ") || !strings.Contains(answer, "Retry-After: 10\r\n")) {
			t.Errorf("refused with %q", answer)
		}
	}
	if refused, _ := opens("192.0.2.2"); refused != refusedNot {
		t.Errorf("another address: refused %d", refused)
	}
	if n := r.loop.engine.admitted.Load() + r.loop.engine.refused.Load(); n != int64(len(r.loop.slots)-len(r.loop.free)) {
		t.Errorf("%d connections are counted", n)
	}
}

// TestWhoMayNotUseARoomCannotUseItUp: else anybody with a token could silence any room.
func TestWhoMayNotUseARoomCannotUseItUp(t *testing.T) {
	known := tokens{"outsider": {User: "outsider", Rights: &identity.Rights{Join: []string{"r"}, Publish: []string{}}}}
	rules := Rules{Auth: known}
	rules.Rates.Of[rate.Room][rate.Publish] = rate.PerSecond(0.0001, 5)
	r := newRig(t, func(c *Config) { c.Rules = rules })
	s := r.as(nil, "outsider")
	r.sent(s)
	for range 20 {
		r.request(s, publishFrame(7))
		r.mustFail(s, 7, proto.ErrPublishForbidden)
	}
	if n := r.publishes(r.open(true, proto.Binary), 10); n != 5 {
		t.Errorf("%d of 5 publishes were left to who may", n)
	}
}

// TestARoomWithMembersPaysForThoseInIt: not for who is outside or has to be silent.
func TestARoomWithMembersPaysForThoseInIt(t *testing.T) {
	rules := Rules{Auth: anyone{}}
	for _, o := range []rate.Operation{rate.Publish, rate.Join, rate.Read, rate.Mark} {
		rules.Rates.Of[rate.Room][o] = rate.PerSecond(0.0001, 2)
	}
	r := newRig(t, func(c *Config) { c.Rules = rules })
	outsider := r.as(nil, "mallory")
	r.sent(outsider)
	tell := func(change func(*handoff.Membership)) {
		m := being(handoff.RoleMember)
		change(m)
		r.put(handoff.Event{Kind: handoff.MemberChanged, Room: group, Member: m})
		r.work()
	}
	limited := func(s *fakeSocket, q request) bool { return r.limited(s, q.frame, 0.0001) }
	for _, q := range requests("mallory", group) {
		for range 5 {
			if limited(outsider, q) {
				t.Errorf("who is outside, %s: the rate of the room was taken from", q.name)
			}
			if q.name == "join" { // so that the next is no second one
				r.put(handoff.Event{Kind: handoff.Denied, To: outsider.context.(*conn).handle, ID: 7, Room: group, Code: proto.ErrNotMember, Text: "no"})
				r.work()
				r.sent(outsider)
			}
		}
	}
	r.asked()

	inside := r.open(true, proto.Binary)
	r.enter(inside, being(handoff.RoleGuest))
	publish := requests("", group)[3]
	for _, who := range []struct {
		name   string
		change func(*handoff.Membership)
	}{
		{"a guest", func(m *handoff.Membership) { m.Role = handoff.RoleGuest }},
		{"who is muted", func(m *handoff.Membership) { m.MutedUntil = handoff.ForEver }},
	} {
		tell(who.change)
		for range 5 {
			if limited(inside, publish) {
				t.Errorf("%s, publish: the rate of the room was taken from", who.name)
			}
		}
	}
	tell(func(*handoff.Membership) {})
	for _, q := range requests("", group) {
		if q.name != "publish" && q.name != "history" && q.name != "mark" {
			continue
		}
		for i := range 3 {
			if got := limited(inside, q); got != (i == 2) {
				t.Errorf("a member, %s, number %d: limited %v", q.name, i+1, got)
			}
		}
	}
}

// TestARoomThatIsOpenPaysForJoins, since everybody may.
func TestARoomThatIsOpenPaysForJoins(t *testing.T) {
	rules := Rules{Auth: anyone{}}
	rules.Rates.Of[rate.Room][rate.Join] = rate.PerSecond(0.0001, 2)
	r := newRig(t, func(c *Config) {
		c.Rules = rules
		c.Kind = func(string) handoff.RoomKind { return handoff.Open }
	})
	join := requests("", "channel")[1].frame
	for i := range 3 {
		s := r.as(nil, "carol")
		r.sent(s)
		if got := r.limited(s, join, 0.0001); got != (i == 2) {
			t.Errorf("join %d: limited %v", i+1, got)
		}
	}
}

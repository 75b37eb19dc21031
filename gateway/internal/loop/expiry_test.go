package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// tokens takes a name as the identity that a test has made for it.
type tokens map[string]identity.Identity

func (t tokens) Authenticate(_, name string) (identity.Identity, error) {
	who, ok := t[name]
	if !ok {
		return anyone{}.Authenticate("", name)
	}
	return who, nil
}

// as connects a socket, or renews its token.
func (r *rig) as(s *fakeSocket, name string) *fakeSocket {
	r.t.Helper()
	if s == nil {
		s = &fakeSocket{room: 1 << 30, loop: r.events}
		r.loop.accept(s)
		c := s.context.(*conn)
		c.stream, c.codec, c.phase = true, proto.Binary, opened
	}
	r.request(s, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: name}}})
	return s
}

// second lets a second of ticks go by.
func (r *rig) second() {
	for range int(time.Second / tick) {
		time.Sleep(tick)
		r.put(handoff.Event{Kind: handoff.Tick})
		r.work()
	}
}

// closedWith is the code that a socket was closed with, 0 if it is open.
func closedWith(s *fakeSocket) uint16 { return s.context.(*conn).closed }

// TestATokenEndsWithinASecond whatever the size of the table and the heartbeat.
func TestATokenEndsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := tokens{}
		r := newRig(t, func(c *Config) { c.Rules.Auth = known })
		end := time.Now().Add(5*time.Second + 300*time.Millisecond)
		known["soon"] = identity.Identity{User: "alice", Expires: end.UnixMilli()}
		known["later"] = identity.Identity{User: "alice", Expires: end.Add(time.Hour).UnixMilli()}
		var soon, others []*fakeSocket
		for range 40 {
			soon = append(soon, r.as(nil, "soon"))
			others = append(others, r.as(nil, "later"), r.as(r.as(nil, "soon"), "later"), r.as(nil, "bob"))
		}
		for range 5 {
			r.second()
		}
		for _, s := range append(soon, others...) {
			if code := closedWith(s); code != 0 {
				t.Fatalf("closed with %d before its time", code)
			}
		}
		time.Sleep(time.Until(end) - tick/2)
		r.second()
		for _, s := range soon {
			if code := closedWith(s); code != proto.CloseTokenExpired.Code {
				t.Fatalf("a second after the end of its token it is closed with %d", code)
			}
		}
		for _, s := range others {
			if code := closedWith(s); code != 0 {
				t.Fatalf("closed with %d by the end of somebody else's token, or of one that was renewed", code)
			}
		}
	})
}

// TestTokensThatExpireAtOnce are more than a tick closes. The others end with the next ones, and what is revoked then does not wait behind them.
func TestTokensThatExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 5 * atOnce // so that a tick looks at more of the table
		known := tokens{}
		r := newRig(t, func(c *Config) { c.Rules.Auth = known })
		end := time.Now().Add(5 * time.Second)
		known["soon"] = identity.Identity{User: "alice", Expires: end.UnixMilli()}
		known["revoked"] = identity.Identity{User: "bob", TokenID: identity.HashTokenID("x")}
		var soon []*fakeSocket
		for range many {
			soon = append(soon, r.as(nil, "soon"))
		}
		revoked, other := r.as(nil, "revoked"), r.as(nil, "carol")
		time.Sleep(time.Until(end))
		r.put(handoff.Event{Kind: handoff.Revoke, ID: identity.HashTokenID("x")})
		before := 0
		for ticks := 1; before < many; ticks++ {
			r.put(handoff.Event{Kind: handoff.Tick})
			r.work()
			closed := 0
			for _, s := range soon {
				if closedWith(s) == proto.CloseTokenExpired.Code {
					closed++
				}
			}
			if now := closed - before; now == 0 || now > atOnce {
				t.Fatalf("tick %d closes %d of %d that are left, want %d at most", ticks, now, many-before, atOnce)
			}
			before = closed
			if code := closedWith(revoked); ticks == roundTicks && code != proto.CloseTokenRevoked.Code {
				t.Errorf("what was revoked is closed with %d after %d ticks", code, ticks)
			}
			time.Sleep(tick)
		}
		if late := time.Since(end); late > 500*time.Millisecond+many/atOnce*tick {
			t.Errorf("the last one was closed %v late", late)
		}
		if code := closedWith(other); code != 0 {
			t.Errorf("one without an end was closed with %d", code)
		}
	})
}

func TestWhatIsRevokedEndsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := tokens{}
		r := newRig(t, func(c *Config) { c.Rules.Auth = known })
		at := time.Now()
		for i := range 300 {
			known[fmt.Sprint("token ", i)] = identity.Identity{User: "u", TokenID: identity.HashTokenID(fmt.Sprint(i)), Issued: uint32(at.Unix())}
		}
		known["alice's old one"] = identity.Identity{User: "alice", Issued: uint32(at.Unix())}
		known["alice's without iat"] = identity.Identity{User: "alice", TokenID: identity.HashTokenID("x")}
		known["alice's new one"] = identity.Identity{User: "alice", Issued: uint32(at.Unix() + 1)}
		sockets := map[string]*fakeSocket{"bob": r.as(nil, "bob")}
		for name := range known {
			sockets[name] = r.as(nil, name)
		}
		// One a tick, so that every place in a round has its turn.
		for i := range 300 {
			r.put(handoff.Event{Kind: handoff.Revoke, ID: identity.HashTokenID(fmt.Sprint(i))})
			r.put(handoff.Event{Kind: handoff.Tick})
			r.work()
			time.Sleep(tick)
			if i >= 10 { // a second ago
				if code := closedWith(sockets[fmt.Sprint("token ", i-10)]); code != proto.CloseTokenRevoked.Code {
					t.Fatalf("a second after the revocation of token %d its connection is closed with %d", i-10, code)
				}
			}
		}
		r.put(handoff.Event{Kind: handoff.Revoke, Room: "alice", At: at.Unix()})
		r.second()
		for name, s := range sockets {
			want := proto.CloseTokenRevoked.Code
			if name == "bob" || name == "alice's new one" {
				want = 0
			}
			if code := closedWith(s); code != want {
				t.Errorf("%s is closed with %d, want %d", name, code, want)
			}
		}
		r.second()
		if rounds := r.loop.rounds; rounds.current != nil || rounds.next != nil {
			t.Error("what was revoked is still looked for")
		}
	})
}

// TestANewTokenChangesRightsAtOnce: rooms that it does not allow are left, also such whose join is under way.
func TestANewTokenChangesRightsAtOnce(t *testing.T) {
	known := tokens{
		"all":  {User: "alice"},
		"team": {User: "alice", Rights: &identity.Rights{Join: []string{"team-*"}, Publish: nil}},
	}
	r := newRig(t, func(c *Config) { c.Rules.Auth = known })
	s := r.as(nil, "all")
	r.sent(s)
	for _, room := range []string{"hr", "team-1", "lobby"} {
		r.join(s, room, 5)
	}
	c := s.context.(*conn)
	r.request(s, &v1.ClientFrame{Id: 9, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "board"}}}) // is on its way

	r.as(s, "team")
	frames := r.sent(s)
	var left []string
	for _, f := range frames[1:] {
		if f.Id != 0 {
			t.Errorf("%v has the id of a request", f)
		}
		left = append(left, f.GetLeft().GetRoom())
	}
	if frames[0].GetConnected() == nil || strings.Join(left, " ") != "lobby hr" {
		t.Errorf("the new token was answered with %v", frames)
	}
	r.put(handoff.Event{Kind: handoff.Joined, To: c.handle, ID: 9, Room: "board", Seq: 1})
	r.work()
	if frames := r.sent(s); len(frames) != 2 || frames[0].GetJoined() == nil || frames[1].Id != 0 || frames[1].GetLeft().GetRoom() != "board" {
		t.Errorf("the join that was under way was answered with %v", frames)
	}
	if len(c.subscriptions) != 1 || len(r.loop.leaves) != 0 || len(r.loop.rooms) != 1 {
		t.Errorf("%d subscriptions, %d leaves and %d rooms are left", len(c.subscriptions), len(r.loop.leaves), len(r.loop.rooms))
	}
	for _, room := range []string{"hr", "team-1"} {
		r.deliver(room, 6)
	}
	r.work()
	r.mustGet(s, upTo(6, 6)) // of team-1
	r.request(s, publishFrame(10))
	r.mustFail(s, 10, proto.ErrPublishForbidden)
}

// TestANewTokenEndsEntries into rooms with members, however far they have come; each is answered once, and left once.
func TestANewTokenEndsEntries(t *testing.T) {
	known := tokens{"team": {User: "alice", Rights: &identity.Rights{Join: []string{"team-*"}}}}
	for _, c := range []struct {
		name            string
		before, after   []handoff.EventKind
		atOnce, answers string
	}{
		{"before the keeper answers", nil, []handoff.EventKind{handoff.Admitted, handoff.Joined}, "connected", "joined left"},
		{"and the keeper says no", nil, []handoff.EventKind{handoff.Denied}, "connected", "not_member left"},
		{"before the shard answers", []handoff.EventKind{handoff.Admitted}, []handoff.EventKind{handoff.Joined}, "connected", "joined left"},
		{"when it has joined", []handoff.EventKind{handoff.Admitted, handoff.Joined}, nil, "joined connected left", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) { cfg.Rules.Auth = known })
			s := r.open(true, proto.Binary)
			to := s.context.(*conn).handle
			happens := func(kinds []handoff.EventKind) {
				for _, kind := range kinds {
					r.put(handoff.Event{Kind: kind, To: to, ID: 2, Room: group, Member: being(handoff.RoleMember), Code: proto.ErrNotMember, Text: "no"})
					r.work()
				}
			}
			told := func() string {
				t.Helper()
				var words []string
				for _, f := range r.sent(s) {
					word := f.GetError().GetName()
					switch {
					case f.GetJoined() != nil:
						word = "joined"
					case f.GetConnected() != nil:
						word = "connected"
					case f.GetLeft() != nil:
						word = "left"
						if f.Id != 0 || f.GetLeft().Room != group {
							t.Errorf("left with %v", f)
						}
					}
					words = append(words, word)
				}
				return strings.Join(words, " ")
			}
			r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: group}}})
			happens(c.before)
			r.as(s, "team")
			if got := told(); got != c.atOnce {
				t.Errorf("the new token was answered with %q, want %q", got, c.atOnce)
			}
			happens(c.after)
			if got := told(); got != c.answers {
				t.Errorf("the join was answered with %q, want %q", got, c.answers)
			}
			if len(r.loop.rooms) != 0 || len(r.loop.leaves) != 0 || r.loop.counted.Subscriptions.Load() != 0 {
				t.Errorf("left behind: %d rooms, %d leaves, %d subscriptions", len(r.loop.rooms), len(r.loop.leaves), r.loop.counted.Subscriptions.Load())
			}
		})
	}
}

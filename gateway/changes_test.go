package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// alter sends a publish.
func (p *peer) alter(publish *v1.Publish) uint64 {
	p.t.Helper()
	return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: publish}})
}

// edit, remove, react and pin make the publishes of changes.
func edit(room string, target uint64, text string) *v1.Publish {
	return &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: text}, Change: &v1.Change{Target: target, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}}
}

func remove(room string, target uint64) *v1.Publish {
	return &v1.Publish{Room: room, Change: &v1.Change{Target: target, Op: &v1.Change_Delete{Delete: &v1.Delete{}}}}
}

func react(room string, target uint64, reaction string, taken bool) *v1.Publish {
	return &v1.Publish{Room: room, Change: &v1.Change{Target: target, Op: &v1.Change_React{React: &v1.React{Reaction: reaction, Remove: taken}}}}
}

func pin(room string, target uint64, off bool) *v1.Publish {
	return &v1.Publish{Room: room, Change: &v1.Change{Target: target, Op: &v1.Change_Pin{Pin: &v1.Pin{Remove: off}}}}
}

// done reads the reply to a publish of a peer that has not joined the room.
func (p *peer) done(publish *v1.Publish) uint64 {
	p.t.Helper()
	p.alter(publish)
	f := p.must()
	if f.GetPublished() == nil {
		p.t.Fatalf("%v was answered with %v", publish, f)
	}
	return f.GetPublished().Seq
}

func (p *peer) refused(publish *v1.Publish, code proto.ErrorCode) {
	p.t.Helper()
	p.alter(publish)
	p.mustFail(code)
}

func (p *peer) history(r *v1.HistoryRequest) *v1.History {
	p.t.Helper()
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: r}})
	h := p.must().GetHistory()
	if h == nil {
		p.t.Fatal("a request for history was not answered with history")
	}
	return h
}

// short writes a page as words.
func short(h *v1.History) string {
	var words []string
	for _, m := range h.Messages {
		word := fmt.Sprintf("%d:%s", m.Seq, m.GetText())
		for _, r := range m.Reactions {
			word += fmt.Sprintf("+%s%d", r.Reaction, r.Count)
		}
		for mark, is := range map[string]bool{"!": m.Pinned, "x": m.Deleted} {
			if is {
				word += mark
			}
		}
		if m.Replies != nil {
			word += fmt.Sprintf("(%d)", m.Replies.Count)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (p *peer) shows(r *v1.HistoryRequest, want string) {
	p.t.Helper()
	if got := short(p.history(r)); got != want {
		p.t.Errorf("history %v: %s, want %s", r, got, want)
	}
}

// TestChangesOnEveryWire: what a member sees live, what one sees who comes later, and what one sees who was away.
func TestChangesOnEveryWire(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "changes " + w.name
		alice, bob := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob")
		bob.enter(room)
		live := func(p *v1.Publish) {
			t.Helper()
			seq := alice.done(p)
			m := bob.must().GetMessage()
			want := &v1.Message{
				Room: room, Seq: seq, At: m.GetAt(), From: "alice", ReplyTo: p.ReplyTo, Thread: p.Thread, Mentions: p.Mentions, Kind: p.Kind, Change: p.Change,
			}
			if p.Content != nil {
				want.Content = &v1.Message_Text{Text: p.GetText()}
			}
			if !pb.Equal(m, want) {
				t.Fatalf("bob got\n%v\nwant\n%v", m, want)
			}
		}
		said := func(text string) *v1.Publish {
			return &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: text}}
		}
		live(said("one"))
		live(said("two"))
		live(said("three"))
		reply := said("four")
		reply.ReplyTo, reply.Thread, reply.Mentions, reply.Kind = 1, 1, []string{"bob"}, "poll"
		live(reply)
		live(edit(room, 1, "ONE"))
		live(react(room, 1, "👍", false))
		live(pin(room, 1, false))
		live(remove(room, 2))

		bob.shows(&v1.HistoryRequest{Room: room}, "1:ONE+👍1!(1) 2:x 3:three 4:four")
		bob.shows(&v1.HistoryRequest{Room: room, Limit: 1}, "4:four")
		bob.shows(&v1.HistoryRequest{Room: room, Before: ptr(uint64(4)), Limit: 2}, "2:x 3:three")
		bob.shows(&v1.HistoryRequest{Room: room, After: ptr(uint64(0)), Limit: 2}, "1:ONE+👍1!(1) 2:x")
		bob.shows(&v1.HistoryRequest{Room: room, Thread: 1}, "1:ONE+👍1!(1) 4:four")
		bob.shows(&v1.HistoryRequest{Room: room, Pinned: true}, "1:ONE+👍1!(1)")
		bob.shows(&v1.HistoryRequest{Room: room, Mentions: true, After: ptr(uint64(0))}, "4:four")
		alice.shows(&v1.HistoryRequest{Room: room, Mentions: true}, "")

		// Who was away: a tombstone where the text was, then the changes in their places.
		carol := login(t, srv.Addr(), w, "carol")
		carol.join(room, ptr(uint64(0)), "")
		if !carol.must().GetJoined().GetRecovered() {
			t.Fatal("carol was not caught up")
		}
		for seq := uint64(1); seq <= 8; seq++ {
			m := carol.must().GetMessage()
			if m.GetSeq() != seq || m.GetText() == "one" || m.GetText() == "two" || m.GetDeleted() != (seq == 2) {
				t.Errorf("carol got %v at %d", m, seq)
			}
			if seq == 1 && (m.Revision != 7 || m.Edits != 1 || m.Reactions[0].Own) {
				t.Errorf("carol got the first message as %v", m)
			}
		}

		bob.refused(edit(room, 1, "mine"), proto.ErrChangeForbidden)
		bob.refused(remove(room, 1), proto.ErrChangeForbidden)
		alice.refused(edit(room, 2, "back"), proto.ErrMessageDeleted)
		alice.refused(remove(room, 2), proto.ErrUnchanged)
		alice.refused(react(room, 1, "👍", false), proto.ErrUnchanged)
		alice.refused(edit(room, 5, "of an edit"), proto.ErrMessageNotFound)
		alice.refused(edit(room, 99, "x"), proto.ErrMessageNotFound)
		answer := said("to nothing")
		answer.ReplyTo = 99
		alice.refused(answer, proto.ErrMessageNotFound)
	})
}

// TestWhoIsBehindIsNotToldWhatWasTakenBack: a message that is edited, and one that is deleted, after a member's socket was full comes to it as
// it is then, though the last messages of a room are kept for those who are behind. What was not changed comes from there.
func TestWhoIsBehindIsNotToldWhatWasTakenBack(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			srv := gatewaytest.Start(t, func(c *gateway.Config) {
				c.Log.Sync = gateway.SyncNever
				c.Limits.OutboundBytes = 4 << 20
			})
			alice := login(t, srv.Addr(), wires[0], "alice")
			w.buffer = 16 << 10
			bob := login(t, srv.Addr(), w, "bob")
			bob.enter("r")
			say := func(text string) uint64 {
				return alice.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: text}})
			}
			last := uint64(0)
			for more := 6; more > 0; {
				if metric(t, srv, "rookery_subscriptions_fell_behind_total") > 0 {
					more--
				}
				last = say(strings.Repeat("f", 60_000))
			}
			edited, deleted := say("a secret"), say("another secret")
			alice.done(edit("r", edited, "no secret"))
			alice.done(remove("r", deleted))
			end := say("the end")
			for seq := uint64(1); seq <= end; seq++ {
				m := bob.must().GetMessage()
				if m.GetSeq() != seq || strings.Contains(m.GetText(), " secret") && m.GetText() != "no secret" || m.GetDeleted() != (seq == deleted) {
					t.Fatalf("message %d came as %d, deleted %v: %.20q", seq, m.GetSeq(), m.GetDeleted(), m.GetText())
				}
				if seq > last && (seq == edited || seq == end-2) != (m.GetText() == "no secret") {
					t.Errorf("message %d says %q", seq, m.GetText())
				}
			}
			if metric(t, srv, "rookery_recent_deliveries_total") == 0 {
				t.Error("nothing came from what is kept")
			}
			for begun := time.Now(); metric(t, srv, "rookery_recent_bytes") != 0; time.Sleep(time.Millisecond) {
				if time.Since(begun) > waitLimit {
					t.Fatal("nobody is behind, and messages are kept")
				}
			}
		})
	}
}

// TestChangesAreChecked: requests that no room can make sense of.
func TestChangesAreChecked(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Ephemeral = []string{"game-*"} })
	alice := login(t, srv.Addr(), wires[0], "alice")
	target := &v1.Change{Target: 1, Op: &v1.Change_Delete{Delete: &v1.Delete{}}}
	text := &v1.Publish_Text{Text: "x"}
	for name, p := range map[string]*v1.Publish{
		"in an ephemeral room":      remove("game-1", 1),
		"as an ephemeral message":   {Room: "r", Ephemeral: true, Change: target},
		"no target":                 remove("r", 0),
		"no operation":              {Room: "r", Change: &v1.Change{Target: 1}},
		"an edit without a content": {Room: "r", Change: &v1.Change{Target: 1, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}},
		"a deletion with a content": {Room: "r", Content: text, Change: target},
		"a deletion with mentions":  {Room: "r", Mentions: []string{"bob"}, Change: target},
		"a change in a thread":      {Room: "r", Thread: 1, Change: target},
		"an empty reaction":         react("r", 1, "", false),
		"a long reaction":           react("r", 1, strings.Repeat("x", proto.MaxReaction+1), false),
		"a reaction of two lines":   react("r", 1, "a\nb", false),
		"too many mentions":         {Room: "r", Content: text, Mentions: strings.Split(strings.Repeat("a ", proto.MaxMentions)+"a", " ")},
		"a mention of nobody":       {Room: "r", Content: text, Mentions: []string{""}},
		"a kind of two words":       {Room: "r", Content: text, Kind: "a b"},
		"a long kind":               {Room: "r", Content: text, Kind: strings.Repeat("x", proto.MaxKind+1)},
	} {
		t.Run(name, func(t *testing.T) {
			alice.t = t
			alice.refused(p, proto.ErrBadRequest)
		})
	}
	alice.t = t
	alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "r", Thread: 1, Pinned: true}}})
	alice.mustFail(proto.ErrBadRequest)
}

// TestWhoMayChange: the room's time, the room's pins, and moderators.
func TestWhoMayChange(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Auth.HS256Secret = gateway.Secret(strings.Repeat("s", 32))
		c.Rooms.EditWindow = []string{"fixed-* 0s", "slow-* 24h"}
		c.Rooms.Pins = []string{"slow-*"}
	})
	key, err := gateway.Config{Auth: gateway.AuthConfig{HS256Secret: gateway.Secret(strings.Repeat("s", 32))}}.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	token, err := key.SignToken(gateway.TokenRequest{User: "mod", Lifetime: time.Hour, Moderate: []string{"fixed-1"}})
	if err != nil {
		t.Fatal(err)
	}
	mod := open(t, srv.Addr(), wires[0])
	mod.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Token: token}}})
	if mod.must().GetConnected() == nil {
		t.Fatal("the moderator was not let in")
	}
	alice := login(t, srv.Addr(), wires[1], "alice")
	say := func(room string) uint64 {
		return alice.done(&v1.Publish{Room: room, Content: &v1.Publish_Text{Text: "said"}})
	}
	for _, room := range []string{"fixed-1", "fixed-2", "slow-1", "other"} {
		say(room)
	}
	// The window of 0 s is over when a millisecond has passed on the server's clock, which the second message shows.
	first := alice.history(&v1.HistoryRequest{Room: "fixed-1"}).Messages[0].At
	for alice.history(&v1.HistoryRequest{Room: "fixed-1", Limit: 1}).Messages[0].At == first {
		say("fixed-1")
	}
	alice.refused(edit("fixed-1", 1, "x"), proto.ErrChangeTooLate)
	alice.refused(remove("fixed-1", 1), proto.ErrChangeTooLate)
	alice.refused(pin("fixed-1", 1, false), proto.ErrChangeForbidden)
	alice.refused(pin("other", 1, false), proto.ErrChangeForbidden)
	alice.done(pin("slow-1", 1, false))
	alice.done(edit("slow-1", 1, "x"))
	alice.done(edit("other", 1, "x"))
	mod.refused(edit("fixed-1", 1, "x"), proto.ErrChangeForbidden)
	mod.refused(remove("fixed-2", 1), proto.ErrChangeForbidden)
	mod.done(pin("fixed-1", 1, false))
	mod.done(remove("fixed-1", 1))
	mod.shows(&v1.HistoryRequest{Room: "fixed-1", Pinned: true}, "")
}

// TestChangesByRole: in a room with members the role counts as the token does, and slow mode holds for messages alone.
func TestChangesByRole(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Pins = nil })
	const room = "group:birds"
	alice, bob, carol := login(t, srv.Addr(), wires[0], "alice"), login(t, srv.Addr(), wires[1], "bob"), login(t, srv.Addr(), wires[0], "carol")
	alice.create(&v1.Create{Room: room, SlowModeMs: 3_600_000})
	alice.change(room, "invite", "bob")
	alice.enter(room)
	bob.enter(room)

	said := bob.answer(bob.publish(room, "", "said")).GetPublished()
	if said == nil {
		t.Fatal("a member may not publish")
	}
	done := func(p *peer, change *v1.Publish) {
		t.Helper()
		if f := p.answer(p.alter(change)); f.GetPublished() == nil {
			t.Errorf("%v was answered %v", change, f)
		}
	}
	refused := func(p *peer, change *v1.Publish, code proto.ErrorCode) {
		t.Helper()
		p.wantError(p.answer(p.alter(change)), code)
	}
	done(bob, edit(room, said.Seq, "better"))
	done(bob, react(room, said.Seq, "+1", false))
	refused(bob, pin(room, said.Seq, false), proto.ErrChangeForbidden)
	refused(carol, react(room, said.Seq, "+1", false), proto.ErrNotJoined)
	done(alice, pin(room, said.Seq, false))
	done(alice, remove(room, said.Seq))

	byOwner := alice.answer(alice.publish(room, "", "said")).GetPublished()
	refused(bob, remove(room, byOwner.GetSeq()), proto.ErrChangeForbidden)
	alice.change(room, "role", "bob", func(c *v1.ChangeMember) { c.Role = "moderator" })
	done(bob, remove(room, byOwner.GetSeq()))
}

// TestChangesHaveRetryKeys: a change that is repeated is made once and answered in the same way, though it would be refused if
// it were another one.
func TestChangesHaveRetryKeys(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	alice := login(t, srv.Addr(), wires[0], "alice")
	alice.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "one"}})
	for _, p := range []*v1.Publish{react("r", 1, "a", false), edit("r", 1, "two"), remove("r", 1)} {
		p.Key = fmt.Sprint("k", p.Change)
		first := alice.done(p)
		if again := alice.done(p); again != first {
			t.Errorf("%v got %d, then %d", p.Change, first, again)
		}
	}
}

// TestLimitsOfChanges: edits, reactions and pins are bounded, and what is at the bound can still be taken back.
func TestLimitsOfChanges(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	alice := login(t, srv.Addr(), wires[0], "alice")
	say := func() uint64 {
		return alice.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "said"}})
	}
	m := say()
	for i := range proto.MaxEdits {
		alice.done(edit("r", m, fmt.Sprint(i)))
	}
	alice.refused(edit("r", m, "once more"), proto.ErrTooManyChanges)
	for i := range proto.MaxReactions {
		if i%proto.MaxUserReactions == 0 {
			alice.conn.Close()
			alice = login(t, srv.Addr(), wires[0], fmt.Sprint("user", i))
		}
		alice.done(react("r", m, fmt.Sprint(i), false))
	}
	alice.refused(react("r", m, "0", false), proto.ErrTooManyChanges) // of this user
	alice.done(react("r", m, fmt.Sprint(proto.MaxReactions-1), true))
	alice.done(react("r", m, "0", false))
	bob := login(t, srv.Addr(), wires[0], "bob")
	bob.done(react("r", m, "the last", false))
	bob.refused(react("r", m, "a new one", false), proto.ErrTooManyChanges) // of the message
	bob.done(react("r", m, "1", false))
	for range proto.MaxPins {
		bob.done(pin("r", bob.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "x"}}), false))
	}
	bob.refused(pin("r", m, false), proto.ErrTooManyChanges)
}

// TestAcknowledgedChangesCount has many change one message at once: what was acknowledged is what history says.
func TestAcknowledgedChangesCount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = dir })
	author := login(t, srv.Addr(), wires[0], "author")
	for range 2 {
		author.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "x"}})
	}
	const users, each = 8, 40
	var mu sync.Mutex
	count, deletions := 0, 0
	var running sync.WaitGroup
	for u := range users {
		p := login(t, srv.Addr(), wires[u%len(wires)], fmt.Sprint("user", u))
		running.Go(func() {
			for i := range each {
				// Two of the same user at once: one of them changes nothing.
				p.alter(react("r", 1, "+", i%2 == 1))
				p.alter(react("r", 1, "+", i%2 == 1))
				for range 2 {
					f, err := p.next()
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if f.GetPublished() != nil {
						count += 1 - 2*(i%2)
					} else if f.GetError().GetName() != proto.ErrUnchanged.Name {
						t.Errorf("answered %v", f)
					}
					mu.Unlock()
				}
			}
			p.alter(react("r", 1, "+", false))
			f, err := p.next()
			if err != nil || f.GetPublished() == nil {
				t.Errorf("%v, %v", f, err)
			}
		})
	}
	// The author deletes the same message many times at once: one of them is the deletion.
	for range 10 {
		author.alter(remove("r", 2))
	}
	for range 10 {
		if f := author.must(); f.GetPublished() != nil {
			deletions++
		}
	}
	running.Wait()
	if count != 0 || deletions != 1 {
		t.Errorf("reactions and takings back that were acknowledged come to %d, want 0; %d deletions, want 1", count, deletions)
	}
	want := fmt.Sprintf("1:x+%s%d 2:x", "+", users)
	author.shows(&v1.HistoryRequest{Room: "r"}, want)

	// The same from the log alone.
	srv.Stop()
	if err := os.RemoveAll(filepath.Join(dir, "changes")); err != nil {
		t.Fatal(err)
	}
	srv = gatewaytest.Start(t, func(c *gateway.Config) { c.Data = dir })
	login(t, srv.Addr(), wires[1], "carol").shows(&v1.HistoryRequest{Room: "r"}, want)
}

// TestHistoryBetweenChanges: many changes between two messages do not hide them, nor end the history.
func TestHistoryBetweenChanges(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	alice := login(t, srv.Addr(), wires[0], "alice")
	alice.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "one"}})
	const changes = 2100 // a page passes over 2,000
	for i := range changes {
		alice.alter(react("r", 1, "+", i%2 == 1))
		if i%16 == 15 || i == changes-1 {
			for range i%16 + 1 {
				if f := alice.must(); f.GetPublished() == nil {
					t.Fatal(f)
				}
			}
		}
	}
	alice.done(&v1.Publish{Room: "r", Content: &v1.Publish_Text{Text: "two"}})
	for _, descending := range []bool{true, false} {
		request := &v1.HistoryRequest{Room: "r", Limit: 200}
		if !descending {
			request.After = ptr(uint64(0))
		}
		texts, pages := []string{}, 0
		for more := true; more; pages++ {
			h := alice.history(request)
			more = h.More
			for _, m := range h.Messages {
				if m.Change == nil {
					texts = append(texts, m.GetText())
				}
			}
			if more && descending {
				request.Before = &h.Messages[0].Seq
			} else if more {
				request.After = &h.Messages[len(h.Messages)-1].Seq
			}
			if pages > 10 {
				t.Fatal("the history does not end")
			}
		}
		if len(texts) != 2 || pages < 2 {
			t.Errorf("descending %v: %d pages with %v", descending, pages, texts)
		}
	}
}

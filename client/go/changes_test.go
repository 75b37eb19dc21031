package client_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	client "rookery/client/go"
	"rookery/gateway/gatewaytest"
)

// TestChangesAgainstTheGateway: who was there all the time, who comes later and who comes back hold the same.
func TestChangesAgainstTheGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	ctx := within(t)
	alice := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	bob := connect(t, client.Config{URL: "tcp://" + g.Addr(), Name: "bob"})
	live, err := bob.Join(ctx, "r", client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(p client.Published, err error) uint64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p.Seq
	}
	one := must(alice.Publish(ctx, "r", "one"))
	two := must(alice.Publish(ctx, "r", "two"))
	must(bob.PublishMessage(ctx, client.Publication{Room: "r", Text: "@alice yes", ReplyTo: one, Thread: one, Mentions: []string{"alice"}, Kind: "answer"}))
	must(alice.Edit(ctx, "r", one, "ONE"))
	must(bob.React(ctx, "r", one, "👍", false))
	must(alice.React(ctx, "r", one, "👍", false))
	must(bob.React(ctx, "r", one, "👍", true))
	must(alice.React(ctx, "r", two, "x", false))
	must(bob.Pin(ctx, "r", one, false))
	head := must(alice.Delete(ctx, "r", two))
	var refused *client.RequestError
	if _, err := bob.Edit(ctx, "r", one, "mine"); !errors.As(err, &refused) || refused.Name != "change_forbidden" {
		t.Errorf("bob edits what alice wrote: %v", err)
	}

	there := client.NewShown("bob")
	read := func(shown *client.Shown, s *client.Subscription) {
		t.Helper()
		for m, err := range s.Messages(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			shown.Take(m)
			if m.Seq == head {
				return
			}
		}
	}
	read(there, live)
	later := client.NewShown("bob")
	page, err := bob.History(ctx, "r", client.HistoryQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Messages {
		later.Take(m)
	}
	live.Leave()
	again, err := bob.Join(ctx, "r", client.JoinOptions{After: &client.Position{}})
	if err != nil {
		t.Fatal(err)
	}
	back := client.NewShown("bob")
	read(back, again)
	for _, seq := range []uint64{1, 2, 3} {
		want := later.Get(seq)
		if want == nil || !reflect.DeepEqual(there.Get(seq), want) || !reflect.DeepEqual(back.Get(seq), want) {
			t.Errorf("message %d\nthere    %+v\nlater    %+v\ncame back %+v", seq, there.Get(seq), want, back.Get(seq))
		}
	}
	if m := later.Get(one); m.Text != "ONE" || m.Edits != 1 || !m.Pinned || m.Replies.Count != 1 || m.Reactions[0].Count != 1 || m.Reactions[0].Own {
		t.Errorf("the first message is %+v", m)
	}
	if m := later.Get(two); !m.Deleted || m.Text != "" || len(m.Reactions) > 0 {
		t.Errorf("the second message is %+v", m)
	}
	for query, want := range map[client.HistoryQuery]string{
		{Thread: one}:    "[1 3]",
		{Pinned: true}:   "[1]",
		{Mentions: true}: "[]",
	} {
		page, err := bob.History(ctx, "r", query)
		if err != nil {
			t.Fatal(err)
		}
		seqs := []uint64{}
		for _, m := range page.Messages {
			seqs = append(seqs, m.Seq)
		}
		if fmt.Sprint(seqs) != want {
			t.Errorf("%+v gives %v, want %s", query, seqs, want)
		}
	}
}

// TestShown: every order in which a page and the changes after it can come ends in the same.
func TestShown(t *testing.T) {
	original := client.Message{Room: "r", Seq: 1, From: "alice", Text: "a"}
	change := func(seq uint64, from, text string, c client.Change) client.Message {
		c.Target = 1
		return client.Message{Room: "r", Seq: seq, From: from, Text: text, Change: &c, NoContent: c.Op != client.Edit}
	}
	changes := []client.Message{
		change(2, "alice", "b", client.Change{Op: client.Edit}),
		change(3, "bob", "", client.Change{Op: client.React, Reaction: "+"}),
		change(4, "carol", "", client.Change{Op: client.React, Reaction: "+"}),
		change(5, "bob", "", client.Change{Op: client.React, Reaction: "+", Remove: true}),
		change(6, "alice", "c", client.Change{Op: client.Edit}),
		change(7, "bob", "", client.Change{Op: client.Pin}),
		{Room: "r", Seq: 8, From: "bob", Text: "in the thread", Thread: 1},
	}
	folded := func(n int) client.Message {
		s := client.NewShown("bob")
		s.Take(original)
		for _, c := range changes[:n] {
			s.Take(c)
		}
		m := *s.Get(1)
		m.Reactions = slices.Clone(m.Reactions)
		return m
	}
	want := folded(len(changes))
	if want.Text != "c" || want.Edits != 2 || !want.Pinned || want.Revision != 7 || want.Replies != (client.Replies{Count: 1, Last: 8}) ||
		!reflect.DeepEqual(want.Reactions, []client.Reaction{{Reaction: "+", Count: 1, Users: []string{"carol"}}}) {
		t.Fatalf("folded to %+v", want)
	}
	// The page was made when n changes were in it, and came when m of them had come already, early ones repeated or not.
	for n := range len(changes) + 1 {
		for m := range len(changes) + 1 {
			for _, repeated := range []bool{false, true} {
				s := client.NewShown("bob")
				for _, c := range changes[:m] {
					s.Take(c)
				}
				s.Take(folded(n))
				rest := changes[min(n, m):]
				if repeated {
					rest = changes
				}
				for _, c := range rest {
					s.Take(c)
				}
				if got := *s.Get(1); !reflect.DeepEqual(got, want) {
					t.Errorf("page with %d changes after %d came, repeated %v:\n got %+v\nwant %+v", n, m, repeated, got, want)
				}
			}
		}
	}

	s := client.NewShown("bob")
	s.Take(original)
	s.Take(change(9, "alice", "", client.Change{Op: client.Delete}))
	s.Take(change(10, "alice", "back", client.Change{Op: client.Edit}))
	s.Take(original) // an old page
	if m := s.Get(1); !m.Deleted || m.Text != "" || m.Revision != 9 {
		t.Errorf("a deleted message is %+v", m)
	}
	overtaken := change(11, "alice", "", client.Change{Op: client.Edit})
	overtaken.NoContent = true
	s = client.NewShown("bob")
	s.Take(original)
	if m := s.Take(overtaken); m == nil || m.Text != "a" || m.Revision != 11 {
		t.Errorf("an edit that was overtaken makes %+v", m)
	}
}

// TestChangesAreCheckedBeforeTheyAreSent: what the server would refuse.
func TestChangesAreCheckedBeforeTheyAreSent(t *testing.T) {
	c := connect(t, client.Config{URL: "ws://127.0.0.1:1/ws", Name: "alice"})
	for _, p := range []client.Publication{
		{Room: "r", Change: &client.Change{Target: 1}},
		{Room: "r", Change: &client.Change{Op: client.Delete}},
		{Room: "r", Change: &client.Change{Target: 1, Op: client.React}},
		{Room: "r", Mentions: make([]string, 51)},
		{Room: "r", Kind: "two words"},
	} {
		if _, err := c.Enqueue(within(t), p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

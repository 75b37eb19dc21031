package room

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
)

// lossyLog has a record that can't be read.
type lossyLog struct {
	realLog
	lost uint64
}

func (l lossyLog) ReadAfter(room string, after uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	hit := false
	err := l.realLog.ReadAfter(room, after, limit, func(r storage.Record) bool {
		hit = r.Seq == l.lost
		return !hit && fn(r)
	})
	if hit {
		err = &storage.DamagedError{Room: room, First: l.lost, Last: l.lost, Err: &storage.CorruptionError{Path: "log"}}
	}
	return err
}

// hasRoom is a user who is in the model's room.
type hasRoom struct{}

func (hasRoom) Rooms(_ string, fn func(string) bool) error { fn(modelRoom); return nil }
func (hasRoom) Holding(string, string) (Holding, bool, error) {
	return Holding{Membership: &v1.RoomInfo{Room: modelRoom}}, true, nil
}

func newOpenWorld(t *testing.T) *world {
	w := newWorld(t, rand.New(rand.NewPCG(1, 1)))
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) pin(target uint64) string {
	_, code := w.publish("alice", &v1.Publish{Change: &v1.Change{Target: target, Op: &v1.Change_Pin{Pin: &v1.Pin{}}}})
	return code
}

// only decodes the one frame of an answer.
func only(t *testing.T, e handoff.Event) *v1.ServerFrame {
	t.Helper()
	f := &v1.ServerFrame{}
	if e.Frames == nil {
		t.Fatalf("answered with %s: %s", e.Code.Name, e.Text)
	}
	payload, _, err := proto.Next(proto.Binary, e.Frames[handoff.Headroom:])
	if err == nil {
		err = f.UnmarshalVT(payload)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDamagedEdit: an edit that can't be read costs its message the text, and nobody the rest of the room.
func TestDamagedEdit(t *testing.T) {
	w := newOpenWorld(t)
	w.must("publish", "alice", &v1.Publish{Content: w.text(), Mentions: []string{"bob"}}, "")
	w.must("publish", "alice", &v1.Publish{Content: w.text()}, "")
	lost := w.must("edit", "alice", &v1.Publish{
		Content: w.text(), Mentions: []string{"bob"}, Change: &v1.Change{Target: 1, Op: &v1.Change_Edit{Edit: &v1.Edit{}}},
	}, "")
	w.must("publish", "alice", &v1.Publish{Content: w.text()}, "")
	var reported []error
	r := &readers{epoch: "7f3a", cfg: Config{
		Log: lossyLog{realLog{w.log}, lost}, Changes: w.index, Holdings: hasRoom{},
		ReportDamaged: func(_ string, err error) { reported = append(reported, err) },
	}}

	for _, kind := range []handoff.ReadKind{handoff.HistoryAfter, handoff.HistoryBefore} {
		page := only(t, r.history(handoff.Read{Kind: kind, Room: modelRoom, Limit: 10, Codec: proto.Binary, User: "bob"})).GetHistory()
		if len(page.GetMessages()) != 3 || page.Messages[0].Content != nil || page.Messages[0].Edits != 1 || page.Messages[1].GetText() == "" {
			t.Errorf("kind %d: the page is %v", kind, page)
		}
	}
	if got := told(t, r.replay(handoff.Read{Kind: handoff.Replay, Room: modelRoom, Codec: proto.Binary}).Frames); got != "1 2 [3-3 damaged]" {
		t.Errorf("caught up with %q, want all up to the damage", got)
	}
	synced := only(t, r.sync(handoff.Read{Limit: 10, Codec: proto.Binary, User: "bob", Rooms: &handoff.Rooms{
		Messages: 10, May: func(string) bool { return true },
	}})).GetSynced()
	if len(synced.GetRooms()) != 1 || synced.Rooms[0].Unread != 3 || synced.Rooms[0].Mentions != 0 {
		t.Errorf("synced %v", synced)
	}
	if len(reported) == 0 {
		t.Error("the operator was not told")
	}
}

// TestExpiredPins: pins that retention has taken leave room for others, though the index is not swept until something is changed.
func TestExpiredPins(t *testing.T) {
	w := newOpenWorld(t)
	for i := range uint64(proto.MaxPins) {
		seq := w.must("publish", "alice", &v1.Publish{Content: w.text()}, "")
		if code := w.pin(seq); code != "" {
			t.Fatalf("pin %d: %s", i, code)
		}
	}
	last := w.must("publish", "alice", &v1.Publish{Content: w.text()}, "")
	if code := w.pin(last); code != proto.ErrTooManyChanges.Name {
		t.Fatalf("one pin too many was answered %q", code)
	}
	if err := w.log.Trim(modelRoom, last); err != nil {
		t.Fatal(err)
	}
	if code := w.pin(last); code != "" {
		t.Errorf("with all pinned messages gone a pin is refused: %s", code)
	}
}

// TestExpiredLists: a page of a list does not say that there is more where retention has taken it.
func TestExpiredLists(t *testing.T) {
	w := newOpenWorld(t)
	for range maxPassed + 10 {
		w.must("publish", "alice", &v1.Publish{Content: w.text(), Mentions: []string{"bob"}}, "")
	}
	last := uint64(len(w.model))
	if err := w.index.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := w.log.Trim(modelRoom, last); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]handoff.Read{
		"ascending": {Kind: handoff.HistoryAfter}, "descending": {Kind: handoff.HistoryBefore},
		"descending on": {Kind: handoff.HistoryBefore, Position: last},
	} {
		read.List, read.User, read.Limit = handoff.Mentions, "bob", 2
		frames, _ := w.frames(read)
		page := frames[0].GetHistory()
		want := 1
		if read.Position != 0 {
			want = 0
		}
		if len(page.Messages) != want || page.More {
			t.Errorf("%s: %s", name, fmt.Sprint(page))
		}
	}
}

// TestListsThatEditsTookAway: beyond what one page may cost the list ends, and does not promise more with nothing to ask for it by.
func TestListsThatEditsTookAway(t *testing.T) {
	w := newOpenWorld(t)
	w.must("publish", "alice", &v1.Publish{Content: w.text(), Mentions: []string{"bob"}}, "")
	page := func() *v1.History {
		t.Helper()
		frames, _ := w.frames(handoff.Read{Kind: handoff.HistoryBefore, List: handoff.Mentions, User: "bob", Limit: 1})
		return frames[0].GetHistory()
	}
	take := func(n int) {
		t.Helper()
		first := uint64(len(w.model)) + 1
		for range n {
			w.must("publish", "alice", &v1.Publish{Content: w.text(), Mentions: []string{"bob"}}, "")
		}
		for i := range uint64(n) {
			w.must("edit", "alice", &v1.Publish{Content: w.text(), Change: &v1.Change{Target: first + i, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}}, "")
		}
		if err := w.index.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	take(maxPassed + 10)
	if p := page(); len(p.Messages) != 1 || p.Messages[0].Seq != 1 {
		t.Errorf("behind %d mentions that are gone is %v", maxPassed+10, p)
	}
	take(maxListed)
	if p := page(); len(p.Messages) != 0 || p.More {
		t.Errorf("behind more than a page may look at is %v", p)
	}
}

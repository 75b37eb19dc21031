package room

import (
	"slices"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
)

// lists has rooms of which the user is not a member any more when they are looked at.
type lists struct{ rooms, left []string }

func (l lists) Rooms(_ string, fn func(room string) bool) error {
	for _, room := range l.rooms {
		fn(room)
	}
	return nil
}

func (l lists) Holding(room, _ string) (Holding, bool, error) {
	return Holding{}, !slices.Contains(l.left, room), nil
}

// TestSyncPassesOverWhatWasLeft: a membership that ends while the page is made is not in it, and does not end the pages.
func TestSyncPassesOverWhatWasLeft(t *testing.T) {
	r := &readers{cfg: Config{Log: newFakeLog(), Holdings: lists{[]string{"a", "b", "c", "d"}, []string{"a", "b"}}}, epoch: "7f3a"}
	var got []string
	for next, pages := "", 0; ; pages++ {
		e := r.sync(handoff.Read{
			Kind: handoff.Sync, Limit: 1, User: "u", Codec: proto.Binary,
			Rooms: &handoff.Rooms{Next: next, May: func(string) bool { return true }},
		})
		page := only(t, e).GetSynced()
		for _, s := range page.GetRooms() {
			got = append(got, s.Room)
		}
		if next = page.GetNext(); next == "" {
			break
		}
		if pages > 4 {
			t.Fatal("the pages have no end")
		}
	}
	if !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("the pages have %v", got)
	}
}

// TestAnswersKeepNoViews: what the log lends for the length of a call is not in an answer that is made behind it.
func TestAnswersKeepNoViews(t *testing.T) {
	log := newFakeLog()
	change, err := (&v1.Message{Change: &v1.Change{Target: 1, Op: &v1.Change_Delete{}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	log.records["a"] = []storage.Record{{Room: "a", Seq: 1, From: "zoe", Body: proto.AppendTextContent(nil, []byte("hello"))}}
	for seq := range uint64(9) {
		log.records["b"] = append(log.records["b"], storage.Record{Room: "b", Seq: seq + 1, From: "ann", Body: change})
	}
	r := &readers{cfg: Config{Log: log, Holdings: lists{rooms: []string{"a"}}}, epoch: "7f3a"}

	synced := only(t, r.sync(handoff.Read{
		Kind: handoff.Sync, Limit: 1, User: "u", Codec: proto.Binary,
		Rooms: &handoff.Rooms{Messages: 1, May: func(string) bool { return true }},
	})).GetSynced()
	if len(synced.GetRooms()) != 1 || len(synced.Rooms[0].Messages) != 1 {
		t.Fatalf("synced %v", synced)
	}
	if m := synced.Rooms[0].Messages[0]; m.From != "zoe" || m.GetText() != "hello" {
		t.Errorf("the newest message of a room is from %q: %q", m.From, m.GetText())
	}

	// A page of nothing but changes has the last of them, as a place to go on from.
	page := only(t, r.history(handoff.Read{Kind: handoff.HistoryBefore, Room: "b", Limit: 3, User: "u", Codec: proto.Binary})).GetHistory()
	if len(page.GetMessages()) != 1 {
		t.Fatalf("history %v", page)
	}
	if m := page.Messages[0]; m.Seq != 7 || m.From != "ann" {
		t.Errorf("the place to go on from is %d, from %q", m.Seq, m.From)
	}
}

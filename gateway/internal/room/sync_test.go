package room

import (
	"slices"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
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
		payload, _, err := proto.Next(proto.Binary, e.Frames[handoff.Headroom:])
		if err != nil {
			t.Fatal(err)
		}
		var f v1.ServerFrame
		if err := f.UnmarshalVT(payload); err != nil {
			t.Fatal(err)
		}
		for _, s := range f.GetSynced().GetRooms() {
			got = append(got, s.Room)
		}
		if next = f.GetSynced().GetNext(); next == "" {
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

package catalog

import (
	"fmt"
	"slices"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// TestNotes: a change that changes something leaves its note in the record, in order, and nothing of it in the state, in snapshots, or after a restart.
func TestNotes(t *testing.T) {
	log := mustOpenLog(t, silent(vfs.NewMemory()))
	c := mustOpen(t, small(log))
	noted := func(i int, note string) Change {
		return SetMember("r", fmt.Sprint("u", i), Member{Role: "member"}).Noted([]byte(note))
	}
	mustUpdate(t, c, noted(1, `{"n": 1}`), SetMember("r", "quiet", Member{Role: "member"}), noted(2, `{"n":"<2>"}`))
	mustUpdate(t, c, noted(1, `{"n":"nothing has changed"}`))
	mustUpdate(t, c, RemoveMember("r", "u1").Noted([]byte(`[3]`)))
	for i := range 100 { // snapshots
		mustUpdate(t, c, SetMember("r", fmt.Sprint("many", i), Member{Role: "guest"}))
	}
	if err := c.Update(t.Context(), noted(9, `{"n":`)); err == nil {
		t.Error("a note that is no JSON was taken")
	}
	if c.Stats().Snapshots == 0 {
		t.Fatal("there was no snapshot")
	}
	c.Close()
	c = mustOpen(t, small(log))
	if members, err := c.CountMembers("r"); err != nil || members != 102 {
		t.Errorf("after a restart there are %d members, %v", members, err)
	}
}

// TestNotesAreRead: what is given of a record is its own.
func TestNotesAreRead(t *testing.T) {
	log := mustOpenLog(t, silent(vfs.NewMemory()))
	c := mustOpen(t, Config{Log: log, Synced: true, Logger: small(log).Logger})
	mustUpdate(t, c, SetBan("r", "u1", Ban{}).Noted([]byte(`{"n": 1}`)), SetBan("r", "u2", Ban{}), SetBan("r", "u3", Ban{}).Noted([]byte(`{"n":"<2>"}`)))
	mustUpdate(t, c, SetBan("r", "u1", Ban{}).Noted([]byte(`{"n":"nothing has changed"}`)))
	var got []string
	err := log.ReadAfter(Room, 0, storage.PageLimit{Records: 100}, func(r storage.Record) bool {
		notes, err := Notes(r.Body)
		if err != nil {
			t.Error(err)
		}
		for _, note := range notes {
			got = append(got, string(note))
		}
		return true
	})
	if want := []string{`{"n":1}`, `{"n":"<2>"}`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("read the notes %q, %v, want %q", got, err, want)
	}
	if _, err := Notes([]byte(`{"version":7}`)); err == nil {
		t.Error("a record of another version was read")
	}
}

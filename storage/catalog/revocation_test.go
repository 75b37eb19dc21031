package catalog

import (
	"testing"
	"time"

	"rookery/storage/vfs"
)

// TestRevocations are kept apart by kind, and are there after a restart.
func TestRevocations(t *testing.T) {
	fs := vfs.NewMemory()
	log := mustOpenLog(t, silent(fs))
	c := mustOpen(t, small(log))
	at := time.UnixMilli(1_763_812_800_123)
	r := Revocation{At: at, Until: at.Add(time.Hour)}
	mustUpdate(t, c, SetRevocation(RevokedToken, "alice", r), SetRevocation(RevokedUser, "bob", r), SetRevocation(RevokedUser, "carol", r))
	mustUpdate(t, c, RemoveRevocation(RevokedUser, "carol"))
	c.Close()
	c = mustOpen(t, small(log))
	for of, want := range map[Revoked]string{RevokedToken: "alice", RevokedUser: "bob"} {
		n := 0
		err := c.Revocations(of, func(name string, got Revocation) bool {
			n++
			if name != want || !got.At.Equal(r.At) || !got.Until.Equal(r.Until) {
				t.Errorf("%s %q: %+v, want %q %+v", of, name, got, want, r)
			}
			return true
		})
		if err != nil || n != 1 {
			t.Errorf("%d revocations of a %s, %v", n, of, err)
		}
	}
	if err := c.Update(t.Context(), SetRevocation(RevokedToken, "a\tb", r)); err == nil {
		t.Error("an id with a tab was taken")
	}
}

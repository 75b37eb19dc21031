package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"rookery/gateway/internal/revocation"
	"rookery/gateway/internal/signin"
)

// manyRevocations is a store that begins with a number of them.
type manyRevocations int

func (n manyRevocations) Revocations(fn func(revocation.Entry) bool) error {
	for i := range int(n) {
		if !fn(revocation.Entry{Key: revocation.Key{Token: fmt.Sprint(i)}, Until: time.Now().Add(time.Hour)}) {
			break
		}
	}
	return nil
}

func (manyRevocations) Revoke(context.Context, revocation.Entry) error   { return nil }
func (manyRevocations) Restore(context.Context, ...revocation.Key) error { return nil }

// TestLogoutsLeaveRoomForTheOperator: people who sign in and out can't fill what operators revoke with.
func TestLogoutsLeaveRoomForTheOperator(t *testing.T) {
	for _, c := range []struct {
		kept  int
		taken bool
	}{{logoutRevocations - 1, true}, {logoutRevocations, false}} {
		var told []revocation.Entry
		set, err := revocation.Open(revocation.Config{
			Store: manyRevocations(c.kept), Tell: func(e revocation.Entry) { told = append(told, e) }, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{revocations: set}
		s.auth.Store(&AuthConfig{Leeway: time.Minute})
		ends := time.Now().Add(time.Hour).Truncate(time.Second)
		session := signin.Session{ID: "of alice", User: "alice", Ends: ends.Unix()}
		err = s.revokeSession(t.Context(), session)
		if (err == nil) != c.taken || s.sessionRevoked(session) != c.taken || len(told) != map[bool]int{true: 1}[c.taken] {
			t.Errorf("with %d revocations a logout is answered %v, the loops are told %v", c.kept, err, told)
		}
		if c.taken && told[0].Until.Before(ends.Add(time.Minute)) {
			t.Errorf("the revocation ends at %v, the session at %v", told[0].Until, ends)
		}
		set.Close()
	}
}

func TestWhatThePageCallsTheProvider(t *testing.T) {
	for _, c := range []struct{ name, issuer, want string }{
		{"Example", "https://id.example:8443/realms/a", "Example"},
		{"", "https://id.example:8443/realms/a", "id.example"},
	} {
		if got := (OIDCConfig{Name: c.name, Issuer: c.issuer}).shownName(); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
}

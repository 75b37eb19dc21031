package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/identity"
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

// TestManyRoomsFitIntoAToken: as many as rules may give, with names of departments and projects.
func TestManyRoomsFitIntoAToken(t *testing.T) {
	rooms := make([]string, maxPatterns)
	for i := range rooms {
		rooms[i] = fmt.Sprintf("department-%d/project-%d/*", i, i)
	}
	for _, c := range []struct {
		name   string
		rights signin.Rights
		want   identity.Rights
	}{
		{
			"all as rooms", signin.Rights{Rooms: rooms, Publish: rooms, Create: rooms, Moderate: []string{}},
			identity.Rights{Join: rooms, Publish: rooms, Create: rooms, Moderate: []string{}},
		},
		{
			"less than rooms", signin.Rights{Rooms: rooms, Publish: []string{}, Create: rooms[1:2], Moderate: rooms[:1]},
			identity.Rights{Join: rooms, Publish: []string{}, Create: rooms[1:2], Moderate: rooms[:1]},
		},
		{
			"none", signin.Rights{Rooms: []string{}, Publish: []string{}, Create: []string{}, Moderate: []string{}},
			identity.Rights{Join: []string{}, Publish: []string{}, Create: []string{}, Moderate: []string{}},
		},
	} {
		s := &Server{}
		s.auth.Store(&AuthConfig{})
		s.pageKeys.tokens = []verifyKey{{pageKeyID, jwt.SigningMethodHS256, make([]byte, 32)}}
		now := time.Now()
		token, _, err := s.signPageToken(signin.Session{ID: "x", User: "alice", Begun: now.Unix(), Ends: now.Add(time.Hour).Unix()}, &c.rights)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		auth, err := newAuthenticator(Config{}, nil, nil, s.pageKeys.tokens...)
		if err != nil {
			t.Fatal(err)
		}
		who, err := auth.Authenticate(token, "")
		if err != nil || !reflect.DeepEqual(*who.Rights, c.want) {
			t.Errorf("%s: %v, %v", c.name, who.Rights, err)
		}
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

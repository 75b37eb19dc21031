package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	v1 "rookery/proto/rookery/v1"
)

// line is what a notice says.
func (c *appCall) line() string {
	d := &c.Data
	parts := []string{d.Action, d.Room, d.User, d.Role, "by=" + d.By}
	if d.Reason != "" {
		parts = append(parts, d.Reason)
	}
	if d.Until != 0 {
		parts = append(parts, "until")
	}
	return strings.Join(parts, " ")
}

// TestWebhookMembership: the application is told of everything that happens to members, in order for each room, once while all is well.
func TestWebhookMembership(t *testing.T) {
	t.Parallel()
	app := newApplication(t, func(*appCall) (int, string) { return 204, "" })
	srv := gatewaytest.Start(t, app.options("membership"), withAPI)
	ann, ben := login(t, srv.Addr(), wires[0], "ann"), login(t, srv.Addr(), wires[1], "ben")
	room := "group:birds"
	ann.create(&v1.Create{Room: room})
	because := func(c *v1.ChangeMember) { c.Reason = "spam"; c.ForMs = 60_000 }
	ann.change(room, "invite", "ben")
	ann.change(room, "invite", "ben") // changes nothing
	ann.change(room, "role", "ben", func(c *v1.ChangeMember) { c.Role = "moderator" })
	ann.change(room, "mute", "ben", because)
	ann.change(room, "unmute", "ben")
	ann.change(room, "kick", "ben", because)
	ann.change(room, "ban", "ben", because)
	ann.change(room, "unban", "ben")
	ann.change(room, "invite", "ben")
	ben.change(room, "leave", "")
	ben.answer(ben.join("channel:news", nil, ""))
	ben.answer(ben.join("channel:news2", nil, ""))
	b := newBackend(t, srv)
	b.do("PUT", "/v1/users/ben/ban", `{"reason":"enough"}`)
	b.do("DELETE", "/v1/users/ben/ban", "")
	want := map[string][]string{
		room: {
			"create " + room + " ann owner by=ann", "invite " + room + " ben member by=ann", "role " + room + " ben moderator by=ann",
			"mute " + room + " ben moderator by=ann spam until", "unmute " + room + " ben moderator by=ann", "kick " + room + " ben  by=ann spam",
			"ban " + room + " ben  by=ann spam until", "unban " + room + " ben  by=ann", "invite " + room + " ben member by=ann", "leave " + room + " ben  by=ben",
		},
		"channel:news":  {"join channel:news ben member by=ben"},
		"channel:news2": {"join channel:news2 ben member by=ben"},
		"":              {"ban  ben  by= enough", "unban  ben  by="},
	}
	got := map[string][]string{}
	ids := map[string]bool{}
	for range 14 {
		call := app.next(t)
		if call.Type != "membership" || call.Data.At == 0 || ids[call.id] {
			t.Errorf("the application was told %+v", call)
		}
		ids[call.id] = true
		got[call.Data.Room] = append(got[call.Data.Room], call.line())
	}
	for room, lines := range want {
		if !slices.Equal(got[room], lines) {
			t.Errorf("of %q the application was told\n%s\nwant\n%s", room, strings.Join(got[room], "\n"), strings.Join(lines, "\n"))
		}
	}
	app.quiet(t)
}

// TestWebhookMembershipLater: what an application did not take, or what happened before the server ended, is told after a restart, and what happened while
// nobody was to be told is not.
func TestWebhookMembershipLater(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	inData := func(c *gateway.Config) { c.Data = data }
	app := newApplication(t, func(*appCall) (int, string) { return 503, "" })
	change := func(srv *gatewaytest.Server, users ...string) {
		t.Helper()
		ann := login(t, srv.Addr(), wires[0], "ann")
		if users[0] == "ann" {
			ann.create(&v1.Create{Room: "group:a"})
			users = users[1:]
		}
		for _, user := range users {
			if f := ann.change("group:a", "invite", user); f.GetMember() == nil {
				t.Fatalf("the invitation was answered with %v", f)
			}
		}
		ann.conn.Close()
	}
	srv := gatewaytest.Start(t, inData)
	change(srv, "ann", "before")
	srv.Stop()
	srv = gatewaytest.Start(t, inData, app.options("membership"))
	change(srv, "ben", "cleo")
	if call := app.next(t); call.Data.User != "ben" {
		t.Errorf("first the application was told of %s", call.Data.User)
	}
	srv.Stop()
	for len(app.calls) > 0 {
		app.next(t)
	}
	app.answers(func(c *appCall) (int, string) {
		if c.Data.User == "cleo" {
			return http.StatusUnprocessableEntity, ""
		}
		return 204, ""
	})
	srv = gatewaytest.Start(t, inData, app.options("membership"))
	change(srv, "dan")
	var told []string
	for len(told) == 0 || told[len(told)-1] != "dan" {
		told = append(told, app.next(t).Data.User)
	}
	if want := []string{"ben", "cleo", "dan"}; !slices.Equal(slices.Compact(told), want) {
		t.Errorf("after the restart the application was told of %v, want %v", told, want)
	}
	// What it will never take is a dead letter.
	admin := newBackend(t, srv)
	admin.secret = ""
	var dead map[string]any
	for {
		if dead = admin.do("GET", "/webhooks/dead?limit=10", ""); len(dead["dead"].([]any)) > 0 {
			break
		}
	}
	letter := dead["dead"].([]any)[0].(map[string]any)
	if letter["data"].(map[string]any)["user"] != "cleo" || letter["error"] == "" {
		t.Errorf("the dead letter is %v", letter)
	}
	path := fmt.Sprint("/webhooks/dead/", letter["number"])
	if status, _, _ := admin.send("POST", path, ""); status != http.StatusServiceUnavailable {
		t.Errorf("sent once more and refused again it was answered with %d", status)
	}
	app.answers(func(*appCall) (int, string) { return 204, "" })
	if status, _, answer := admin.send("POST", path, ""); status != http.StatusNoContent {
		t.Errorf("sent once more it was answered with %d %s", status, answer)
	}
	if status, _, _ := admin.send("DELETE", path, ""); status != http.StatusNotFound {
		t.Errorf("a letter that is no more was answered with %d", status)
	}
}

package client_test

import (
	"errors"
	"testing"
	"time"

	"rookery/client/go"
	"rookery/gateway/gatewaytest"
)

func TestGatewayMembers(t *testing.T) {
	g := gatewaytest.Start(t)
	ctx := within(t)
	for name, url := range map[string]string{"WebSocket": g.URL(), "raw TCP": "tcp://" + g.Addr()} {
		t.Run(name, func(t *testing.T) {
			room := "group:" + name
			alice := connect(t, client.Config{URL: url, Name: "alice"})
			events := make(chan client.RoomEvent, 100)
			bob := connect(t, client.Config{URL: url, Name: "bob", OnRoom: func(e client.RoomEvent) { events <- e }})
			until := func(match func(client.RoomEvent) bool) client.RoomEvent {
				t.Helper()
				for {
					select {
					case e := <-events:
						if match(e) {
							return e
						}
					case <-ctx.Done():
						t.Fatal("it is never told")
					}
				}
			}
			// What was asked before is answered, so bob watches.
			if _, err := bob.Rooms(ctx, client.PageQuery{}); err != nil {
				t.Fatal(err)
			}
			made, err := alice.CreateRoom(ctx, client.RoomOptions{Room: room, Title: "Birds"})
			if err != nil || made.Role != client.RoleOwner || made.Title != "Birds" || made.Kind != "group" {
				t.Fatalf("made %+v, %v", made, err)
			}
			var refused *client.RequestError
			if _, err := bob.Join(ctx, room, client.JoinOptions{}); !errors.As(err, &refused) || refused.Name != "not_member" {
				t.Errorf("joined without an invitation: %v", err)
			}
			change, err := alice.ChangeMember(ctx, client.MemberAction{Room: room, User: "bob", Action: client.Invite})
			if err != nil || change.Role != client.RoleMember || change.By != "alice" {
				t.Fatalf("invited: %+v, %v", change, err)
			}
			until(func(e client.RoomEvent) bool {
				return e.Room != nil && e.Room.Room == room && e.Room.Role == client.RoleMember
			})
			atBob, err := bob.Join(ctx, room, client.JoinOptions{})
			if err != nil || atBob.Membership().Role != client.RoleMember {
				t.Fatalf("joined %v, %v", atBob, err)
			}
			slow := time.Minute
			if changed, err := alice.ConfigureRoom(ctx, room, client.RoomSettings{SlowMode: &slow}); err != nil || changed.SlowMode != slow || changed.Title != "Birds" {
				t.Errorf("configured %+v, %v", changed, err)
			}
			if _, err := alice.ChangeMember(ctx, client.MemberAction{Room: room, User: "bob", Action: client.Mute, Reason: "loud"}); err != nil {
				t.Fatal(err)
			}
			until(func(e client.RoomEvent) bool {
				return e.Member != nil && e.Member.Action == client.Mute && e.Member.Until.Equal(client.ForEver) && e.Member.Reason == "loud"
			})
			if _, err := bob.Publish(ctx, room, "x"); !errors.As(err, &refused) || refused.Name != "muted" {
				t.Errorf("published muted: %v", err)
			}
			page, err := bob.Members(ctx, room, client.PageQuery{After: "alice"})
			if err != nil || page.Total != 2 || page.More || len(page.Members) != 1 || page.Members[0].User != "bob" || !page.Members[0].MutedUntil.Equal(client.ForEver) {
				t.Errorf("members %+v, %v", page, err)
			}
			if _, err := alice.ChangeMember(ctx, client.MemberAction{Room: room, User: "bob", Action: client.Ban, For: time.Hour, Reason: "spam"}); err != nil {
				t.Fatal(err)
			}
			var removed *client.RemovedError
			for _, err := range atBob.Messages(ctx) {
				if !errors.As(err, &removed) || removed.Action != client.Ban || removed.By != "alice" || removed.Until.Before(time.Now()) {
					t.Errorf("the subscription ended with %v", err)
				}
			}
			until(func(e client.RoomEvent) bool { return e.Removed != nil && e.Removed.Reason == "spam" })
			if _, err := bob.Join(ctx, room, client.JoinOptions{}); !errors.As(err, &refused) || refused.Name != "banned" {
				t.Errorf("joined banned: %v", err)
			}
			if banned, err := alice.Members(ctx, room, client.PageQuery{Banned: true}); err != nil || len(banned.Members) != 1 || banned.Members[0].BannedUntil.IsZero() {
				t.Errorf("banned are %+v, %v", banned, err)
			}

			direct, err := alice.StartDirect(ctx, "bob")
			if err != nil || direct.Peer != "bob" || direct.Kind != "direct" {
				t.Fatalf("direct %+v, %v", direct, err)
			}
			if again, err := bob.StartDirect(ctx, "alice"); err != nil || again.Room != direct.Room || again.Peer != "alice" {
				t.Errorf("from the other side %+v, %v", again, err)
			}
			if rooms, err := bob.Rooms(ctx, client.PageQuery{Limit: 1}); err != nil || len(rooms.Rooms) != 1 || rooms.Rooms[0].Room != direct.Room {
				t.Errorf("rooms %+v, %v", rooms, err)
			}
			// Sent in one breath: what comes before the join is answered is sent again.
			if _, err := alice.Join(ctx, direct.Room, client.JoinOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := alice.Publish(ctx, direct.Room, "psst"); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := connect(t, client.Config{URL: g.URL(), Name: "eve"}).StartDirect(ctx, "eve"); err == nil {
		t.Error("eve talks to herself")
	}
}

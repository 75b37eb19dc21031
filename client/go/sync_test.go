package client_test

import (
	"errors"
	"testing"

	"rookery/client/go"
	"rookery/gateway/gatewaytest"
)

func TestGatewaySync(t *testing.T) {
	g := gatewaytest.Start(t)
	ctx := within(t)
	alice := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	bob := connect(t, client.Config{URL: "tcp://" + g.Addr(), Name: "bob"})
	for _, room := range []string{"group:a", "group:b"} {
		if _, err := alice.CreateRoom(ctx, client.RoomOptions{Room: room}); err != nil {
			t.Fatal(err)
		}
		if _, err := alice.ChangeMember(ctx, client.MemberAction{Room: room, User: "bob", Action: client.Invite}); err != nil {
			t.Fatal(err)
		}
		if _, err := alice.Join(ctx, room, client.JoinOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", "@bob"} {
			if _, err := alice.PublishMessage(ctx, client.Publication{Room: room, Text: text, Mentions: []string{"bob"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, err := bob.Sync(ctx, client.SyncQuery{Limit: 1, Messages: 1})
	if err != nil || len(first.Rooms) != 1 || first.Next == "" || first.Position != "" {
		t.Fatalf("the first page is %+v, %v", first, err)
	}
	room := first.Rooms[0]
	if room.Room != "group:b" || room.Head != 2 || room.Begin != 1 || room.Unread != 2 || room.Mentions != 2 || !room.Changed || room.Membership.Role != client.RoleMember ||
		len(room.Messages) != 1 || room.Messages[0].Text != "@bob" {
		t.Errorf("the room is %+v", room)
	}
	last, err := bob.Sync(ctx, client.SyncQuery{Limit: 1, Next: first.Next})
	if err != nil || len(last.Rooms) != 1 || last.Rooms[0].Room != "group:a" || last.Next != "" || last.Position == "" {
		t.Fatalf("the last page is %+v, %v", last, err)
	}
	again, err := bob.Sync(ctx, client.SyncQuery{Position: last.Position, Messages: 5})
	if err != nil || len(again.Rooms) != 2 || again.Rooms[0].Changed || again.Rooms[0].Messages != nil {
		t.Errorf("with nothing new it says %+v, %v", again, err)
	}
	var refused *client.RequestError
	if _, err := bob.Sync(ctx, client.SyncQuery{Limit: 1001}); !errors.As(err, &refused) || refused.Name != "bad_request" {
		t.Errorf("a page of 1,001 rooms: %v", err)
	}
}

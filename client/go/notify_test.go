package client_test

import (
	"errors"
	"testing"

	"rookery/client/go"
	"rookery/gateway/gatewaytest"
)

func TestGatewayNotify(t *testing.T) {
	g := gatewaytest.Start(t)
	ctx := within(t)
	alice := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	if _, err := alice.CreateRoom(ctx, client.RoomOptions{Room: "group:a"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ level, want string }{
		{"", client.NotifyAll}, {client.NotifyMentions, client.NotifyMentions}, {"", client.NotifyMentions},
		{client.NotifyNone, client.NotifyNone}, {client.NotifyAll, client.NotifyAll}, {"", client.NotifyAll},
	} {
		if got, err := alice.Notify(ctx, "group:a", c.level); err != nil || got != c.want {
			t.Errorf("%q gives %q, %v, want %q", c.level, got, err, c.want)
		}
	}
	bob := connect(t, client.Config{URL: "tcp://" + g.Addr(), Name: "bob"})
	for _, c := range []struct {
		who               *client.Client
		room, level, want string
	}{
		{alice, "group:a", "loud", "bad_request"}, {bob, "group:a", "none", "not_member"}, {bob, "lobby", "none", "no_such_room"},
	} {
		var refused *client.RequestError
		if _, err := c.who.Notify(ctx, c.room, c.level); !errors.As(err, &refused) || refused.Name != c.want {
			t.Errorf("%q in %s: %v, want %s", c.level, c.room, err, c.want)
		}
	}
}

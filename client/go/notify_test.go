package client_test

import (
	"errors"
	"reflect"
	"testing"

	"rookery/client/go"
	"rookery/gateway"
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

func TestGatewayDevice(t *testing.T) {
	g := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Push.WebPushKey, c.Push.WebPushContact = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "mailto:ops@chat.example"
	})
	ctx := within(t)
	alice := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	const key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4" // the public one
	none := client.DeviceSubscription{}
	push := client.DeviceSubscription{WebPush: &client.WebPush{Endpoint: "https://push.example/1", P256dh: key, Auth: "AAAAAAAAAAAAAAAAAAAAAA"}}
	for _, c := range []struct {
		id   string
		push client.DeviceSubscription
		want bool
	}{{"", none, false}, {"tab", none, false}, {"tab", push, true}, {"tab", push, true}, {"phone", push, true}, {"tab", none, false}, {"tab", none, false}} {
		if d, err := alice.SetDevice(ctx, c.id, c.push); err != nil || !reflect.DeepEqual(d, client.Device{ID: c.id, Registered: c.want, WebPushKey: key}) {
			t.Errorf("%q: %+v, %v", c.id, d, err)
		}
	}
	var refused *client.RequestError
	if _, err := alice.SetDevice(ctx, "tab", client.DeviceSubscription{FCM: "x"}); !errors.As(err, &refused) || refused.Name != "bad_request" {
		t.Errorf("a service that the server does not use: %v", err)
	}
	if _, err := alice.SetDevice(ctx, "tab", client.DeviceSubscription{WebPush: &client.WebPush{Endpoint: "https://push.example/1"}}); !errors.As(err, &refused) || refused.Name != "bad_request" {
		t.Errorf("without keys: %v", err)
	}
	if _, err := alice.SetDevice(ctx, "a\tb", push); !errors.As(err, &refused) || refused.Name != "bad_request" {
		t.Errorf("a wrong id: %v", err)
	}
	for i := range 9 {
		if _, err := alice.SetDevice(ctx, string(rune('a'+i)), push); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := alice.SetDevice(ctx, "one more", push); !errors.As(err, &refused) || refused.Name != "bad_request" {
		t.Errorf("an eleventh device: %v", err)
	}
	if d, err := alice.SetDevice(ctx, "phone", push); err != nil || !d.Registered {
		t.Errorf("one of the ten again: %+v, %v", d, err)
	}
}

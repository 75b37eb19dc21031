package members

import (
	"fmt"
	"testing"

	"rookery/gateway/internal/handoff"
)

func notify(room, user, level string) handoff.MemberRequest {
	return handoff.MemberRequest{Kind: handoff.SetNotify, Room: room, User: user, Level: level}
}

// TestNotify: a member's own, kept through another role, and gone with the membership.
func TestNotify(t *testing.T) {
	r := newRig(t, newMemory(), nil)
	r.must(create("group:a", "ann"), "")
	r.must(change("group:a", "ann", "invite", "ben"), "")
	level := func(want string) {
		t.Helper()
		if f := r.must(notify("group:a", "ben", ""), "").GetNotify(); f.GetLevel() != want || f.GetRoom() != "group:a" {
			t.Errorf("the level is %v, want %s", f, want)
		}
	}
	level("all")
	r.must(notify("group:a", "ben", "none"), "")
	r.must(giveRole("group:a", "ann", "ben", "moderator"), "")
	level("none")
	r.must(notify("group:a", "ben", "loud"), "bad_request")
	r.must(notify("group:a", "cleo", "none"), "not_member")
	r.must(notify("lobby", "ben", "none"), "no_such_room")
	level("none")
	if updates := r.store.updates; updates != 4 {
		t.Errorf("%d updates, want the four that changed something", updates)
	}
	r.must(change("group:a", "ben", "leave", ""), "")
	r.must(change("group:a", "ann", "invite", "ben"), "")
	level("all")
}

// TestDevices: registered once, replaced, forgotten, at most ten of a user, and none where there is no Web Push.
func TestDevices(t *testing.T) {
	push := handoff.Subscription{WebPush: handoff.WebPush{Endpoint: "https://push.example/1", P256dh: "p", Auth: "a"}}
	device := func(user, id string, register bool) handoff.MemberRequest {
		m := handoff.MemberRequest{Kind: handoff.SetDevice, User: user, Device: id, Register: register}
		if register {
			m.Subscription = push
		}
		return m
	}
	off := newRig(t, newMemory(), func(c *Config) {
		c.CheckSubscription = func(handoff.Subscription) string { return "This server does not use that push service." }
	})
	off.must(device("ann", "tab", true), "bad_request")
	if f := off.must(device("ann", "", false), "").GetDevice(); f.GetWebPushKey() != "" || f.GetRegistered() {
		t.Errorf("without Web Push: %v", f)
	}

	r := newRig(t, newMemory(), func(c *Config) {
		c.WebPushKey, c.PushServices = "key", []string{"fcm"}
		c.CheckSubscription = func(s handoff.Subscription) string {
			if s != push && s != (handoff.Subscription{FCM: "token"}) {
				return "That is none."
			}
			return ""
		}
	})
	for i := range maxDevices {
		if f := r.must(device("ann", fmt.Sprint("d", i), true), "").GetDevice(); !f.GetRegistered() || f.GetWebPushKey() != "key" || len(f.GetServices()) != 1 {
			t.Errorf("registered: %v", f)
		}
	}
	r.must(device("ann", "one more", true), "bad_request")
	r.must(device("ben", "one more", true), "")
	r.must(device("ann", "d3", true), "")
	wrong := device("ann", "d3", true)
	wrong.Subscription.WebPush.Auth = ""
	r.must(wrong, "bad_request")
	r.must(device("ann", "a\x00", true), "bad_request")
	other := device("ann", "d3", true)
	other.Subscription = handoff.Subscription{FCM: "token"}
	r.must(other, "")
	if is, ok, err := r.store.Get(Key{UserDevice, "d3", "ann"}); err != nil || !ok || is.Subscription != other.Subscription {
		t.Errorf("told by another service: %+v, %v", is, ok)
	}
	for range 2 {
		if f := r.must(device("ann", "d3", false), "").GetDevice(); f.GetRegistered() {
			t.Errorf("forgotten: %v", f)
		}
	}
	r.must(device("ann", "one more", true), "")
}

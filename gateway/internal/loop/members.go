package loop

import (
	"fmt"
	"strings"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// What a connection asks of the keeper of members: rights of the token are checked here, all others there.

func (l *Loop) create(c *conn, id uint64, r *v1.Create) {
	room := r.Room
	switch {
	case r.User != "" && room != "":
		l.fail(c, id, proto.ErrBadRequest, "A create has room, or user for a direct room, not both.")
		return
	case r.User != "" && !proto.ValidName(r.User):
		l.fail(c, id, proto.ErrBadRequest, "user is 1 to 128 bytes of UTF-8 without control characters.")
		return
	case r.User != "":
		if room = l.cfg.DirectRoom(c.identity.User, r.User); room == "" {
			l.fail(c, id, proto.ErrBadRequest, "This server has no direct rooms; the setting rooms.members makes them.")
			return
		}
	}
	if !l.mayRead(c, id, room) {
		return
	}
	if !c.identity.CanCreate(room) {
		l.fail(c, id, proto.ErrRoomForbidden, fmt.Sprintf("Your token does not allow creating %q.", room))
		return
	}
	l.askMembers(c, id, handoff.MemberRequest{
		Kind: handoff.CreateRoom, Room: room, Target: r.User,
		SetTitle: true, Title: r.Title, SetSlow: true, SlowMS: r.SlowModeMs, Speak: r.Speak,
	})
}

func (l *Loop) configure(c *conn, id uint64, r *v1.Configure) {
	if l.mayRead(c, id, r.Room) {
		l.askMembers(c, id, handoff.MemberRequest{
			Kind: handoff.ConfigureRoom, Room: r.Room,
			SetTitle: r.Title != nil, Title: r.GetTitle(), SetSlow: r.SlowModeMs != nil, SlowMS: r.GetSlowModeMs(), Speak: r.Speak,
		})
	}
}

func (l *Loop) changeMember(c *conn, id uint64, r *v1.ChangeMember) {
	if r.Room == "" || l.mayRead(c, id, r.Room) {
		l.askMembers(c, id, handoff.MemberRequest{
			Kind: handoff.ChangeMember, Room: r.Room, Target: r.User, Action: r.Action, Role: r.Role, ForMS: r.ForMs, Reason: r.Reason,
		})
	}
}

func (l *Loop) listMembers(c *conn, id uint64, r *v1.MembersRequest) {
	if l.mayRead(c, id, r.Room) {
		l.askMembers(c, id, handoff.MemberRequest{
			Kind: handoff.ListMembers, Room: r.Room, PageAfter: r.After, Limit: limit(r.Limit), Banned: r.Banned,
		})
	}
}

func (l *Loop) listRooms(c *conn, id uint64, r *v1.RoomsRequest) {
	// First, so that nothing happens between the page and the watch.
	if r.Watch {
		l.watch(c)
	}
	l.askMembers(c, id, handoff.MemberRequest{Kind: handoff.ListRooms, PageAfter: r.After, Limit: limit(r.Limit), May: c.identity.CanJoin})
}

func (l *Loop) notify(c *conn, id uint64, r *v1.NotifyPreference) {
	if l.mayRead(c, id, r.Room) {
		l.askMembers(c, id, handoff.MemberRequest{Kind: handoff.SetNotify, Room: r.Room, Level: r.Level})
	}
}

func (l *Loop) device(c *conn, id uint64, r *v1.SetDevice) {
	push := r.GetWebPush()
	l.askMembers(c, id, handoff.MemberRequest{
		Kind: handoff.SetDevice, Device: r.Id, Register: push != nil || r.Apns != "" || r.Fcm != "",
		Subscription: handoff.Subscription{
			WebPush: handoff.WebPush{Endpoint: push.GetEndpoint(), P256dh: push.GetP256Dh(), Auth: push.GetAuth()},
			APNs:    r.Apns, FCM: r.Fcm,
		},
	})
}

// limit keeps a number that is too large from becoming another one.
func limit(n uint32) int { return int(min(n, proto.MaxPage+1)) }

func (l *Loop) askMembers(c *conn, id uint64, r handoff.MemberRequest) {
	if c.readings >= maxReadings {
		l.fail(c, id, proto.ErrRateLimited, "Wait for the answers to your earlier requests for history, receipts and members.")
		return
	}
	for _, s := range []*string{
		&r.Room, &r.Target, &r.Title, &r.Speak, &r.Action, &r.Role, &r.Reason, &r.PageAfter, &r.Level,
		&r.Device, &r.Subscription.WebPush.Endpoint, &r.Subscription.WebPush.P256dh, &r.Subscription.WebPush.Auth,
		&r.Subscription.APNs, &r.Subscription.FCM,
	} {
		*s = strings.Clone(*s)
	}
	r.From, r.ID, r.Codec, r.User = c.handle, id, c.codec, c.identity.User
	r.Moderator = c.identity.Moderates(r.Room)
	if !l.cfg.Members.Ask(r) {
		l.overloaded(c, id)
		return
	}
	c.readings++
}

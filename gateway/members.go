package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/members"
	"rookery/gateway/internal/room"
	"rookery/proto"
	"rookery/storage/catalog"
)

// memberRule is a rule of RoomsConfig.Members.
type memberRule struct {
	pattern string
	kind    handoff.RoomKind
}

func (c RoomsConfig) memberRules() (rules []memberRule, err error) {
	for _, text := range c.Members {
		space := strings.LastIndexByte(text, ' ')
		kind, ok := handoff.ParseRoomKind(text[space+1:])
		if space < 0 || !ok {
			return nil, fmt.Errorf("has the rule %q, which names no kind; write a pattern and then open, group or direct, like 'team-* group'", text)
		}
		rule := memberRule{strings.TrimSpace(text[:space]), kind}
		if err := identity.CheckPattern(rule.pattern); err != nil {
			return nil, fmt.Errorf("has the rule %q, whose %w", text, err)
		}
		prefix, open := strings.CutSuffix(rule.pattern, "*")
		if kind == handoff.Direct && (!open || len(prefix)+members.DirectNameBytes > proto.MaxName) {
			return nil, fmt.Errorf("has the rule %q; a direct rule is a beginning of at most %d bytes with a * behind it", text, proto.MaxName-members.DirectNameBytes)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// roomKind is what the first rule that matches says.
func roomKind(rules []memberRule, room string) handoff.RoomKind {
	for _, rule := range rules {
		if identity.Matches(rule.pattern, room) {
			return rule.kind
		}
	}
	return handoff.Plain
}

// directRoom names the room of two users, "" if no rule is for direct rooms.
func directRoom(rules []memberRule, a, b string) string {
	for _, rule := range rules {
		if rule.kind != handoff.Direct {
			continue
		}
		room := members.DirectName(strings.TrimSuffix(rule.pattern, "*"), a, b)
		if roomKind(rules, room) == handoff.Direct {
			return room
		}
	}
	return ""
}

// memberStore is the catalog as the keeper of members declares it.
type memberStore struct{ catalog *catalog.Catalog }

func (s memberStore) Get(k members.Key) (r members.Record, ok bool, err error) {
	switch k.Family {
	case members.RoomSettings:
		var settings catalog.Settings
		if settings, ok, err = s.catalog.Settings(k.Room); ok {
			r = settingsRecord(settings)
		}
	case members.RoomMember:
		var m catalog.Member
		if m, ok, err = s.catalog.Member(k.Room, k.User); ok {
			r = memberRecord(m)
		}
	case members.RoomBan, members.RoomMute:
		find := s.catalog.Ban
		if k.Family == members.RoomMute {
			find = s.catalog.Mute
		}
		var b catalog.Ban
		if b, ok, err = find(k.Room, k.User); ok {
			r = banRecord(b)
		}
	case members.UserDevice:
		var d catalog.Device
		d, ok, err = s.catalog.Device(k.User, k.Room)
		r, ok = deviceRecord(d), ok && d.Told()
	default:
		return r, false, errors.New("BUG: a family of members that the catalog does not have")
	}
	return r, ok, err
}

func (s memberStore) List(list members.List, of, after string, fn func(name string, r members.Record) bool) error {
	member := func(name string, m catalog.Member) bool { return fn(name, memberRecord(m)) }
	switch list {
	case members.MembersOf:
		return s.catalog.MembersAfter(of, after, member)
	case members.RoomsOf:
		return s.catalog.RoomsOfAfter(of, after, member)
	}
	if list == members.DevicesOf {
		return s.catalog.DevicesOf(of, func(name string, d catalog.Device) bool { return name <= after || fn(name, deviceRecord(d)) })
	}
	return s.catalog.BansAfter(of, after, func(name string, b catalog.Ban) bool { return fn(name, banRecord(b)) })
}

func (s memberStore) Count(list members.List, of string) (int, error) {
	if list == members.RoomsOf {
		return s.catalog.CountRoomsOf(of)
	}
	return s.catalog.CountMembers(of)
}

func (s memberStore) Update(changes []members.Change) error {
	updates := make([]catalog.Change, len(changes))
	for i, c := range changes {
		updates[i] = catalogChange(c)
	}
	return s.catalog.Update(context.Background(), updates...)
}

// catalogChange has a change of the catalog for one of the keeper, with its notices as the note: what the values do not say.
func catalogChange(c members.Change) catalog.Change {
	change := catalogValue(c)
	if len(c.Notices) == 0 {
		return change
	}
	note, err := json.Marshal(c.Notices)
	if err != nil {
		panic("BUG: a notice of members is no JSON: " + err.Error())
	}
	return change.Noted(note)
}

func catalogValue(c members.Change) catalog.Change {
	ban := catalog.Ban{Until: c.Until, Reason: c.Reason}
	if c.Until == handoff.ForEver {
		ban.Until = 0
	}
	switch {
	case c.Family == members.RoomSettings:
		settings := catalog.Settings{Created: c.Since, Title: c.Title, SlowMS: uint64(c.SlowMS), Speak: c.Speak.String()}
		if c.Direct[0] != "" {
			settings.Direct = c.Direct[:]
		}
		return catalog.SetSettings(c.Room, settings)
	case c.Family == members.UserDevice && c.Gone:
		return catalog.RemoveDevice(c.User, c.Room)
	case c.Family == members.UserDevice:
		return catalog.SetDevice(c.User, c.Room, catalogDevice(c.Subscription))
	case c.Family == members.RoomMember && c.Gone:
		return catalog.RemoveMember(c.Room, c.User)
	case c.Family == members.RoomMember:
		return catalog.SetMember(c.Room, c.User, catalog.Member{
			Role: c.Role.String(), Since: c.Since, From: c.From, Notify: notifyText(c.Notify),
		})
	case c.Family == members.RoomBan && c.Gone:
		return catalog.RemoveBan(c.Room, c.User)
	case c.Family == members.RoomBan:
		return catalog.SetBan(c.Room, c.User, ban)
	case c.Gone:
		return catalog.RemoveMute(c.Room, c.User)
	}
	return catalog.SetMute(c.Room, c.User, ban)
}

func settingsRecord(s catalog.Settings) members.Record {
	speak, _ := handoff.ParseRole(s.Speak)
	r := members.Record{Since: s.Created, Title: s.Title, SlowMS: uint32(min(s.SlowMS, proto.MaxSlowMode)), Speak: speak}
	copy(r.Direct[:], s.Direct)
	return r
}

// memberRecord takes a role that this version does not know for the least one: the entry may have been imported.
func memberRecord(m catalog.Member) members.Record {
	role, ok := handoff.ParseRole(m.Role)
	if !ok {
		role = handoff.RoleGuest
	}
	return members.Record{Role: role, Since: m.Since, From: m.From, Notify: notifyLevel(m)}
}

// notifyText is how a level is stored: the first, which most have, is not.
func notifyText(n handoff.Notify) string {
	if n == handoff.NotifyAll {
		return ""
	}
	return n.String()
}

// notifyLevel takes a level that this version does not know for all.
func notifyLevel(m catalog.Member) handoff.Notify {
	level, _ := handoff.ParseNotify(m.Notify)
	return level
}

func deviceRecord(d catalog.Device) (r members.Record) {
	r.Subscription = handoff.Subscription{APNs: d.APNs, FCM: d.FCM}
	if d.WebPush != nil {
		r.Subscription.WebPush = handoff.WebPush(*d.WebPush)
	}
	return r
}

func catalogDevice(s handoff.Subscription) catalog.Device {
	d := catalog.Device{APNs: s.APNs, FCM: s.FCM}
	if s.Service() == handoff.ServiceWebPush {
		push := catalog.WebPush(s.WebPush)
		d.WebPush = &push
	}
	return d
}

func banRecord(b catalog.Ban) members.Record {
	if b.Until == 0 {
		b.Until = handoff.ForEver
	}
	return members.Record{Until: b.Until, Reason: b.Reason}
}

// holdings are what the catalog knows of users in rooms, as the readers declare it.
type holdings struct {
	members   memberStore
	standings standings
	kind      func(room string) handoff.RoomKind
}

func (h holdings) Rooms(user string, fn func(room string) bool) error {
	more := true
	err := h.members.catalog.RoomsOf(user, func(room string, _ catalog.Member) bool {
		more = h.kind(room) == handoff.Plain || fn(room) // a plain one is of former settings, and comes below if at all
		return more
	})
	if err != nil || !more {
		return err
	}
	return h.members.catalog.PositionsOf(user, func(room string, p catalog.Position) bool {
		return h.kind(room) != handoff.Plain || p.Epoch != h.standings.epoch || fn(room)
	})
}

func (h holdings) Holding(name, user string) (held room.Holding, ok bool, err error) {
	standing, err := h.standings.Standing(name, user)
	if err != nil {
		return held, false, err
	}
	held.Delivered, held.Read = standing.Delivered, standing.Read
	kind := h.kind(name)
	if kind == handoff.Plain {
		return held, true, nil
	}
	member, ok, err := h.members.catalog.Member(name, user)
	if err != nil || !ok {
		return held, false, err
	}
	held.From = member.From
	held.Membership, err = members.Describe(h.members, kind, name, user, time.Now())
	return held, held.Membership != nil, err
}

package members

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// DirectName is the name of the direct room of two users, whichever of them asks. Names of users may be as long as a room's, so theirs
// are hashed: 128 bits, each name behind its length.
func DirectName(prefix, a, b string) string {
	if a > b {
		a, b = b, a
	}
	var named []byte
	for _, name := range []string{a, b} {
		named = binary.AppendUvarint(named, uint64(len(name)))
		named = append(named, name...)
	}
	sum := sha256.Sum256(named)
	return prefix + hex.EncodeToString(sum[:directBytes])
}

const directBytes = 16

// DirectNameBytes is what DirectName adds to its prefix.
const DirectNameBytes = 2 * directBytes

func (k *Keeper) now() int64 { return k.cfg.Now().UnixMilli() }

// enter decides whether a user may subscribe to a room, and makes them a member of an open one.
func (k *Keeper) enter(r *handoff.MemberRequest) verdict {
	v, now := k.view, k.now()
	if ban := v.until(RoomBan, r.Room, r.User, now); ban.Until != 0 {
		return refuse(proto.ErrBanned, "You are banned from %q%s%s.", r.Room, handoff.UntilWhen(ban.Until), because(ban.Reason))
	}
	var news []handoff.Event
	var notices []Notice
	if v.member(r.Room, r.User).Role == handoff.RoleNone {
		_, made := v.settings(r.Room)
		switch kind := k.cfg.Kind(r.Room); {
		case kind == handoff.Open:
		case kind == handoff.Group && made && r.Moderator:
		default:
			// That there is no such room is nobody's business.
			return refuse(proto.ErrNotMember, "You are not a member of %q: somebody in it has to invite you.", r.Room)
		}
		if full := k.full(r.Room, r.User); full != nil {
			return verdict{refusal: full}
		}
		k.admit(r.Room, r.User, handoff.RoleMember)
		news = k.newsOf(r, r.User, "join", Record{})
		notices = []Notice{{Action: "join", Room: r.Room, User: r.User, Role: handoff.RoleMember.String(), By: r.User}}
	}
	m := k.membership(r.Room, r.User)
	m.Entry = r.Entry
	return verdict{admit: m, news: news, notices: notices}
}

// full says why a user can't be a member of one more room, or the room not have one more member; nil if they can.
func (k *Keeper) full(room, user string) *Refusal {
	switch {
	case k.view.count(MembersOf, room) >= k.cfg.MembersPerRoom:
		return refuse(proto.ErrRoomFull, "The room %q has as many members as the server allows, %d.", room, k.cfg.MembersPerRoom).refusal
	case k.view.count(RoomsOf, user) >= k.cfg.RoomsPerUser:
		return refuse(proto.ErrMemberOfTooMany, "%q is a member of as many rooms as the server allows, %d; leave one first.", user, k.cfg.RoomsPerUser).refusal
	}
	return nil
}

func (k *Keeper) admit(room, user string, role handoff.Role) {
	k.view.put(Key{RoomMember, room, user}, Record{Role: role, Since: k.now(), From: k.cfg.Head(room)})
}

// membership is what loops keep of a member and of the room.
func (k *Keeper) membership(room, user string) *handoff.Membership {
	return k.view.membership(k.cfg.Kind(room), room, user, k.now())
}

// Describe says what a room with members is and what a user is in it, nil if the user is no member. It reads the store as it is, so it
// is for any goroutine that may wait for that, and may be a moment older than what loops know.
func Describe(store Store, kind handoff.RoomKind, room, user string, now time.Time) (*v1.RoomInfo, error) {
	v := newView(store)
	m := v.membership(kind, room, user, now.UnixMilli())
	if v.err != nil || m.Role == handoff.RoleNone {
		return nil, v.err
	}
	return info(room, m), nil
}

func (v *view) membership(kind handoff.RoomKind, room, user string, now int64) *handoff.Membership {
	settings, _ := v.settings(room)
	m := &handoff.Membership{
		User: user, Role: v.member(room, user).Role, MutedUntil: v.until(RoomMute, room, user, now).Until,
		Kind: kind, Title: settings.Title, Speak: speak(settings), SlowMS: settings.SlowMS,
	}
	if m.Kind == handoff.Direct {
		m.Peer = settings.Direct[0]
		if m.Peer == user {
			m.Peer = settings.Direct[1]
		}
	}
	return m
}

// speak is the least role that may publish.
func speak(settings Record) handoff.Role {
	if settings.Speak == handoff.RoleNone {
		return handoff.RoleMember
	}
	return settings.Speak
}

// create makes a room. Whoever repeats it, because the answer was lost, gets the same one.
func (k *Keeper) create(r *handoff.MemberRequest) verdict {
	switch kind := k.cfg.Kind(r.Room); kind {
	case handoff.Plain:
		return refuse(proto.ErrBadRequest, "The name %q is not one of a room with members; the setting rooms.members names them.", r.Room)
	case handoff.Direct:
		return k.createDirect(r)
	}
	owner := r.User
	if r.Server {
		owner = r.Target
	}
	settings, wrong := k.wished(r, Record{Since: k.now()})
	switch {
	case wrong != nil:
		return verdict{refusal: wrong}
	case !r.Server && r.Target != "":
		return refuse(proto.ErrBadRequest, "A create has room, or user for a direct room, not both.")
	case owner != "" && !proto.ValidName(owner):
		return refuse(proto.ErrBadRequest, "user is 1 to 128 bytes of UTF-8 without control characters.")
	}
	if _, made := k.view.settings(r.Room); made {
		if owner != "" && k.view.member(r.Room, owner).Role == handoff.RoleOwner {
			return k.answerRoom(r.Room, owner, nil)
		}
		return refuse(proto.ErrRoomExists, "There is a room %q already.", r.Room)
	}
	if k.view.count(MembersOf, r.Room) > 0 && !r.Server {
		return refuse(proto.ErrRoomExists, "There is a room %q already; it belongs to nobody, so only the server can name an owner.", r.Room)
	}
	if owner != "" {
		if full := k.full(r.Room, owner); full != nil {
			return verdict{refusal: full}
		}
	}
	k.view.put(Key{RoomSettings, r.Room, ""}, settings)
	news := []handoff.Event{k.roomChanged(r.Room)}
	created := Notice{Action: "create", Room: r.Room, User: owner, By: r.User}
	if owner != "" {
		k.admit(r.Room, owner, handoff.RoleOwner)
		news = append(news, k.newsOf(r, owner, "join", Record{})...)
		created.Role = handoff.RoleOwner.String()
	}
	v := k.answerRoom(r.Room, owner, news)
	v.notices = []Notice{created}
	return v
}

// createDirect makes the room of two users, or finds that it is there.
func (k *Keeper) createDirect(r *handoff.MemberRequest) verdict {
	switch {
	case r.Title != "" || r.SlowMS != 0 || r.Speak != "":
		return refuse(proto.ErrBadRequest, "A direct room has no settings.")
	case !proto.ValidName(r.User) || !proto.ValidName(r.Target):
		return refuse(proto.ErrBadRequest, "Start a direct room with user, the other one's name: 1 to 128 bytes of UTF-8 without control characters.")
	case r.Target == r.User:
		return refuse(proto.ErrBadRequest, "A direct room is for two users.")
	case !strings.HasSuffix(r.Room, DirectName("", r.User, r.Target)):
		return refuse(proto.ErrBadRequest, "The name of a direct room is made by the server; leave it out.")
	}
	users := [2]string{min(r.User, r.Target), max(r.User, r.Target)}
	settings, made := k.view.settings(r.Room)
	if made {
		if settings.Direct != users {
			return refuse(proto.ErrRoomExists, "There is a room %q already.", r.Room)
		}
		return k.answerRoom(r.Room, r.User, nil)
	}
	for _, user := range users {
		if full := k.full(r.Room, user); full != nil {
			return verdict{refusal: full}
		}
	}
	k.view.put(Key{RoomSettings, r.Room, ""}, Record{Since: k.now(), Direct: users})
	var news []handoff.Event
	for _, user := range users {
		k.admit(r.Room, user, handoff.RoleMember)
	}
	for _, user := range users {
		news = append(news, k.personal(r.Room, user))
	}
	v := k.answerRoom(r.Room, r.User, news)
	for _, user := range users {
		v.notices = append(v.notices, Notice{Action: "create", Room: r.Room, User: user, Role: handoff.RoleMember.String(), By: r.User})
	}
	return v
}

// configure changes what a room is like.
func (k *Keeper) configure(r *handoff.MemberRequest) verdict {
	kind := k.cfg.Kind(r.Room)
	settings, made := k.view.settings(r.Room)
	switch {
	case kind == handoff.Plain:
		return refuse(proto.ErrNoSuchRoom, "There is no room with members %q.", r.Room)
	case k.role(r) < handoff.RoleModerator:
		return refuse(proto.ErrRoleForbidden, "Only moderators and owners change the room %q.", r.Room)
	case !made && kind != handoff.Open:
		return refuse(proto.ErrNoSuchRoom, "There is no room %q; create it first.", r.Room)
	case kind == handoff.Direct:
		return refuse(proto.ErrBadRequest, "A direct room has no settings.")
	}
	if !made {
		settings.Since = k.now()
	}
	wished, wrong := k.wished(r, settings)
	if wrong != nil {
		return verdict{refusal: wrong}
	}
	if wished.Speak > handoff.RoleMember && wished.Speak > k.role(r) {
		return refuse(proto.ErrRoleForbidden, "You could not publish in %q any more; ask an owner.", r.Room)
	}
	if wished == settings && made {
		return k.answerRoom(r.Room, r.User, nil)
	}
	k.view.put(Key{RoomSettings, r.Room, ""}, wished)
	m := k.membership(r.Room, "")
	news := []handoff.Event{k.roomChanged(r.Room), k.toMembers(r.Room, "", roomKey, &v1.ServerFrame{Op: &v1.ServerFrame_Room{Room: info(r.Room, m)}})}
	return k.answerRoom(r.Room, r.User, news)
}

// wished is what settings become.
func (k *Keeper) wished(r *handoff.MemberRequest, settings Record) (Record, *Refusal) {
	if r.SetTitle {
		settings.Title = r.Title
	}
	if r.SetSlow {
		settings.SlowMS = r.SlowMS
	}
	if r.Speak != "" {
		role, ok := handoff.ParseRole(r.Speak)
		if !ok {
			return settings, refuse(proto.ErrBadRequest, "speak is guest, member, moderator or owner.").refusal
		}
		settings.Speak = role
	}
	switch {
	case !plainText(settings.Title, proto.MaxTitle):
		return settings, refuse(proto.ErrBadRequest, "title is at most %d bytes of UTF-8 without control characters.", proto.MaxTitle).refusal
	case settings.SlowMS > proto.MaxSlowMode:
		return settings, refuse(proto.ErrBadRequest, "slow mode is a day at most, %d ms.", proto.MaxSlowMode).refusal
	}
	return settings, nil
}

func plainText(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// role is what the user who asks may do in a room: by membership, by token, or as the server.
func (k *Keeper) role(r *handoff.MemberRequest) handoff.Role {
	if r.Server {
		return handoff.RoleServer
	}
	role := k.view.member(r.Room, r.User).Role
	if r.Moderator {
		role = max(role, handoff.RoleModerator)
	}
	return role
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

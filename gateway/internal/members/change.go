package members

import (
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// change does something to a user in a room. First what is the same for all actions, then each.
func (k *Keeper) change(r *handoff.MemberRequest) verdict {
	target := r.Target
	if target == "" {
		target = r.User
	}
	switch {
	case !proto.ValidName(target):
		return refuse(proto.ErrBadRequest, "user is 1 to 128 bytes of UTF-8 without control characters.")
	case !plainText(r.Reason, proto.MaxReason):
		return refuse(proto.ErrBadRequest, "reason is at most %d bytes of UTF-8 without control characters.", proto.MaxReason)
	case r.ForMS > proto.MaxInteger:
		return refuse(proto.ErrBadRequest, "forMs is at most 2^53-1.")
	case r.Room == "":
		return k.changeServer(r, target)
	}
	own, other := k.role(r), k.view.member(r.Room, target)
	switch kind := k.cfg.Kind(r.Room); {
	case kind == handoff.Plain:
		return refuse(proto.ErrNoSuchRoom, "There is no room with members %q.", r.Room)
	case own == handoff.RoleNone:
		return refuse(proto.ErrNotMember, "You are not a member of %q.", r.Room)
	case kind == handoff.Direct:
		return refuse(proto.ErrBadRequest, "The two users of a direct room stay its members.")
	}
	if _, made := k.view.settings(r.Room); !made && k.cfg.Kind(r.Room) == handoff.Group {
		return refuse(proto.ErrNoSuchRoom, "There is no room %q; create it first.", r.Room)
	}
	switch r.Action {
	case "invite":
		return k.invite(r, own, target, other)
	case "leave":
		return k.leave(r, target, other)
	case "role":
		return k.giveRole(r, own, target, other)
	case "kick", "ban", "unban", "mute", "unmute":
	default:
		return refuse(proto.ErrBadRequest, "action is invite, leave, kick, ban, unban, mute, unmute or role.")
	}
	switch {
	case own < handoff.RoleModerator:
		return refuse(proto.ErrRoleForbidden, "Only moderators and owners of %q may %s.", r.Room, r.Action)
	case other.Role >= own || target == r.User && !r.Server:
		return refuse(proto.ErrRoleForbidden, "You may %s only who has a lower role than you.", r.Action)
	case other.Role == handoff.RoleNone && (r.Action == "kick" || r.Action == "mute"):
		return refuse(proto.ErrNoSuchMember, "%q is not a member of %q.", target, r.Room)
	}
	record := Record{Until: k.until(r.ForMS), Reason: r.Reason}
	switch r.Action {
	case "kick":
		k.view.remove(Key{RoomMember, r.Room, target})
		return k.answerChange(r, target, Record{Reason: r.Reason})
	case "ban":
		k.view.put(Key{RoomBan, r.Room, target}, record)
		k.view.remove(Key{RoomMember, r.Room, target})
		return k.answerChange(r, target, record)
	case "unban":
		k.view.remove(Key{RoomBan, r.Room, target})
	case "mute":
		k.view.put(Key{RoomMute, r.Room, target}, record)
		return k.answerChange(r, target, record)
	case "unmute":
		k.view.remove(Key{RoomMute, r.Room, target})
	}
	return k.answerChange(r, target, Record{})
}

// until is the end of a ban or mute.
func (k *Keeper) until(forMS uint64) int64 {
	now := k.now()
	if forMS == 0 || forMS >= uint64(handoff.ForEver-now) {
		return handoff.ForEver
	}
	return now + int64(forMS)
}

// invite makes a user a member at once; whoever does not want it leaves.
func (k *Keeper) invite(r *handoff.MemberRequest, own handoff.Role, target string, other Record) verdict {
	role := handoff.RoleMember
	if r.Role != "" {
		var ok bool
		if role, ok = handoff.ParseRole(r.Role); !ok {
			return refuse(proto.ErrBadRequest, "role is owner, moderator, member or guest.")
		}
	}
	switch {
	case own < handoff.RoleMember:
		return refuse(proto.ErrRoleForbidden, "Guests invite nobody.")
	case role > handoff.RoleMember && own < handoff.RoleOwner:
		return refuse(proto.ErrRoleForbidden, "Only owners make others %ss.", role)
	case other.Role != handoff.RoleNone:
		return k.answerSame(r, target, other.Role)
	}
	if ban := k.view.until(RoomBan, r.Room, target, k.now()); ban.Until != 0 {
		return refuse(proto.ErrBanned, "%q is banned from %q%s; lift the ban first.", target, r.Room, handoff.UntilWhen(ban.Until))
	}
	if full := k.full(r.Room, target); full != nil {
		return verdict{refusal: full}
	}
	k.admit(r.Room, target, role)
	return k.answerChange(r, target, Record{})
}

func (k *Keeper) leave(r *handoff.MemberRequest, target string, other Record) verdict {
	switch {
	case target != r.User && !r.Server:
		return refuse(proto.ErrBadRequest, "leave is for the user who asks; kick is for others.")
	case other.Role == handoff.RoleNone:
		return refuse(proto.ErrNoSuchMember, "%q is not a member of %q.", target, r.Room)
	}
	k.view.remove(Key{RoomMember, r.Room, target})
	return k.answerChange(r, target, Record{})
}

// giveRole makes somebody else something else, or lets somebody step down.
func (k *Keeper) giveRole(r *handoff.MemberRequest, own handoff.Role, target string, other Record) verdict {
	role, ok := handoff.ParseRole(r.Role)
	stepsDown := target == r.User && !r.Server && role <= other.Role
	switch {
	case !ok:
		return refuse(proto.ErrBadRequest, "role is owner, moderator, member or guest.")
	case other.Role == handoff.RoleNone:
		return refuse(proto.ErrNoSuchMember, "%q is not a member of %q; invite first.", target, r.Room)
	case stepsDown:
	case own < handoff.RoleModerator:
		return refuse(proto.ErrRoleForbidden, "Only moderators and owners of %q give roles.", r.Room)
	case other.Role >= own:
		return refuse(proto.ErrRoleForbidden, "You may give a role only to who has a lower one than you.")
	case role >= own && own < handoff.RoleOwner:
		return refuse(proto.ErrRoleForbidden, "You may give only roles under your own.")
	}
	if role == other.Role {
		return k.answerSame(r, target, role)
	}
	other.Role = role
	k.view.put(Key{RoomMember, r.Room, target}, other)
	return k.answerChange(r, target, Record{})
}

// changeServer bans a user from the whole server, or lifts the ban.
func (k *Keeper) changeServer(r *handoff.MemberRequest, target string) verdict {
	ban := Record{Until: k.until(r.ForMS), Reason: r.Reason}
	switch {
	case r.Action != "ban" && r.Action != "unban":
		return refuse(proto.ErrBadRequest, "Without a room there is only ban and unban, from the whole server.")
	case !r.Moderator && !r.Server:
		return refuse(proto.ErrRoleForbidden, "Your token does not make you a moderator of the whole server.")
	case target == r.User && !r.Server:
		return refuse(proto.ErrBadRequest, "Nobody bans themselves from the server.")
	case r.Action == "unban":
		k.view.remove(Key{RoomBan, "", target})
		return verdict{reply: changed(r, target, handoff.RoleNone, Record{}), notices: []Notice{notice(r, target, handoff.RoleNone, Record{})}}
	}
	k.view.put(Key{RoomBan, "", target}, ban)
	gone := handoff.Event{Kind: handoff.Banned, Member: &handoff.Membership{User: target}, Text: ban.Reason}
	return verdict{
		reply: changed(r, target, handoff.RoleNone, ban), news: []handoff.Event{gone},
		notices: []Notice{notice(r, target, handoff.RoleNone, ban)},
	}
}

func (k *Keeper) answerChange(r *handoff.MemberRequest, target string, record Record) verdict {
	role := k.view.member(r.Room, target).Role
	return verdict{
		reply: changed(r, target, role, record), news: k.newsOf(r, target, r.Action, record), notices: []Notice{notice(r, target, role, record)},
	}
}

func notice(r *handoff.MemberRequest, target string, role handoff.Role, record Record) Notice {
	n := Notice{Action: r.Action, Room: r.Room, User: target, Role: role.String(), By: r.User, Reason: record.Reason}
	if record.Until != handoff.ForEver {
		n.Until = record.Until
	}
	return n
}

// answerSame is for what is so already.
func (k *Keeper) answerSame(r *handoff.MemberRequest, target string, role handoff.Role) verdict {
	return verdict{reply: changed(r, target, role, Record{})}
}

// changed says what has happened to a user.
func changed(r *handoff.MemberRequest, target string, role handoff.Role, record Record) *v1.ServerFrame {
	c := &v1.MemberChanged{Room: r.Room, User: target, Action: r.Action, Role: role.String(), Reason: record.Reason, By: r.User}
	c.Until = timeOf(record.Until)
	return &v1.ServerFrame{Op: &v1.ServerFrame_Member{Member: c}}
}

// timeOf is a time that may be absent.
func timeOf(ms int64) *uint64 {
	if ms == 0 {
		return nil
	}
	at := uint64(ms)
	return &at
}

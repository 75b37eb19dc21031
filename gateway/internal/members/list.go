package members

import (
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// lists reports whether a request reads a range of the store.
func lists(r *handoff.MemberRequest) bool {
	return r.Kind == handoff.ListMembers || r.Kind == handoff.ListRooms || r.Kind == handoff.SetDevice
}

// page is the bound of a list, 0 if the request's is none.
func page(r *handoff.MemberRequest) int {
	switch {
	case r.Limit == 0:
		return proto.DefaultPage
	case r.Limit < 0 || r.Limit > proto.MaxPage:
		return 0
	}
	return r.Limit
}

func wrongPage() verdict {
	return refuse(proto.ErrBadRequest, "limit is at most %d, after a name or nothing.", proto.MaxPage)
}

func (k *Keeper) listMembers(r *handoff.MemberRequest) verdict {
	limit, role, kind := page(r), k.role(r), k.cfg.Kind(r.Room)
	switch {
	case limit == 0 || r.PageAfter != "" && !proto.ValidName(r.PageAfter):
		return wrongPage()
	case kind == handoff.Plain:
		return refuse(proto.ErrNoSuchRoom, "There is no room with members %q.", r.Room)
	case r.Banned && role < handoff.RoleModerator:
		return refuse(proto.ErrRoleForbidden, "Only moderators and owners of %q see who is banned.", r.Room)
	case role == handoff.RoleNone && kind != handoff.Open, kind == handoff.Direct && role == handoff.RoleModerator:
		return refuse(proto.ErrNotMember, "You are not a member of %q.", r.Room)
	}
	now := k.now()
	if role == handoff.RoleNone && k.view.until(RoomBan, r.Room, r.User, now).Until != 0 {
		return refuse(proto.ErrBanned, "You are banned from %q.", r.Room)
	}
	list := MembersOf
	if r.Banned {
		list = BannedFrom
	}
	answer := &v1.Members{Room: r.Room, Total: uint32(k.view.count(MembersOf, r.Room))}
	k.list(list, r.Room, r.PageAfter, func(user string, record Record) bool {
		if r.Banned && record.Until <= now {
			return true
		}
		if answer.More = len(answer.Members) == limit; answer.More {
			return false
		}
		m := &v1.Member{User: user}
		if r.Banned {
			m.BannedUntil, m.Reason = timeOf(record.Until), record.Reason
		} else {
			m.Role, m.Since = record.Role.String(), timeOf(record.Since)
			mute := k.view.until(RoomMute, r.Room, user, now)
			m.MutedUntil, m.Reason = timeOf(mute.Until), mute.Reason
			if seen := k.cfg.LastSeen(r.Room, user); seen != 0 {
				m.LastSeen = timeOf(seen)
			}
		}
		answer.Members = append(answer.Members, m)
		return true
	})
	return verdict{reply: &v1.ServerFrame{Op: &v1.ServerFrame_Members{Members: answer}}}
}

func (k *Keeper) listRooms(r *handoff.MemberRequest) verdict {
	limit := page(r)
	if limit == 0 || r.PageAfter != "" && !proto.ValidName(r.PageAfter) {
		return wrongPage()
	}
	answer := &v1.Rooms{}
	k.list(RoomsOf, r.User, r.PageAfter, func(room string, _ Record) bool {
		if k.cfg.Kind(room) == handoff.Plain || r.May != nil && !r.May(room) {
			return true // of former settings, or none for this token
		}
		if answer.More = len(answer.Rooms) == limit; answer.More {
			return false
		}
		answer.Rooms = append(answer.Rooms, info(room, k.membership(room, r.User)))
		return true
	})
	return verdict{reply: &v1.ServerFrame{Op: &v1.ServerFrame_Rooms{Rooms: answer}}}
}

func (k *Keeper) list(list List, of, after string, fn func(name string, r Record) bool) {
	if err := k.cfg.Store.List(list, of, after, fn); err != nil && k.view.err == nil {
		k.view.err = err
	}
}

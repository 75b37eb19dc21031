package members

import (
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// setNotify says of what a member is told who has not received it. It ends with the membership. Nobody else learns of it.
func (k *Keeper) setNotify(r *handoff.MemberRequest) verdict {
	own := k.view.member(r.Room, r.User)
	level, ok := handoff.ParseNotify(r.Level)
	switch {
	case k.cfg.Kind(r.Room) == handoff.Plain:
		return refuse(proto.ErrNoSuchRoom, "There is no room with members %q.", r.Room)
	case own.Role == handoff.RoleNone:
		return refuse(proto.ErrNotMember, "You are not a member of %q.", r.Room)
	case r.Level == "":
		level = own.Notify
	case !ok:
		return refuse(proto.ErrBadRequest, "level is all, mentions or none.")
	}
	if level != own.Notify {
		own.Notify = level
		k.view.put(Key{RoomMember, r.Room, r.User}, own)
	}
	return verdict{reply: &v1.ServerFrame{Op: &v1.ServerFrame_Notify{
		Notify: &v1.NotifyPreference{Room: r.Room, Level: level.String()},
	}}}
}

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

// maxDevices is how many devices of a user can be told.
const maxDevices = 10

// setDevice keeps or forgets where a device of a user is told.
func (k *Keeper) setDevice(r *handoff.MemberRequest) verdict {
	key := Key{UserDevice, r.Device, r.User}
	_, registered := k.view.get(key)
	switch {
	case r.Device == "":
		registered = false
	case !proto.ValidName(r.Device):
		return refuse(proto.ErrBadRequest, "id is 1 to 128 bytes of UTF-8 without control characters.")
	case !r.Register && registered:
		k.view.remove(key)
		registered = false
	case r.Register:
		if refusal := k.mayRegister(r, registered); refusal != nil {
			return verdict{refusal: refusal}
		}
		k.view.put(key, Record{Subscription: r.Subscription})
		registered = true
	}
	return verdict{reply: &v1.ServerFrame{Op: &v1.ServerFrame_Device{
		Device: &v1.DeviceSet{Id: r.Device, Registered: registered, WebPushKey: k.cfg.WebPushKey, Services: k.cfg.PushServices},
	}}}
}

func (k *Keeper) mayRegister(r *handoff.MemberRequest, registered bool) *Refusal {
	if wrong := k.cfg.CheckSubscription(r.Subscription); wrong != "" {
		return refuse(proto.ErrBadRequest, "%s", wrong).refusal
	}
	devices := 0
	if err := k.view.store.List(DevicesOf, r.User, "", func(string, Record) bool {
		devices++
		return devices < maxDevices
	}); err != nil && k.view.err == nil {
		k.view.err = err
	}
	if devices >= maxDevices && !registered {
		return refuse(proto.ErrBadRequest, "A user has %d devices at most; forget one first.", maxDevices).refusal
	}
	return nil
}

package members

import (
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Keys of the frames that take each other's place for who is behind: one of each user, and one of the room.
const (
	memberKey = "member"
	roomKey   = "room"
)

// info is a room as its members see it. Without a role it is about the room alone.
func info(room string, m *handoff.Membership) *v1.RoomInfo {
	return &v1.RoomInfo{
		Room: room, Kind: m.Kind.String(), Title: m.Title, Role: m.Role.String(), Speak: m.Speak.String(),
		MutedUntil: timeOf(m.MutedUntil), SlowModeMs: m.SlowMS, Peer: m.Peer,
	}
}

// answerRoom replies with a room as a user sees it; an empty one sees it from outside.
func (k *Keeper) answerRoom(room, user string, news []handoff.Event) verdict {
	m := k.membership(room, user)
	return verdict{reply: &v1.ServerFrame{Op: &v1.ServerFrame_Room{Room: info(room, m)}}, news: news}
}

// newsOf is what loops are told of a change: what they have to keep or end, what the user's connections want to know, and what the
// members see.
func (k *Keeper) newsOf(r *handoff.MemberRequest, user, action string, record Record) []handoff.Event {
	m := k.membership(r.Room, user)
	changed := &v1.MemberChanged{Room: r.Room, User: user, Action: action, Role: m.Role.String(), Until: timeOf(record.Until), Reason: record.Reason, By: r.User}
	var news []handoff.Event
	switch action {
	case "leave", "kick", "ban":
		removed := &v1.Removed{Room: r.Room, Action: action, Until: changed.Until, Reason: record.Reason, By: r.User}
		news = append(news, handoff.Event{
			Kind: handoff.MemberRemoved, Room: r.Room, Member: m,
			Message: proto.EncodeFrame(r.Room, user, memberKey, &v1.ServerFrame{Op: &v1.ServerFrame_Removed{Removed: removed}}),
		})
	case "unban":
		return nil
	case "join", "invite":
		news = append(news, k.personal(r.Room, user))
	default:
		news = append(news, handoff.Event{Kind: handoff.MemberChanged, Room: r.Room, Member: m}, k.personal(r.Room, user))
	}
	goesByItself := action == "join" || action == "leave" || action == "invite"
	if goesByItself && k.view.count(MembersOf, r.Room) > k.cfg.Named {
		return news
	}
	return append(news, k.toMembers(r.Room, user, memberKey, &v1.ServerFrame{Op: &v1.ServerFrame_Member{Member: changed}}))
}

// personal is for the connections of a user that want to be told of their rooms.
func (k *Keeper) personal(room, user string) handoff.Event {
	m := k.membership(room, user)
	return handoff.Event{
		Kind: handoff.Personal, Room: room, Member: m,
		Message: proto.EncodeFrame(room, user, roomKey, &v1.ServerFrame{Op: &v1.ServerFrame_Room{Room: info(room, m)}}),
	}
}

// roomChanged has loops keep the settings of a room that are in force.
func (k *Keeper) roomChanged(room string) handoff.Event {
	return handoff.Event{Kind: handoff.RoomChanged, Room: room, Member: k.membership(room, "")}
}

// toMembers is a frame for everybody who is subscribed to a room.
func (k *Keeper) toMembers(room, from, key string, f *v1.ServerFrame) handoff.Event {
	return handoff.Event{Kind: handoff.Ephemeral, Room: room, Message: proto.EncodeFrame(room, from, key, f)}
}

// tell has everybody learn what came of a request. All loops have been told before who asked is, so that the answer to a kick comes when it
// holds: what waits in a loop's mailbox is worked off before what its clients send from then on. Who enters is on one loop, and in order there.
func (k *Keeper) tell(d *decided) {
	for _, e := range d.verdict.news {
		k.tellLoops(e)
	}
	r, v := &d.letter.request, &d.verdict
	if len(v.news) > 0 && r.Kind != handoff.Enter {
		k.out.Send()
	}
	switch {
	case d.letter.answer != nil && v.refusal != nil:
		d.letter.answer <- result{err: v.refusal}
	case d.letter.answer != nil:
		d.letter.answer <- result{frame: v.reply}
	case r.Kind == handoff.Enter && v.refusal != nil:
		k.post(r, handoff.Event{Kind: handoff.Denied, Room: r.Room, Code: v.refusal.Code, Text: v.refusal.Text})
	case r.Kind == handoff.Enter:
		k.post(r, handoff.Event{Kind: handoff.Admitted, Room: r.Room, Member: v.admit})
	case v.refusal != nil:
		k.post(r, handoff.Event{Kind: handoff.Told, Code: v.refusal.Code, Text: v.refusal.Text})
	default:
		v.reply.Id = r.ID
		frames := proto.AppendServerFrame(make([]byte, handoff.Headroom, 256), r.Codec, v.reply)
		k.post(r, handoff.Event{Kind: handoff.Told, Frames: frames})
	}
}

func (k *Keeper) post(r *handoff.MemberRequest, e handoff.Event) {
	e.To, e.ID = r.From, r.ID
	e.Size = handoff.ReplySize + len(e.Frames)
	k.out.Post(int(r.From.Loop), e)
}

// tellLoops gives an event to all of them: one that has nothing of the room drops it. What members only look at is left out where too
// much waits; what a loop acts on never is.
func (k *Keeper) tellLoops(e handoff.Event) {
	e.Size = handoff.ReplySize
	if e.Message != nil {
		e.Size = e.Message.Size()
	}
	for loop, mailbox := range k.cfg.Loops {
		if e.Kind == handoff.Ephemeral && mailbox.Full() {
			k.untold.Add(1)
			continue
		}
		k.out.Post(loop, e)
	}
}

package receipts

import (
	"slices"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// key of the frames that take each other's place for who is behind: one of each user, and one of a room's counts.
const key = "receipt"

// loops gives a frame to all loops: one that has nobody whom it is for drops it.
func (k *Keeper) loops(e handoff.Event) {
	e.Size = e.Message.Size()
	for loop, mailbox := range k.cfg.Loops {
		if mailbox.Full() {
			k.untold.Add(1)
			continue
		}
		k.out.Post(loop, e)
	}
}

func (k *Keeper) members(room string, m *proto.Encoded) {
	k.loops(handoff.Event{Kind: handoff.Ephemeral, Room: room, Message: m})
}

// tell has the members of a room learn where a user stands.
func (k *Keeper) tell(at place, s Standing) { k.members(at.room, encode(at, s)) }

// tellOwn has the devices of a user learn where they stand in a large room, whose members are told counts: those that watch their rooms.
func (k *Keeper) tellOwn(at place, s Standing) {
	k.loops(handoff.Event{Kind: handoff.Personal, Room: at.room, Member: &handoff.Membership{User: at.user}, Message: encode(at, s)})
}

func encode(at place, s Standing) *proto.Encoded {
	return proto.EncodeFrame(at.room, at.user, key, &v1.ServerFrame{Op: &v1.ServerFrame_Receipt{
		Receipt: &v1.Receipt{Room: at.room, User: at.user, Delivered: s.Delivered, Read: s.Read},
	}})
}

// tellCounts has the members of a large room learn how many have its newest messages, if that has changed.
func (k *Keeper) tellCounts(room string) {
	c, err := k.census(room) // another one, if it became a large room just now
	if err != nil {
		k.cfg.Log.Error("receipts can't be counted; the members are told with the next mark", "room", room, "err", err)
		return
	}
	k.keep(room, c)
	head := k.cfg.Head(room)
	told := &v1.Receipts{Room: room, Head: head, Users: uint32(c.users), Counts: c.counts(head)}
	if c.told != nil && c.told.Users == told.Users && slices.EqualFunc(c.told.Counts, told.Counts, sameCount) {
		return
	}
	c.told = told
	k.members(room, proto.EncodeFrame(room, "", key, &v1.ServerFrame{Op: &v1.ServerFrame_Receipts{Receipts: told}}))
}

func sameCount(a, b *v1.ReceiptCount) bool {
	return a.Seq == b.Seq && a.Delivered == b.Delivered && a.Read == b.Read
}

// ask answers how far everybody has come.
func (k *Keeper) ask(m *handoff.Mark) {
	from := answer{m.From, m.ID, m.Codec}
	r := &v1.Receipts{Room: m.Room, Head: k.cfg.Head(m.Room)}
	own, err := k.cfg.Store.Standing(m.Room, m.User)
	c := &census{}
	if err == nil && r.Head > 0 { // else nobody can have marked anything, and the room need not even be one
		if c, err = k.census(m.Room); err == nil {
			k.keep(m.Room, c)
		}
	}
	switch {
	case err != nil || c.users == 0:
	case c.users <= k.cfg.Named:
		err = k.cfg.Store.Standings(m.Room, func(user string, s Standing) bool {
			r.Receipts = append(r.Receipts, &v1.Receipt{User: user, Delivered: s.Delivered, Read: s.Read})
			return true
		})
	default:
		r.Counts = c.counts(r.Head)
	}
	if err != nil {
		k.refused.Add(1)
		k.cfg.Log.Error("receipts can't be read", "room", m.Room, "err", err)
		k.out.Post(int(from.to.Loop), handoff.Event{
			Kind: handoff.Told, To: from.to, ID: from.id, Size: handoff.ReplySize,
			Code: proto.ErrInternal, Text: "The receipts can't be read; ask again later.",
		})
		return
	}
	r.Own = &v1.Receipt{User: m.User, Delivered: own.Delivered, Read: own.Read}
	r.Users = uint32(c.users)
	k.reply(handoff.Event{Kind: handoff.Told, Room: m.Room}, from, &v1.ServerFrame{Id: from.id, Op: &v1.ServerFrame_Receipts{Receipts: r}})
}

// marked answers everybody who waits for a wish: it is stored.
func (k *Keeper) marked(at place, w *wish) {
	for _, a := range w.answers {
		k.reply(handoff.Event{Kind: handoff.Marked}, a, &v1.ServerFrame{Id: a.id, Op: &v1.ServerFrame_Marked{
			Marked: &v1.Marked{Room: at.room, Delivered: w.to.Delivered, Read: w.to.Read},
		}})
	}
}

func (k *Keeper) reply(e handoff.Event, to answer, f *v1.ServerFrame) {
	e.To, e.Frames = to.to, proto.AppendServerFrame(make([]byte, handoff.Headroom, 256), to.codec, f)
	e.Size = handoff.ReplySize + len(e.Frames)
	k.out.Post(int(to.to.Loop), e)
}

func (k *Keeper) refuse(to answer, code proto.ErrorCode, text string) {
	k.out.Post(int(to.to.Loop), handoff.Event{Kind: handoff.Refused, To: to.to, ID: to.id, Code: code, Text: text, Size: handoff.ReplySize})
}

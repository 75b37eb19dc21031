package presence

import (
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// answer says who is in the room, as its version has it: who came since is told with the next. And it notes whether the connection wants to be told of changes.
func (k *Keeper) answer(r *room, p *handoff.Presence) {
	if p.Watch {
		r.watchers[p.From] = watcher{p.Codec}
	} else {
		delete(r.watchers, p.From)
	}
	if p.ID == 0 {
		return // it watched before, in the process that this one took over from
	}
	a := &v1.Presence{Room: r.name, Version: r.version, Count: uint32(r.count)}
	for _, user := range r.some(k.cfg.Named) {
		a.Users = append(a.Users, &v1.UserPresence{User: user, State: r.people[user].told})
	}
	frames := encode(p.Codec, &v1.ServerFrame{Id: p.ID, Op: &v1.ServerFrame_Presence{Presence: a}})
	k.out.Post(int(p.From.Loop), handoff.Event{Kind: handoff.Told, To: p.From, ID: p.ID, Room: r.name, Frames: frames, Size: handoff.ReplySize + len(frames)})
}

// tellRoom tells those who watch a room what has changed since its version, if anything has.
func (k *Keeper) tellRoom(r *room, now time.Time) {
	list := r.changes(now, k.cfg.Grace)
	if len(list) == 0 {
		return
	}
	r.version++
	c := &v1.PresenceChange{Room: r.name, Version: r.version, Count: uint32(r.count)}
	if r.count <= k.cfg.Named {
		for _, u := range list {
			c.Users = append(c.Users, &v1.UserPresence{User: u.user, State: u.state, Since: uint64(u.since)})
		}
	}
	f := &v1.ServerFrame{Op: &v1.ServerFrame_PresenceChange{PresenceChange: c}}
	for to, w := range r.watchers {
		// Each has its own bytes: the loop writes the header of a WebSocket message in front of them.
		frames := encode(w.codec, f)
		k.told.Add(1)
		k.out.Post(int(to.Loop), handoff.Event{Kind: handoff.Changed, To: to, Room: r.name, Frames: frames, Size: handoff.ReplySize + len(frames)})
	}
}

func encode(codec proto.Codec, f *v1.ServerFrame) []byte {
	return proto.AppendServerFrame(make([]byte, handoff.Headroom, 256), codec, f)
}

func (k *Keeper) refuse(p *handoff.Presence, code proto.ErrorCode, text string) {
	if p.ID == 0 {
		return
	}
	k.out.Post(int(p.From.Loop), handoff.Event{Kind: handoff.Told, To: p.From, ID: p.ID, Code: code, Text: text, Size: handoff.ReplySize})
}

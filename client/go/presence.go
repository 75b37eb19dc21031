package client

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// typingAgain is how often it is said that the user is typing, while that goes on.
const typingAgain = 2500 * time.Millisecond

// States of who is in a room.
const (
	Online = "online"
	Away   = "away" // nobody sits at any of the user's connections there
)

const offline = "offline"

// UserPresence is a user who is in a room.
type UserPresence struct{ User, State string }

// Presence is who is in a room. The zero value is nobody.
type Presence struct {
	Count int            // how many users
	Users []UserPresence // all of them by name, or of a large room, which has more than 100, those who were named
}

// Typists are those who are typing in a room, but for the user of this client.
type Typists struct {
	Users []string // the first who began, by name
	More  int      // besides
}

// SetAway says whether somebody sits at this client; a new client is not away. It does not wait, and holds for the connections to come.
func (c *Client) SetAway(away bool) { c.machine.post(func() { c.machine.setAway(away) }) }

// PresenceUpdates watches who is in the room while it is ranged over: it gives all who are there, and again whenever
// that changes, over lost connections too. An application that takes them slowly gets the newest. It ends as Messages does, or with
// a *RequestError where nobody is told. To ask once, stop after the first.
//
// One range at a time.
func (s *Subscription) PresenceUpdates(ctx context.Context) iter.Seq2[Presence, error] {
	return func(yield func(Presence, error) bool) {
		s.watch(true)
		defer s.watch(false)
		s.present.all(ctx)(yield)
	}
}

// Typing says that the user is typing in the room: to be called with every key, since it is sent now and then only, and not without a
// connection. Publishing there ends it. A refusal is not noticed.
func (s *Subscription) Typing() { s.typing(true) }

// StopTyping says that the user is typing no more, as when a text is thrown away.
func (s *Subscription) StopTyping() { s.typing(false) }

// TypingUpdates gives who else is typing, whenever that changes. It ends as Messages does.
//
// Ranging over it again goes on where the last range stopped. One range at a time.
func (s *Subscription) TypingUpdates(ctx context.Context) iter.Seq2[Typists, error] {
	return s.typists.all(ctx)
}

// presence is who is in a room and who is typing there, as the machine knows it. Owned by the loop.
type presence struct {
	watching bool
	question int               // counts those asked, so that the answer to an old one is known
	version  uint64            // of what was told last, 0: the answer is on its way
	count    int               // as told last
	states   map[string]string // by user, of those who were named
	refusals int               // of the question, in a row
	retry    *alarm            // while the next question waits

	said   *alarm  // runs for typingAgain after the user's typing was said
	others Typists // as the application was told last
	over   *alarm  // runs for as long as what was told of the others holds
}

func (m *machine) setAway(away bool) {
	if m.away == away {
		return
	}
	m.away = away
	if m.state == Connected {
		m.sayState()
	}
}

func (m *machine) sayState() {
	state := Online
	if m.away {
		state = Away
	}
	m.request(&v1.ClientFrame{Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: state}}}, func(*v1.ServerFrame) {})
}

// watchPresence is the application's wish.
func (m *machine) watchPresence(r *room, wanted bool) {
	p := &r.presence
	p.watching = wanted
	if wanted {
		m.askPresence(r)
		return
	}
	p.forget()
	r.subscription.present.forget(false) // the next range begins with an answer
	if r.state == joined && m.ready() {
		m.request(presenceFrame(r, false), func(*v1.ServerFrame) {})
	}
}

func presenceFrame(r *room, watch bool) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: r.name, Watch: watch}}}
}

// askPresence asks who is in a watched room, and for what changes after that.
func (m *machine) askPresence(r *room) {
	p := &r.presence
	if !p.watching || r.state != joined || !m.ready() {
		return
	}
	p.forget()
	question := p.question
	m.request(presenceFrame(r, true), func(reply *v1.ServerFrame) {
		if p.question != question {
			return
		}
		switch op := reply.Op.(type) {
		case *v1.ServerFrame_Presence:
			p.refusals, p.version, p.states = 0, op.Presence.Version, make(map[string]string)
			r.present(op.Presence.Count, op.Presence.Users)
		case *v1.ServerFrame_Error:
			if err := newRequestError(op.Error); err.Retry {
				p.retry = m.after(m.backoff(p.refusals, err.RetryAfter), func() { m.askPresence(r) })
				p.refusals++
			} else {
				r.subscription.present.end(err)
			}
		default:
			m.faulty("the reply to presence is none")
		}
	})
}

// presenceChanged is what has changed since the version before. Where one is missing the room is asked for anew.
func (m *machine) presenceChanged(change *v1.PresenceChange) {
	r := m.rooms[change.Room]
	switch {
	case r == nil || r.state != joined || !r.presence.watching || r.presence.version == 0:
	case change.Version != r.presence.version+1:
		m.askPresence(r)
	default:
		r.presence.version = change.Version
		r.present(change.Count, change.Users)
	}
}

// present tells the application who is there, after users have changed.
func (r *room) present(count uint32, users []*v1.UserPresence) {
	p := &r.presence
	p.count = int(count)
	for _, u := range users {
		if u.State == offline {
			delete(p.states, u.User)
		} else {
			p.states[u.User] = u.State
		}
	}
	seen := Presence{Count: p.count}
	for _, user := range slices.Sorted(maps.Keys(p.states)) {
		seen.Users = append(seen.Users, UserPresence{user, p.states[user]})
	}
	r.subscription.present.change(func(next *Presence) { *next = seen })
}

// forget is for what was told on a connection, or before another question: its answer says all anew.
func (p *presence) forget() {
	p.question++
	p.version, p.states = 0, nil
	p.retry.stop()
}

// typing is the application's wish.
func (m *machine) typing(r *room, goesOn bool) {
	p := &r.presence
	if r.state != joined || !m.ready() || goesOn == (p.said != nil) {
		return
	}
	m.connection.send(proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Op: &v1.ClientFrame_Typing{
		Typing: &v1.TypingRequest{Room: r.name, Stopped: !goesOn},
	}}))
	if !goesOn {
		p.quiet()
		return
	}
	p.said = m.after(typingAgain, func() { p.said = nil })
}

// quiet: the user is not typing, or what was typed is published, which the server needs no word for.
func (p *presence) quiet() {
	p.said.stop()
	p.said = nil
}

// typed is who is typing in a room, all of them.
func (m *machine) typed(told *v1.Typing) {
	r := m.rooms[told.Room]
	if r == nil || r.state != joined {
		return
	}
	r.presence.over.stop()
	r.presence.over = m.after(time.Duration(told.LifetimeMs)*time.Millisecond, func() { r.setTypists(Typists{}) })
	r.setTypists(Typists{slices.DeleteFunc(told.Users, func(user string) bool { return user == m.user }), int(told.More)})
}

// wrote: a message of a user has come, so they are not typing it any more.
func (r *room) wrote(user string) {
	if o := r.presence.others; slices.Contains(o.Users, user) {
		r.setTypists(Typists{slices.DeleteFunc(slices.Clone(o.Users), func(other string) bool { return other == user }), o.More})
	}
}

func (r *room) setTypists(others Typists) {
	before := r.presence.others
	r.presence.others = others
	if others.More != before.More || !slices.Equal(others.Users, before.Users) {
		told := Typists{slices.Clone(others.Users), others.More} // the application may do with it what it likes
		r.subscription.typists.change(func(next *Typists) { *next = told })
	}
}

// disconnected: what was told holds no more, and who was typing may have stopped.
func (p *presence) disconnected(r *room) {
	p.forget()
	p.quiet()
	p.over.stop()
	r.setTypists(Typists{})
}

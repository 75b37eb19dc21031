package presence

import (
	"cmp"
	"slices"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// States of a user.
const (
	online  = "online"
	away    = "away"
	offline = "offline"
)

// room is one that is observed.
type room struct {
	name     string
	here     []bool                     // by loop: it has said whom it has
	asked    []handoff.Presence         // that wait for all loops
	watchers map[handoff.Handle]watcher // by connection
	deserted time.Time                  // when it was last asked for or watched, while nobody watches
	version  uint64                     // 0: not all loops have said
	people   map[string]*person         // by name
	count    int                        // of people whom the version has
	news     map[string]*person         // those who may have changed since the version
	leaving  map[string]*person         // those whose connections have all gone, until the grace period has passed
}

type watcher struct{ codec proto.Codec }

// person is a user in a room.
type person struct {
	connections []connection // mostly one
	gone        time.Time    // when the last one went, while there is none
	expelled    bool         // and they are no member any more: there is nothing to wait for
	told        string       // state that the version has; empty: it does not know the user
}

type connection struct {
	handle handoff.Handle
	away   bool
}

func newRoom(name string, loops int) *room {
	return &room{
		name: name, here: make([]bool, loops), watchers: make(map[handoff.Handle]watcher),
		people: make(map[string]*person), news: make(map[string]*person), leaving: make(map[string]*person),
	}
}

// goOn has the room's next version follow that of another keeper. Who does not come back is gone as if their last connection had ended
// now.
func (r *room) goOn(w Watched, now time.Time) {
	r.version, r.count = w.Version, len(w.Told)
	for user, state := range w.Told {
		p := &person{told: state, gone: now}
		r.people[user], r.leaving[user] = p, p
	}
}

func (r *room) came(user string, h handoff.Handle, isAway bool) {
	p := r.people[user]
	if p == nil {
		p = &person{}
		r.people[user] = p
	}
	delete(r.leaving, user)
	p.connections = append(p.connections, connection{h, isAway})
	r.news[user] = p
}

func (r *room) went(user string, h handoff.Handle, expelled bool) {
	p := r.people[user]
	if p == nil {
		return
	}
	p.connections = slices.DeleteFunc(p.connections, func(c connection) bool { return c.handle == h })
	if len(p.connections) == 0 {
		p.gone, p.expelled = time.Now(), expelled
		r.leaving[user] = p
	}
	r.news[user] = p
}

func (r *room) turned(user string, h handoff.Handle, isAway bool) {
	p := r.people[user]
	if p == nil {
		return
	}
	for i := range p.connections {
		if p.connections[i].handle == h {
			p.connections[i].away = isAway
			r.news[user] = p
		}
	}
}

// unwatch is for a connection that watches no more, or has asked to and not been answered yet.
func (r *room) unwatch(h handoff.Handle) {
	delete(r.watchers, h)
	for i := range r.asked {
		if r.asked[i].From == h {
			r.asked[i].Watch = false
		}
	}
	r.deserted = time.Now()
}

// state is how somebody stands who has connections, or had some until a moment ago.
func (p *person) state() string {
	switch {
	case len(p.connections) == 0:
		return cmp.Or(p.told, online) // as before
	case slices.ContainsFunc(p.connections, func(c connection) bool { return !c.away }):
		return online
	}
	return away
}

// change is somebody who is not as the version has it.
type change struct {
	user  string
	state string
	since int64 // offline: Unix milliseconds
}

// changes brings the people to what holds now, and gives those that are new to the version, in the order of their names.
func (r *room) changes(now time.Time, grace time.Duration) (list []change) {
	for user, p := range r.leaving {
		if !p.expelled && now.Sub(p.gone) < grace {
			continue
		}
		delete(r.leaving, user)
		delete(r.news, user)
		delete(r.people, user)
		if p.told != "" { // else nobody has heard of the user
			r.count--
			list = append(list, change{user, offline, p.gone.UnixMilli()})
		}
	}
	for user, p := range r.news {
		if state := p.state(); state != p.told {
			if p.told == "" {
				r.count++
			}
			p.told = state
			list = append(list, change{user: user, state: state})
		}
	}
	clear(r.news)
	slices.SortFunc(list, func(a, b change) int { return cmp.Compare(a.user, b.user) })
	return list
}

// some gives users whom the version has, at most n of them, in the order of their names.
func (r *room) some(n int) []string {
	var users []string
	for user, p := range r.people {
		if len(users) == n {
			break
		}
		if p.told != "" {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

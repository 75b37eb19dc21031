package members

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// model is the oracle: the rules in plain words, on plain maps.
type model struct {
	rig *rig
	rng *rand.Rand

	made    map[string]bool
	members map[string]map[string]handoff.Role // by room, by user
	bans    map[string]int64                   // by "room user"; the room is empty for the whole server
	mutes   map[string]int64
	inside  map[string]map[string]bool // what a loop would have: by room, who is admitted and was not removed
}

const (
	mostRooms   = 4
	mostMembers = 5
)

var (
	modelRooms = []string{"open:a", "open:b", "group:a", "group:b", "group:c", "group:d"}
	modelUsers = []string{"ann", "ben", "cleo", "dan", "eve", "fay", "gus"}
)

// TestModel does random things by random users, now and then starts the keeper anew or has the store fail, and compares each answer,
// the whole store, and what a loop was told with the model.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("repeat with ROOKERY_SEED=%d", seed)
	store := newMemory()
	bound := func(c *Config) { c.RoomsPerUser, c.MembersPerRoom, c.Named = mostRooms, mostMembers, 3 }
	m := &model{
		rig: newRig(t, store, bound), rng: rand.New(rand.NewPCG(seed, 0)),
		made: map[string]bool{}, members: map[string]map[string]handoff.Role{}, bans: map[string]int64{}, mutes: map[string]int64{},
		inside: map[string]map[string]bool{},
	}
	for _, room := range modelRooms {
		m.members[room], m.inside[room] = map[string]handoff.Role{}, map[string]bool{}
	}
	granted, refusals := 0, map[string]int{}
	for i := range 6000 {
		r := m.random()
		fails := m.rng.IntN(20) == 0
		before := m.copy()
		want := m.expect(&r)
		if fails && !m.same(before) {
			want = proto.ErrLogUnavailable.Name
			m.restore(before)
		}
		store.set(func() { store.fails = fails })
		_, got := m.rig.do(r)
		store.set(func() { store.fails = false })
		if got != want {
			t.Fatalf("step %d: %+v: %q, want %q", i, r, got, want)
		}
		if refusals[got]++; got == "" {
			granted++
		}
		m.follow(&r, got)
		if i%10 == 0 {
			m.compare(i)
			m.rig.now = m.rig.now.Add(time.Duration(m.rng.IntN(5)) * time.Second)
		}
		if m.rng.IntN(300) == 0 {
			now := m.rig.now
			m.rig.close()
			m.rig = newRig(t, store, bound)
			m.rig.now = now
		}
	}
	t.Logf("granted %d, refused %v", granted, refusals)
	for _, name := range []string{"not_member", "role_forbidden", "banned", "no_such_member", "room_full", "member_of_too_many", "room_exists", "log_unavailable"} {
		if refusals[name] == 0 {
			t.Errorf("nothing was refused with %s", name)
		}
	}
}

func pick[T any](m *model, of []T) T { return of[m.rng.IntN(len(of))] }

func (m *model) random() handoff.MemberRequest {
	r := handoff.MemberRequest{Room: pick(m, modelRooms), User: pick(m, modelUsers), Moderator: m.rng.IntN(12) == 0}
	switch m.rng.IntN(10) {
	case 0, 1, 2:
		r.Kind = handoff.Enter
	case 3:
		r.Kind = handoff.CreateRoom
	default:
		r.Kind = handoff.ChangeMember
		r.Target = pick(m, modelUsers)
		r.Action = pick(m, []string{"invite", "invite", "leave", "kick", "ban", "unban", "mute", "unmute", "role"})
		if r.Action == "leave" && m.rng.IntN(3) > 0 {
			r.Target = r.User
		}
		r.Role = pick(m, []string{"guest", "member", "moderator", "owner"})
		r.ForMS = uint64(m.rng.IntN(3) * 4000)
		if m.rng.IntN(15) == 0 {
			r.Room, r.Action = "", pick(m, []string{"ban", "unban"})
		}
	}
	return r
}

// expect says what the request comes to, and makes it so.
func (m *model) expect(r *handoff.MemberRequest) string {
	now := m.rig.now.UnixMilli()
	banned := func(room, user string) bool { return m.bans[room+" "+user] > now }
	rooms := func(user string) (n int) {
		for _, of := range m.members {
			if of[user] != 0 {
				n++
			}
		}
		return n
	}
	full := func(user string) string {
		switch {
		case len(m.members[r.Room]) >= mostMembers:
			return "room_full"
		case rooms(user) >= mostRooms:
			return "member_of_too_many"
		}
		return ""
	}
	of := m.members[r.Room]
	open := kindOf(r.Room) == handoff.Open
	until := int64(handoff.ForEver)
	if r.ForMS > 0 {
		until = now + int64(r.ForMS)
	}
	switch {
	case r.Kind == handoff.Enter:
		switch {
		case banned(r.Room, r.User):
			return "banned"
		case of[r.User] != 0:
			return ""
		case !open && (!m.made[r.Room] || !r.Moderator):
			return "not_member"
		case full(r.User) != "":
			return full(r.User)
		}
		of[r.User] = handoff.RoleMember
		return ""
	case r.Kind == handoff.CreateRoom:
		switch {
		case m.made[r.Room] && of[r.User] == handoff.RoleOwner:
			return ""
		case m.made[r.Room] || len(of) > 0:
			return "room_exists"
		case full(r.User) != "":
			return full(r.User)
		}
		m.made[r.Room] = true
		of[r.User] = handoff.RoleOwner
		return ""
	case r.Room == "":
		switch {
		case !r.Moderator:
			return "role_forbidden"
		case r.User == r.Target:
			return "bad_request"
		case r.Action == "ban":
			m.bans[" "+r.Target] = until
		default:
			delete(m.bans, " "+r.Target)
		}
		return ""
	}
	own, other := of[r.User], of[r.Target]
	if r.Moderator && own < handoff.RoleModerator {
		own = handoff.RoleModerator
	}
	role, _ := handoff.ParseRole(r.Role)
	if own == 0 {
		return "not_member"
	}
	if !open && !m.made[r.Room] {
		return "no_such_room"
	}
	switch r.Action {
	case "invite":
		switch {
		case own == handoff.RoleGuest, role > handoff.RoleMember && own != handoff.RoleOwner:
			return "role_forbidden"
		case other != 0:
			return ""
		case banned(r.Room, r.Target):
			return "banned"
		case full(r.Target) != "":
			return full(r.Target)
		}
		of[r.Target] = role
		return ""
	case "leave":
		switch {
		case r.User != r.Target:
			return "bad_request"
		case other == 0:
			return "no_such_member"
		}
		delete(of, r.User)
		return ""
	case "role":
		switch {
		case other == 0:
			return "no_such_member"
		case r.User == r.Target && role <= other:
		case own < handoff.RoleModerator, other >= own, role >= own && own != handoff.RoleOwner:
			return "role_forbidden"
		}
		of[r.Target] = role
		return ""
	}
	switch {
	case own < handoff.RoleModerator, other >= own, r.User == r.Target:
		return "role_forbidden"
	case other == 0 && (r.Action == "kick" || r.Action == "mute"):
		return "no_such_member"
	}
	at := r.Room + " " + r.Target
	switch r.Action {
	case "kick":
		delete(of, r.Target)
	case "ban":
		delete(of, r.Target)
		m.bans[at] = until
	case "unban":
		delete(m.bans, at)
	case "mute":
		m.mutes[at] = until
	case "unmute":
		delete(m.mutes, at)
	}
	return ""
}

// follow does what a loop would with what it was told.
func (m *model) follow(r *handoff.MemberRequest, refused string) {
	for _, e := range m.rig.told(handoff.MemberRemoved) {
		delete(m.inside[e.Room], e.Member.User)
		if m.members[e.Room][e.Member.User] != 0 {
			m.rig.t.Fatalf("told that %s was removed from %s, who is a member", e.Member.User, e.Room)
		}
	}
	for _, e := range m.rig.told(handoff.MemberChanged) {
		if role := m.members[e.Room][e.Member.User]; e.Member.Role != role {
			m.rig.t.Fatalf("told that %s is %s in %s, not %s", e.Member.User, e.Member.Role, e.Room, role)
		}
		mute := m.mutes[e.Room+" "+e.Member.User]
		if mute <= m.rig.now.UnixMilli() {
			mute = 0
		}
		if e.Member.MutedUntil != mute {
			m.rig.t.Fatalf("told that %s is muted in %s until %d, not %d", e.Member.User, e.Room, e.Member.MutedUntil, mute)
		}
	}
	if r.Kind == handoff.Enter && refused == "" {
		m.inside[r.Room][r.User] = true
	}
	for room, inside := range m.inside {
		for user := range inside {
			if m.members[room][user] == 0 {
				m.rig.t.Fatalf("%s is inside %s and no member: the loop was not told after %+v", user, room, *r)
			}
		}
	}
	m.rig.events = nil
}

// compare looks at the whole store.
func (m *model) compare(step int) {
	want := map[string]string{}
	for room, of := range m.members {
		for user, role := range of {
			want["member "+room+" "+user] = role.String()
		}
	}
	for at, until := range m.bans {
		want["ban "+at] = fmt.Sprint(until)
	}
	for at, until := range m.mutes {
		want["mute "+at] = fmt.Sprint(until)
	}
	got := map[string]string{}
	for k, r := range m.rig.store.records {
		switch k.Family {
		case RoomMember:
			got["member "+k.Room+" "+k.User] = r.Role.String()
		case RoomBan:
			got["ban "+k.Room+" "+k.User] = fmt.Sprint(r.Until)
		case RoomMute:
			got["mute "+k.Room+" "+k.User] = fmt.Sprint(r.Until)
		}
	}
	if !maps.Equal(got, want) {
		m.rig.t.Fatalf("step %d: the store has\n%v\nwant\n%v", step, got, want)
	}
	for _, user := range modelUsers {
		banned := m.bans[" "+user] > m.rig.now.UnixMilli()
		if (m.rig.keeper.Banned(user) != 0) != banned {
			m.rig.t.Fatalf("step %d: that %s is banned from the server should be %v", step, user, banned)
		}
	}
}

type modelState struct {
	made    map[string]bool
	members map[string]map[string]handoff.Role
	bans    map[string]int64
	mutes   map[string]int64
}

func (m *model) copy() modelState {
	s := modelState{maps.Clone(m.made), map[string]map[string]handoff.Role{}, maps.Clone(m.bans), maps.Clone(m.mutes)}
	for room, of := range m.members {
		s.members[room] = maps.Clone(of)
	}
	return s
}

func (m *model) restore(s modelState) {
	m.made, m.members, m.bans, m.mutes = s.made, s.members, s.bans, s.mutes
}

func (m *model) same(s modelState) bool {
	return maps.Equal(m.made, s.made) && maps.Equal(m.bans, s.bans) && maps.Equal(m.mutes, s.mutes) &&
		maps.EqualFunc(m.members, s.members, func(a, b map[string]handoff.Role) bool { return maps.Equal(a, b) })
}

package members

import "rookery/gateway/internal/handoff"

// Store has everything. Its methods may wait for a disk; the keeper is the only one that changes what is in it.
type Store interface {
	// Get gives what is stored under a key.
	Get(Key) (Record, bool, error)
	// List calls fn for the names of a list that come after another, in order.
	List(list List, of, after string, fn func(name string, r Record) bool) error
	// Count gives how long a list is.
	Count(list List, of string) (int, error)
	// Update makes all changes or none, and returns when they are as durable as an acknowledged message.
	Update([]Change) error
}

// Family says what is stored under a key.
type Family uint8

const (
	RoomSettings Family = iota + 1 // the key has no user
	RoomMember
	RoomBan // an empty room is the whole server
	RoomMute
	UserDevice // the key's room is the name of the device
)

// List is a range of keys.
type List uint8

const (
	MembersOf  List = iota + 1 // of a room, by user
	RoomsOf                    // of a user, by room
	BannedFrom                 // a room or the whole server, by user
	DevicesOf                  // of a user, by name
)

// Key names a record.
type Key struct {
	Family     Family
	Room, User string
}

// Record is what is stored. Which fields count depends on the family.
type Record struct {
	Since int64 // RoomSettings, RoomMember: Unix milliseconds

	// RoomSettings.
	Title  string
	SlowMS uint32
	Speak  handoff.Role
	Direct [2]string // the users of a direct room

	// RoomMember.
	Role handoff.Role
	From uint64 // the room's newest message when the membership began
	// Notify is of what the member is told who has not received it.
	Notify handoff.Notify

	// UserDevice.
	Subscription handoff.Subscription

	// RoomBan, RoomMute.
	Until  int64 // Unix milliseconds, handoff.ForEver at most
	Reason string
}

// Change is a new record, or the end of one.
type Change struct {
	Key
	Record
	Gone bool
	// Notices are what the request did of which the change is the first, if Config.Notices is on.
	Notices []Notice
}

// Notice is what has happened to a user in a room, or to a room if there is no user.
type Notice struct {
	Action string `json:"action"` // join, invite, leave, kick, ban, unban, mute, unmute, role or create
	Room   string `json:"room,omitempty"`
	User   string `json:"user,omitempty"`
	Role   string `json:"role,omitempty"` // what the user is now, absent: no member
	By     string `json:"by,omitempty"`   // absent: the server itself
	Reason string `json:"reason,omitempty"`
	Until  int64  `json:"until,omitempty"` // Unix milliseconds; absent from a ban or mute: for ever
}

// maxCounts bounds the counts that are kept.
const maxCounts = 10_000

// view is the store with the changes that are decided and not stored yet. The first error of the store sticks, so that
// decisions need not look at each; what was found after it means nothing.
type view struct {
	store   Store
	changes []Change
	deltas  []int       // what each of them has done to the counts
	newest  map[Key]int // index in changes
	counts  map[counted]int
	err     error
}

type counted struct {
	list List
	of   string
}

func newView(store Store) *view {
	return &view{store: store, newest: make(map[Key]int), counts: make(map[counted]int)}
}

func (v *view) get(k Key) (Record, bool) {
	if i, ok := v.newest[k]; ok {
		return v.changes[i].Record, !v.changes[i].Gone
	}
	r, ok, err := v.store.Get(k)
	if err != nil && v.err == nil {
		v.err = err
	}
	return r, ok && err == nil
}

func (v *view) settings(room string) (Record, bool) { return v.get(Key{RoomSettings, room, ""}) }

// member gives what a user is in a room, RoleNone if they are no member.
func (v *view) member(room, user string) Record {
	r, ok := v.get(Key{RoomMember, room, user})
	if !ok {
		return Record{}
	}
	return r
}

// until gives a ban or mute that is not over; the zero one if there is none.
func (v *view) until(family Family, room, user string, now int64) Record {
	r, ok := v.get(Key{family, room, user})
	if !ok || r.Until <= now {
		return Record{}
	}
	return r
}

// count gives how long a list will be.
func (v *view) count(list List, of string) int {
	at := counted{list, of}
	n, ok := v.counts[at]
	if !ok {
		var err error
		if n, err = v.store.Count(list, of); err != nil {
			if v.err == nil {
				v.err = err
			}
			return 0
		}
		v.counts[at] = n
	}
	return n
}

// put decides a change. Counts are loaded before, since the store knows nothing of it yet.
func (v *view) put(k Key, r Record) { v.change(Change{Key: k, Record: r}) }

func (v *view) remove(k Key) { v.change(Change{Key: k, Gone: true}) }

func (v *view) change(c Change) {
	old, was := v.get(c.Key)
	if was == !c.Gone && old == c.Record {
		return
	}
	delta := 0
	if c.Family == RoomMember && was == c.Gone {
		delta = 1
		if c.Gone {
			delta = -1
		}
		v.count(MembersOf, c.Room)
		v.count(RoomsOf, c.User)
	}
	if v.err != nil {
		return // the decision comes to nothing
	}
	v.recount(c.Key, delta)
	v.newest[c.Key] = len(v.changes)
	v.changes, v.deltas = append(v.changes, c), append(v.deltas, delta)
}

func (v *view) recount(k Key, delta int) {
	if delta != 0 {
		v.counts[counted{MembersOf, k.Room}] += delta
		v.counts[counted{RoomsOf, k.User}] += delta
	}
}

// undo takes back all but the first n changes. It asks the store for nothing, which may just have failed.
func (v *view) undo(n int) {
	for i := len(v.changes) - 1; i >= n; i-- {
		v.recount(v.changes[i].Key, -v.deltas[i])
	}
	v.changes, v.deltas = v.changes[:n], v.deltas[:n]
	clear(v.newest)
	for i, c := range v.changes {
		v.newest[c.Key] = i
	}
}

// stored is after the changes are in the store.
func (v *view) stored() {
	v.changes, v.deltas = nil, nil
	clear(v.newest)
	if len(v.counts) > maxCounts {
		clear(v.counts)
	}
}

// forget is after the store has refused the changes.
func (v *view) forget() {
	v.undo(0)
	v.stored()
}

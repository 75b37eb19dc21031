package loop

import (
	"net/netip"
	"sync"
)

// admission keeps the caps that hold for an address or a user on all loops together; the rates are in
// rates.go. It is locked for a map access only, when a connection or session begins and ends,
// and is not there for what has no cap.
type admission struct {
	mu         sync.Mutex // guards all below, and the counts of addresses and users
	perAddress int
	perUser    int
	addresses  map[netip.Addr]*address
	users      map[string]*user
}

// address is what is known of one while it has connections.
type address struct {
	connections int // guarded by admission.mu
	key         netip.Addr
}

// user is what is known of one while it has sessions. A million of them may live.
type user struct {
	sessions int32 // guarded by admission.mu
}

// anywhere and anybody stand for those that are not kept, so that "no cap" and "refused" differ; lodged for the address of a connection
// that is refused and yet has a place of the capacity.
var (
	anywhere = &address{}
	anybody  = &user{}
	lodged   = &address{}
)

func newAdmission() *admission {
	return &admission{
		addresses: make(map[netip.Addr]*address),
		users:     make(map[string]*user),
	}
}

func (a *admission) setRules(r Rules) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.perAddress, a.perUser = r.ConnectionsPerIP, r.ConnectionsPerUser
}

// shrink is for when many have left.
func (a *admission) shrink() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.addresses)+len(a.users) <= maxRebuilt {
		a.addresses, a.users = rebuilt(a.addresses), rebuilt(a.users)
	}
}

// enter counts a connection of an address; nil means that it has too many. An IPv6
// address counts as its /64, which is what one subscriber is given. One that is there already always counts.
func (a *admission) enter(from netip.Addr, isThere bool) *address {
	from = subscriber(from)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perAddress == 0 {
		return anywhere
	}
	entered := a.addresses[from]
	if entered == nil {
		entered = &address{key: from}
		a.addresses[from] = entered
	}
	if entered.connections >= a.perAddress && !isThere {
		return nil
	}
	entered.connections++
	return entered
}

// subscriber is what one subscriber is given: an address, of IPv6 a /64.
func subscriber(from netip.Addr) netip.Addr {
	if from.Is6() {
		prefix, _ := from.Prefix(64)
		return prefix.Addr()
	}
	return from
}

// exit ends what enter counted.
func (a *admission) exit(from *address) {
	if from == nil || from == anywhere {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if from.connections--; from.connections == 0 {
		delete(a.addresses, from.key)
	}
}

// login counts a session of a user; nil means that there are too many. One that is there already always counts.
func (a *admission) login(name string, isThere bool) *user {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perUser == 0 {
		return anybody
	}
	u := a.users[name]
	if u == nil {
		u = &user{}
		a.users[name] = u
	}
	if int(u.sessions) >= a.perUser && !isThere {
		return nil
	}
	u.sessions++
	return u
}

// logout ends what login counted.
func (a *admission) logout(u *user, name string) {
	if u == nil || u == anybody {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if u.sessions--; u.sessions == 0 {
		delete(a.users, name)
	}
}

package loop

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// admission keeps the caps and rates that hold for an address or a user on all loops
// together. It is locked for a map access only, when a connection or session begins and ends,
// and is not there for what has no cap.
type admission struct {
	rated atomic.Bool // there is a rate

	mu         sync.Mutex // guards all below, and the counts of addresses and users
	perAddress int
	perUser    int
	rate       rate.Limit
	burst      int
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
	// publishes is nil without a rate, and until the user first publishes under one. Itself safe for concurrent use.
	publishes atomic.Pointer[rate.Limiter]
}

// anywhere and anybody stand for those that are not kept, so that "no cap" and "refused" differ.
var (
	anywhere = &address{}
	anybody  = &user{}
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
	a.rate, a.burst = rate.Limit(r.MessagesPerSecond), max(1, r.MessageBurst)
	a.rated.Store(a.rate > 0)
	for _, u := range a.users {
		switch limiter := u.publishes.Load(); {
		case a.rate == 0:
			u.publishes.Store(nil)
		case limiter != nil:
			limiter.SetLimit(a.rate)
			limiter.SetBurst(a.burst)
		}
	}
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
// address counts as its /64, which is what one subscriber is given.
func (a *admission) enter(from netip.Addr) *address {
	if from.Is6() {
		prefix, _ := from.Prefix(64)
		from = prefix.Addr()
	}
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
	if entered.connections >= a.perAddress {
		return nil
	}
	entered.connections++
	return entered
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

// login counts a session of a user; nil means that there are too many.
func (a *admission) login(name string) *user {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perUser == 0 && a.rate == 0 {
		return anybody
	}
	u := a.userLocked(name)
	if a.perUser > 0 && int(u.sessions) >= a.perUser {
		return nil
	}
	u.sessions++
	return u
}

// userLocked returns what is known of a user, nothing yet if there was none.
func (a *admission) userLocked(name string) *user {
	u := a.users[name]
	if u == nil {
		u = &user{}
		a.users[name] = u
	}
	return u
}

// logout ends what login counted. A user who goes and comes back has a full
// bucket again: the caps on connections bound what that is worth.
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

// allow takes a publish of a session from its user's bucket, or says when there will be one. The
// session belongs to the user that it returns from then on: one from a time when there was no rate is counted now
// like the others, but no cap turns it away.
func (a *admission) allow(u *user, name string, now time.Time) (_ *user, wait time.Duration, ok bool) {
	if !a.rated.Load() {
		return u, 0, true
	}
	limiter := u.publishes.Load()
	if limiter == nil {
		u, limiter = a.limited(u, name)
	}
	if limiter == nil {
		return u, 0, true
	}
	r := limiter.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return u, wait, false
	}
	return u, 0, true
}

// limited gives a user its bucket, nil if the rate was taken away meanwhile.
func (a *admission) limited(u *user, name string) (*user, *rate.Limiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rate == 0 {
		return u, nil
	}
	if u == anybody {
		u = a.userLocked(name)
		u.sessions++
	}
	if u.publishes.Load() == nil {
		u.publishes.Store(rate.NewLimiter(a.rate, a.burst))
	}
	return u, u.publishes.Load()
}

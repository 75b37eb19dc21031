package loop

import (
	"fmt"
	"net/netip"
	"testing"

	"rookery/gateway/internal/rate"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// publishes sends n publishes and returns how many were let through to the rooms.
func (r *rig) publishes(s *fakeSocket, n int) int {
	before := len(r.rooms.commands)
	for i := range n {
		r.request(s, &v1.ClientFrame{Id: uint64(100 + i), Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
			Room: "r", Content: &v1.Publish_Text{Text: "x"},
		}}})
	}
	for _, f := range r.sent(s) {
		if e := f.GetError(); e.GetName() != proto.ErrRateLimited.Name || e.GetRetryAfterMs() == 0 {
			r.t.Fatalf("a publish over the rate was answered with %v", f)
		}
	}
	return len(r.rooms.commands) - before
}

// TestRateHoldsForSessionsFromBeforeIt: an operator who sets a rate while somebody floods must
// not have to wait until they leave.
func TestRateHoldsForSessionsFromBeforeIt(t *testing.T) {
	for _, perUser := range []int{0, 5} {
		t.Run(fmt.Sprintf("cap %d", perUser), func(t *testing.T) {
			rules := Rules{Auth: anyone{}, ConnectionsPerUser: perUser}
			r := newRig(t, func(c *Config) { c.Rules = rules })
			old := r.open(true, proto.Binary)
			if n := r.publishes(old, 50); n != 50 {
				t.Fatalf("without a rate %d of 50 went through", n)
			}
			// A rate so low that no token comes back while the test runs.
			rules.Rates.Of[rate.User][rate.Publish] = rate.PerSecond(0.0001, 7)
			r.loop.engine.SetRules(rules)
			young := r.open(true, proto.Binary) // of the same user
			if n := r.publishes(old, 5) + r.publishes(young, 5); n != 7 {
				t.Errorf("with a burst of 7 for the user %d went through", n)
			}
			rules.Rates = rate.Rules{}
			r.loop.engine.SetRules(rules)
			if n := r.publishes(old, 50); n != 50 {
				t.Errorf("when the rate was taken away again %d of 50 went through", n)
			}
			r.events.Close(old)
			r.events.Close(young)
			if n := len(r.loop.engine.admission.users); n != 0 {
				t.Errorf("%d accounts are kept of users who have gone", n)
			}
		})
	}
}

func TestAnAddressIsWhatASubscriberIsGiven(t *testing.T) {
	a := newAdmission()
	a.setRules(Rules{ConnectionsPerIP: 1})
	for _, c := range []struct {
		address string
		in      bool
	}{
		{"192.0.2.1", true},
		{"192.0.2.1", false},
		{"192.0.2.2", true},
		{"2001:db8:0:1::1", true},
		{"2001:db8:0:1:ffff::2", false}, // of the same /64
		{"2001:db8:0:2::1", true},
	} {
		if in := a.enter(netip.MustParseAddr(c.address), false) != nil; in != c.in {
			t.Errorf("%s: let in %v, want %v", c.address, in, c.in)
		}
	}
}

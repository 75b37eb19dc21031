package gateway

import (
	"strings"
	"testing"

	"rookery/gateway/internal/rate"
)

func TestRatesAreRead(t *testing.T) {
	c := DefaultConfig().Limits
	c.Rates = []string{"user join 0.5/s burst 20", "room bytes 1KiB/s burst 2KiB"}
	rules, err := c.rateRules()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		scope          rate.Scope
		operation      rate.Operation
		average, burst float64
	}{
		{rate.User, rate.Publish, 20, 40}, // of the settings of its own
		{rate.User, rate.Join, 0.5, 20},
		{rate.Room, rate.Bytes, 1024, 64 << 10}, // the largest message fits
		{rate.Room, rate.Publish, 0, 0},         // the default is replaced
	} {
		if r := rules.Of[x.scope][x.operation]; r.Average() != x.average || r.Burst() != x.burst {
			t.Errorf("%v %v is %v burst %v, want %v burst %v", x.scope, x.operation, r.Average(), r.Burst(), x.average, x.burst)
		}
	}
	c.Rates, c.MessagesPerSecond = []string{"off"}, 0
	if rules, err := c.rateRules(); err != nil || rules.Any() {
		t.Errorf("off: %+v, %v", rules, err)
	}
	for text, want := range map[string]string{
		"user join 5/s":               "five words",
		"user join 5/s bursts 5":      "five words",
		"users join 5/s burst 5":      "none of user, address, room",
		"room open 5/s burst 5":       "what a rate of room may be of",
		"user join 5 burst 5":         "not so many a second",
		"user join x/s burst 5":       "no number from 0.001",
		"user join NaN/s burst 5":     "no number from 0.001",
		"user join 0/s burst 5":       "no number from 0.001",
		"user join 5/s burst 0":       "burst that is no number",
		"user join 5/s burst Inf":     "burst that is no number",
		"user publish 5/s burst 5":    "limits.messages_per_second",
		"user bytes 1MB/s burst 1MiB": "no number",
		"off":                         "",
	} {
		c := DefaultConfig()
		c.Dev = true
		c.Limits.Rates = []string{text, "user mark 1/s burst 1"}
		if text == "off" {
			want = "five words" // off beside a rate
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "limits.rates") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	twice := DefaultConfig()
	twice.Dev = true
	twice.Limits.Rates = []string{"user join 5/s burst 5", "user join 6/s burst 5"}
	if err := twice.Validate(); err == nil || !strings.Contains(err.Error(), "second rate of user join") {
		t.Errorf("two rates of one: %v", err)
	}
}

func TestClaimedLimits(t *testing.T) {
	a := testAuthenticator(t, secretConfig())
	authenticate := func(limits any) (*rate.Claims, error) {
		c := goodClaims()
		c["limits"] = limits
		who, err := a.Authenticate(forge(t, header{"alg": "HS256"}, c, hs256(testSecret)), "")
		if err == nil && (!who.CanJoin("any") || !who.CanPublish("any")) {
			t.Error("limits took rooms away")
		}
		return who.Claims(), err
	}
	got, err := authenticate(map[string]any{"publish": 5, "join": 0.5})
	if err != nil || got == nil || *got != (rate.Claims{rate.Publish: 5, rate.Join: 0.5}) {
		t.Errorf("read as %v, %v", got, err)
	}
	for _, wrong := range []any{nil, 5, []int{1}, map[string]any{"publish": -1}, map[string]any{"publish": "5"}, map[string]any{"open": 5},
		map[string]any{"publish": 0}, map[string]any{"publish": 1e300}} {
		if got, err := authenticate(wrong); err == nil {
			t.Errorf("limits %v were read as %v", wrong, got)
		}
	}
}

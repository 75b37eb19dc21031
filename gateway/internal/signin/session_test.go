package signin

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"rookery/gateway/internal/signin/signintest"
)

func TestSessionsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(r *rig, b *browser)
		over bool
	}{
		{"not yet", func(r *rig, _ *browser) { r.pass(time.Hour - time.Second) }, false},
		{"with their time", func(r *rig, _ *browser) { r.pass(time.Hour) }, true},
		{"with a shorter time that was set since", func(r *rig, b *browser) {
			b.handler = r.start(func(c *Config) { c.Session = 10 * time.Minute })
			r.pass(11 * time.Minute)
		}, true},
		{"not with a restart", func(r *rig, b *browser) { b.handler = r.start(nil) }, false},
		{"with another key", func(r *rig, b *browser) {
			b.handler = r.start(func(c *Config) { c.Key = []byte(strings.Repeat("k", 32)) })
		}, true},
		{"with the revocation of their user", func(r *rig, _ *browser) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.revoked["248289"] = true
		}, true},
		{"when rules give the person nothing any more", func(r *rig, b *browser) {
			b.handler = r.start(func(c *Config) { c.Rules = mustParse(t, "groups staff rooms=*") })
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			b := r.browser()
			b.comeBack(b.begin())
			c.end(r, b)
			if user := b.tokenFor(); (user == "") != c.over {
				t.Errorf("there is a session for %q", user)
			}
		})
	}
}

// TestSessionsAreOfOneProvider: with another one, or another claim, a name may be somebody else's.
func TestSessionsAreOfOneProvider(t *testing.T) {
	r := newRig(t, nil)
	b := r.browser()
	b.comeBack(b.begin())
	cookies := maps.Clone(b.cookies)
	other := signintest.Start(t)
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"the same again", nil, "248289"},
		{"another provider", func(c *Config) { c.Issuer = other.URL }, ""},
		{"another claim", func(c *Config) { c.UserClaim = "email" }, ""},
		{"another client's secret", func(c *Config) { c.ClientSecret = "new" }, "248289"},
	} {
		after := &browser{t, r.start(c.change), maps.Clone(cookies)}
		if user := after.tokenFor(); user != c.want {
			t.Errorf("%s: a token for %q, want %q", c.name, user, c.want)
		}
	}
}

func TestOnlyThePageAsks(t *testing.T) {
	r := newRig(t, nil)
	b := r.browser()
	b.comeBack(b.begin())
	for _, from := range []string{"", "null", "https://evil.example", "http://chat.example", "https://chat.example:8443", "https://chat.example.evil.example"} {
		for _, path := range []string{TokenPath, LogoutPath} {
			if response := b.do("POST", path, from); response.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s from %q is answered with %s", path, from, response.Status)
			}
		}
	}
	for _, c := range [][2]string{{"GET", TokenPath}, {"GET", LogoutPath}, {"POST", LoginPath}, {"POST", CallbackPath}} {
		if response := b.do(c[0], c[1], origin); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s %s is answered with %s", c[0], c[1], response.Status)
		}
	}
	if b.tokenFor() == "" {
		t.Error("somebody else ended the session")
	}
}

// TestLargeIDTokens: a head that a proxy would not pass is worse than a question at the logout.
func TestLargeIDTokens(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		size int
		hint bool
	}{{1000, true}, {2000, false}} {
		r.provider.Say("picture", strings.Repeat("x", c.size))
		b := r.browser()
		target := b.begin()
		response := b.do("GET", target, "")
		var head strings.Builder
		if err := response.Header.Write(&head); err != nil || head.Len() > 4000 {
			t.Errorf("the answer's head has %d bytes, %v", head.Len(), err)
		}
		if b.tokenFor() == "" {
			t.Error("there is no session")
		}
		if _, hint := b.cookies["__Secure-rookery-hint"]; hint != c.hint {
			t.Errorf("with %d more bytes there is a hint for the logout: %v", c.size, hint)
		}
		if answer := b.do("POST", LogoutPath, origin); answer.StatusCode != http.StatusOK {
			t.Errorf("logout is answered with %s", answer.Status)
		}
	}
}

// TestTheHintIsOfWhoSignsOut: a session that ended by itself leaves its hint in the browser, and the next one may have none.
func TestTheHintIsOfWhoSignsOut(t *testing.T) {
	r := newRig(t, nil)
	b := r.browser()
	b.comeBack(b.begin())
	r.provider.Say("picture", strings.Repeat("x", 2000))
	b.comeBack(b.begin())
	var answer struct{ Redirect string }
	if err := json.NewDecoder(b.do("POST", LogoutPath, origin).Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(answer.Redirect, r.provider.URL) || strings.Contains(answer.Redirect, "id_token_hint") {
		t.Errorf("the provider is told of somebody else's session: %s", answer.Redirect)
	}
}

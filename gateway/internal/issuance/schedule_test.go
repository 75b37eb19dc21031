package issuance

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// TestWhenToRenew: with a third of the time left and a bit before, whatever the time is.
func TestWhenToRenew(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, life := range []time.Duration{90 * 24 * time.Hour, 6 * 24 * time.Hour, time.Hour, 9 * time.Second} {
		leaf := &x509.Certificate{NotBefore: begin, NotAfter: begin.Add(life)}
		different := map[time.Time]bool{}
		for range 100 {
			at := renewTime(leaf)
			different[at] = true
			if left := leaf.NotAfter.Sub(at); left < life/3 || left > life/3+life/30 {
				t.Errorf("of %v, %v are left", life, left)
			}
		}
		if len(different) < 50 {
			t.Errorf("of 100 times only %d differ", len(different))
		}
		if left := leaf.NotAfter.Sub(overdueTime(leaf)); left != life/6 {
			t.Errorf("of %v, %v are left when it is overdue", life, left)
		}
	}
}

// TestPauses: they double, and end where there is still time for ten attempts.
func TestPauses(t *testing.T) {
	p := Pauses{}.orDefault()
	within := func(r reason, s *state, want time.Duration) {
		t.Helper()
		if got := p.after(r, s); got < want || got > want+want/5 {
			t.Errorf("after %d failures for reason %s: %v, want %v", s.failures, reasonNames[r], got, want)
		}
	}
	within(refused, &state{failures: 1}, 5*time.Minute)
	within(refused, &state{failures: 3}, 20*time.Minute)
	within(rateLimited, &state{failures: 1000}, longestRefused)
	within(unreachable, &state{failures: 1}, 30*time.Second)
	within(unreachable, &state{failures: 1000}, longestOther)
	within(folderFails, &state{failures: 2}, time.Minute)
	short := held{certificate: &tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Now(), NotBefore: time.Now().Add(-time.Hour)}}}
	within(refused, &state{held: short, failures: 9}, 2*time.Minute)

	// Five an hour are allowed at Let's Encrypt.
	attempts, at := 0, time.Duration(0)
	for failures := 1; at <= time.Hour; failures++ {
		attempts++
		at += p.after(notShown, &state{failures: failures})
	}
	if attempts > 5 {
		t.Errorf("%d attempts in the first hour", attempts)
	}
}

// TestJudge: what became of an order, and what is to be done about it.
func TestJudge(t *testing.T) {
	problem := func(status int, kind, after string) *acme.Error {
		e := &acme.Error{StatusCode: status, ProblemType: "urn:ietf:params:acme:error:" + kind, Header: http.Header{}}
		if after != "" {
			e.Header.Set("Retry-After", after)
		}
		return e
	}
	shown := func(kind string) error {
		return fmt.Errorf("show: %w", &acme.AuthorizationError{Errors: []error{problem(403, kind, "")}})
	}
	for _, c := range []struct {
		err    error
		reason reason
		advice string
		after  time.Duration
	}{
		{&url.Error{Op: "Get", Err: errors.New("connection refused")}, unreachable, "tls.acme.directory", 0},
		{problem(503, "serverInternal", "120"), unreachable, "the authority has a fault", 2 * time.Minute},
		{problem(429, "rateLimited", "7200"), rateLimited, "nothing", 2 * time.Hour},
		{problem(429, "rateLimited", "99999999999"), rateLimited, "nothing", longestWait},
		{problem(429, "rateLimited", "soon"), rateLimited, "nothing", time.Hour},
		{fmt.Errorf("order: %w", problem(429, "rateLimited", time.Now().Add(3*time.Hour).UTC().Format(http.TimeFormat))), rateLimited, "nothing", 3 * time.Hour},
		{shown("dns"), notShown, "A and AAAA", 0},
		{shown("connection"), notShown, "port 443", 0},
		{shown("tls"), notShown, "port 443", 0},
		{shown("unauthorized"), notShown, "who answers for the name", 0},
		{shown("caa"), notShown, "CAA", 0},
		{problem(400, "rejectedIdentifier", ""), refused, "tls.acme.domains", 0},
		{problem(403, "unauthorized", ""), refused, "account", 0},
		{problem(403, "userActionRequired", ""), refused, "terms", 0},
		{problem(403, "externalAccountRequired", ""), refused, "tls.acme.eab_key_id", 0},
		{problem(400, "invalidContact", ""), refused, "tls.acme.email", 0},
		{fmt.Errorf("%w: x", errNoChallenge), refused, "tls.acme.http", 0},
		{fmt.Errorf("%w: x", errUseless), refused, "clock", 0},
		{fmt.Errorf("order: %w", folderFault(errors.New("no space left"))), folderFails, "tls.acme.folder", 0},
		{errors.New("something else"), refused, "what the authority says", 0},
	} {
		f := judge(c.err)
		if f.reason != c.reason || !strings.Contains(f.advice, c.advice) {
			t.Errorf("%v: %s, %q", c.err, reasonNames[f.reason], f.advice)
		}
		after := time.Duration(0)
		if !f.notBefore.IsZero() {
			after = time.Until(f.notBefore)
		}
		if after < c.after-2*time.Second || after > c.after {
			t.Errorf("%v: not before %v, want %v", c.err, after, c.after)
		}
	}
}

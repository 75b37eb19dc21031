package issuance

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestCertificateID is the example of RFC 9773 4.1.
func TestCertificateID(t *testing.T) {
	leaf := &x509.Certificate{
		AuthorityKeyId: []byte{0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4},
		SerialNumber:   big.NewInt(0x87654321),
	}
	if id, err := certificateID(leaf); err != nil || id != "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" {
		t.Errorf("its name is %q, %v", id, err)
	}
	leaf.AuthorityKeyId = nil
	if id, err := certificateID(leaf); err == nil {
		t.Errorf("without its issuer's key its name is %q", id)
	}
}

// suggesting is an authority that says when to renew, and refuses every order.
func suggesting(t *testing.T, answer func() (retryAfter, body string)) (server *httptest.Server, asked, ordered *atomic.Int64) {
	asked, ordered = &atomic.Int64{}, &atomic.Int64{}
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "nonce")
		switch {
		case r.URL.Path == "/dir":
			fmt.Fprintf(w, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order","renewalInfo":"%[1]s/renewal"}`, "https://"+r.Host)
		case strings.HasPrefix(r.URL.Path, "/renewal/"):
			asked.Add(1)
			if r.URL.Path != "/renewal/AQID.AQ" || r.Method != http.MethodGet {
				t.Errorf("asked by %s %s", r.Method, r.URL.Path)
			}
			after, body := answer()
			w.Header().Set("Retry-After", after)
			_, _ = w.Write([]byte(body))
		case r.URL.Path == "/account":
			ordered.Add(1)
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	return server, asked, ordered
}

// TestTheAuthoritySaysWhen: a certificate that was given two days ago, for ninety.
func TestTheAuthoritySaysWhen(t *testing.T) {
	const name = "chat.example.com"
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	block, err := keyBlock(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), AuthorityKeyId: []byte{1, 2, 3}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(88 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := append(block, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	between := func(start, end time.Duration) string {
		return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":"https://ca.example/why"}`,
			time.Now().Add(start).Format(time.RFC3339), time.Now().Add(end).Format(time.RFC3339))
	}
	for what, c := range map[string]struct {
		after, answer string
		renewed       time.Duration // from now, a day more at most; 0: as without an answer
		again         time.Duration // 0: nothing more is asked for any name
		says          string
	}{
		"now":                 {"900", between(-48*time.Hour, -24*time.Hour), -24 * time.Hour, 15 * time.Minute, "why"},
		"in days":             {"7200", between(72*time.Hour, 73*time.Hour), 72 * time.Hour, 2 * time.Hour, "why"},
		"later than its time": {"", between(2000*time.Hour, 2001*time.Hour), 0, askAgain, ""},
		"asked all the time":  {"1", between(72*time.Hour, 73*time.Hour), 72 * time.Hour, soonestAgain, "why"},
		"never asked again":   {"999999999", between(72*time.Hour, 73*time.Hour), 72 * time.Hour, latestAgain, "why"},
		"no window":           {"60", `{}`, 0, unanswered, "of this certificate"},
		"its end is before":   {"60", between(73*time.Hour, 72*time.Hour), 0, unanswered, "of this certificate"},
		"garbage":             {"60", "hello", 0, 0, "read what"},
	} {
		t.Run(what, func(t *testing.T) {
			server, asked, ordered := suggesting(t, func() (string, string) { return c.after, c.answer })
			cfg := configOf(t, server, name)
			var log bytes.Buffer
			cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			k := open(t, cfg)
			if err := k.folder.write(certificateFile(name), file); err != nil {
				t.Fatal(err)
			}
			k = open(t, cfg)
			s := k.states[name]
			own, begun := s.renew, time.Now()
			k.orderDue()
			if asked.Load() != 1 {
				t.Fatalf("it was asked %d times", asked.Load())
			}
			if c.renewed == 0 && !s.renew.Equal(own) {
				t.Errorf("it is renewed at %v, in its own time at %v", s.renew, own)
			}
			if at := s.renew.Sub(begun); c.renewed != 0 && (at < c.renewed-time.Minute || at > c.renewed+24*time.Hour) {
				t.Errorf("it is renewed in %v", at)
			}
			if now := ordered.Load() == 1; now != (c.renewed < 0) {
				t.Errorf("it was ordered now: %v", now)
			}
			if again := s.ask.Sub(begun); c.again != 0 && (again < c.again || again > c.again+time.Minute) {
				t.Errorf("it is asked again in %v", again)
			}
			if mute := k.mute.After(time.Now()); mute != (c.again == 0) {
				t.Errorf("nothing more is asked for a while: %v", mute)
			}
			if !strings.Contains(log.String(), c.says) || c.says == "" && log.Len() > 0 {
				t.Errorf("the log says %s", &log)
			}
			k.orderDue()
			if asked.Load() != 1 {
				t.Error("it is asked at each look")
			}
			s.ask, own = time.Time{}, s.renew
			if k.orderDue(); c.again != 0 && c.renewed >= 0 && (asked.Load() != 2 || !s.renew.Equal(own)) {
				t.Errorf("asked %d times; another time was chosen in the same window: %v", asked.Load(), !s.renew.Equal(own))
			}
		})
	}
}

// TestAlwaysNow: an authority that would have each certificate renewed at once is given a day.
func TestAlwaysNow(t *testing.T) {
	now := time.Now()
	past := window{now.Add(-time.Hour), now.Add(-time.Minute)}
	for life, want := range map[time.Duration]time.Duration{90 * 24 * time.Hour: 24 * time.Hour, 6 * 24 * time.Hour: 6 * 24 * time.Hour / 30} {
		leaf := &x509.Certificate{NotBefore: now, NotAfter: now.Add(life)}
		if at := past.choose(leaf); at.Sub(now) != want {
			t.Errorf("one of %v is renewed after %v", life, at.Sub(now))
		}
	}
}

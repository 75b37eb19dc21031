package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/handoff"
)

const testWebPushKey = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94" // of the example of RFC 8291, appendix A

// browser is one that has subscribed, with what it needs to read what it is sent.
type browser struct {
	key  *ecdh.PrivateKey
	auth []byte
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{key, []byte("0123456789abcdef")}
}

func (b *browser) webPush(endpoint string) handoff.WebPush {
	encode := base64.RawURLEncoding.EncodeToString
	return handoff.WebPush{Endpoint: endpoint, P256dh: encode(b.key.PublicKey().Bytes()), Auth: encode(b.auth)}
}

// read decrypts a message as RFC 8291 section 3 and RFC 8188 section 2 say, not as the sender does.
func (b *browser) read(t *testing.T, body []byte) []byte {
	t.Helper()
	salt, size, idSize := body[:16], binary.BigEndian.Uint32(body[16:20]), int(body[20])
	sender, sealed := body[21:21+idSize], body[21+idSize:]
	if len(sealed) > int(size) {
		t.Fatalf("%d bytes in records of %d", len(sealed), size)
	}
	public, err := ecdh.P256().NewPublicKey(sender)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := b.key.ECDH(public)
	if err != nil {
		t.Fatal(err)
	}
	derive := func(secret, salt []byte, info string, n int) []byte {
		key, err := hkdf.Key(sha256.New, secret, salt, info, n)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	input := derive(secret, b.auth, "WebPush: info\x00"+string(b.key.PublicKey().Bytes())+string(sender), 32)
	block, err := aes.NewCipher(derive(input, salt, "Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gcm.Open(nil, derive(input, salt, "Content-Encoding: nonce\x00", 12), sealed, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutSuffix(strings.TrimRight(string(plain), "\x00"), "\x02") // the delimiter of the last record
	if !ok {
		t.Fatalf("no end of the record in %q", plain)
	}
	return []byte(text)
}

// checkVAPID looks at the header as RFC 8292 section 2 has it.
func checkVAPID(t *testing.T, header, key, audience string) {
	t.Helper()
	token, sent, ok := strings.Cut(strings.TrimPrefix(header, "vapid t="), ", k=")
	if !ok || sent != key {
		t.Fatalf("the header is %q, want the key %s", header, key)
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return public, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(audience), jwt.WithSubject("mailto:ops@chat.example"), jwt.WithExpirationRequired()); err != nil {
		t.Error(err)
	}
}

func (b *browser) subscription(endpoint string) handoff.Subscription {
	return handoff.Subscription{WebPush: b.webPush(endpoint)}
}

// devices is one user's only device.
type devices struct {
	subscription handoff.Subscription
	there        bool
	err          error
	ended        int
}

func (d *devices) Names(_ string, service handoff.Service) (names []string, err error) {
	if d.subscription.Service() == service {
		names = []string{"tab"}
	}
	return names, d.err
}

func (d *devices) Find(user, device string) (handoff.Subscription, bool, error) {
	return d.subscription, d.there && user == "ann" && device == "tab", d.err
}

func (d *devices) End(_, _ string, s handoff.Subscription) error {
	if s == d.subscription {
		d.ended++
	}
	return d.err
}

func newTestWebPush(t *testing.T, local bool, d Devices) *WebPush {
	t.Helper()
	w, err := NewWebPush(testWebPushKey, "mailto:ops@chat.example", local, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// TestWebPush: a stand-in for a push service gets what its browser can read, and means what it answers.
func TestWebPush(t *testing.T) {
	code, retry := http.StatusCreated, ""
	var got *http.Request
	var body []byte
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Retry-After", retry)
		w.WriteHeader(code)
	}))
	defer service.Close()
	b := newBrowser(t)
	d := &devices{subscription: b.subscription(service.URL + "/s/1"), there: true}
	w := newTestWebPush(t, true, d)
	s := testSummary()
	s.Device = "tab"
	s.Newest.Text = strings.Repeat("\x01", maxText) // what JSON makes longest
	s.Newest.Room, s.Newest.From = strings.Repeat("\x02", 128), strings.Repeat("\x03", 128)
	s.User = "ann"
	if o := w.Send(t.Context(), s); o.Verdict != Sent {
		t.Fatalf("the outcome is %+v", o)
	}
	checkVAPID(t, got.Header.Get("Authorization"), w.PublicKey(), service.URL)
	if got.Header.Get("TTL") != "86400" || got.Header.Get("Urgency") != "high" || got.Header.Get("Content-Encoding") != "aes128gcm" || got.URL.Path != "/s/1" {
		t.Errorf("asked %s with %v", got.URL, got.Header)
	}
	var told map[string]any
	if err := json.Unmarshal(b.read(t, body), &told); err != nil {
		t.Fatal(err)
	}
	if told["type"] != "push.summary" || told["messages"] != 12.0 || told["conversations"] != 2.0 || told["rooms"] != nil ||
		told["newest"].(map[string]any)["text"] != s.Newest.Text {
		t.Errorf("the browser was told %v", told)
	}

	for _, c := range []struct {
		code  int
		retry string
		want  Verdict
		ended int
	}{{200, "", Sent, 0}, {404, "", Gone, 1}, {410, "", Gone, 1}, {429, "60", Retry, 0}, {503, "", Retry, 0}, {403, "", Retry, 0}, {400, "", Retry, 0}, {413, "", Final, 0}} {
		code, retry, d.ended = c.code, c.retry, 0
		if o := w.Send(t.Context(), s); o.Verdict != c.want || d.ended != c.ended || c.retry != "" && o.After != time.Minute {
			t.Errorf("%d: %+v, ended %d", c.code, o, d.ended)
		}
	}
	d.err = errRefused
	if o := w.Send(t.Context(), s); o.Verdict != Retry {
		t.Errorf("a device that can't be read: %+v", o)
	}
	d.err, d.there = nil, false
	if o := w.Send(t.Context(), s); o.Verdict != Gone || o.Err == nil {
		t.Errorf("a device that was forgotten: %+v", o)
	}
	d.there = true
	service.Close()
	if o := w.Send(t.Context(), s); o.Verdict != Retry || strings.Contains(o.Err.Error(), "/s/1") {
		t.Errorf("a service that is not there: %+v", o)
	}
}

// TestWebPushStaysOutside: an endpoint that a client gave leads to no machine of ours.
func TestWebPushStaysOutside(t *testing.T) {
	asked := false
	inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer inside.Close()
	d := &devices{subscription: newBrowser(t).subscription(inside.URL), there: true}
	w := newTestWebPush(t, false, d)
	s := testSummary()
	s.Device = "tab"
	if o := w.Send(t.Context(), s); o.Verdict != Final || !errors.Is(o.Err, errNotPublic) || asked {
		t.Errorf("the outcome is %+v, asked %v", o, asked)
	}
	for address, may := range map[string]bool{
		"8.8.8.8:443": true, "[2606:4700::1]:443": true, "127.0.0.1:443": false, "10.1.2.3:443": false, "192.168.0.1:443": false, "[::1]:443": false,
		"169.254.169.254:80": false, "100.64.0.1:443": false, "[fe80::1]:443": false, "[fd00::1]:443": false, "[::ffff:127.0.0.1]:443": false,
		"0.0.0.0:443": false, "224.0.0.1:443": false, "nowhere": false, "0.0.0.1:443": false, "192.0.0.8:443": false, "192.0.2.1:443": false,
		"198.18.0.1:443": false, "198.19.255.255:443": false, "198.20.0.1:443": true, "203.0.113.1:443": false, "240.0.0.1:443": false,
		"255.255.255.255:443": false, "223.255.255.1:443": true, "[fec0::1]:443": false, "[::7f00:1]:443": false, "[2002:7f00:1::]:443": false,
		"[2001:0:7f00:1::]:443": false, "[2001:db8::1]:443": false, "[64:ff9b::a00:1]:443": false, "[64:ff9b::7f00:1]:443": false,
		"[64:ff9b::808:808]:443": true, "[64:ff9b:1::808:808]:443": false, "[2001:4860::8888]:443": true, "[3fff::1]:443": false,
	} {
		if err := w.mayDial(address); (err == nil) != may {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestWebPushChecks(t *testing.T) {
	w := newTestWebPush(t, false, nil)
	good := newBrowser(t).webPush("https://push.example/s/1")
	if wrong := w.Check(good); wrong != "" {
		t.Error(wrong)
	}
	for name, change := range map[string]func(*handoff.WebPush){
		"http":        func(s *handoff.WebPush) { s.Endpoint = "http://push.example/s/1" },
		"no host":     func(s *handoff.WebPush) { s.Endpoint = "https:///s/1" },
		"user":        func(s *handoff.WebPush) { s.Endpoint = "https://a@push.example/" },
		"long":        func(s *handoff.WebPush) { s.Endpoint = "https://push.example/" + strings.Repeat("x", maxEndpoint) },
		"no point":    func(s *handoff.WebPush) { s.P256dh = strings.Repeat("A", 87) },
		"padded":      func(s *handoff.WebPush) { s.P256dh += "=" },
		"short auth":  func(s *handoff.WebPush) { s.Auth = "AAAA" },
		"nothing":     func(s *handoff.WebPush) { *s = handoff.WebPush{} },
		"wrong order": func(s *handoff.WebPush) { s.P256dh, s.Auth = s.Auth, s.P256dh },
	} {
		s := good
		if change(&s); w.Check(s) == "" {
			t.Errorf("%s: taken", name)
		}
	}
	for _, c := range []struct {
		key, contact         string
		goodKey, goodContact bool
	}{
		{testWebPushKey, "mailto:ops@chat.example", true, true}, {testWebPushKey, "https://chat.example/about", true, true},
		{"", "", false, false}, {testWebPushKey + "=", "ops@chat.example", false, false}, {strings.Repeat("_", 43), "mailto:", false, false},
	} {
		key, contact := CheckWebPushKey(c.key), CheckContact(c.contact)
		if (key == nil) != c.goodKey || (contact == nil) != c.goodContact {
			t.Errorf("%q and %q: %v, %v", c.key, c.contact, key, contact)
		}
	}
	if _, err := NewWebPush("", "", false, nil); err == nil {
		t.Error("without a key it was made")
	}
}

package push

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/handoff"
)

func testAPNsKey(t *testing.T) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// answers is what a stand-in for a service says next, and what it was asked last.
type answers struct {
	mu     sync.Mutex
	code   int
	retry  string
	body   string
	asked  *http.Request
	read   []byte
	tokens []string
}

func (a *answers) say(code int, retry, body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.code, a.retry, a.body = code, retry, body
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = r
	a.read, _ = io.ReadAll(r.Body)
	a.tokens = append(a.tokens, r.Header.Get("Authorization"))
	if a.retry != "" {
		w.Header().Set("Retry-After", a.retry)
	}
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.body)
}

const testAPNsToken = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

// newTestAPNs has Apple's stand-in, with HTTP/2 over TLS as the real one.
func newTestAPNs(t *testing.T, d *devices) (*APNs, *answers, *ecdsa.PrivateKey) {
	t.Helper()
	apple := &answers{code: http.StatusOK}
	server := httptest.NewUnstartedServer(apple)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	key, file := testAPNsKey(t)
	a, err := NewAPNs(APNsConfig{Key: file, KeyID: "ABC123DEFG", TeamID: "DEF123GHIJ", Topic: "com.example.chat", URL: server.URL + "/"}, d)
	if err != nil {
		t.Fatal(err)
	}
	wrapped := a.client.HTTPClient.Transport.(retryAfterTransport)
	wrapped.RoundTripper.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	t.Cleanup(a.client.HTTPClient.CloseIdleConnections)
	return a, apple, key
}

// TestAPNsRequest: what Apple gets, signed so that it can check it.
func TestAPNsRequest(t *testing.T) {
	d := &devices{subscription: handoff.Subscription{APNs: testAPNsToken}, there: true}
	a, apple, key := newTestAPNs(t, d)
	s := testSummary()
	s.Device = "tab"
	before := time.Now()
	if o := a.Send(t.Context(), s); o.Verdict != Sent {
		t.Fatalf("the outcome is %+v", o)
	}
	if apple.asked.ProtoMajor != 2 || apple.asked.Method != http.MethodPost || apple.asked.URL.Path != "/3/device/"+testAPNsToken {
		t.Errorf("asked %s %s %s", apple.asked.Proto, apple.asked.Method, apple.asked.URL)
	}
	h := apple.asked.Header
	for name, want := range map[string]string{
		"apns-topic": "com.example.chat", "apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": collapseID("ann"),
	} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
	if len(h.Get("apns-collapse-id")) > 64 || collapseID("ann") == collapseID("ben") {
		t.Errorf("the collapse id is %q", h.Get("apns-collapse-id"))
	}
	var expires jwt.NumericDate
	if err := json.Unmarshal([]byte(h.Get("apns-expiration")), &expires); err != nil || expires.Before(before.Add(oldest-time.Minute)) {
		t.Errorf("expires %q, %v", h.Get("apns-expiration"), err)
	}
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(strings.TrimPrefix(h.Get("authorization"), "bearer "), claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("DEF123GHIJ"), jwt.WithIssuedAt())
	if err != nil || token.Header["kid"] != "ABC123DEFG" || claims["iat"] == nil {
		t.Errorf("signed %v, %v", token, err)
	}
	var body struct {
		APS struct {
			Alert          struct{ Title, Body string }
			MutableContent int `json:"mutable-content"`
		}
		Rookery map[string]any
	}
	if err := json.Unmarshal(apple.read, &body); err != nil {
		t.Fatal(err)
	}
	if body.APS.Alert.Title != "More than 12 new messages" || body.APS.Alert.Body != "ben: hi <b>" || body.APS.MutableContent != 1 {
		t.Errorf("the alert is %+v", body.APS)
	}
	newest, _ := body.Rookery["newest"].(map[string]any)
	if body.Rookery["type"] != "push.summary" || body.Rookery["messages"] != 12.0 || newest["room"] != "group:b" || newest["text"] != nil {
		t.Errorf("the app gets %v", body.Rookery)
	}

	// The same token serves until it is old.
	s.Newest.Text, s.More, s.Rooms = "", false, s.Rooms[:1]
	if o := a.Send(t.Context(), s); o.Verdict != Sent || apple.tokens[0] != apple.tokens[1] {
		t.Errorf("%+v, signed %q", o, apple.tokens)
	}
	if err := json.Unmarshal(apple.read, &body); err != nil || body.APS.Alert.Body != "From ben" || apple.asked.Header.Get("apns-priority") != "5" {
		t.Errorf("without a text and a mention: %s, %v", apple.read, err)
	}
	a.token.IssuedAt -= 3001
	if o := a.Send(t.Context(), s); o.Verdict != Sent || apple.tokens[1] == apple.tokens[2] {
		t.Errorf("after 50 minutes: %+v, signed %q", o, apple.tokens)
	}
}

// TestAPNsAnswers: what each means.
func TestAPNsAnswers(t *testing.T) {
	reason := func(text string) string { return `{"reason":"` + text + `"}` }
	for _, c := range []struct {
		code        int
		retry, body string
		want        Verdict
		after       time.Duration
		alone       bool
		ended       int
	}{
		{200, "", "", Sent, 0, false, 0},
		{410, "", `{"reason":"Unregistered","timestamp":1458114061260}`, Gone, 0, false, 1},
		{410, "", reason("ExpiredToken"), Gone, 0, false, 1},
		{400, "", reason("BadDeviceToken"), Gone, 0, false, 1},
		{400, "", reason("DeviceTokenNotForTopic"), Retry, 0, true, 0},
		{400, "", reason("BadTopic"), Retry, 0, false, 0},
		{403, "", reason("InvalidProviderToken"), Retry, 0, false, 0},
		{403, "", reason("ExpiredProviderToken"), Retry, 0, false, 0},
		{404, "", reason("BadPath"), Retry, 0, true, 0},
		{413, "", reason("PayloadTooLarge"), Final, 0, false, 0},
		{429, "90", reason("TooManyRequests"), Retry, 90 * time.Second, true, 0},
		{429, "1200", reason("TooManyProviderTokenUpdates"), Retry, 20 * time.Minute, false, 0},
		{500, "", reason("InternalServerError"), Retry, 0, false, 0},
		{503, "60", reason("ServiceUnavailable"), Retry, time.Minute, false, 0},
		{502, "", "<html>a proxy</html>", Retry, 0, false, 0},
	} {
		d := &devices{subscription: handoff.Subscription{APNs: testAPNsToken}, there: true}
		a, apple, _ := newTestAPNs(t, d)
		apple.say(c.code, c.retry, c.body)
		s := testSummary()
		s.Device = "tab"
		o := a.Send(t.Context(), s)
		if o.Verdict != c.want || o.After != c.after || o.Alone != c.alone || d.ended != c.ended || (o.Err == nil) != (c.want == Sent) {
			t.Errorf("%d %s: %+v, ended %d", c.code, c.body, o, d.ended)
		}
		if o.Err != nil && strings.Contains(o.Err.Error(), testAPNsToken) {
			t.Errorf("%d %s: the error has the token: %v", c.code, c.body, o.Err)
		}
	}
}

// TestAPNsSignsAnew: what Apple takes for expired is not used again, but not more often than Apple allows.
func TestAPNsSignsAnew(t *testing.T) {
	a, apple, _ := newTestAPNs(t, &devices{subscription: handoff.Subscription{APNs: testAPNsToken}, there: true})
	s := testSummary()
	s.Device = "tab"
	apple.say(403, "", `{"reason":"ExpiredProviderToken"}`)
	for range 2 {
		a.Send(t.Context(), s)
	}
	if apple.tokens[0] != apple.tokens[1] {
		t.Error("signed anew at once")
	}
	a.token.IssuedAt -= int64(apnsTokenLife.Seconds())
	for range 2 {
		a.Send(t.Context(), s)
	}
	if apple.tokens[2] != apple.tokens[1] || apple.tokens[3] == apple.tokens[2] {
		t.Errorf("signed %q", apple.tokens)
	}
}

func TestAPNsThatIsNotThere(t *testing.T) {
	d := &devices{subscription: handoff.Subscription{APNs: testAPNsToken}, there: true}
	a, _, _ := newTestAPNs(t, d)
	a.client.Host = "https://127.0.0.1:1"
	s := testSummary()
	s.Device = "tab"
	if o := a.Send(t.Context(), s); o.Verdict != Retry || o.Alone || strings.Contains(o.Err.Error(), testAPNsToken) {
		t.Errorf("the outcome is %+v", o)
	}
	d.subscription = handoff.Subscription{FCM: "f"}
	if o := a.Send(t.Context(), s); o.Verdict != Gone {
		t.Errorf("a device that is told by another service now: %+v", o)
	}
	d.err = errRefused
	if o := a.Send(t.Context(), s); o.Verdict != Retry {
		t.Errorf("a device that can't be read: %+v", o)
	}
}

func TestAPNsSettings(t *testing.T) {
	a, _, _ := newTestAPNs(t, nil)
	for token, good := range map[string]bool{
		testAPNsToken: true, strings.Repeat("A0", 100): true, strings.Repeat("A0", 101): false, "": false, "abc": false, "../../x": false,
	} {
		if wrong := a.CheckToken(token); (wrong == "") != good {
			t.Errorf("%q: %q", token, wrong)
		}
	}
	_, good := testAPNsKey(t)
	if err := CheckAPNsKey(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "hunter2", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if err := CheckAPNsKey([]byte(bad)); err == nil || !strings.Contains(err.Error(), ".p8") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for sandbox, host := range map[bool]string{false: "https://api.push.apple.com", true: "https://api.sandbox.push.apple.com"} {
		if a, err := NewAPNs(APNsConfig{Key: good, Sandbox: sandbox}, nil); err != nil || a.client.Host != host {
			t.Errorf("sandbox %v: %v, %v", sandbox, a, err)
		}
	}
}

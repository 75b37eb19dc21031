package push

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/handoff"
)

// google is a stand-in for both services that are asked.
type google struct {
	answers // of the messages

	key      *rsa.PrivateKey
	url      string
	lasts    int // seconds, of access tokens
	refuses  atomic.Int32
	handedIn int // assertions
}

func (g *google) token(t *testing.T, w http.ResponseWriter, r *http.Request) {
	if code := int(g.refuses.Load()); code != 0 {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(code)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	if grant := r.FormValue("grant_type"); grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("the grant is %q", grant)
	}
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(r.FormValue("assertion"), claims, func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("push@rookery.example"), jwt.WithAudience(g.url+"/token"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil || token.Header["kid"] != "k1" || claims["scope"] != fcmScope {
		t.Errorf("the assertion is %v, %v", token, err)
	}
	g.handedIn++
	fmt.Fprintf(w, `{"access_token":"at-%d","expires_in":%d,"token_type":"Bearer"}`, g.handedIn, g.lasts)
}

// newTestFCM has Google's stand-in, and the file of a service account for it.
func newTestFCM(t *testing.T, d *devices) (*FCM, *google) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g := &google{key: key, lasts: 3600, answers: answers{code: http.StatusOK, body: `{"name":"projects/p/messages/1"}`}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { g.token(t, w, r) })
	mux.Handle("POST /v1/projects/rookery-1/messages:send", &g.answers)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	g.url = server.URL
	f, err := NewFCM(testAccount(t, key, server.URL+"/token"), server.URL, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.client.CloseIdleConnections)
	return f, g
}

func testAccount(t *testing.T, key *rsa.PrivateKey, tokenURI string) []byte {
	t.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "rookery-1", "private_key_id": "k1", "client_email": "push@rookery.example",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})), "token_uri": tokenURI,
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func testPhone() (*devices, *Summary) {
	s := testSummary()
	s.Device = "tab"
	return &devices{subscription: handoff.Subscription{FCM: "token:1"}, there: true}, s
}

// TestFCMRequest: what Google gets.
func TestFCMRequest(t *testing.T) {
	d, s := testPhone()
	f, g := newTestFCM(t, d)
	if o := f.Send(t.Context(), s); o.Verdict != Sent {
		t.Fatalf("the outcome is %+v", o)
	}
	var body struct {
		Message struct {
			Token        string
			Notification struct{ Title, Body string }
			Data         map[string]string
			Android      struct {
				CollapseKey   string `json:"collapse_key"`
				Priority, TTL string
				Notification  struct{ Tag string }
			}
			APNs struct{ Headers map[string]string }
		}
	}
	if err := json.Unmarshal(g.read, &body); err != nil {
		t.Fatal(err)
	}
	m := body.Message
	if m.Token != "token:1" || m.Notification.Title != "More than 12 new messages" || m.Notification.Body != "ben: hi <b>" || g.tokens[0] != "Bearer at-1" {
		t.Errorf("asked with %v for %+v", g.tokens, m)
	}
	if m.Android.CollapseKey != collapseID("ann") || m.Android.Notification.Tag != collapseID("ann") || m.Android.Priority != "HIGH" || m.Android.TTL != "86400s" {
		t.Errorf("android gets %+v", m.Android)
	}
	if m.APNs.Headers["apns-collapse-id"] != collapseID("ann") || m.APNs.Headers["apns-priority"] != "10" {
		t.Errorf("apns gets %+v", m.APNs)
	}
	var summary map[string]any
	if err := json.Unmarshal([]byte(m.Data["summary"]), &summary); err != nil || m.Data["type"] != "push.summary" || summary["messages"] != 12.0 {
		t.Errorf("the app gets %v, %v", m.Data, err)
	}
	s.Newest.Text, s.Rooms[1].Mentions = "", 0
	if o := f.Send(t.Context(), s); o.Verdict != Sent || g.handedIn != 1 {
		t.Errorf("%+v with %d access tokens, want the one", o, g.handedIn)
	}
	if err := json.Unmarshal(g.read, &body); err != nil || body.Message.Notification.Body != "In 2 conversations, the newest from ben" || body.Message.Android.Priority != "NORMAL" {
		t.Errorf("without a text and a mention: %s, %v", g.read, err)
	}
}

// TestFCMAnswers: what each means.
func TestFCMAnswers(t *testing.T) {
	fault := func(status, details string) string {
		return fmt.Sprintf(`{"error":{"code":0,"message":"m","status":%q,"details":[%s]}}`, status, details)
	}
	code := func(text string) string {
		return fmt.Sprintf(`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}`, text)
	}
	field := func(name string) string {
		return fmt.Sprintf(`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":%q,"description":"d"}]}`, name)
	}
	for _, c := range []struct {
		code        int
		retry, body string
		want        Verdict
		after       time.Duration
		alone       bool
		ended       int
	}{
		{200, "", `{"name":"x"}`, Sent, 0, false, 0},
		{404, "", fault("NOT_FOUND", code("UNREGISTERED")), Gone, 0, false, 1},
		{400, "", fault("INVALID_ARGUMENT", code("INVALID_ARGUMENT")+","+field("message.token")), Gone, 0, false, 1},
		{400, "", fault("INVALID_ARGUMENT", code("INVALID_ARGUMENT")+","+field("message.data")), Retry, 0, true, 0},
		{403, "", fault("PERMISSION_DENIED", code("SENDER_ID_MISMATCH")), Retry, 0, true, 0},
		{403, "", fault("PERMISSION_DENIED", ""), Retry, 0, false, 0},
		{404, "", "no such project", Retry, 0, true, 0},
		{413, "", "", Final, 0, false, 0},
		{429, "60", fault("RESOURCE_EXHAUSTED", code("QUOTA_EXCEEDED")), Retry, time.Minute, false, 0},
		{401, "", fault("UNAUTHENTICATED", code("THIRD_PARTY_AUTH_ERROR")), Retry, 0, false, 0},
		{500, "", fault("INTERNAL", code("INTERNAL")), Retry, 0, false, 0},
		{503, "120", fault("UNAVAILABLE", code("UNAVAILABLE")), Retry, 2 * time.Minute, false, 0},
	} {
		d, s := testPhone()
		f, g := newTestFCM(t, d)
		g.say(c.code, c.retry, c.body)
		o := f.Send(t.Context(), s)
		if o.Verdict != c.want || o.After != c.after || o.Alone != c.alone || d.ended != c.ended || (o.Err == nil) != (c.want == Sent) {
			t.Errorf("%d %s: %+v, ended %d", c.code, c.body, o, d.ended)
		}
		if o.Err != nil && strings.Contains(o.Err.Error(), "token:1") {
			t.Errorf("%d %s: the error has the token: %v", c.code, c.body, o.Err)
		}
	}
}

// TestFCMAccessToken: used until it is old or refused, and what comes of it if there is none.
func TestFCMAccessToken(t *testing.T) {
	d, s := testPhone()
	f, g := newTestFCM(t, d)
	g.refuses.Store(http.StatusServiceUnavailable)
	if o := f.Send(t.Context(), s); o.Verdict != Retry || o.Alone || o.After != 7*time.Second || !strings.Contains(o.Err.Error(), "access token") {
		t.Errorf("no token to be had: %+v", o)
	}
	g.refuses.Store(http.StatusBadRequest)
	if o := f.Send(t.Context(), s); o.Verdict != Retry || o.Alone || !strings.Contains(o.Err.Error(), "invalid_grant") || len(g.tokens) != 0 {
		t.Errorf("a key that is not believed: %+v", o)
	}
	g.refuses.Store(0)
	g.say(http.StatusUnauthorized, "", "")
	if o := f.Send(t.Context(), s); o.Verdict != Retry {
		t.Errorf("a token that is not believed: %+v", o)
	}
	g.say(http.StatusOK, "", "")
	g.lasts = 30 // less than the margin: good for one request
	for range 2 {
		if o := f.Send(t.Context(), s); o.Verdict != Sent {
			t.Errorf("the outcome is %+v", o)
		}
	}
	if got := strings.Join(g.tokens, " "); got != "Bearer at-1 Bearer at-2 Bearer at-3" {
		t.Errorf("asked with %s", got)
	}
	held := <-f.bearer // somebody else asks for one
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := f.Send(ctx, s); o.Verdict != Retry || o.Err == nil {
		t.Errorf("the process ends: %+v", o)
	}
	f.bearer <- held
	d.there = false
	if o := f.Send(t.Context(), s); o.Verdict != Gone {
		t.Errorf("a device that was forgotten: %+v", o)
	}
}

func TestFCMSettings(t *testing.T) {
	f, g := newTestFCM(t, nil)
	for token, good := range map[string]bool{
		"dVcm9x-_:APA91b": true, strings.Repeat("x", maxFCMToken): true, strings.Repeat("x", maxFCMToken+1): false, "": false, "a b": false, "ä": false,
	} {
		if wrong := f.CheckToken(token); (wrong == "") != good {
			t.Errorf("%q: %q", token, wrong)
		}
	}
	good := string(testAccount(t, g.key, "https://oauth2.example/token"))
	for file, want := range map[string]string{
		good: "", "{": "no key of a service account", strings.Replace(good, "service_account", "user", 1): "no key of a service account",
		strings.Replace(good, "https:", "http:", 1): "token_uri", strings.Replace(good, "BEGIN PRIVATE", "BEGIN", 1): "RSA key",
	} {
		if err := CheckServiceAccount([]byte(file)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
	if f, err := NewFCM([]byte(good), "", nil); err != nil || f.url != "https://fcm.googleapis.com/v1/projects/rookery-1/messages:send" {
		t.Errorf("made %+v, %v", f, err)
	}
}

func TestAlert(t *testing.T) {
	s := testSummary()
	for _, c := range []struct {
		change      func()
		title, body string
	}{
		{func() {}, "More than 12 new messages", "ben: hi <b>"},
		{func() { s.Newest.Text = "" }, "More than 12 new messages", "In 2 conversations, the newest from ben"},
		{func() { s.More, s.Rooms = false, s.Rooms[:1] }, "3 new messages", "From ben"},
		{func() { s.Rooms[0].Messages = 1 }, "1 new message", "From ben"},
	} {
		c.change()
		if title, body := alert(s); title != c.title || body != c.body {
			t.Errorf("said %q, %q, want %q, %q", title, body, c.title, c.body)
		}
	}
}

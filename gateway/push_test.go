package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hook is a receiver of summaries.
type hook struct {
	*httptest.Server
	code  atomic.Int64 // of its answers
	calls chan hookCall
}

type hookCall struct {
	Type string
	Data struct {
		User                              string
		Messages, Conversations, Mentions int
		Newest                            struct{ Room, From, Text string }
		Rooms                             []struct {
			Room     string
			Messages int
		}
	}
}

func newHook(t *testing.T) *hook {
	h := &hook{calls: make(chan hookCall, 1000)}
	h.code.Store(http.StatusNoContent)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var call hookCall
		if err = errorsOf(err, json.Unmarshal(body, &call)); err != nil || !strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") {
			t.Errorf("the hook got %s, %v", body, err)
		}
		w.WriteHeader(int(h.code.Load()))
		h.calls <- call
	}))
	t.Cleanup(h.Close)
	return h
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// next waits for a call; how long it takes is not looked at.
func (h *hook) next(t *testing.T) hookCall {
	t.Helper()
	select {
	case call := <-h.calls:
		return call
	case <-time.After(time.Minute):
		t.Fatal("the hook was not called within a minute")
	}
	return hookCall{}
}

func (h *hook) options(data string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Data = data
		c.Push.Webhook, c.Push.Secret = h.URL, hookSecret
		c.Push.After, c.Push.Window, c.Push.Text = 100*time.Millisecond, 0, true
	}
}

func (p *peer) notify(room, level string) string {
	p.t.Helper()
	f := p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Notify{Notify: &v1.NotifyPreference{Room: room, Level: level}}}))
	return f.GetNotify().GetLevel()
}

// TestPush: who is away is told, with the text as it is after an edit; not who has marked, and not of what their level keeps out.
// While it happens push is off, so that nothing is due before everything has happened.
func TestPush(t *testing.T) {
	t.Parallel()
	h, data := newHook(t), t.TempDir()
	gatewaytest.Start(t, h.options(data)).Stop() // push begins here
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = data })
	room := "group:a"
	ann, ben, cleo := login(t, srv.Addr(), wires[0], "ann"), login(t, srv.Addr(), wires[1], "ben"), login(t, srv.Addr(), wires[2], "cleo")
	ann.create(&v1.Create{Room: room})
	for _, user := range []string{"ben", "cleo", "dan", "eve", "fay"} {
		ann.change(room, "invite", user)
	}
	if got := cleo.notify(room, "none"); got != "none" {
		t.Errorf("the level is %q", got)
	}
	publish := func(room string, p *v1.Publish) {
		t.Helper()
		p.Room = room
		if f := ann.answer(ann.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: p}})); f.GetPublished() == nil {
			t.Fatalf("publish was answered with %v", f)
		}
	}
	text := func(s string) *v1.Publish { return &v1.Publish{Content: &v1.Publish_Text{Text: s}} }
	for _, name := range []string{room, "lobby"} {
		ann.answer(ann.join(name, nil, ""))
	}
	publish("lobby", text("a plain room has no members"))
	publish(room, text("secret"))
	mention := text("gone")
	mention.Mentions = []string{"dan", "cleo"}
	publish(room, mention)
	edit := text("better")
	edit.Change = &v1.Change{Target: 1, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}
	publish(room, edit)
	publish(room, &v1.Publish{Change: &v1.Change{Target: 2, Op: &v1.Change_Delete{Delete: &v1.Delete{}}}})
	ben.answer(ben.join(room, nil, ""))
	ben.answer(ben.mark(room, 2, 0))
	ann.change(room, "kick", "fay")
	srv.Stop()

	srv = gatewaytest.Start(t, h.options(data))
	told := map[string]hookCall{}
	for range 2 {
		call := h.next(t)
		told[call.Data.User] = call
	}
	for _, user := range []string{"dan", "eve"} {
		d := told[user].Data
		if d.Messages != 1 || d.Mentions != 0 || d.Newest.Text != "better" || d.Newest.From != "ann" || d.Newest.Room != room {
			t.Errorf("%s was told %+v", user, d)
		}
	}
	// Whoever else was told would have been by now: the next are of what is said now, one for each who may be told.
	ann = login(t, srv.Addr(), wires[0], "ann")
	ann.answer(ann.join(room, nil, ""))
	publish(room, text("last"))
	for range 3 {
		call := h.next(t)
		if d := call.Data; !slices.Contains([]string{"ben", "dan", "eve"}, d.User) || d.Messages != 1 || d.Newest.Text != "last" {
			t.Errorf("told %+v", call)
		}
	}
}

// TestPushDeadLetters: seen, sent once more and forgotten over the admin listener, also after a restart.
func TestPushDeadLetters(t *testing.T) {
	t.Parallel()
	h, data := newHook(t), t.TempDir()
	srv := gatewaytest.Start(t, h.options(data))
	admin := func(method, path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+srv.AdminAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	h.code.Store(http.StatusGone)
	ann := login(t, srv.Addr(), wires[0], "ann")
	var rooms []string
	for _, user := range []string{"ben", "cleo"} {
		info := ann.answer(ann.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: user}}})).GetRoom()
		rooms = append(rooms, info.GetRoom())
		ann.enter(info.GetRoom())
		ann.publish(info.GetRoom(), "", "hi")
		h.next(t)
	}
	srv.Stop()
	srv = gatewaytest.Start(t, h.options(data))
	var listed struct {
		Dead []struct {
			Number   uint64
			User     string
			Kind     string
			Error    string
			Attempts int
			Rooms    []struct{ Room string }
		}
		More bool
	}
	list := func(query string) {
		t.Helper()
		listed.Dead = nil
		if code, body := admin("GET", "/push/dead"+query); code != http.StatusOK || json.Unmarshal([]byte(body), &listed) != nil {
			t.Fatalf("%d %s", code, body)
		}
	}
	list("?limit=1")
	if len(listed.Dead) != 1 || !listed.More || listed.Dead[0].User != "ben" || listed.Dead[0].Kind != "webhook" || listed.Dead[0].Attempts != 1 ||
		!strings.Contains(listed.Dead[0].Error, "410") || listed.Dead[0].Rooms[0].Room != rooms[0] {
		t.Fatalf("listed %+v", listed)
	}
	h.code.Store(http.StatusOK)
	path := fmt.Sprint("/push/dead/", listed.Dead[0].Number)
	if code, body := admin("POST", path); code != http.StatusNoContent {
		t.Errorf("%d %s", code, body)
	}
	if call := h.next(t); call.Data.User != "ben" || call.Data.Messages != 1 {
		t.Errorf("told %+v", call)
	}
	list(fmt.Sprint("?after=", listed.Dead[0].Number))
	if len(listed.Dead) != 1 || listed.More || listed.Dead[0].User != "cleo" {
		t.Fatalf("listed %+v", listed)
	}
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"POST", path, 404}, {"DELETE", fmt.Sprint("/push/dead/", listed.Dead[0].Number), 204}, {"DELETE", path, 404},
		{"POST", "/push/dead/x", 400}, {"GET", "/push/dead?after=-1", 400},
	} {
		if code, body := admin(c.method, c.path); code != c.code {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, body, c.code)
		}
	}
	if list(""); len(listed.Dead) != 0 {
		t.Errorf("listed %+v", listed)
	}
	if code, body := admin("GET", "/metrics"); code != 200 || !strings.Contains(body, "\nrookery_push_sent_total 1\n") || !strings.Contains(body, "\nrookery_push_dead 0\n") {
		t.Error("the metrics do not say that one was sent and none is dead")
	}
}

// TestWebPush: a device that is registered is told by its push service, and forgotten when that knows it no more.
func TestWebPush(t *testing.T) {
	const key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	asked := make(chan string, 100)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Encoding") != "aes128gcm" || !strings.HasSuffix(r.Header.Get("Authorization"), ", k="+key) {
			t.Errorf("the service was asked with %v", r.Header)
		}
		w.WriteHeader(map[string]int{"/tab": http.StatusCreated, "/old": http.StatusGone}[r.URL.Path])
		asked <- r.URL.Path
	}))
	defer service.Close()
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Push.WebPushKey, c.Push.WebPushContact = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "mailto:ops@chat.example"
		c.Push.After, c.Push.Window = 100*time.Millisecond, 0
	})
	ann, ben := login(t, srv.Addr(), wires[0], "ann"), login(t, srv.Addr(), wires[2], "ben")
	device := func(id, path string) *v1.DeviceSet {
		t.Helper()
		r := &v1.SetDevice{Id: id}
		if path != "" {
			r.WebPush = &v1.WebPush{Endpoint: service.URL + path, P256Dh: key, Auth: "AAAAAAAAAAAAAAAAAAAAAA"}
		}
		return ben.answer(ben.request(&v1.ClientFrame{Op: &v1.ClientFrame_Device{Device: r}})).GetDevice()
	}
	if d := device("", ""); d.GetWebPushKey() != key || d.GetRegistered() {
		t.Fatalf("asked for the key: %v", d)
	}
	for _, id := range []string{"tab", "old"} {
		if d := device(id, "/"+id); !d.GetRegistered() {
			t.Fatalf("not registered: %v", d)
		}
	}
	room := ann.answer(ann.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: "ben"}}})).GetRoom().GetRoom()
	ann.answer(ann.join(room, nil, ""))
	told := func(want ...string) {
		t.Helper()
		ann.publish(room, "", "hi")
		var got []string
		for range want {
			select {
			case path := <-asked:
				got = append(got, path)
			case <-time.After(time.Minute):
				t.Fatalf("asked for %v within a minute, want %v", got, want)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("asked for %v, want %v", got, want)
		}
	}
	told("/old", "/tab")
	// What came of it is in the catalog before the next summary is made: that waits until none of the user is being sent.
	told("/tab")
	told("/tab")
	if d := device("tab", ""); d.GetRegistered() {
		t.Errorf("still registered: %v", d)
	}
}

// TestPushOff: without a webhook the preference is kept, and the admin listener says what turns it on.
func TestPushOff(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	answer, err := http.Get("http://" + srv.AdminAddr() + "/push/dead")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "push.webhook") {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	ann := login(t, srv.Addr(), wires[0], "ann")
	ann.create(&v1.Create{Room: "group:a"})
	if ann.notify("group:a", "mentions") != "mentions" || ann.notify("group:a", "") != "mentions" {
		t.Error("the preference is not kept")
	}
	f := ann.answer(ann.request(&v1.ClientFrame{Op: &v1.ClientFrame_Notify{Notify: &v1.NotifyPreference{Room: "group:a", Level: "x"}}}))
	ann.wantError(f, proto.ErrBadRequest)
}

// TestASecondStartIsNoNews: what the server keeps in its directory is no reason to warn its operator.
func TestASecondStartIsNoNews(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for range 2 {
		srv := gatewaytest.Start(t, func(c *gateway.Config) {
			c.Data = data
			c.Push.Webhook, c.Push.Secret = "http://127.0.0.1:1/", hookSecret
		})
		srv.Stop()
		if srv.Logged("level=WARN") || srv.Logged("level=ERROR") {
			t.Error("an undisturbed start is told as if something were wrong")
		}
	}
}

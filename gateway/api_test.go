package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Secrets of the tests' keys.
const (
	fullSecret = "full-full-full-full-full-full-full-1"
	readSecret = "read-read-read-read-read-read-read-2"
)

func withAPI(c *gateway.Config) {
	c.API.Keys = gateway.Secret("full publish,read,rooms,users,export,stats,trace " + fullSecret + "\n# a comment\n\nreader read " + readSecret + "\n")
}

// backend is a program of whoever runs the server: it speaks to the API of one gateway.
type backend struct {
	t      *testing.T
	srv    *gatewaytest.Server
	secret string
	header http.Header // beside the key
}

func newBackend(t *testing.T, srv *gatewaytest.Server) *backend {
	return &backend{t: t, srv: srv, secret: fullSecret, header: http.Header{}}
}

// with is the same backend with another header.
func (b *backend) with(name, value string) *backend {
	other := *b
	other.header = b.header.Clone()
	other.header.Set(name, value)
	return &other
}

// send gives the status and the body of an answer.
func (b *backend) send(method, path, body string) (int, http.Header, []byte) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.srv.AdminAddr()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for name, values := range b.header {
		req.Header[name] = values
	}
	if b.secret != "" {
		req.Header.Set("Authorization", "Bearer "+b.secret)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.described(method, path, res, answer)
	return res.StatusCode, res.Header, answer
}

// do gives the body of an answer that is no error.
func (b *backend) do(method, path, body string) map[string]any {
	b.t.Helper()
	status, _, answer := b.send(method, path, body)
	if status/100 != 2 {
		b.t.Fatalf("%s %s %s: %d %s", method, path, body, status, answer)
	}
	if len(answer) == 0 {
		return nil
	}
	var read map[string]any
	if err := json.Unmarshal(answer, &read); err != nil {
		b.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
	return read
}

// refused checks the one shape of errors and gives the sentence.
func (b *backend) refused(method, path, body string, code uint32, name string) string {
	b.t.Helper()
	status, header, answer := b.send(method, path, body)
	var read struct{ Error map[string]any }
	if err := json.Unmarshal(answer, &read); err != nil || header.Get("Content-Type") != "application/json" {
		b.t.Fatalf("%s %s: %d %s %s", method, path, status, header.Get("Content-Type"), answer)
	}
	text, _ := read.Error["message"].(string)
	_, retry := read.Error["retry"].(bool)
	answer, body = answer[:min(len(answer), 500)], body[:min(len(body), 200)]
	if uint32(status) != code || read.Error["name"] != name || read.Error["code"] != float64(code) || text == "" || !retry {
		b.t.Errorf("%s %s %s: got %d %s, want %d %s", method, path, body, status, answer, code, name)
	}
	return text
}

func (b *backend) is(got map[string]any, want string) {
	b.t.Helper()
	var wanted map[string]any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		b.t.Fatal(err)
	}
	for name, value := range wanted {
		if fmt.Sprint(got[name]) != fmt.Sprint(value) {
			b.t.Errorf("%s is %v, want %v, in %v", name, got[name], value, got)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	t.Run("without a key it is off", func(t *testing.T) {
		srv := gatewaytest.Start(t)
		b := newBackend(t, srv)
		for _, path := range []string{"/v1/rooms/lobby", "/v1/openapi.json", "/v1/"} {
			if text := b.refused("GET", path, "", 403, "api_off"); !strings.Contains(text, "api.keys_file") {
				t.Errorf("the sentence %q names no setting", text)
			}
		}
		if code, answer := askAdmin(t, srv, "GET", "/healthz", ""); code != 200 {
			t.Errorf("health: %d %s", code, answer)
		}
	})
	var cfg gateway.Config
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { cfg = *c })
	b := newBackend(t, srv)
	b.do("GET", "/v1/rooms/lobby", "")
	for _, secret := range []string{"", "wrong", fullSecret + "x", fullSecret[1:], "full"} {
		other := *b
		other.secret = secret
		other.refused("GET", "/v1/rooms/lobby", "", 401, "unauthorized")
		other.refused("GET", "/v1/no/such/path", "", 401, "unauthorized")
		_, header, _ := other.send("GET", "/v1/rooms/lobby", "")
		if header.Get("WWW-Authenticate") == "" {
			t.Error("a refused request has no WWW-Authenticate")
		}
	}
	other := *b
	other.secret = ""
	other.with("Authorization", "Basic "+fullSecret).refused("GET", "/v1/rooms/lobby", "", 401, "unauthorized")

	reader := *b
	reader.secret = readSecret
	reader.do("GET", "/v1/rooms/lobby", "")
	reader.do("GET", "/v1/rooms/lobby/messages", "")
	for request, scope := range map[string]string{
		"POST /v1/rooms": "rooms", "PATCH /v1/rooms/r": "rooms", "POST /v1/rooms/r/members": "rooms", "DELETE /v1/rooms/r/messages/1?user=u": "rooms",
		"POST /v1/rooms/r/messages": "publish", "POST /v1/broadcast": "publish", "PATCH /v1/rooms/r/messages/1": "publish",
		"POST /v1/users/u/disconnect": "users", "PUT /v1/users/u/ban": "users", "DELETE /v1/users/u/ban": "users",
		"GET /v1/export?room=r": "export", "GET /v1/stats": "stats",
	} {
		method, path, _ := strings.Cut(request, " ")
		if text := reader.refused(method, path, `{}`, 403, "scope_missing"); !strings.Contains(text, `"reader" lacks the scope `+scope) {
			t.Errorf("%s: %s", request, text)
		}
	}

	// Another list of keys, as with SIGHUP.
	next := cfg
	next.API.Keys = gateway.Secret("reader stats,read " + readSecret)
	if needRestart, err := srv.Reload(next); err != nil || len(needRestart) != 0 {
		t.Fatalf("reload: %v, %v", needRestart, err)
	}
	b.refused("GET", "/v1/rooms/lobby", "", 401, "unauthorized")
	reader.do("GET", "/v1/stats", "")
	next.API.Keys = "reader"
	if _, err := srv.Reload(next); err == nil || !strings.Contains(err.Error(), "api.keys") {
		t.Errorf("keys that can't be read: %v", err)
	}
	reader.do("GET", "/v1/stats", "")
}

func TestAPIErrorsHaveOneShape(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.Limits.MessageBytes = 4 << 10 })
	b := newBackend(t, srv)
	for _, c := range []struct {
		method, path, body string
		code               uint32
		name, want         string
	}{
		{"GET", "/v1/", "", 404, "no_such_path", "openapi.json"},
		{"GET", "/v1/nowhere/at/all", "", 404, "no_such_path", ""},
		{"DELETE", "/v1/rooms", "", 405, "method_not_allowed", "takes POST"},
		{"PUT", "/v1/rooms/r", "{}", 405, "method_not_allowed", "GET and PATCH"},
		{"POST", "/v1/openapi.json", "", 404, "no_such_path", ""},
		{"POST", "/v1/rooms/r/messages", "", 400, "bad_request", "body is required"},
		{"POST", "/v1/rooms/r/messages", "{", 400, "bad_request", "body"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}{}`, 400, "bad_request", "after top-level value"},
		{"POST", "/v1/rooms/r/messages", `[]`, 400, "bad_request", "expected object"},
		{"POST", "/v1/rooms/r/messages", `null`, 400, "bad_request", "expected object"},
		{"POST", "/v1/rooms/r/messages", `{"text":"x"}`, 400, "bad_request", "user"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","txt":"x"}`, 400, "bad_request", "body.txt"},
		{"POST", "/v1/rooms/r/messages", `{"user":7,"text":"x"}`, 400, "bad_request", "body.user"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u"}`, 400, "bad_request", "text or data"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x","data":"eA=="}`, 400, "bad_request", "not both"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","data":"?"}`, 400, "bad_request", ""},
		{"POST", "/v1/rooms/r/messages", `{"user":"","text":"x"}`, 400, "bad_request", "user is 1 to 128"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x","kind":"two words"}`, 400, "bad_request", "one word"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x","replyTo":-1}`, 400, "bad_request", "replyTo"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x","replyTo":5}`, 404, "message_not_found", ""},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"` + strings.Repeat("x", 5<<10) + `"}`, 413, "too_large", "limits.message_bytes"},
		{"POST", "/v1/rooms/r/messages", strings.Repeat(" ", 100<<10), 413, "too_large", "A body has"},
		{"POST", "/v1/rooms/%01r/messages", `{"user":"u","text":"x"}`, 400, "bad_request", "room is 1 to 128"},
		{"GET", "/v1/rooms/%FF", "", 400, "bad_request", "UTF-8"},
		{"GET", "/v1/rooms/" + strings.Repeat("x", 129), "", 400, "bad_request", "1 to 128"},
		{"GET", "/v1/rooms/r/messages?befor=3", "", 400, "bad_request", `"befor"`},
		{"GET", "/v1/rooms/r/messages?before=3&after=3", "", 400, "bad_request", "not both"},
		{"GET", "/v1/rooms/r/messages?before=x", "", 400, "bad_request", "before"},
		{"GET", "/v1/rooms/r/messages?after=-1", "", 400, "bad_request", "after"},
		{"GET", "/v1/rooms/r/messages?limit=201", "", 400, "bad_request", "at most 200"},
		{"GET", "/v1/rooms/group:none", "", 404, "no_such_room", ""},
		{"GET", "/v1/rooms/group:none/messages", "", 404, "no_such_room", ""},
		{"POST", "/v1/rooms/group:none/messages", `{"user":"u","text":"x"}`, 404, "no_such_room", ""},
		{"GET", "/v1/rooms/r/members", "", 404, "no_such_room", ""},
		{"GET", "/v1/rooms/channel:c/members?limit=201", "", 400, "bad_request", "at most 200"},
		{"POST", "/v1/rooms", `{"room":"plain"}`, 400, "bad_request", "rooms.members"},
		{"POST", "/v1/rooms", `{"users":["a"]}`, 400, "bad_request", "two users"},
		{"POST", "/v1/rooms", `{"users":["a","a"]}`, 400, "bad_request", "two users"},
		{"POST", "/v1/rooms", `{"room":"group:g","slowModeMs":99999999}`, 400, "bad_request", "a day"},
		{"POST", "/v1/rooms/group:g/members", `{"user":"u","action":"promote"}`, 400, "bad_request", "action"},
		{"POST", "/v1/rooms/group:g/members", `{"user":"u","action":"kick"}`, 404, "no_such_room", ""},
		{"POST", "/v1/broadcast", `{"rooms":[],"user":"u","text":"x"}`, 400, "bad_request", "rooms"},
		{"POST", "/v1/broadcast", `{"rooms":null,"user":"u","text":"x"}`, 400, "bad_request", "rooms"},
		{"POST", "/v1/broadcast", `{"user":"u","text":"x"}`, 400, "bad_request", "rooms"},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":null}`, 400, "bad_request", "text"},
		{"DELETE", "/v1/rooms/r/messages/1", "", 400, "bad_request", "user"},
		{"DELETE", "/v1/rooms/r/messages/0?user=u", "", 400, "bad_request", "seq"},
		{"DELETE", "/v1/rooms/r/messages/7?user=u", "", 404, "message_not_found", ""},
		{"POST", "/v1/users/u/disconnect", `{"reason":"` + strings.Repeat("x", 101) + `"}`, 400, "bad_request", "100 bytes"},
		{"GET", "/v1/export", "", 400, "bad_request", "room or a user"},
	} {
		if text := b.refused(c.method, c.path, c.body, c.code, c.name); !strings.Contains(text, c.want) {
			t.Errorf("%s %s %.100s: %q, want it to say %q", c.method, c.path, c.body, text, c.want)
		}
	}
	form := b.with("Content-Type", "application/x-www-form-urlencoded")
	if text := form.refused("POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}`, 400, "bad_request"); !strings.Contains(text, "Content-Type") {
		t.Errorf("a form: %s", text)
	}
	keyed := b.with("Idempotency-Key", "a")
	keyed.refused("POST", "/v1/rooms/r/messages", `{"user":"u","text":"x","key":"b"}`, 400, "bad_request")
}

func TestAPIRooms(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	alice := login(t, srv.Addr(), wires[1], "alice")
	alice.myRooms(true)
	const room = "group:birds & bees/1"
	const path = "/v1/rooms/group:birds%20&%20bees%2F1"
	b.is(b.do("POST", "/v1/rooms", `{"room":"`+room+`","owner":"owner","title":"Birds","slowModeMs":500,"speak":"guest"}`),
		`{"room":"`+room+`","kind":"group","role":"owner","title":"Birds","slowModeMs":500,"speak":"guest"}`)
	b.is(b.do("POST", "/v1/rooms", `{"room":"`+room+`","owner":"owner"}`), `{"title":"Birds"}`) // the same again
	b.refused("POST", "/v1/rooms", `{"room":"`+room+`","owner":"other"}`, 409, "room_exists")
	b.is(b.do("GET", path, ""), `{"room":"`+room+`","kind":"group","title":"Birds","speak":"guest","members":1,"head":0,"begin":1}`)

	// A live peer is told.
	b.is(b.do("POST", path+"/members", `{"user":"alice","action":"invite","by":"owner"}`), `{"user":"alice","action":"invite","role":"member","by":"owner"}`)
	alice.until(func(f *v1.ServerFrame) bool { return f.GetRoom().GetRoom() == room })
	alice.enter(room)
	b.is(b.do("PATCH", path, `{"title":"","slowModeMs":0,"speak":"member"}`), `{"title":null,"slowModeMs":0,"speak":"member"}`)
	alice.until(func(f *v1.ServerFrame) bool { return f.GetRoom() != nil && f.GetRoom().Title == "" })
	b.do("POST", path+"/members", `{"user":"alice","action":"mute","forMs":60000,"reason":"loud"}`)
	alice.until(func(f *v1.ServerFrame) bool { return f.GetRoom().GetMutedUntil() != 0 })
	alice.wantError(alice.answer(alice.publish(room, "", "x")), proto.ErrMuted)
	members := b.do("GET", path+"/members", "")["members"].([]any)
	if len(members) != 2 || members[0].(map[string]any)["reason"] != "loud" || members[1].(map[string]any)["role"] != "owner" {
		t.Errorf("members are %v", members)
	}
	b.do("POST", path+"/members", `{"user":"alice","action":"unmute"}`)
	b.is(b.do("POST", path+"/members", `{"user":"alice","action":"role","role":"moderator"}`), `{"role":"moderator"}`)
	b.do("POST", path+"/members", `{"user":"alice","action":"kick","reason":"bye"}`)
	f := alice.until(func(f *v1.ServerFrame) bool { return f.GetRemoved() != nil })
	if r := f.GetRemoved(); r.Room != room || r.Action != "kick" || r.Reason != "bye" {
		t.Errorf("a kicked member was told %v", r)
	}
	b.refused("POST", path+"/members", `{"user":"alice","action":"kick"}`, 404, "no_such_member")
	b.do("POST", path+"/members", `{"user":"alice","action":"ban","reason":"gone"}`)
	banned := b.do("GET", path+"/members?banned=true", "")["members"].([]any)
	if len(banned) != 1 || banned[0].(map[string]any)["user"] != "alice" {
		t.Errorf("banned are %v", banned)
	}
	b.refused("POST", path+"/members", `{"user":"alice","action":"invite"}`, 403, "banned")
	b.do("POST", path+"/members", `{"user":"alice","action":"unban"}`)

	// Pages.
	for i := range 7 {
		b.do("POST", path+"/members", fmt.Sprintf(`{"user":"user-%d","action":"invite"}`, i))
	}
	var names []string
	for after, more := "", true; more; {
		page := b.do("GET", path+"/members?limit=3&after="+after, "")
		more = page["more"].(bool)
		for _, m := range page["members"].([]any) {
			after = m.(map[string]any)["user"].(string)
			names = append(names, after)
		}
	}
	if fmt.Sprint(names) != "[owner user-0 user-1 user-2 user-3 user-4 user-5 user-6]" {
		t.Errorf("pages have %v", names)
	}

	// Other kinds.
	direct := b.do("POST", "/v1/rooms", `{"users":["user-1","bob"]}`)
	b.is(direct, `{"kind":"direct","peer":"bob"}`)
	b.is(b.do("POST", "/v1/rooms", `{"users":["bob","user-1"]}`), `{"room":"`+direct["room"].(string)+`","peer":"user-1"}`)
	b.is(b.do("GET", "/v1/rooms/"+direct["room"].(string), ""), `{"users":["bob","user-1"],"members":2}`)
	rooms := b.do("GET", "/v1/users/user-1/rooms", "")["rooms"].([]any)
	if len(rooms) != 2 || rooms[1].(map[string]any)["room"] != room {
		t.Errorf("user-1 is in %v", rooms)
	}
	b.is(b.do("GET", "/v1/users/user-1/rooms?limit=1", ""), `{"more":true}`)
	b.is(b.do("GET", "/v1/rooms/channel:news", ""), `{"kind":"open","members":null,"speak":"member"}`)
	b.is(b.do("PATCH", "/v1/rooms/channel:news", `{"title":"News"}`), `{"title":"News"}`)
	b.is(b.do("GET", "/v1/rooms/lobby", ""), `{"kind":"plain"}`)
}

// TestAPIDisconnect: every connection of the user is closed, on whichever loop, and no other.
func TestAPIDisconnect(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	bob := login(t, srv.Addr(), wires[0], "bob")
	var peers []*peer
	for i := range 12 {
		peers = append(peers, login(t, srv.Addr(), wires[i%len(wires)], "alice"))
	}
	b.do("POST", "/v1/users/alice/disconnect", `{"reason":"new terms"}`)
	for _, p := range peers {
		p.mustClose(proto.CloseNormal)
	}
	if !proto.Reconnect(proto.CloseNormal.Code) {
		t.Error("clients would not come back")
	}
	bob.publish("r", "", "still here")
	if bob.must().GetPublished() == nil {
		t.Error("bob was disturbed")
	}
}

func TestAPIPresence(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.Rooms.PresenceGrace = 0 })
	b := newBackend(t, srv)
	b.is(b.do("GET", "/v1/rooms/lobby/presence", ""), `{"room":"lobby","count":0,"users":[]}`)
	for i, user := range []string{"alice", "bob", "carol"} {
		login(t, srv.Addr(), wires[i%2], user).enter("lobby")
	}
	eventually(t, "all three are told", func() bool { return b.do("GET", "/v1/rooms/lobby/presence", "")["count"] == 3.0 })
	users := b.do("GET", "/v1/rooms/lobby/presence", "")["users"].([]any)
	b.is(users[1].(map[string]any), `{"user":"bob","state":"online"}`)
	b.do("POST", "/v1/users/bob/disconnect", "")
	eventually(t, "bob is gone", func() bool { return b.do("GET", "/v1/rooms/lobby/presence", "")["count"] == 2.0 })
	b.refused("GET", "/v1/rooms/group:none/presence", "", 404, "no_such_room")
}

func TestAPIUsers(t *testing.T) {
	t.Parallel()
	// One loop: another one could see the ban only after it was lifted.
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.Loops = 1 })
	b := newBackend(t, srv)
	b.do("POST", "/v1/users/nobody/disconnect", "")
	alice := login(t, srv.Addr(), wires[0], "alice")
	b.is(b.do("PUT", "/v1/users/alice/ban", `{"forMs":60000,"reason":"spam"}`), `{"user":"alice","action":"ban","reason":"spam"}`)
	alice.mustClose(proto.CloseBanned)
	again := open(t, srv.Addr(), wires[0])
	connect(again, "", "alice")
	again.mustFail(proto.ErrBanned)
	b.is(b.do("DELETE", "/v1/users/alice/ban", ""), `{"user":"alice","action":"unban"}`)
	alice = login(t, srv.Addr(), wires[0], "alice")
	b.is(b.do("PUT", "/v1/users/alice/ban", ""), `{"user":"alice","action":"ban"}`) // without a body for ever
	alice.mustClose(proto.CloseBanned)
	b.do("DELETE", "/v1/users/alice/ban", "")
	login(t, srv.Addr(), wires[0], "alice")
	b.do("POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}`)
	eventually(t, "only the last session is left", func() bool { return b.do("GET", "/v1/stats", "")["sessions"] == 1.0 })
	stats := b.do("GET", "/v1/stats", "")
	if at := time.UnixMilli(int64(stats["at"].(float64))); time.Since(at).Abs() > time.Hour {
		t.Errorf("the figures are of %v", at)
	}
	counts := stats["counts"].(map[string]any)
	b.is(counts, `{"published":1,"connections":4}`)
}

// TestAPINamesThatAreHardInPaths: each byte percent-encoded, every name can be asked about.
func TestAPINamesThatAreHardInPaths(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	for _, name := range []string{
		".", "..", "//", "../..", "a/../b", "%", "%2E", "a b", "+", "?", "#", ";", "é", "🦉", strings.Repeat("🦉", proto.MaxName/4),
	} {
		var encoded strings.Builder
		for _, c := range []byte(name) {
			fmt.Fprintf(&encoded, "%%%02X", c)
		}
		user := "/v1/users/" + encoded.String()
		b.is(b.do("PUT", user+"/ban", "{}"), fmt.Sprintf(`{"user":%q}`, name))
		b.do("DELETE", user+"/ban", "")
		b.is(b.do("GET", user+"/rooms", ""), `{"rooms":[]}`)
		b.is(b.do("GET", "/v1/rooms/"+encoded.String(), ""), fmt.Sprintf(`{"room":%q}`, name))
		if code, body := askAdmin(t, srv, "PUT", "/rooms/"+encoded.String()+"/retention", `{"messages":1}`); code != 200 || !strings.Contains(body, fmt.Sprintf(`{"room":%q,`, name)) {
			t.Errorf("what is kept of the room %q: %d %s", name, code, body)
		}
		if code, body := askAdmin(t, srv, "POST", "/revocations", fmt.Sprintf(`{"user":%q}`, name)); code != 200 {
			t.Errorf("revoke the tokens of %q: %d %s", name, code, body)
		}
		if code, body := askAdmin(t, srv, "DELETE", "/revocations/user/"+encoded.String(), ""); code != 204 {
			t.Errorf("take the revocation of %q back: %d %s", name, code, body)
		}
	}
}

package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	v1 "rookery/proto/rookery/v1"
)

func TestAPIPublish(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.Rooms.Ephemeral = []string{"game-*"} })
	b := newBackend(t, srv)
	bob := login(t, srv.Addr(), wires[1], "bob")
	bob.enter("lobby")
	message := func() *v1.Message {
		t.Helper()
		return bob.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil }).GetMessage()
	}
	b.is(b.do("POST", "/v1/rooms/lobby/messages", `{"user":"shop","text":"your order is <here>","kind":"order.sent","mentions":["bob"]}`), `{"room":"lobby","seq":1}`)
	if m := message(); m.From != "shop" || m.GetText() != "your order is <here>" || m.Kind != "order.sent" || len(m.Mentions) != 1 || m.Seq != 1 {
		t.Errorf("bob was sent %v", m)
	}
	b.is(b.do("POST", "/v1/rooms/lobby/messages", `{"user":"shop","data":"AAECew==","thread":1,"replyTo":1}`), `{"seq":2}`)
	if m := message(); !bytes.Equal(m.GetData(), []byte{0, 1, 2, 123}) || m.Thread != 1 || m.ReplyTo != 1 {
		t.Errorf("bob was sent %v", m)
	}
	b.is(b.do("POST", "/v1/rooms/lobby/messages", `{"user":"shop","text":"","key":"typing","ephemeral":true}`), `{"seq":0}`)
	if m := message(); !m.Ephemeral || m.Key != "typing" || m.Seq != 0 {
		t.Errorf("bob was sent %v", m)
	}
	// The same key again is not published again.
	keyed := b.with("Idempotency-Key", "order-17")
	first := keyed.do("POST", "/v1/rooms/lobby/messages", `{"user":"shop","text":"once"}`)
	if again := keyed.do("POST", "/v1/rooms/lobby/messages", `{"user":"shop","text":"twice"}`); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("a repetition was answered %v, the first %v", again, first)
	}
	keyed.is(keyed.do("POST", "/v1/rooms/lobby/messages", `{"user":"other","text":"mine"}`), `{"seq":4}`) // another user's key
	b.is(b.do("GET", "/v1/rooms/lobby", ""), `{"head":4}`)

	// Rooms with members: the key's rights count.
	b.do("POST", "/v1/rooms", `{"room":"group:g","speak":"owner"}`)
	b.is(b.do("POST", "/v1/rooms/group:g/messages", `{"user":"nobody","text":"x"}`), `{"seq":1}`)
	direct := b.do("POST", "/v1/rooms", `{"users":["a","b"]}`)["room"].(string)
	b.is(b.do("POST", "/v1/rooms/"+direct+"/messages", `{"user":"system","text":"welcome"}`), `{"seq":1}`)
	b.is(b.do("POST", "/v1/rooms/game-1/messages", `{"user":"a","text":"x"}`), `{"seq":0}`)
	b.is(b.do("GET", "/v1/rooms/game-1/messages", ""), `{"ephemeral":true}`)
}

func TestAPIBroadcast(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	bob := login(t, srv.Addr(), wires[0], "bob")
	bob.enter("r-3")
	var rooms []string
	for i := range 150 {
		rooms = append(rooms, fmt.Sprintf("r-%d", i))
	}
	rooms[7], rooms[8] = "group:none", "bad\x01name"
	body := func() string {
		text, err := json.Marshal(map[string]any{"rooms": rooms, "user": "news", "text": "closed on Monday"})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	keyed := b.with("Idempotency-Key", "monday")
	for range 2 {
		results := keyed.do("POST", "/v1/broadcast", body())["results"].([]any)
		if len(results) != len(rooms) {
			t.Fatalf("%d results for %d rooms", len(results), len(rooms))
		}
		for i, r := range results {
			result := r.(map[string]any)
			published, _ := result["published"].(map[string]any)
			fault, _ := result["error"].(map[string]any)
			want := map[int]string{7: "no_such_room", 8: "bad_request"}[i]
			if result["room"] != rooms[i] || want == "" && (published["seq"] != 1.0 || fault != nil) || want != "" && (published != nil || fault["name"] != want) {
				t.Errorf("room %d: %v", i, result)
			}
		}
	}
	if m := bob.must().GetMessage(); m.GetText() != "closed on Monday" || m.From != "news" {
		t.Errorf("bob was sent %v", m)
	}
	rooms = append(rooms, make([]string, 100)...)
	b.refused("POST", "/v1/broadcast", body(), 400, "bad_request")
	rooms = rooms[:2]
	b.refused("POST", "/v1/broadcast", strings.Replace(body(), `"news"`, `""`, 1), 400, "bad_request")
}

// TestAPIRetryKeysSurviveARestart: what was acknowledged before it is answered the same after it.
func TestAPIRetryKeysSurviveARestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	start := func() *backend {
		return newBackend(t, gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.Data = data })).with("Idempotency-Key", "k1")
	}
	b := start()
	b.do("POST", "/v1/rooms/r/messages", `{"user":"u","text":"before"}`)
	first := b.with("Idempotency-Key", "k2").do("POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}`)
	many := b.do("POST", "/v1/broadcast", `{"rooms":["a","b"],"user":"u","text":"x"}`)
	b.srv.Stop()
	b = start()
	if again := b.with("Idempotency-Key", "k2").do("POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}`); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("after the restart %v, before it %v", again, first)
	}
	if again := b.do("POST", "/v1/broadcast", `{"rooms":["a","b"],"user":"u","text":"x"}`); fmt.Sprint(again) != fmt.Sprint(many) {
		t.Errorf("after the restart %v, before it %v", again, many)
	}
	b.is(b.do("GET", "/v1/rooms/r", ""), `{"head":2}`)
	b.is(b.do("GET", "/v1/rooms/a", ""), `{"head":1}`)
}

func TestAPIChangesAndHistory(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.Rooms.EditWindow = []string{"closed 1s"} })
	b := newBackend(t, srv)
	bob := login(t, srv.Addr(), wires[0], "bob")
	bob.enter("r")
	for i := range 7 {
		b.do("POST", "/v1/rooms/r/messages", fmt.Sprintf(`{"user":"u","text":"message %d"}`, i+1))
	}
	const path = "/v1/rooms/r/messages"
	b.refused("PATCH", path+"/2", `{"user":"other","text":"x"}`, 403, "change_forbidden")
	edit := b.with("Idempotency-Key", "edit")
	edit.is(edit.do("PATCH", path+"/2", `{"user":"u","text":"edited"}`), `{"seq":8}`)
	edit.is(edit.do("PATCH", path+"/2", `{"user":"u","text":"edited"}`), `{"seq":8}`)
	b.is(b.do("DELETE", path+"/3?user=admin", ""), `{"seq":9}`)
	b.refused("DELETE", path+"/3?user=admin", "", 409, "unchanged")
	b.refused("PATCH", path+"/3", `{"user":"u","text":"x"}`, 410, "message_deleted")
	f := bob.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetSeq() == 9 })
	if m := f.GetMessage(); m.From != "admin" || m.Change.GetTarget() != 3 || m.Change.GetDelete() == nil {
		t.Errorf("bob was sent %v", m)
	}

	texts := func(query string) (texts []string, last, first string, more bool) {
		t.Helper()
		page := b.do("GET", path+query, "")
		b.is(page, `{"room":"r","begin":1}`)
		for _, m := range page["messages"].([]any) {
			m := m.(map[string]any)
			last = fmt.Sprint(m["seq"])
			if first == "" {
				first = last
			}
			if m["deleted"] == true {
				texts = append(texts, "deleted")
				continue
			}
			texts = append(texts, m["text"].(string))
		}
		return texts, last, first, page["more"].(bool)
	}
	want := "[message 1 edited deleted message 4 message 5 message 6 message 7]"
	newest, _, _, more := texts("")
	if fmt.Sprint(newest) != want || more {
		t.Errorf("the newest page is %v, more %v", newest, more)
	}
	var forward, backward []string
	for after, more := "0", true; more; {
		var page []string
		page, after, _, more = texts("?limit=3&after=" + after)
		forward = append(forward, page...)
	}
	for before, more := "100", true; more; {
		var page []string
		page, _, before, more = texts("?limit=2&before=" + before)
		backward = append(page, backward...)
	}
	if fmt.Sprint(forward) != want || fmt.Sprint(backward) != want {
		t.Errorf("pages forward are %v,\nbackward %v,\nwant %s", forward, backward, want)
	}
	b.do("POST", path, `{"user":"u","text":"in a thread","thread":1,"mentions":["carol"]}`)
	// Reactions are users', pins are the room's.
	const reaction = path + "/4/reactions/%F0%9F%91%8D?user="
	b.is(b.do("PUT", reaction+"u", ""), `{"seq":11}`)
	b.is(b.do("PUT", reaction+"v", ""), `{"seq":12}`)
	b.refused("PUT", reaction+"v", "", 409, "unchanged")
	b.is(b.do("DELETE", reaction+"v", ""), `{"seq":13}`)
	b.refused("PUT", path+"/4/reactions/%01?user=u", "", 400, "bad_request")
	b.refused("PUT", path+"/4/reactions/x", "", 400, "bad_request")
	pin := b.with("Idempotency-Key", "pin")
	for range 2 {
		pin.is(pin.do("PUT", path+"/4/pin?user=u", ""), `{"seq":14}`)
	}
	b.is(b.do("PUT", path+"/5/pin?user=u", ""), `{"seq":15}`)
	b.is(b.do("DELETE", path+"/5/pin?user=u", ""), `{"seq":16}`)
	b.refused("PUT", path+"/99/pin?user=u", "", 404, "message_not_found")
	four := b.do("GET", path+"?pinned=true", "")["messages"].([]any)[0].(map[string]any)
	b.is(four, `{"seq":4,"pinned":true}`)
	if got := fmt.Sprint(four["reactions"]); got != "[map[count:1 reaction:\U0001f44d users:[u]]]" {
		t.Errorf("the message has the reactions %s", got)
	}
	for query, want := range map[string]int{"?thread=1": 2, "?mentions=carol": 1, "?mentions=dave": 0, "?pinned=true": 1} {
		if page, _, _, _ := texts(query); len(page) != want {
			t.Errorf("%s has %v", query, page)
		}
	}
	b.refused("GET", path+"?thread=1&pinned=true", "", 400, "bad_request")
}

func TestAPIExport(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	for _, m := range []struct{ room, user string }{{"r", "alice"}, {"r", "bob"}, {"s", "alice"}, {"rr", "bob"}} {
		b.do("POST", "/v1/rooms/"+m.room+"/messages", `{"user":"`+m.user+`","text":"of `+m.user+" in "+m.room+`"}`)
	}
	lines := func(query string) (texts []string, end any) {
		t.Helper()
		status, header, body := b.send("GET", "/v1/export?"+query, "")
		if status != 200 || header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%s: %d %v %s", query, status, header, body)
		}
		for s := bufio.NewScanner(bytes.NewReader(body)); s.Scan(); {
			var line map[string]any
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				t.Fatalf("%v in %s", err, s.Bytes())
			}
			if line["kind"] == "message" {
				texts = append(texts, line["text"].(string))
			}
			end = line["end"]
		}
		return texts, end
	}
	for query, want := range map[string]string{
		"room=r":            "[of alice in r of bob in r]",
		"user=alice":        "[of alice in r of alice in s]",
		"user=alice&room=s": "[of alice in s]",
		"room=nowhere":      "[]",
	} {
		texts, end := lines(query)
		if fmt.Sprint(texts) != want || end == nil {
			t.Errorf("%s: %v, end %v, want %s", query, texts, end, want)
		}
	}
	// The next one goes on where the last one ended.
	_, end := lines("room=r")
	b.do("POST", "/v1/rooms/r/messages", `{"user":"alice","text":"later"}`)
	if texts, _ := lines(fmt.Sprintf("room=r&from=%.0f", end)); fmt.Sprint(texts) != "[later]" {
		t.Errorf("the next export has %v", texts)
	}
	b.refused("GET", "/v1/export?room=%01system", "", 400, "bad_request")
}

// TestAPIDrain: what is under way when the server leaves is answered, and nothing holds it up.
func TestAPIDrain(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	b.do("POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}`)
	stopped := make(chan struct{})
	acknowledged := make(chan int, 4)
	for worker := range 4 {
		go func() {
			n := 0
			defer func() { acknowledged <- n }()
			for i := 0; ; i++ {
				req, err := http.NewRequest("POST", "http://"+srv.AdminAddr()+"/v1/rooms/r/messages", strings.NewReader(fmt.Sprintf(`{"user":"u%d","text":"%d"}`, worker, i)))
				if err != nil {
					return
				}
				req.Header.Set("Authorization", "Bearer "+fullSecret)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					return
				}
				res.Body.Close()
				if res.StatusCode != 200 {
					return
				}
				if n++; n == 20 {
					select {
					case stopped <- struct{}{}:
					default:
					}
				}
			}
		}()
	}
	select {
	case <-stopped:
	case <-time.After(waitLimit):
		t.Fatal("nothing is published")
	}
	srv.Stop()
	total := 0
	for range 4 {
		total += <-acknowledged
	}
	http.DefaultClient.CloseIdleConnections()
	if total < 20 {
		t.Errorf("only %d were acknowledged", total)
	}
	if !srv.Logged("drained") {
		t.Error("the gateway did not drain")
	}
}

package dialect

import (
	"slices"
	"strings"
	"testing"
)

func centrifugoReady() []byte {
	return append(accepted(""), serverText(`{"id":4294967295,"connect":{"client":"c","version":"0.0.0","ping":25,"pong":true}}`)...)
}

func TestCentrifugoRead(t *testing.T) {
	// Several in one message, and one that ends in a line feed.
	stream := append(centrifugoReady(), serverText(strings.Join([]string{
		`{"id":1,"subscribe":{}}`,
		`{"id":2,"subscribe":{"recoverable":true,"epoch":"e","offset":5,"positioned":true}}`,
		`{"id":3,"publish":{}}`,
		`{"publish":{},"id":4}`,
		`{"id":5,"unsubscribe":{}}`,
		`{"id":6,"error":{"code":103,"message":"permission denied"}}`,
		`{"push":{"channel":"p3","pub":{"data":"rb1.x"}}}`,
		`{"push":{"channel":"p3","pub":{"data":{"text":"rb1.x"},"info":{"user":"1","client":"2"},"offset":6}}}`,
		`{"push":{"pub":{"data":"rb1.x"},"channel":"p3"}}`,
		`{"push":{"channel":"other","pub":{"data":"rb1.x"}}}`,
		`{"push":{"channel":"p3","join":{"info":{"user":"1"}}}}`,
		`{}`,
		``,
		`{"push":{"refresh":{"expires":true}}}`,
	}, "\n"))...)
	stream = append(stream, serverText("{}\n")...)
	all, failure := feedCut(t, config("centrifugo"), "ws://h:1", stream)
	if failure != "" {
		t.Error(failure)
	}
	wantHeard(t, withoutOut(all), []heard{
		{Kind: Ready, Room: -1},
		{Kind: Joined, ID: 1, Room: -1},
		{Kind: Joined, ID: 2, Room: -1},
		{Kind: Acknowledged, ID: 3, Room: -1},
		{Kind: Acknowledged, ID: 4, Room: -1},
		{Kind: Left, ID: 5, Room: -1},
		{Kind: Refused, ID: 6, Room: -1, Reason: "permission denied"},
		{Kind: Message, Room: 3, Body: `"rb1.x"}}}`},
		{Kind: Message, Room: 3, Body: `{"text":"rb1.x"},"info":{"user":"1","client":"2"},"offset":6}}}`},
		{Kind: Message, Room: 3, Body: `"rb1.x"`},
		{Kind: Message, Room: -1, Body: `"rb1.x"}}}`},
	})
	var out []string
	for _, h := range all {
		out = append(out, sent(t, []byte(h.Out))...)
	}
	if want := []string{`text {"id":4294967295,"connect":{"name":"rookery-bench"}}`, "text {}", "text {}"}; !slices.Equal(out, want) {
		t.Errorf("the client answered %q, want %q", out, want)
	}
}

func TestCentrifugoRequests(t *testing.T) {
	c := config("centrifugo")
	c.Server.Token = `a"b`
	d, s := open(t, c, "ws://h:1")
	if got := string(d.AppendOpen(nil, s)); !strings.HasPrefix(got, "GET /connection/websocket HTTP/1.1\r\n") {
		t.Errorf("got %q", got)
	}
	if got := d.AppendClose(nil, s); len(got) != 0 {
		t.Errorf("within the handshake %q is sent", got)
	}
	all, _ := feed(d, s, centrifugoReady())
	out := []byte(all[0].Out)
	out = d.AppendJoin(out, s, Join{ID: 1, Room: 3})
	out = d.AppendPublish(out, s, Publish{ID: 2, Room: 3, Body: []byte("rb1.x")})
	out = d.AppendLeave(out, s, 3, 3)
	out = d.AppendClose(out, s)
	want := []string{`text {"id":4294967295,"connect":{"token":"a\"b","name":"rookery-bench"}}`,
		`text {"id":1,"subscribe":{"channel":"p3"}}`, `text {"id":2,"publish":{"channel":"p3","data":"rb1.x"}}`,
		`text {"id":3,"unsubscribe":{"channel":"p3"}}`, "close \x03\xe8"}
	if got := sent(t, out); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestCentrifugoEnds(t *testing.T) {
	login := `{"id":4294967295,"connect":{}}` + "\n"
	for line, want := range map[string]string{
		`{"id":4294967295,"error":{"code":101,"message":"unauthorized"}}`:                             "login was refused: 101 unauthorized",
		login + `{"push":{"disconnect":{"code":3000,"reason":"shutdown"}}}`:                           "closed the connection with 3000 shutdown",
		login + `{"push":{"channel":"p3","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`: "subscription to p3 with 2500 insufficient state",
		login + `hello`: "can't be read",
	} {
		if _, failure := feedCut(t, config("centrifugo"), "ws://h:1", append(accepted(""), serverText(line)...)); !strings.Contains(failure, want) {
			t.Errorf("%s gives %q, want %q", line, failure, want)
		}
	}
}

func TestCentrifugoAllocatesNothing(t *testing.T) {
	d, s := ready(t, config("centrifugo"), "ws://h:1", centrifugoReady())
	wantNoAllocation(t, d, s, serverText(`{"push":{"channel":"p3","pub":{"data":"rb1.x"}}}`), Message)
	wantNoAllocation(t, d, s, serverText(`{"id":3,"publish":{}}`), Acknowledged)
	wantNoPublishAllocation(t, d, s)
}

package dialect

import (
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// socketIOLogin is what a server sends until rooms can be joined.
func socketIOLogin() []byte {
	stream := append(accepted(""), serverText(`0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`)...)
	return append(stream, serverText(`40{"sid":"b"}`)...)
}

func TestSocketIORead(t *testing.T) {
	stream := socketIOLogin()
	for _, packet := range []string{
		`43` + `12` + `[]`, // 4*3+0: a join
		`4313[]`,           // a leave
		`4314[{"ok":true}]`,
		`4315[{"error":"why"}]`, `4316[{"error":{"code":5}}]`, `4317[{"error":`,
		`42["message",{"room":"p3","body":"rb1.x"}]`,
		`4277["message",{"body":"rb1.x","room":"p3"}]`, // wants an acknowledgement
		`42["message","rb1.x"]`,
		`42["message",{"room":"others","body":"rb1.x"}]`,
		`42["typing",{"room":"p3","body":"rb1.x"}]`,
		`42/admin,["message",{"room":"p3"}]`,
		`43/admin,12[]`, `43[]`, `4399999999999999999[]`,
		`451-["message",{"_placeholder":true,"num":0}]`,
		`2`, `6`, `3`,
	} {
		stream = append(stream, serverText(packet)...)
	}
	stream = append(stream, serverFrame(ws.OpBinary, true, []byte(`42["message",1]`))...)
	all, failure := feedCut(t, config("socket.io"), "ws://h:1", stream)
	if failure != "" {
		t.Error(failure)
	}
	wantHeard(t, withoutOut(all), []heard{
		{Kind: Ready, Room: -1},
		{Kind: Joined, ID: 4, Room: -1},
		{Kind: Left, ID: 4, Room: -1},
		{Kind: Acknowledged, ID: 4, Room: -1},
		{Kind: Refused, ID: 5, Room: -1, Reason: "why"},
		{Kind: Refused, ID: 5, Room: -1, Reason: "map[code:5]"},
		{Kind: Refused, ID: 5, Room: -1, Reason: "no reason that can be read"},
		{Kind: Message, Room: 3, Body: `{"room":"p3","body":"rb1.x"}]`},
		{Kind: Message, Room: 3, Body: `{"body":"rb1.x","room":"p3"}]`},
		{Kind: Message, Room: -1, Body: `"rb1.x"]`},
		{Kind: Message, Room: -1, Body: `{"room":"others","body":"rb1.x"}]`},
	})
	var out []string
	for _, h := range all {
		out = append(out, sent(t, []byte(h.Out))...)
	}
	if want := []string{"text 40", "text 3"}; !slices.Equal(out, want) {
		t.Errorf("the client answered %q, want %q", out, want)
	}
}

func TestSocketIORequests(t *testing.T) {
	c := config("socket.io")
	c.Server.Token = `a"b`
	d, s := open(t, c, "ws://h:1/?room=1")
	if got := string(d.AppendOpen(nil, s)); !strings.HasPrefix(got, "GET /socket.io/?room=1&EIO=4&transport=websocket HTTP/1.1\r\n") {
		t.Errorf("got %q", got)
	}
	if got := d.AppendClose(nil, s); len(got) != 0 {
		t.Errorf("within the handshake %q is sent", got)
	}
	all, _ := feed(d, s, socketIOLogin())
	out := []byte(all[0].Out)
	out = d.AppendJoin(out, s, Join{ID: 4, Room: 3})
	out = d.AppendLeave(out, s, 4, 3)
	out = d.AppendPublish(out, s, Publish{ID: 4_294_967_295, Room: 3, Body: []byte("rb1.x")})
	out = d.AppendClose(out, s)
	want := []string{`text 40{"token":"a\"b"}`, `text 4212["join","p3"]`, `text 4213["leave","p3"]`,
		`text 4212884901887["publish",{"room":"p3","body":"rb1.x"}]`, "text 41", "close \x03\xe8"}
	if got := sent(t, out); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	e := &Event{}
	if n, err := d.Read(s, serverText("4312884901887[]"), e); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if _, err := d.Read(s, []byte("4312884901887[]"), e); err != nil || e.Kind != Acknowledged || e.ID != 4_294_967_295 {
		t.Errorf("got %+v, %v, want the greatest id again", e, err)
	}
}

func TestSocketIOEnds(t *testing.T) {
	for packet, want := range map[string]string{
		`44{"message":"not you"}`: `login was refused: {"message":"not you"}`,
		"41":                      "disconnected the namespace",
		"1":                       "closed the connection",
	} {
		if _, failure := feedCut(t, config("socket.io"), "ws://h:1", append(accepted(""), serverText(packet)...)); !strings.Contains(failure, want) {
			t.Errorf("%s gives %q, want %q", packet, failure, want)
		}
	}
}

func TestSocketIOAllocatesNothing(t *testing.T) {
	d, s := ready(t, config("socket.io"), "ws://h:1", socketIOLogin())
	wantNoAllocation(t, d, s, serverText(`42["message",{"room":"p3","body":"rb1.x"}]`), Message)
	wantNoAllocation(t, d, s, serverText(`4314[]`), Acknowledged)
	wantNoPublishAllocation(t, d, s)
}

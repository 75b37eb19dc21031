package dialect

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// The ways that Rookery's frames go.
var ways = []struct {
	name, codec, target string
	frames              proto.Codec
}{
	{"binary", "", "ws://127.0.0.1:1", proto.Binary},
	{"json", "json", "ws://127.0.0.1:1", proto.JSON},
	{"tcp", "", "tcp://127.0.0.1:1", proto.Binary},
}

func rookeryConfig(codec string) Config {
	c := config("rookery")
	c.Server.Codec = codec
	return c
}

// every frame that a server has, with the event that it is.
var serverFrames = []struct {
	frame *v1.ServerFrame
	want  heard
}{
	{&v1.ServerFrame{Id: loginID, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{User: "p7"}}}, heard{Kind: Ready, Room: -1}},
	{&v1.ServerFrame{Id: 1, Op: &v1.ServerFrame_Joined{Joined: &v1.Joined{Room: "p3", Epoch: "e", Head: 57, Begin: 1}}},
		heard{Kind: Joined, ID: 1, Room: -1, Seq: 57}},
	{&v1.ServerFrame{Id: 2, Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: "p3"}}}, heard{Kind: Left, ID: 2, Room: -1}},
	{&v1.ServerFrame{Id: 3, Op: &v1.ServerFrame_Published{Published: &v1.Published{Room: "p3", Seq: 58, At: 99}}},
		heard{Kind: Acknowledged, ID: 3, Room: -1, Seq: 58}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "p3", Seq: 58, At: 9, From: "p7",
		Content: &v1.Message_Text{Text: "rb1.x"}}}}, heard{Kind: Message, Room: 3, Seq: 58, Body: "rb1.x"}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "other", Seq: 1, From: `"`,
		Content: &v1.Message_Text{Text: `a\"b`}}}}, heard{Kind: Message, Room: -1, Seq: 1, Body: `a\"b`}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "p3", Seq: 59, At: 9, From: "p7",
		Content: &v1.Message_Data{Data: []byte("\x00data")}}}}, heard{Kind: Message, Room: 3, Seq: 59, Body: "\x00data"}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "p3", At: 9, From: "p7", Ephemeral: true, Key: "typing",
		Content: &v1.Message_Text{Text: "rb1.y"}}}}, heard{Kind: Message, Room: 3, Body: "rb1.y", Ephemeral: true}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Error{Error: &v1.Error{Code: 503, Name: "overloaded", Message: "No."}}},
		heard{Kind: Refused, Room: -1, Reason: "overloaded"}},
	{&v1.ServerFrame{Id: 6, Op: &v1.ServerFrame_Marked{Marked: &v1.Marked{Room: "p3", Delivered: 58, Read: 57}}},
		heard{Kind: Marked, ID: 6, Room: -1, Seq: 57}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Receipt{Receipt: &v1.Receipt{Room: "p3", User: "p7", Delivered: 58, Read: 57}}},
		heard{Kind: Receipt, Room: -1}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Receipts{Receipts: &v1.Receipts{Room: "p3", Head: 58, Users: 200,
		Counts: []*v1.ReceiptCount{{Seq: 58, Delivered: 150, Read: 2}}}}}, heard{Kind: Receipt, Room: -1}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Gap{Gap: &v1.Gap{Room: "p3", First: 2, Last: 5, Reason: "expired"}}},
		heard{Kind: Gap, Room: 3, Seq: 2, Last: 5, Reason: "expired"}},
	{&v1.ServerFrame{Id: 4, Op: &v1.ServerFrame_Error{Error: &v1.Error{Code: 429, Name: "rate_limited", Message: "No."}}},
		heard{Kind: Refused, ID: 4, Room: -1, Reason: "rate_limited"}},
	{&v1.ServerFrame{Op: &v1.ServerFrame_Goaway{Goaway: &v1.GoAway{Reason: "draining"}}},
		heard{Kind: GoAway, Room: -1, Reason: "draining"}},
	// Nobody's: the answer to a ping of ours, a refusal of it, a second login, history, an operation to come.
	{&v1.ServerFrame{Id: loginID + 1, Op: &v1.ServerFrame_Pong{Pong: &v1.Pong{}}}, heard{}},
	{&v1.ServerFrame{Id: loginID + 1, Op: &v1.ServerFrame_Error{Error: &v1.Error{Name: "draining"}}}, heard{}},
	{&v1.ServerFrame{Id: 5, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{}}}, heard{}},
	{&v1.ServerFrame{Id: 6, Op: &v1.ServerFrame_History{History: &v1.History{Room: "p3"}}}, heard{}},
	{&v1.ServerFrame{Id: 7}, heard{}},
}

// TestRookeryFrames: alone in messages, together in one, in fragments, and without WebSocket, cut at every byte.
func TestRookeryFrames(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			op, subprotocol := ws.OpBinary, proto.SubprotocolBinary
			if way.frames == proto.JSON {
				op, subprotocol = ws.OpText, proto.SubprotocolJSON
			}
			var together, alone []byte
			var want []heard
			for _, f := range serverFrames {
				frame := proto.AppendServerFrame(nil, way.frames, f.frame)
				together = append(together, frame...)
				alone = append(alone, serverFrame(op, true, frame)...)
				if f.want.Kind != None {
					want = append(want, f.want)
				}
			}
			streams := map[string][]byte{"alone": alone, "together": serverFrame(op, true, together), "fragments": fragments(op, together, 30)}
			if way.name == "tcp" {
				streams = map[string][]byte{"stream": together}
			}
			if way.frames == proto.JSON {
				streams["empty lines, and no end"] = serverFrame(op, true, []byte("\n\n"+strings.TrimSuffix(string(together), "\n")))
			}
			for name, stream := range streams {
				if way.name != "tcp" {
					stream = append(accepted(subprotocol), stream...)
				}
				all, failure := feedCut(t, rookeryConfig(way.codec), way.target, stream)
				if failure != "" {
					t.Errorf("%s: %s", name, failure)
				}
				wantHeard(t, withoutOut(all), want)
			}
		})
	}
}

func TestRookeryFaults(t *testing.T) {
	frame := func(codec proto.Codec, f *v1.ServerFrame) string {
		return string(proto.AppendServerFrame(nil, codec, f))
	}
	refused := &v1.ServerFrame{Id: loginID, Op: &v1.ServerFrame_Error{Error: &v1.Error{Name: "unauthorized", Message: "No."}}}
	closing := &v1.ServerFrame{Op: &v1.ServerFrame_Close{Close: &v1.Close{Code: 4001, Reason: "silence"}}}
	for _, c := range []struct {
		name, codec, target string
		stream              []byte
		failure             string
	}{
		{"login, binary", "", "ws://h:1", serverFrame(ws.OpBinary, true, []byte(frame(proto.Binary, refused))), "login was refused: unauthorized: No."},
		{"login, json", "json", "ws://h:1", serverText(frame(proto.JSON, refused)), "login was refused: unauthorized: No."},
		{"close, tcp", "", "tcp://h:1", []byte(frame(proto.Binary, closing)), "closed the connection with 4001 silence"},
		{"text for binary", "", "ws://h:1", serverText("\x00"), "of the other codec"},
		{"binary for text", "json", "ws://h:1", serverFrame(ws.OpBinary, true, []byte("{}")), "of the other codec"},
		{"half a frame", "", "ws://h:1", serverFrame(ws.OpBinary, true, []byte("\x05abc")), "ends inside a frame"},
		{"half a length", "", "ws://h:1", serverFrame(ws.OpBinary, true, []byte("\x85")), "ends inside a frame"},
		{"no frame", "", "tcp://h:1", []byte("\x03abc"), "can't be read"},
		{"no length", "", "tcp://h:1", []byte("\xff\xff\xff\xff\xff"), "no frames"},
		{"a huge frame", "", "tcp://h:1", []byte("\xff\xff\xff\x7f"), "268435455 bytes"},
		{"no JSON", "json", "ws://h:1", serverText("hello"), "can't be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.target, "ws") {
				subprotocol := map[string]string{"": proto.SubprotocolBinary, "json": proto.SubprotocolJSON}[c.codec]
				c.stream = append(accepted(subprotocol), c.stream...)
			}
			_, failure := feedCut(t, rookeryConfig(c.codec), c.target, c.stream)
			if !strings.Contains(failure, c.failure) {
				t.Errorf("got %q, want %q", failure, c.failure)
			}
		})
	}
}

// requests decodes what a client of Rookery sent.
func requests(t *testing.T, web bool, codec proto.Codec, out []byte) []*v1.ClientFrame {
	t.Helper()
	stream := strings.TrimPrefix(string(out), proto.Preface)
	if web {
		stream = ""
		for _, message := range sent(t, out) {
			kind, payload, _ := strings.Cut(message, " ")
			if (kind == "text") != (codec == proto.JSON) {
				t.Fatalf("a frame of codec %d is in a %s message", codec, kind)
			}
			stream += payload
		}
	}
	var all []*v1.ClientFrame
	for rest := []byte(stream); len(rest) > 0; {
		frame, after, err := proto.Next(codec, rest)
		if err != nil {
			t.Fatal(err)
		}
		f := &v1.ClientFrame{}
		if err := proto.DecodeClientFrame(f, codec, frame); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
		rest = after
	}
	return all
}

func TestRookeryRequests(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			d, s := open(t, rookeryConfig(way.codec), way.target)
			out := d.AppendJoin(nil, s, Join{ID: 1, Room: 3, After: -1})
			out = d.AppendJoin(out, s, Join{ID: 2, Room: 4, After: 0})
			out = d.AppendPublish(out, s, Publish{ID: 3, Room: 3, Key: 36, Body: []byte("rb1.x")})
			out = d.AppendLeave(out, s, 4, 3)
			all := requests(t, way.name != "tcp", way.frames, out)
			if len(all) != 4 {
				t.Fatalf("got %d requests, want 4", len(all))
			}
			if j := all[0].GetJoin(); all[0].Id != 1 || j.Room != "p3" || j.After != nil {
				t.Errorf("got %v", all[0])
			}
			if j := all[1].GetJoin(); all[1].Id != 2 || j.Room != "p4" || j.After == nil || *j.After != 0 {
				t.Errorf("got %v", all[1])
			}
			if p := all[2].GetPublish(); all[2].Id != 3 || p.Room != "p3" || p.Key != "36" || p.GetText() != "rb1.x" {
				t.Errorf("got %v", all[2])
			}
			if all[3].Id != 4 || all[3].GetLeave().Room != "p3" {
				t.Errorf("got %v", all[3])
			}
		})
	}
}

// TestRookeryEphemeral: a plan of ephemeral messages can rely on less, and others have none.
func TestRookeryEphemeral(t *testing.T) {
	c := rookeryConfig("")
	if d, _ := open(t, c, "tcp://h:1"); !d.Traits().Numbered || !d.Traits().Acknowledges || !d.Traits().Resumes || !d.Traits().Ephemeral {
		t.Errorf("traits are %+v", d.Traits())
	}
	c.Ephemeral = true
	if d, _ := open(t, c, "tcp://h:1"); d.Traits() != (Traits{Acknowledges: true, Answers: true, Pipelines: true, Reaches: Room, Ephemeral: true, Presence: true}) {
		t.Errorf("traits are %+v", d.Traits())
	}
	c = config("socket.io")
	c.Ephemeral = true
	if _, err := New(c, Target{Scheme: "ws", Host: "h:1"}); err == nil || !strings.Contains(err.Error(), "publish.ephemeral") {
		t.Errorf("Socket.IO with ephemeral messages gives %v", err)
	}
}

// TestRookeryLogin: a name, the token of all, or one of its own.
func TestRookeryLogin(t *testing.T) {
	for _, way := range ways {
		c := rookeryConfig(way.codec)
		login := func() *v1.Connect {
			d, s := open(t, c, way.target)
			out := d.AppendOpen(nil, s)
			if way.name != "tcp" {
				all, failure := feed(d, s, accepted(map[string]string{"": proto.SubprotocolBinary, "json": proto.SubprotocolJSON}[way.codec]))
				if len(all) != 1 || failure != "" {
					t.Fatalf("the handshake gives %+v, %s", all, failure)
				}
				out = []byte(all[0].Out)
			}
			all := requests(t, way.name != "tcp", way.frames, out)
			if len(all) != 1 || all[0].Id != loginID {
				t.Fatalf("got %v", all)
			}
			return all[0].GetConnect()
		}
		if l := login(); l.Name != "p7" || l.Token != "" {
			t.Errorf("%s: got %v, want a name", way.name, l)
		}
		c.Server.Token = "a.b.c"
		if l := login(); l.Name != "" || l.Token != "a.b.c" {
			t.Errorf("%s: got %v, want the token", way.name, l)
		}
		c.Server.Key = "secret"
		claims := jwt.MapClaims{}
		l := login()
		_, err := jwt.ParseWithClaims(l.Token, claims, func(*jwt.Token) (any, error) { return []byte("secret"), nil })
		if err != nil || claims["sub"] != "p7" || l.Name != "" {
			t.Errorf("%s: got %v, %v, want a token of user p7", way.name, claims, err)
		}
	}
}

// TestRookeryProbe: raw TCP is asked for a sign of life by a frame.
func TestRookeryProbe(t *testing.T) {
	d, s := open(t, rookeryConfig(""), "tcp://h:1")
	probe := proto.AppendServerFrame(nil, proto.Binary, &v1.ServerFrame{Op: &v1.ServerFrame_Ping{Ping: &v1.Ping{}}})
	all, failure := feed(d, s, probe)
	if len(all) != 1 || failure != "" {
		t.Fatalf("got %+v, %s", all, failure)
	}
	if got := requests(t, false, proto.Binary, []byte(all[0].Out)); len(got) != 1 || got[0].GetPing() == nil || got[0].Id <= loginID {
		t.Errorf("got %v, want a ping", got)
	}
}

func TestRookeryClose(t *testing.T) {
	d, s := open(t, rookeryConfig(""), "ws://h:1")
	if got := d.AppendClose(nil, s); len(got) != 0 {
		t.Errorf("within the handshake %q is sent", got)
	}
	feed(d, s, accepted(proto.SubprotocolBinary))
	if got := sent(t, d.AppendClose(nil, s)); len(got) != 1 || !strings.HasPrefix(got[0], "close ") {
		t.Errorf("got %q, want a Close", got)
	}
	d, s = open(t, rookeryConfig(""), "tcp://h:1")
	if got := d.AppendClose(nil, s); len(got) != 0 {
		t.Errorf("over TCP %q is sent, and there is no such frame", got)
	}
	c := rookeryConfig("json")
	if _, err := New(c, Target{Scheme: "tcp", Host: "h:1"}); err == nil || !strings.Contains(err.Error(), "binary frames only") {
		t.Errorf("JSON over TCP gives %v", err)
	}
}

package dialect

import (
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"rookery/bench/plan"
)

func genericConfig(template plan.Template) Config {
	c := config("websocket")
	c.Server.Template = template
	return c
}

func TestTemplateFaults(t *testing.T) {
	for _, c := range []struct {
		name     string
		template plan.Template
		faults   []string
	}{
		{"unknown placeholders", plan.Template{Join: "{rooms}", Publish: "{body}{x}"}, []string{
			"join has {rooms}, which is no placeholder", "publish has {x}, which is no placeholder"}},
		{"placeholders out of place", plan.Template{Connect: "{room}{user}", Join: "{body}", Leave: "{body}", Joined: "{body}"}, []string{
			"connect has {room}", "it can have {user}", "join has {body}", "leave has {body}", "joined has {body}"}},
		{"no body", plan.Template{Publish: "hello"}, []string{"publish has no {body}"}},
		{"nothing to join", plan.Template{Joined: "yes", Leave: "no", Reaches: "room"}, []string{
			"joined is set and join is not", "leave is set and join is not", "reaches is room and join is empty"}},
		{"nothing to join for others", plan.Template{Reaches: "room-others"}, []string{"reaches is room-others and join is empty"}},
		{"reaches", plan.Template{Reaches: "nobody"}, []string{`reaches is "nobody": use everyone, others, room, room-others or sender`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(genericConfig(c.template), Target{Scheme: "ws", Host: "h:1"})
			if err == nil {
				t.Fatal("it is taken")
			}
			for _, fault := range c.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("got %q, want %q in it", err, fault)
				}
			}
		})
	}
}

func TestTemplateReaches(t *testing.T) {
	for _, c := range []struct {
		template plan.Template
		want     Traits
	}{
		{plan.Template{}, Traits{Reaches: Everyone}},
		{plan.Template{Join: "j"}, Traits{Reaches: Room}},
		{plan.Template{Join: "j", Joined: "yes"}, Traits{Reaches: Room, Answers: true}},
		{plan.Template{Reaches: "sender"}, Traits{Reaches: Sender}},
		{plan.Template{Reaches: "everyone", Join: "j"}, Traits{Reaches: Everyone}},
		{plan.Template{Reaches: "others"}, Traits{Reaches: Others}},
		{plan.Template{Reaches: "room-others", Join: "j"}, Traits{Reaches: RoomOthers}},
		{plan.Template{Reaches: "room", Join: "j"}, Traits{Reaches: Room}},
	} {
		d, _ := open(t, genericConfig(c.template), "ws://h:1")
		if got := d.Traits(); got != c.want {
			t.Errorf("%+v: got %+v, want %+v", c.template, got, c.want)
		}
	}
}

func TestTemplateTexts(t *testing.T) {
	d, s := open(t, genericConfig(plan.Template{
		Connect: `{"hello":"{user}"}`,
		Join:    `{"join":["{room}",{id}],"by":"{user}"}`,
		Leave:   `leave {room} {room} {id}`,
		Publish: `{body}>{room} {id}{user}`,
		Joined:  `{id}`,
	}), "ws://h:1")
	all, failure := feed(d, s, accepted(""))
	if len(all) != 1 || failure != "" || all[0].Kind != Ready {
		t.Fatalf("got %+v, %s", all, failure)
	}
	out := []byte(all[0].Out)
	out = d.AppendJoin(out, s, Join{ID: 4, Room: 3})
	out = d.AppendPublish(out, s, Publish{ID: 5, Room: 3, Body: []byte("rb1.x")})
	out = d.AppendLeave(out, s, 6, 3)
	want := []string{`text {"hello":"p7"}`, `text {"join":["p3",4],"by":"p7"}`, "text rb1.x>p3 5p7", "text leave p3 p3 6", "ping 6"}
	if got := sent(t, out); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}

	// The least: nothing is sent but bodies, and binary.
	d, s = open(t, genericConfig(plan.Template{Binary: true}), "ws://h:1")
	out = d.AppendJoin(nil, s, Join{ID: 4, Room: 3})
	out = d.AppendLeave(out, s, 6, 3)
	out = d.AppendPublish(out, s, Publish{ID: 5, Room: 3, Body: []byte("rb1.x")})
	if got := sent(t, out); !slices.Equal(got, []string{"binary rb1.x"}) {
		t.Errorf("got %q, want only the body", got)
	}
}

// TestTemplateAnswers: a join is answered once, by the text with what it asked for; of two that ask for the same the
// older one is.
func TestTemplateAnswers(t *testing.T) {
	d, s := ready(t, genericConfig(plan.Template{Join: "join {room}", Joined: "joined {room}!"}), "ws://h:1", accepted(""))
	d.AppendJoin(nil, s, Join{ID: 4, Room: 3})
	d.AppendJoin(nil, s, Join{ID: 5, Room: 4})
	d.AppendJoin(nil, s, Join{ID: 9, Room: 3})
	d.AppendLeave(nil, s, 6, 3)
	stream := serverText("you joined p9!")
	stream = append(stream, serverText("you joined p4!")...)
	stream = append(stream, serverText("you joined p3!")...)
	stream = append(stream, serverText("in p3: rb1.joined p3!")...)
	stream = append(stream, serverFrame(ws.OpBinary, true, []byte("you joined p3!"))...)
	stream = append(stream, serverFrame(ws.OpPong, true, []byte("6"))...)
	stream = append(stream, serverFrame(ws.OpPong, true, []byte("unasked"))...)
	stream = append(stream, serverFrame(ws.OpPong, true, nil)...)
	all, failure := feed(d, s, stream)
	if failure != "" {
		t.Error(failure)
	}
	wantHeard(t, all, []heard{
		{Kind: Joined, ID: 5, Room: 4},
		{Kind: Joined, ID: 4, Room: 3},
		{Kind: Message, Room: -1, Body: "in p3: rb1.joined p3!"},
		{Kind: Joined, ID: 9, Room: 3},
		{Kind: Left, ID: 6, Room: -1},
	})
	if s.waiting != nil {
		t.Errorf("nothing is waited for, and %+v is kept", s.waiting)
	}
}

func TestGenericAllocatesNothing(t *testing.T) {
	d, s := ready(t, genericConfig(plan.Template{Publish: "{room} {id} {body}"}), "ws://h:1", accepted(""))
	wantNoAllocation(t, d, s, serverText("room rb1.x"), Message)
	wantNoPublishAllocation(t, d, s)
}

// wantNoPublishAllocation publishes again and again into the same memory.
func wantNoPublishAllocation(t *testing.T, d Dialect, s *Session) {
	t.Helper()
	buffer := make([]byte, 0, 1000)
	body := []byte("rb1.x")
	if got := testing.AllocsPerRun(100, func() {
		buffer = d.AppendPublish(buffer[:0], s, Publish{ID: 1, Room: 3, Body: body})
	}); got > 0 {
		t.Errorf("%v allocations to publish, want none", got)
	}
}

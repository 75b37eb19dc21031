package plan

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEveryScenarioCanBeRunAndWrittenAndRead(t *testing.T) {
	for _, s := range Scenarios() {
		p, err := Named(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		text, err := Write(p)
		if err != nil {
			t.Fatal(err)
		}
		read, err := Read(text)
		if err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, text)
		}
		again, err := Write(read)
		if err != nil || string(again) != string(text) {
			t.Errorf("%s written and read is another (%v):\n%s\n%s", s.Name, err, text, again)
		}
	}
}

func TestSecretsAreNotWritten(t *testing.T) {
	p := base()
	p.Server.Token, p.Server.Key = "a-token", "a-key"
	text, err := Write(p)
	if err != nil || strings.Contains(string(text), "a-token") || strings.Contains(string(text), "a-key") {
		t.Errorf("%v:\n%s", err, text)
	}
}

func TestAPlanSaysOnlyWhatIsDifferent(t *testing.T) {
	p, err := Read([]byte("scenario: fanout\npublish:\n  rate: 77\ntime:\n  duration: 90s\n"))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := Named("fanout")
	want.Publish.Rate, want.Time.Duration = 77, 90*time.Second
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}
}

func TestAPlanOfItsOwnName(t *testing.T) {
	p, err := Read([]byte("scenario: our evening\nclients:\n  connections: 5\n"))
	if err != nil || p.Scenario != "our evening" || p.Clients.Connections != 5 || p.Publish.Size != 128 {
		t.Errorf("%v: %+v", err, p)
	}
}

func TestWhatIsNoPlan(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"publish:\n  rat: 7\n", "rat"},
		{"publish: [1]\n", "publish"},
		{"time:\n  duration: soon\n", "duration"},
		{"\tx", ""},
	} {
		if _, err := Read([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gave the error %v, want one that names %q", c.text, err, c.want)
		}
	}
	if _, err := Named("storms"); err == nil || !strings.Contains(err.Error(), "storm, ") {
		t.Errorf("an unknown scenario gave the error %v", err)
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*Plan)
	}{
		{"server.targets", func(p *Plan) { p.Server.Targets = nil }},
		{"server.codec", func(p *Plan) { p.Server.Codec = "xml" }},
		{"server.token", func(p *Plan) { p.Server.Token, p.Server.Key = "a", "b" }},
		{"clients.connections", func(p *Plan) { p.Clients.Connections = 0 }},
		{"clients.rate", func(p *Plan) { p.Clients.Rate = -1 }},
		{"clients.pending", func(p *Plan) { p.Clients.Pending = -1 }},
		{"clients.timeout", func(p *Plan) { p.Clients.Timeout = 0 }},
		{"clients.workers", func(p *Plan) { p.Clients.Workers = -1 }},
		{"rooms.count", func(p *Plan) { p.Rooms.Count = 0 }},
		{"rooms.per_connection", func(p *Plan) { p.Rooms.PerConnection = p.Rooms.Count + 1 }},
		{"rooms.prefix", func(p *Plan) { p.Rooms.Prefix = strings.Repeat("x", 101) }},
		{"rooms.backlog", func(p *Plan) { p.Rooms.Backlog = -1 }},
		{"publish.arrivals", func(p *Plan) { p.Publish.Arrivals = "sometimes" }},
		{"publish.size", func(p *Plan) { p.Publish.Size = MinBody - 1 }},
		{"publish.senders", func(p *Plan) { p.Publish.Senders = -1 }},
		{"publish.typing", func(p *Plan) { p.Publish.Typing = 2 }},
		{"both set: typing", func(p *Plan) { p.Publish.Ephemeral, p.Publish.Typing = true, 0.5 }},
		{"publish.receipts", func(p *Plan) { p.Publish.Receipts = -1 }},
		{"both set: nobody can say", func(p *Plan) { p.Publish.Ephemeral, p.Publish.Typing, p.Publish.Receipts = true, 0, time.Second }},
		{"in no backlog", func(p *Plan) { p.Publish.Ephemeral, p.Rooms.Backlog = true, 5 }},
		{"nobody would get", func(p *Plan) { p.Publish.Rate, p.Rooms.PerConnection = 1, 0 }},
		{"trouble.stall.share", func(p *Plan) { p.Trouble.Stall.Share = 1.1 }},
		{"trouble.stall.for", func(p *Plan) { p.Trouble.Stall.Share = 1 }},
		{"trouble.stall ends", func(p *Plan) { p.Trouble.Stall = Stall{Share: 1, At: time.Second, For: time.Hour} }},
		{"trouble.cut.how", func(p *Plan) { p.Trouble.Cut = Cut{Share: 1, How: "gently"} }},
		{"trouble.cut is at", func(p *Plan) { p.Trouble.Cut = Cut{Share: 1, How: "reset", At: time.Hour} }},
		{"trouble.cut.within", func(p *Plan) { p.Trouble.Cut.Within = -1 }},
		{"trouble.churn", func(p *Plan) { p.Trouble.Churn = -1 }},
		{"trouble.moves", func(p *Plan) { p.Trouble.Moves = 1e9 }},
		{"time.warmup", func(p *Plan) { p.Time.Warmup = -1 }},
		{"time.duration", func(p *Plan) { p.Time.Duration = 0 }},
		{"time.drain", func(p *Plan) { p.Time.Drain = -1 }},
		{"find.what", func(p *Plan) { p.Find.What = "everything" }},
		{"find.from", func(p *Plan) { p.Find = Find{What: "publish.rate", Factor: 2, Until: []string{"lost==0"}} }},
		{"find.factor", func(p *Plan) { p.Find = Find{What: "publish.rate", From: 1, Factor: 1, Until: []string{"lost==0"}} }},
		{"find.refine", func(p *Plan) {
			p.Find = Find{What: "publish.rate", From: 1, Factor: 2, Refine: 11, Until: []string{"lost==0"}}
		}},
		{"find.until", func(p *Plan) { p.Find = Find{What: "publish.rate", From: 1, Factor: 2} }},
	} {
		p := base()
		c.change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("the check says %v, want something on %s", err, c.want)
		}
	}
	p := base()
	p.Rooms.Count, p.Clients.Connections = 0, 0
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "rooms.count") || !strings.Contains(err.Error(), "clients.connections") {
		t.Errorf("two faults gave %v", err)
	}
}

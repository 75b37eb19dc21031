package loop

import (
	"strings"
	"testing"

	v1 "rookery/proto/rookery/v1"
)

// id is what the next event would say.
func (p *positions) id() string {
	return strings.TrimSuffix(strings.TrimPrefix(string(p.appendID(nil)), "id: "), "\n")
}

func mustRead(t *testing.T, epoch string, rooms []string, id string) positions {
	t.Helper()
	p, err := readPositions(epoch, rooms, id)
	if err != nil {
		t.Fatalf("%q: %v", id, err)
	}
	return p
}

// TestPositionsComeBack: what an id says is where each room is joined again.
func TestPositionsComeBack(t *testing.T) {
	rooms := []string{"a", "b", "c", "d"}
	p := mustRead(t, "7f3a", rooms, "")
	if j := p.join(1, "7f3a"); j.Room != "b" || j.After != nil || j.Epoch != "" {
		t.Errorf("at first b is joined with %v", j)
	}
	yes := true
	message := func(room string, seq uint64, ephemeral bool) *v1.ServerFrame {
		return &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: room, Seq: seq, Ephemeral: ephemeral}}}
	}
	joined := func(j *v1.Joined) *v1.ServerFrame { return &v1.ServerFrame{Op: &v1.ServerFrame_Joined{Joined: j}} }
	for _, step := range []struct {
		name  string
		frame *v1.ServerFrame
		moved bool
		want  string
	}{
		{"joined", joined(&v1.Joined{Room: "a", Head: 5}), true, "5.-.-.-"},
		{"joined an empty room", joined(&v1.Joined{Room: "b"}), true, "5.0.-.-"},
		{"joined an ephemeral room", joined(&v1.Joined{Room: "d", Ephemeral: true}), true, "5.0.-.-"},
		{"message", message("a", 6, false), true, "6.0.-.-"},
		{"ephemeral message", message("a", 0, true), false, "6.0.-.-"},
		{"message of another room", message("z", 9, false), false, "6.0.-.-"},
		{"gap", &v1.ServerFrame{Op: &v1.ServerFrame_Gap{Gap: &v1.Gap{Room: "b", First: 1, Last: 40}}}, true, "6.40.-.-"},
		{"joined where it was", joined(&v1.Joined{Room: "b", Head: 99, Recovered: &yes}), true, "6.40.-.-"},
		{"left", &v1.ServerFrame{Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: "a"}}}, true, "-.40.-.-"},
		{"removed", &v1.ServerFrame{Op: &v1.ServerFrame_Removed{Removed: &v1.Removed{Room: "b"}}}, true, "-.-.-.-"},
		{"a reply", &v1.ServerFrame{Op: &v1.ServerFrame_Pong{}}, false, "-.-.-.-"},
		{"messages", message("b", 7, false), true, "-.7.-.-"},
	} {
		if moved := p.advance(step.frame); moved != step.moved {
			t.Errorf("%s: moved is %v", step.name, moved)
		}
		if _, places, _ := strings.Cut(strings.TrimPrefix(p.id(), "7f3a."), "."); places != step.want {
			t.Errorf("%s: the id is %s, want positions %s", step.name, p.id(), step.want)
		}
	}
	again := mustRead(t, "7f3a", rooms, p.id())
	if again.id() != p.id() {
		t.Errorf("%s was read as %s", p.id(), again.id())
	}
	if j := again.join(1, "7f3a"); j.GetAfter() != 7 || j.Epoch != "7f3a" {
		t.Errorf("b is joined again with %v", j)
	}
	// Of another epoch: it is said so, also when the connection breaks before the room was joined.
	other := mustRead(t, "beef", rooms, p.id())
	for _, q := range []positions{other, mustRead(t, "beef", rooms, other.id())} {
		if j := q.join(1, "beef"); j.After == nil || j.Epoch == "beef" || j.Epoch == "" {
			t.Errorf("b is joined in another epoch with %v", j)
		}
		if j := q.join(0, "beef"); j.After != nil {
			t.Errorf("a, which was never joined, with %v", j)
		}
	}
}

func TestPositionsOfOtherAddresses(t *testing.T) {
	p := mustRead(t, "7f3a", []string{"a", "b"}, "")
	for name, c := range map[string]struct {
		rooms []string
		id    string
	}{
		"other rooms":       {[]string{"a", "c"}, p.id()},
		"another order":     {[]string{"b", "a"}, p.id()},
		"fewer rooms":       {[]string{"a"}, p.id()},
		"fewer positions":   {p.rooms, strings.TrimSuffix(p.id(), ".-")},
		"no positions":      {p.rooms, "7f3a"},
		"a word":            {p.rooms, strings.TrimSuffix(p.id(), "-") + "y"},
		"below nothing":     {p.rooms, strings.TrimSuffix(p.id(), "-") + "-1"},
		"more than may be":  {p.rooms, strings.TrimSuffix(p.id(), "-") + "9007199254740992"},
		"another's numbers": {p.rooms, "1795387257979-0"},
	} {
		if _, err := readPositions("7f3a", c.rooms, c.id); err == nil {
			t.Errorf("%s: %q was taken", name, c.id)
		}
	}
	if q := mustRead(t, "7f3a", nil, "anything"); len(q.rooms) != 0 {
		t.Errorf("without rooms came %v", q)
	}
}

package identity

import (
	"strings"
	"testing"
	"unsafe"
)

func TestRights(t *testing.T) {
	some := &Rights{Join: []string{"team-*", "lobby"}, Publish: []string{"lobby"}}
	tests := []struct {
		name          string
		rights        *Rights
		room          string
		join, publish bool
	}{
		{"no rights are all rooms", nil, "anything", true, true},
		{"exact", some, "lobby", true, true},
		{"exact is not a beginning", some, "lobby2", false, false},
		{"beginning", some, "team-7", true, false},
		{"beginning alone", some, "team-", true, false},
		{"shorter than the beginning", some, "team", false, false},
		{"case counts", some, "Lobby", false, false},
		{"star", &Rights{Join: []string{"*"}}, "x", true, false},
		{"empty lists are no room", &Rights{}, "lobby", false, false},
		{"a star in the room's name is a letter", some, "lobb*", false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := Identity{User: "alice", Rights: test.rights}
			if got := i.CanJoin(test.room); got != test.join {
				t.Errorf("CanJoin(%q) = %v, want %v", test.room, got, test.join)
			}
			if got := i.CanPublish(test.room); got != test.publish {
				t.Errorf("CanPublish(%q) = %v, want %v", test.room, got, test.publish)
			}
		})
	}
}

func TestCreatingAndModerating(t *testing.T) {
	anybody, staff := Identity{User: "a"}, Identity{User: "b", Rights: &Rights{Create: []string{"x*"}, Moderate: []string{"y*"}}}
	boss := Identity{User: "c", Rights: &Rights{Moderate: []string{"y*", "*"}}}
	for _, test := range []struct {
		who               Identity
		room              string
		creates, moderate bool
	}{
		{anybody, "x1", true, false}, {anybody, "", true, false},
		{staff, "x1", true, false}, {staff, "y1", false, true}, {staff, "", false, false},
		{boss, "x1", false, true}, {boss, "", false, true},
	} {
		if got := test.who.CanCreate(test.room); got != test.creates {
			t.Errorf("%s creates %q: %v", test.who.User, test.room, got)
		}
		if got := test.who.Moderates(test.room); got != test.moderate {
			t.Errorf("%s moderates %q: %v", test.who.User, test.room, got)
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for _, pattern := range []string{"*", "a", "a*", "team-*", strings.Repeat("r", 128), strings.Repeat("r", 128) + "*", "für*"} {
		if err := CheckPattern(pattern); err != nil {
			t.Errorf("%q is refused: %v", pattern, err)
		}
	}
	for _, pattern := range []string{"", "**", "a*b", "*a", "a**", "a\n", "a\x00*", "\xff", strings.Repeat("r", 129)} {
		if CheckPattern(pattern) == nil {
			t.Errorf("%q is taken", pattern)
		}
	}
}

// An Identity is kept for every connection, of which a million may live.
func TestIdentityIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Identity{}); size > 48 {
		t.Errorf("an Identity has %d bytes, want at most 48", size)
	}
}

func TestChecksAllocateNothing(t *testing.T) {
	i := Identity{User: "alice", Rights: &Rights{Join: []string{"a*", "team-*"}, Publish: []string{"lobby"}}}
	allocs := testing.AllocsPerRun(100, func() {
		if !i.CanJoin("team-7") || i.CanPublish("team-7") {
			t.Fatal("wrong rights")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

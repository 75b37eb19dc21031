package catalog

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

func openSmall(t testing.TB) *Catalog {
	t.Helper()
	return mustOpen(t, small(mustOpenLog(t, silent(vfs.NewMemory()))))
}

// collect gives what a range query finds, in its order.
func collect[T any](t *testing.T, query func(string, func(string, T) bool) error, of string) []string {
	t.Helper()
	var found []string
	if err := query(of, func(name string, value T) bool {
		found = append(found, fmt.Sprintf("%s %v", name, value))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFamilies(t *testing.T) {
	c := openSmall(t)
	mustUpdate(t, c,
		SetMember("a", "alice", Member{Role: "owner"}), SetMember("a", "bob", Member{Role: "guest"}),
		// Names that begin with one another, and one that is all that a name may hold.
		SetMember("ab", "alice", Member{Role: "guest"}), SetMember("a b", "alice", Member{Role: "guest"}), SetMember("a\"<~\u2028é", "alice", Member{Role: "x"}),
		SetMember("a", "ali", Member{Role: "guest"}),
		Advance("a", "alice", Position{"7f3a", 41, 41}), Advance("b", "alice", Position{"7f3a", 1, 1}), Advance("a", "ali", Position{"7f3a", 2, 2}),
		SetDevice("alice", "phone", Device{Name: "Alice's phone"}), SetDevice("alice", "desk", Device{Name: "desk"}), SetDevice("ali", "x", Device{}),
		SetBan("", "mallory", Ban{Reason: "spam"}), SetBan("a", "trent", Ban{Until: 5}),
	)
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	check("members", collect(t, c.Members, "a"), "ali {guest 0 0 }", "alice {owner 0 0 }", "bob {guest 0 0 }")
	check("rooms of alice", collect(t, c.RoomsOf, "alice"), "a {owner 0 0 }", "a b {guest 0 0 }", "a\"<~\u2028é {x 0 0 }", "ab {guest 0 0 }")
	check("positions", collect(t, c.Positions, "a"), "ali {7f3a 2 2}", "alice {7f3a 41 41}")
	check("positions of alice", collect(t, c.PositionsOf, "alice"), "a {7f3a 41 41}", "b {7f3a 1 1}")
	check("devices", collect(t, c.DevicesOf, "alice"), "desk {desk <nil>  }", "phone {Alice's phone <nil>  }")
	check("bans of all rooms", collect(t, c.Bans, ""), "mallory {0 spam}")
	check("bans", collect(t, c.Bans, "a"), "trent {5 }")
	check("nobody's", collect(t, c.RoomsOf, "al"))

	push := &WebPush{"https://push.example/1", "p", "a"}
	mustUpdate(t, c, SetDevice("alice", "desk", Device{Name: "desk", WebPush: push}), EndSubscription("alice", "desk", Device{WebPush: &WebPush{Endpoint: "https://push.example/0"}}), EndSubscription("alice", "none", Device{FCM: "x"}))
	if d, ok, err := c.Device("alice", "desk"); err != nil || !ok || d.Name != "desk" || *d.WebPush != *push {
		t.Errorf("the device is %+v, %v, %v", d, ok, err)
	}
	mustUpdate(t, c, EndSubscription("alice", "phone", Device{WebPush: push}), SetDevice("alice", "tab", Device{WebPush: push}), EndSubscription("alice", "tab", Device{WebPush: push}))
	check("devices without the ended one", collect(t, c.DevicesOf, "alice")[1:], "phone {Alice's phone <nil>  }")
	// One that is told otherwise is told so only, and is not forgotten for what it was before.
	mustUpdate(t, c, SetDevice("alice", "desk", Device{APNs: "a1"}), EndSubscription("alice", "desk", Device{WebPush: push}), EndSubscription("alice", "desk", Device{APNs: "a2"}))
	check("a device that is told by another service", collect(t, c.DevicesOf, "alice")[:1], "desk {desk <nil> a1 }")
	mustUpdate(t, c, SetDevice("alice", "desk", Device{FCM: "f"}), SetDevice("alice", "gone", Device{FCM: "f"}), EndSubscription("alice", "gone", Device{FCM: "f"}))
	check("and by a third", collect(t, c.DevicesOf, "alice"), "desk {desk <nil>  f}", "phone {Alice's phone <nil>  }")

	mustUpdate(t, c, RemoveMember("a", "alice"), RemoveDevice("alice", "desk"), RemoveBan("a", "trent"), RemoveBan("a", "nobody"))
	check("rooms of alice", collect(t, c.RoomsOf, "alice"), "a b {guest 0 0 }", "a\"<~\u2028é {x 0 0 }", "ab {guest 0 0 }")
	check("members", collect(t, c.Members, "a"), "ali {guest 0 0 }", "bob {guest 0 0 }")
	check("bans", collect(t, c.Bans, "a"))
	mustUpdate(t, c, SetMember("a", "bob", Member{Role: "guest", Since: 5, Notify: "none"}))
	check("notify", collect(t, c.Members, "a"), "ali {guest 0 0 }", "bob {guest 5 0 none}")
	mustUpdate(t, c, SetMember("a", "bob", Member{Role: "guest", Since: 5, From: 3}))
	check("notify taken away", collect(t, c.Members, "a"), "ali {guest 0 0 }", "bob {guest 5 3 }")
	if m, ok, err := c.Member("a", "bob"); m.Role != "guest" || !ok || err != nil {
		t.Errorf("bob is %v, %v, %v", m, ok, err)
	}
	if _, ok, err := c.Member("a", "alice"); ok || err != nil {
		t.Errorf("alice is still a member: %v, %v", ok, err)
	}
}

// TestBansAndMutes: a new one takes the place of the old one as a whole, and one that says nothing is one.
func TestBansAndMutes(t *testing.T) {
	c := openSmall(t)
	mustUpdate(t, c, SetBan("", "mallory", Ban{Until: 5, Reason: "spam"}), SetMute("a", "trent", Ban{Until: 7, Reason: "loud"}))
	mustUpdate(t, c, SetBan("", "mallory", Ban{}), SetMute("a", "trent", Ban{Reason: "louder"}))
	if b, ok, err := c.Ban("", "mallory"); b != (Ban{}) || !ok || err != nil {
		t.Errorf("the ban is %v, %v, %v", b, ok, err)
	}
	if b, ok, err := c.Mute("a", "trent"); b != (Ban{Reason: "louder"}) || !ok || err != nil {
		t.Errorf("the mute is %v, %v, %v", b, ok, err)
	}
	mustUpdate(t, c, RemoveMute("a", "trent"), RemoveBan("", "mallory"))
	if _, ok, err := c.Mute("a", "trent"); ok || err != nil {
		t.Errorf("the mute is still there, %v", err)
	}
	if _, ok, err := c.Ban("", "mallory"); ok || err != nil {
		t.Errorf("the ban is still there, %v", err)
	}
}

// TestSettings: they and the retention of a room stand side by side, and zero takes a field away.
func TestSettings(t *testing.T) {
	c := openSmall(t)
	mustUpdate(t, c, SetRetention("r", &storage.Retention{Records: 9}))
	if s, ok, err := c.Settings("r"); ok || err != nil {
		t.Errorf("a room that nobody made has the settings %v, %v", s, err)
	}
	full := Settings{Created: 1, Title: "R", SlowMS: 5, Speak: "guest", Direct: []string{"a", "b"}}
	for _, want := range []Settings{full, {Created: 1}} {
		mustUpdate(t, c, SetSettings("r", want))
		if s, ok, err := c.Settings("r"); !reflect.DeepEqual(s, want) || !ok || err != nil {
			t.Errorf("the settings are %v, %v, %v, want %v", s, ok, err, want)
		}
	}
	if policy, own, err := c.Retention("r"); policy.Records != 9 || !own || err != nil {
		t.Errorf("the retention is %v, %v, %v", policy, own, err)
	}
}

// TestPagesAndCounts: names that come after another, and how many there are.
func TestPagesAndCounts(t *testing.T) {
	c := openSmall(t)
	for i := range 600 { // more than a page of the state
		mustUpdate(t, c, SetMember("r", fmt.Sprintf("u%03d", i), Member{Role: "member"}), SetMember(fmt.Sprintf("r%03d", i), "u", Member{Role: "member"}))
	}
	count := func(n int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := count(c.CountMembers("r")); got != 600 {
		t.Errorf("%d members", got)
	}
	if got := count(c.CountRoomsOf("u")); got != 600 {
		t.Errorf("%d rooms", got)
	}
	for after, want := range map[string]string{"": "000", "u": "000", "u300": "301", "u300x": "301", "u599": ""} {
		first, rest := "", 0
		if err := c.MembersAfter("r", after, func(user string, _ Member) bool {
			if rest++; first == "" {
				first = user
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if want != "" && first != "u"+want || want == "" && rest > 0 {
			t.Errorf("after %q comes %q, and %d in all", after, first, rest)
		}
	}
	first := ""
	if err := c.RoomsOfAfter("u", "r598", func(room string, _ Member) bool {
		first += room
		return true
	}); err != nil || first != "r599" {
		t.Errorf("after the last but one come %q, %v", first, err)
	}
	mustUpdate(t, c, SetBan("r", "a", Ban{}), SetBan("r", "b", Ban{}))
	if err := c.BansAfter("r", "a", func(user string, _ Ban) bool {
		first = user
		return true
	}); err != nil || first != "b" {
		t.Errorf("after a comes %q, %v", first, err)
	}
}

func TestPositionsGoForward(t *testing.T) {
	c := openSmall(t)
	for _, step := range []struct{ set, want Position }{
		{Position{"e1", 5, 5}, Position{"e1", 5, 5}},
		{Position{"e1", 4, 4}, Position{"e1", 5, 5}},
		{Position{"e1", 6, 4}, Position{"e1", 6, 5}},
		{Position{"e1", 5, 6}, Position{"e1", 6, 6}},
		{Position{"e2", 1, 1}, Position{"e2", 1, 1}},
	} {
		mustUpdate(t, c, Advance("r", "u", step.set))
		if p, ok, err := c.Position("r", "u"); p != step.want || !ok || err != nil {
			t.Errorf("after %v: %v, %v, %v", step.set, p, ok, err)
		}
	}
}

// TestUnknownFieldsSurvive: a value that a newer version has written keeps what this one does not know.
func TestUnknownFieldsSurvive(t *testing.T) {
	c := openSmall(t)
	mustUpdate(t, c, Set("room\tr", []byte(`{"topic": "<birds> & more", "retention": {"messages": 1}}`)), Set("member\tr\tu", []byte(`{"role":"a","since":7}`)))
	mustUpdate(t, c, SetRetention("r", &storage.Retention{Age: time.Hour}), SetMember("r", "u", Member{Role: "b"}))
	want := map[string]string{
		"room\tr":      `{"retention":{"age_ms":3600000},"topic":"<birds> & more"}`,
		"member\tr\tu": `{"role":"b","since":7}`,
	}
	mustEqual(t, "with unknown fields", content(t, c), want)
	mustUpdate(t, c, SetRetention("r", nil))
	want["room\tr"] = `{"topic":"<birds> & more"}`
	mustEqual(t, "without the retention", content(t, c), want)
}

func TestRetention(t *testing.T) {
	c := openSmall(t)
	for _, want := range []storage.Retention{{Age: 36 * time.Hour, Records: 5, Bytes: 1 << 40}, {}, {Records: 1<<64 - 1}} {
		mustUpdate(t, c, SetRetention("r", &want))
		if got, own, err := c.Retention("r"); got != want || !own || err != nil {
			t.Errorf("got %+v, %v, %v, want %+v", got, own, err, want)
		}
	}
	mustUpdate(t, c, SetRetention("r", nil))
	if got, own, err := c.Retention("r"); own || err != nil || got != (storage.Retention{}) {
		t.Errorf("got %+v, %v, %v of a room without a policy", got, own, err)
	}
	if n := len(content(t, c)); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	// Beyond what a time.Duration holds.
	mustUpdate(t, c, Set("room\tr", []byte(`{"retention":{"age_ms":18446744073709551615}}`)))
	if got, _, err := c.Retention("r"); err != nil || got.Age < 290*365*24*time.Hour {
		t.Errorf("a very long age is %v, %v", got.Age, err)
	}
}

func TestWrongChanges(t *testing.T) {
	long := strings.Repeat("x", storage.MaxName+1)
	tests := []struct {
		name   string
		change Change
		want   string
	}{
		{"empty key", Set("", []byte("1")), "does not begin with a word"},
		{"second key", Set("~member\tu\tr", []byte("1")), "does not begin with a word"},
		{"upper case", Set("Room\tr", []byte("{}")), "does not begin with a word"},
		{"a name too few", Set("member\tr", []byte("{}")), "has 1 names"},
		{"a name too many", Set("room\tr\ts", []byte("{}")), "has 2 names"},
		{"long name", SetMember(long, "u", Member{}), "1 to 128 bytes"},
		{"no name", SetMember("", "u", Member{}), "1 to 128 bytes"},
		{"name with a tab", SetBan("a\tb", "u", Ban{}), "has 3 names"},
		{"name with a control character", SetBan("a\u0085b", "u", Ban{}), "control characters"},
		{"name that is not UTF-8", RemoveBan("", "a\xff"), "UTF-8"},
		{"system room", SetRetention(Room, nil), "control characters"},
		{"long key", Set("later\t"+strings.Repeat("a\t", 250), []byte("1")), "at most 400 fit"},
		{"no JSON", Set("later", []byte("{")), "is no JSON"},
		{"null", Set("later", []byte(" null ")), "is null"},
		{"JSON that is not UTF-8", Set("later", []byte("\"\xff\"")), "is not UTF-8"},
		{"value of another type", Set("position\tr\tu", []byte(`{"read":-1}`)), "cannot unmarshal"},
		{"value that is no object", Set("room\tr", []byte(`[]`)), "cannot unmarshal"},
		{"large value", Set("later", []byte(`"`+strings.Repeat("x", maxValue)+`"`)), "at most 65536 fit"},
		{"negative age", SetRetention("r", &storage.Retention{Age: -time.Hour}), "at least a millisecond"},
		{"tiny age", SetRetention("r", &storage.Retention{Age: time.Microsecond}), "at least a millisecond"},
	}
	c := openSmall(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := c.Update(t.Context(), Set("later", []byte("1")), test.change)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	t.Run("too much at once", func(t *testing.T) {
		var changes []Change
		for i := range 20 {
			changes = append(changes, Set(fmt.Sprint("later\t", i), []byte(`"`+strings.Repeat("x", maxValue-2)+`"`)))
		}
		if err := c.Update(t.Context(), changes...); err == nil || !strings.Contains(err.Error(), "change less at once") {
			t.Errorf("got %v", err)
		}
		mustUpdate(t, c, changes[:15]...)
		mustUpdate(t, c, changes[15:]...)
	})
	if n := len(content(t, c)); n != 20 {
		t.Errorf("%d entries, want 20: a refused update left something", n)
	}
}

// TestImport: what Walk gives, Set takes, and the result is the same.
func TestImport(t *testing.T) {
	from := openSmall(t)
	mustUpdate(t, from, SetMember("r", "u", Member{Role: "x"}), SetBan("", "m", Ban{Until: 7}), Set("room\tr", []byte(`{"topic":"\u003c\u00e9é"}`)), Set("later\tz", []byte("[1,2]")))
	all := content(t, from)
	to := openSmall(t)
	for key, value := range all {
		mustUpdate(t, to, Set(key, []byte(value)))
	}
	mustEqual(t, "imported", content(t, to), all)
	if got := collect(t, to.RoomsOf, "u"); len(got) != 1 {
		t.Errorf("rooms of the user: %v", got)
	}
	if family, names := SplitKey("ban\t\tm"); family != "ban" || len(names) != 2 || names[0] != "" || names[1] != "m" {
		t.Errorf("split into %q %q", family, names)
	}
}

// TestNothingToDo: an update that changes nothing writes nothing, but holds what it rests on.
func TestNothingToDo(t *testing.T) {
	c := openSmall(t)
	mustUpdate(t, c, SetMember("r", "u", Member{Role: "x"}))
	before := c.log.Head(Room)
	mustUpdate(t, c, SetMember("r", "u", Member{Role: "x"}), RemoveMember("r", "nobody"))
	mustUpdate(t, c)
	if head := c.log.Head(Room); head != before {
		t.Errorf("%d records were written for nothing", head-before)
	}
}

// TestPagesOfAScan reads more than one read transaction gives, while entries come and go.
func TestPagesOfAScan(t *testing.T) {
	c := openSmall(t)
	want := map[string]string{}
	for i := range 3 * pageEntries {
		want[fmt.Sprintf("user %05d", i)] = "x"
	}
	var changes []Change
	for user := range want {
		changes = append(changes, SetMember("r", user, Member{Role: "x"}))
	}
	mustUpdate(t, c, changes...)
	got := map[string]string{}
	err := c.Members("r", func(user string, m Member) bool {
		got[user] = m.Role
		if len(got) == 5 {
			mustUpdate(t, c, SetMember("r", "another", Member{Role: "x"}), SetMember("s", "user 00001", Member{Role: "x"}))
		}
		return true
	})
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%d members, %v, want %d", len(got), err, len(want))
	}
	n := 0
	if err := c.Members("r", func(string, Member) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("stopped after %d, %v", n, err)
	}
}

// TestRetentionBudget: retention asks this for every room.
func TestRetentionBudget(t *testing.T) {
	c := openSmall(t)
	mustUpdate(t, c, SetRetention("other", &storage.Retention{Records: 1}))
	got := testing.AllocsPerRun(200, func() {
		if _, own, err := c.Retention("lobby"); own || err != nil {
			t.Error(own, err)
		}
	})
	if got > 6 {
		t.Errorf("the policy of a room without one of its own costs %v allocations, want at most 6", got)
	}
}

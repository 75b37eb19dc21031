package signin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func mustParse(t *testing.T, texts ...string) Rules {
	t.Helper()
	rules, err := ParseRules(texts)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestRules(t *testing.T) {
	said := claims{
		"groups": []any{"staff", "Chat Admins", json.Number("7"), true, nil}, "role": "guest",
		"realm_access": map[string]any{"roles": []any{"owner"}}, "https://x.example/role": "named",
	}
	for _, c := range []struct {
		rule string
		want string // rooms publish create moderate; "-" is not let in
	}{
		{"groups staff rooms=a", "[a] [a] [a] []"},
		{"groups Chat Admins rooms=a moderate=*", "[a] [a] [a] [*]"},
		{"groups Staff rooms=a", "-"},
		{"groups 7 rooms=a", "[a] [a] [a] []"},
		{"groups true rooms=a", "[a] [a] [a] []"},
		{"groups * rooms=a", "[a] [a] [a] []"},
		{"missing * rooms=a", "-"},
		{"role guest rooms=news publish= create=", "[news] [] [] []"},
		{"role guest rooms=news publish=ask", "[news] [ask] [news] []"},
		{"role guest moderate=a", "[] [] [] [a]"},
		{"realm_access.roles owner rooms=a", "[a] [a] [a] []"},
		{"realm_access.other owner rooms=a", "-"},
		{"role.inner x rooms=a", "-"},
		{"https://x.example/role named rooms=a", "[a] [a] [a] []"},
	} {
		rules := mustParse(t, c.rule)
		got := "-"
		if rights, ok := rules.Rights(rules.holds(said)); ok {
			got = fmt.Sprint(rights.Rooms, rights.Publish, rights.Create, rights.Moderate)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.rule, got, c.want)
		}
	}
	if rights, ok := Rules(nil).Rights(nil); rights != nil || !ok {
		t.Error("without rules somebody is restricted")
	}
	// Another rule never takes anything away.
	rules := mustParse(t, "groups staff rooms=a", "role guest rooms=b publish=")
	rights, _ := rules.Rights(rules.holds(said))
	if got := fmt.Sprint(rights.Rooms, rights.Publish); got != "[a b] [a]" {
		t.Errorf("two rules give %s", got)
	}
}

func TestRulesThatAreNone(t *testing.T) {
	for rule, want := range map[string]string{
		"":                                  "gives nothing",
		"groups staff":                      "gives nothing",
		"groups rooms=a":                    "no claim and value",
		"groups staff rooms=a more":         `"more"`,
		"groups staff rooms=a*b":            "last character",
		"groups staff rooms=a delete=x":     `"delete=x"`,
		"groups staff" + many(101, "rooms"): "more than 100 patterns",
	} {
		if _, err := ParseRules([]string{rule}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", rule, err, want)
		}
	}
}

func many(n int, kind string) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, " %s=r%d", kind, i)
	}
	return text.String()
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		claim string
		said  claims
		want  string // or a part of the error
		ok    bool
	}{
		{"sub", claims{"sub": "u1"}, "u1", true},
		{"sub", claims{}, "oidc.user_claim", false},
		{"name", claims{"name": json.Number("7")}, "is no name", false},
		{"name", claims{"name": ""}, "is no name", false},
		{"email", claims{"email": "a@b", "email_verified": true}, "a@b", true},
		{"email", claims{"email": "a@b", "email_verified": "true"}, "a@b", true},
		{"email", claims{"email": "a@b", "email_verified": false}, "verified", false},
		{"email", claims{"email": "a@b"}, "verified", false},
		{"person.nick", claims{"person": map[string]any{"nick": "al"}}, "al", true},
	} {
		name, err := c.said.user(c.claim)
		if c.ok && (err != nil || name != c.want) || !c.ok && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s of %v: %q, %v; want %q", c.claim, c.said, name, err, c.want)
		}
	}
}

// TestClaimsFromTwoPlaces: the ID token's go first, and what the account says of an address holds for that one.
func TestClaimsFromTwoPlaces(t *testing.T) {
	for _, c := range []struct {
		name           string
		token, account claims
		want           string
	}{
		{"either", claims{"a": "1", "b": "2"}, claims{"b": "3", "c": "4"}, "map[a:1 b:2 c:4]"},
		{
			"members of an object", claims{"o": map[string]any{"a": "1"}}, claims{"o": map[string]any{"a": "2", "roles": "r"}},
			"map[o:map[a:1 roles:r]]",
		},
		{"an object and none", claims{"o": "1"}, claims{"o": map[string]any{"a": "2"}}, "map[o:1]"},
		{"the same address", claims{"email": "a@b"}, claims{"email": "a@b", "email_verified": true}, "map[email:a@b email_verified:true]"},
		{"an address of its own", claims{}, claims{"email": "a@b", "email_verified": true}, "map[email:a@b email_verified:true]"},
		{"another address", claims{"email": "a@b"}, claims{"email": "c@d", "email_verified": true}, "map[email:a@b]"},
		{"addresses that are none", claims{"email": []any{}}, claims{"email": []any{}}, "map[email:[]]"},
		{
			"another address, both known", claims{"email": "a@b", "email_verified": true}, claims{"email": "c@d", "email_verified": false},
			"map[email:a@b email_verified:true]",
		},
	} {
		if got := fmt.Sprint(map[string]any(c.token.with(c.account))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

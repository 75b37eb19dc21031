package signin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rookery/gateway/internal/identity"
)

// Rights are patterns of rooms, as in the claims of a token.
type Rights struct{ Rooms, Publish, Create, Moderate []string }

// Rules say what people may do by the provider's claims. Without rules everybody may what a token without claims allows; with rules
// a person has what those that match give together, and who matches none is not let in.
type Rules []rule

// rule gives rights to who has a value in a claim.
type rule struct {
	claim string
	value string // "*": any
	gives Rights
}

const ruleExample = "'groups staff rooms=team-* create=team-*'"

// ParseRules reads rules: a claim, a value, and then rooms=, publish=, create= or moderate= with one pattern each. The
// value may hold spaces. "publish=" alone gives none.
func ParseRules(texts []string) (Rules, error) {
	var rules Rules
	for _, text := range texts {
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("has the rule %q, %w", text, err)
		}
		rules = append(rules, r)
	}
	if most := rules.together(nil); max(len(most.Rooms), len(most.Publish), len(most.Create), len(most.Moderate)) > maxPatterns {
		return nil, fmt.Errorf("names more than %d patterns of one kind together, and a token holds no more", maxPatterns)
	}
	return rules, nil
}

// maxPatterns is what a token may have of each kind.
const maxPatterns = 100

func parseRule(text string) (rule, error) {
	words := strings.Fields(text)
	first := slices.IndexFunc(words, isGrant)
	if first < 0 {
		return rule{}, errors.New("which gives nothing; write a claim, a value and then what it gives, like " + ruleExample)
	}
	if first < 2 {
		return rule{}, errors.New("which names no claim and value; write them first, like " + ruleExample)
	}
	r := rule{claim: words[0], value: strings.Join(words[1:first], " ")}
	var publish, create bool
	for _, word := range words[first:] {
		kind, pattern, _ := strings.Cut(word, "=")
		list := map[string]*[]string{
			"rooms": &r.gives.Rooms, "publish": &r.gives.Publish, "create": &r.gives.Create, "moderate": &r.gives.Moderate,
		}[kind]
		if list == nil {
			return rule{}, fmt.Errorf("which has %q behind what it gives; write rooms=, publish=, create= or moderate= and a pattern", word)
		}
		publish, create = publish || kind == "publish", create || kind == "create"
		if pattern == "" {
			continue
		}
		if err := identity.CheckPattern(pattern); err != nil {
			return rule{}, fmt.Errorf("whose %w", err)
		}
		*list = append(*list, pattern)
	}
	// As in a token: what is not said is as rooms.
	if !publish {
		r.gives.Publish = r.gives.Rooms
	}
	if !create {
		r.gives.Create = r.gives.Rooms
	}
	return r, nil
}

func isGrant(word string) bool {
	kind, _, found := strings.Cut(word, "=")
	return found && slices.Contains([]string{"rooms", "publish", "create", "moderate"}, kind)
}

// key names the condition of a rule in a session.
func (r rule) key() string { return r.claim + " " + r.value }

// holds gives the keys of the rules that match claims, each once.
func (rules Rules) holds(c claims) []string {
	var keys []string
	for _, r := range rules {
		values := c.values(r.claim)
		if (slices.Contains(values, r.value) || r.value == "*" && len(values) > 0) && !slices.Contains(keys, r.key()) {
			keys = append(keys, r.key())
		}
	}
	return keys
}

// Rights gives what the rules with these keys give together: nil if there are no rules, so that nothing is restricted, and
// false if none of them gives anything any more.
func (rules Rules) Rights(holds []string) (*Rights, bool) {
	if len(rules) == 0 {
		return nil, true
	}
	matches := func(r rule) bool { return slices.Contains(holds, r.key()) }
	if !slices.ContainsFunc(rules, matches) {
		return nil, false
	}
	all := rules.together(matches)
	return &all, true
}

// together adds up what the rules give that match; nil is all of them. More rules never take anything away.
func (rules Rules) together(matches func(rule) bool) Rights {
	all := Rights{Rooms: []string{}, Publish: []string{}, Create: []string{}, Moderate: []string{}}
	for _, r := range rules {
		if matches != nil && !matches(r) {
			continue
		}
		all.Rooms = union(all.Rooms, r.gives.Rooms)
		all.Publish = union(all.Publish, r.gives.Publish)
		all.Create = union(all.Create, r.gives.Create)
		all.Moderate = union(all.Moderate, r.gives.Moderate)
	}
	return all
}

func union(all, more []string) []string {
	for _, pattern := range more {
		if !slices.Contains(all, pattern) {
			all = append(all, pattern)
		}
	}
	return all
}

// claimNames are the claims that the rules ask for.
func (rules Rules) claimNames() []string {
	var names []string
	for _, r := range rules {
		names = union(names, []string{r.claim})
	}
	return names
}

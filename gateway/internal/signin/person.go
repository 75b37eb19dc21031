package signin

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"rookery/proto"
)

// Claims of OpenID Connect Core 5.1 that say something of each other.
const (
	claimEmail         = "email"
	claimEmailVerified = "email_verified"
)

// claims are what the provider says of somebody.
type claims map[string]any

// find gives a claim by its name, or by the path to it: realm_access.roles is the member roles of the claim realm_access. A
// name that has dots in it itself goes first.
func (c claims) find(name string) (any, bool) {
	if value, found := c[name]; found {
		return value, true
	}
	first, rest, nested := strings.Cut(name, ".")
	if !nested {
		return nil, false
	}
	inner, isObject := c[first].(map[string]any)
	if !isObject {
		return nil, false
	}
	return claims(inner).find(rest)
}

// values are a claim's texts: its own, or those of a list.
func (c claims) values(name string) []string {
	value, _ := c.find(name)
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	var texts []string
	for _, entry := range list {
		switch entry := entry.(type) {
		case string:
			texts = append(texts, entry)
		case bool, json.Number:
			texts = append(texts, fmt.Sprint(entry))
		}
	}
	return texts
}

// lacks says whether one of the claims is not there.
func (c claims) lacks(names []string) bool {
	for _, name := range names {
		if _, found := c.find(name); !found {
			return true
		}
	}
	return false
}

// with adds claims that are not there yet, also to claims that are objects.
func (c claims) with(more claims) claims {
	all := maps.Clone(more)
	// It is said of one address, and not of the one that stands elsewhere.
	address, isText := c[claimEmail].(string)
	if other, found := more[claimEmail]; isText && found && other != address {
		delete(all, claimEmailVerified)
	}
	for name, value := range c {
		own, isObject := value.(map[string]any)
		if other, both := more[name].(map[string]any); isObject && both {
			value = map[string]any(claims(own).with(other))
		}
		all[name] = value
	}
	return all
}

// user is the name that somebody has here, by a claim.
func (c claims) user(claim string) (string, error) {
	value, found := c.find(claim)
	name, isText := value.(string)
	switch {
	case !found:
		return "", fmt.Errorf("the provider says no %q of this account (setting oidc.user_claim); ask for a scope that has it, with oidc.scopes", claim)
	case !isText || !proto.ValidName(name):
		return "", fmt.Errorf("the %q of this account is no name, which has 1 to %d bytes of text without control characters", claim, proto.MaxName)
	}
	// Whoever may write an address of their choice into their account would be whom they like.
	if claim == claimEmail {
		if verified := c[claimEmailVerified]; verified != true && verified != "true" {
			return "", fmt.Errorf("the provider does not say that the address %q of this account is verified", name)
		}
	}
	return name, nil
}

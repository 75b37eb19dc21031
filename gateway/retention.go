package gateway

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rookery/gateway/internal/identity"
	"rookery/proto"
	"rookery/storage"
)

// retentionRules are the settings of retention as they are in force. They are immutable.
type retentionRules struct {
	rooms    []retentionRule
	standard storage.Retention
}

type retentionRule struct {
	text    string // as it was written
	pattern string
	policy  storage.Retention
}

func parseRetention(cfg RetentionConfig) (retentionRules, error) {
	rules := retentionRules{standard: storage.Retention{Age: cfg.Age, Records: uint64(cfg.Messages), Bytes: uint64(cfg.Bytes)}}
	for _, text := range cfg.Rooms {
		rule, err := parseRetentionRule(text)
		if err != nil {
			return retentionRules{}, fmt.Errorf("has the rule %q, %w", text, err)
		}
		for _, before := range rules.rooms {
			if before.pattern == rule.pattern {
				return retentionRules{}, fmt.Errorf("has the pattern %q twice, and only the first would count", rule.pattern)
			}
		}
		rules.rooms = append(rules.rooms, rule)
	}
	return rules, nil
}

// parseRetentionRule reads the bounds from the end, since a room's name may hold spaces.
func parseRetentionRule(text string) (retentionRule, error) {
	rule := retentionRule{text: text, pattern: text}
	named := map[string]bool{}
	for {
		space := strings.LastIndexByte(rule.pattern, ' ')
		name, bound, ok := strings.Cut(rule.pattern[space+1:], "=")
		if space < 0 || !ok {
			break
		}
		var v value
		var age time.Duration
		var messages int
		var bytes int64
		switch name {
		case "age":
			v = durationValue{&age, 0, century}
		case "messages":
			v = intValue{&messages, 0, proto.MaxInteger}
		case "bytes":
			v = sizeValue[int64]{&bytes, 0, proto.MaxInteger}
		default:
			return rule, fmt.Errorf("whose bound %q is none; bounds are age=720h, messages=1000 and bytes=1GiB", name)
		}
		if named[name] {
			return rule, fmt.Errorf("which names %s twice", name)
		}
		named[name] = true
		if err := v.Set(bound); err != nil {
			return rule, fmt.Errorf("whose %s %q %w", name, bound, err)
		}
		if reason := v.fault(); reason != "" {
			return rule, fmt.Errorf("whose %s %q %s", name, bound, reason)
		}
		rule.policy.Age += age
		rule.policy.Records += uint64(messages)
		rule.policy.Bytes += uint64(bytes)
		rule.pattern = strings.TrimSpace(rule.pattern[:space])
	}
	if len(named) == 0 {
		return rule, errors.New("which names no bound; write a pattern and then age=720h, messages=1000, bytes=1GiB or some of them")
	}
	if err := identity.CheckPattern(rule.pattern); err != nil {
		return rule, fmt.Errorf("whose %w", err)
	}
	return rule, nil
}

// find gives what the settings say of a room, and which of them.
func (r *retentionRules) find(room string) (policy storage.Retention, from string) {
	for _, rule := range r.rooms {
		if identity.Matches(rule.pattern, room) {
			return rule.policy, "rule " + strconv.Quote(rule.text)
		}
	}
	return r.standard, "default"
}

// isSystemRoom tells the rooms that are the server's own. Clients can't name them, since names hold no
// control characters.
func isSystemRoom(room string) bool { return strings.HasPrefix(room, "\x01") }

// retention is how much of a room is kept: what the room has of its own, else the first rule of the
// settings that matches, else the default. Safe for concurrent use, but not for an event loop.
func (s *Server) retention(room string) storage.Retention {
	policy, _, err := s.retentionOf(room)
	if err != nil {
		// Nothing is dropped on a guess.
		if !errors.Is(err, storage.ErrClosed) {
			s.log.Warn("a room's retention can't be read, all of it is kept", "room", room, "err", err)
		}
		return storage.Retention{}
	}
	return policy
}

// retentionOf says besides where the policy comes from: "room", a rule, or "default".
func (s *Server) retentionOf(room string) (policy storage.Retention, from string, err error) {
	if isSystemRoom(room) {
		return storage.Retention{}, "system", nil
	}
	policy, own, err := s.catalog.Retention(room)
	if err != nil {
		return storage.Retention{}, "", err
	}
	if own {
		return policy, "room", nil
	}
	policy, from = s.retentionRules.Load().find(room)
	return policy, from, nil
}

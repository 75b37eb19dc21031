package catalog

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"rookery/storage"
)

// Member says what a user is in a room.
type Member struct {
	Role string `json:"role"`
}

// Position is how far a user has come in a room.
type Position struct {
	Epoch     string `json:"epoch"` // as clients see it
	Delivered uint64 `json:"delivered"`
	Read      uint64 `json:"read"`
}

// Device is one of a user's.
type Device struct {
	Name string `json:"name"`
}

// Ban keeps a user out.
type Ban struct {
	Until  int64  `json:"until,omitempty"` // Unix milliseconds, 0 is for ever
	Reason string `json:"reason,omitempty"`
}

// roomValue is a room's settings. Each is nil if the room has none of its own.
type roomValue struct {
	Retention *retentionValue `json:"retention"`
}

type retentionValue struct {
	AgeMS    uint64 `json:"age_ms,omitempty"`
	Messages uint64 `json:"messages,omitempty"`
	Bytes    uint64 `json:"bytes,omitempty"`
}

// Retention gives a room's own policy, if it has one.
func (c *Catalog) Retention(room string) (policy storage.Retention, own bool, err error) {
	settings, _, err := find[roomValue](c, key(familyRoom, room))
	if err != nil || settings.Retention == nil {
		return storage.Retention{}, false, err
	}
	r := settings.Retention
	age := time.Duration(min(r.AgeMS, uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
	return storage.Retention{Age: age, Records: r.Messages, Bytes: r.Bytes}, true, nil
}

// Member gives what a user is in a room.
func (c *Catalog) Member(room, user string) (m Member, ok bool, err error) {
	return find[Member](c, key(familyMember, room, user))
}

// Members calls fn for each member of a room, by name.
func (c *Catalog) Members(room string, fn func(user string, m Member) bool) error {
	return each(c, key(familyMember, room, ""), fn)
}

// RoomsOf calls fn for each room that a user is a member of, by name.
func (c *Catalog) RoomsOf(user string, fn func(room string, m Member) bool) error {
	return eachOf(c, familyMember, user, fn)
}

// Position gives how far a user has come in a room.
func (c *Catalog) Position(room, user string) (p Position, ok bool, err error) {
	return find[Position](c, key(familyPosition, room, user))
}

// Positions calls fn for each user who has a position in a room, by name.
func (c *Catalog) Positions(room string, fn func(user string, p Position) bool) error {
	return each(c, key(familyPosition, room, ""), fn)
}

// PositionsOf calls fn for each room that a user has a position in, by name.
func (c *Catalog) PositionsOf(user string, fn func(room string, p Position) bool) error {
	return eachOf(c, familyPosition, user, fn)
}

// DevicesOf calls fn for each device of a user, by id.
func (c *Catalog) DevicesOf(user string, fn func(id string, d Device) bool) error {
	return each(c, key(familyDevice, user, ""), fn)
}

// Ban gives the ban of a user in a scope, over or not.
func (c *Catalog) Ban(scope, user string) (b Ban, ok bool, err error) {
	return find[Ban](c, key(familyBan, scope, user))
}

// Bans calls fn for each ban in a scope, by user.
func (c *Catalog) Bans(scope string, fn func(user string, b Ban) bool) error {
	return each(c, key(familyBan, scope, ""), fn)
}

// Walk calls fn for all entries, in the order of the keys: what an export writes and Set takes again.
func (c *Catalog) Walk(fn func(key, value string) bool) error { return c.state.scan("", derived, fn) }

// find reads one entry.
func find[T any](c *Catalog, key string) (value T, ok bool, err error) {
	encoded, err := c.state.get(key)
	if err != nil || encoded == "" {
		return value, false, err
	}
	err = decodeValue(key, encoded, &value)
	return value, err == nil, err
}

// each reads the entries whose keys begin with prefix and end with one more name.
func each[T any](c *Catalog, prefix string, fn func(name string, value T) bool) error {
	var wrong error
	err := c.state.scan(prefix, endOf(prefix), func(key, encoded string) bool {
		var value T
		if wrong = decodeValue(key, encoded, &value); wrong != nil {
			return false
		}
		return fn(key[len(prefix):], value)
	})
	if err == nil {
		err = wrong
	}
	return err
}

// eachOf reads the entries of a family that have a user as their second name.
func eachOf[T any](c *Catalog, family, user string, fn func(name string, value T) bool) error {
	prefix := key(derived+family, user, "")
	var wrong error
	err := c.state.scan(prefix, endOf(prefix), func(second, _ string) bool {
		name := second[len(prefix):]
		value, ok, err := find[T](c, key(family, name, user))
		if err != nil {
			wrong = err
			return false
		}
		return !ok || fn(name, value) // it may have gone since the page was read
	})
	if err == nil {
		err = wrong
	}
	return err
}

// endOf gives the end of the range of keys with a prefix that ends in a separator.
func endOf(prefix string) string { return prefix[:len(prefix)-len(separator)] + behindSeparator }

func decodeValue(key, encoded string, value any) error {
	if err := json.Unmarshal([]byte(encoded), value); err != nil {
		return fmt.Errorf("catalog value of %q: %w", key, err)
	}
	return nil
}

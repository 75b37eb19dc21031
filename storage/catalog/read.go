package catalog

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"rookery/storage"
)

// Settings are what a room with members is like. The zero value is one that nobody has made.
type Settings struct {
	Created int64    `json:"created,omitempty"` // Unix milliseconds
	Title   string   `json:"title,omitempty"`
	SlowMS  uint64   `json:"slow_ms,omitempty"` // one message of a user in this time
	Speak   string   `json:"speak,omitempty"`   // the least role that may publish
	Direct  []string `json:"direct,omitempty"`  // the two users of a direct room
}

// Member says what a user is in a room.
type Member struct {
	Role  string `json:"role"`
	Since int64  `json:"since,omitempty"` // Unix milliseconds
	From  uint64 `json:"from,omitempty"`  // the room's newest message at that time
	// Notify is of what the member is told who has not received it: "mentions", "none", or empty for all.
	Notify string `json:"notify,omitempty"`
}

// Position is how far a user has come in a room.
type Position struct {
	Epoch     string `json:"epoch"` // as clients see it
	Delivered uint64 `json:"delivered"`
	Read      uint64 `json:"read"`
}

// Device is one of a user's.
type Device struct {
	Name    string   `json:"name,omitempty"`
	WebPush *WebPush `json:"web_push,omitempty"`
	APNs    string   `json:"apns,omitempty"` // token of Apple's push service
	FCM     string   `json:"fcm,omitempty"`  // token of Firebase Cloud Messaging
}

// Told reports whether the device is told that messages wait.
func (d Device) Told() bool { return d.WebPush != nil || d.APNs != "" || d.FCM != "" }

// WebPush is how a device is told that messages wait, as the push service of a browser gave it.
type WebPush struct {
	Endpoint string `json:"endpoint"`
	P256dh   string `json:"p256dh"`
	Auth     string `json:"auth"`
}

// Ban keeps a user out, or as a mute keeps them from publishing.
type Ban struct {
	Until  int64  `json:"until,omitempty"` // Unix milliseconds, 0 is for ever
	Reason string `json:"reason,omitempty"`
}

// roomValue is a room's settings. Each is nil if the room has none of its own.
type roomValue struct {
	Retention *retentionValue `json:"retention"`
	Settings
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

// Settings gives what a room with members is like, ok if somebody has made it.
func (c *Catalog) Settings(room string) (s Settings, ok bool, err error) {
	value, ok, err := find[roomValue](c, key(familyRoom, room))
	return value.Settings, ok && value.Created != 0, err
}

// Member gives what a user is in a room.
func (c *Catalog) Member(room, user string) (m Member, ok bool, err error) {
	return find[Member](c, key(familyMember, room, user))
}

// Members calls fn for each member of a room, by name.
func (c *Catalog) Members(room string, fn func(user string, m Member) bool) error {
	return each(c, key(familyMember, room, ""), fn)
}

// MembersAfter calls fn for each member of a room whose name comes after another, by name.
func (c *Catalog) MembersAfter(room, after string, fn func(user string, m Member) bool) error {
	return eachAfter(c, key(familyMember, room, ""), after, fn)
}

// CountMembers gives how many members a room has.
func (c *Catalog) CountMembers(room string) (int, error) {
	return c.state.count(key(familyMember, room, ""))
}

// RoomsOf calls fn for each room that a user is a member of, by name.
func (c *Catalog) RoomsOf(user string, fn func(room string, m Member) bool) error {
	return c.RoomsOfAfter(user, "", fn)
}

// RoomsOfAfter calls fn for each room that a user is a member of and whose name comes after another, by name.
func (c *Catalog) RoomsOfAfter(user, after string, fn func(room string, m Member) bool) error {
	return eachOf(c, familyMember, user, after, fn)
}

// CountRoomsOf gives how many rooms a user is a member of.
func (c *Catalog) CountRoomsOf(user string) (int, error) {
	return c.state.count(key(derived+familyMember, user, ""))
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
	return eachOf(c, familyPosition, user, "", fn)
}

// Device gives a device of a user.
func (c *Catalog) Device(user, id string) (d Device, ok bool, err error) {
	return find[Device](c, key(familyDevice, user, id))
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

// BansAfter calls fn for each ban in a scope of a user whose name comes after another, by user.
func (c *Catalog) BansAfter(scope, after string, fn func(user string, b Ban) bool) error {
	return eachAfter(c, key(familyBan, scope, ""), after, fn)
}

// Mute gives the mute of a user in a room, over or not.
func (c *Catalog) Mute(room, user string) (b Ban, ok bool, err error) {
	return find[Ban](c, key(familyMute, room, user))
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
	return eachAfter(c, prefix, "", fn)
}

// eachAfter is each, from the names on that come after another.
func eachAfter[T any](c *Catalog, prefix, after string, fn func(name string, value T) bool) error {
	var wrong error
	err := c.state.scan(behind(prefix, after), endOf(prefix), func(key, encoded string) bool {
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

// eachOf reads the entries of a family that have a user as their second name, and a first that comes after another.
func eachOf[T any](c *Catalog, family, user, after string, fn func(name string, value T) bool) error {
	prefix := key(derived+family, user, "")
	var wrong error
	err := c.state.scan(behind(prefix, after), endOf(prefix), func(second, _ string) bool {
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

// behind gives the first key with a prefix whose name comes after another; "" is before all.
func behind(prefix, after string) string {
	if after == "" {
		return prefix
	}
	return prefix + after + "\x00"
}

// endOf gives the end of the range of keys with a prefix that ends in a separator.
func endOf(prefix string) string { return prefix[:len(prefix)-len(separator)] + behindSeparator }

func decodeValue(key, encoded string, value any) error {
	if err := json.Unmarshal([]byte(encoded), value); err != nil {
		return fmt.Errorf("catalog value of %q: %w", key, err)
	}
	return nil
}

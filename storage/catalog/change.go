package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"rookery/storage"
)

// Change is one wish of an update. It is data and not a function, so that what waits can be counted in
// bytes. What is wrong with it is told by Update.
type Change struct {
	key   string
	value string // compact JSON, "" removes
	// merge gives what comes of the value that is there ("": none) and the wished one. nil replaces.
	merge func(old, wish string) (string, error)
	note  string // compact JSON, "": none
	err   error
}

// Noted has the record of the change say what it means, in JSON, for who follows the records. A change that changes nothing leaves no note.
func (c Change) Noted(note []byte) Change {
	var compact bytes.Buffer
	if err := json.Compact(&compact, note); err != nil && c.err == nil {
		c.err = fmt.Errorf("note on the catalog value of %q is no JSON: %w", c.key, err)
	}
	c.note = compact.String()
	return c
}

// Set puts a JSON value under a key of the package doc's table, or under one of a family that this version
// does not know. It is for imports; who knows the family uses its own functions, which keep
// fields that they do not know.
func Set(key string, value []byte) Change {
	c := Change{key: key, err: checkKey(key)}
	if c.err != nil {
		return c
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		c.err = fmt.Errorf("catalog value of %q is no JSON: %w", key, err)
		return c
	}
	if c.value = compact.String(); c.value == "null" {
		c.err = fmt.Errorf("catalog value of %q is null: remove the entry instead", key)
		return c
	}
	c.err = checkValue(key, c.value)
	return c
}

// Remove takes an entry away; that there is none is no error.
func Remove(key string) Change { return Change{key: key, err: checkKey(key)} }

// patch replaces the fields that it names and leaves the others alone; a field that is null goes, and so does
// an entry without any.
func patch(key string, fields any) Change {
	wish, err := json.Marshal(fields)
	if err != nil {
		panic("BUG: a value of the catalog is no JSON: " + err.Error())
	}
	c := Change{key: key, value: string(wish), merge: mergeFields, err: checkKey(key)}
	if c.err == nil {
		c.err = checkValue(key, c.value)
	}
	return c
}

// replace writes a ban and takes away what the one before had and it has not: one for ever has no end.
func replace(key string, b Ban) Change {
	fields := map[string]any{"until": nil, "reason": nil}
	if b.Until != 0 {
		fields["until"] = b.Until
	}
	if b.Reason != "" {
		fields["reason"] = b.Reason
	}
	c := patch(key, fields)
	c.merge = func(old, wish string) (string, error) {
		merged, err := mergeFields(old, wish)
		if merged == "" && err == nil {
			merged = "{}" // for ever and without a reason is a ban all the same
		}
		return merged, err
	}
	return c
}

func mergeFields(old, wish string) (string, error) {
	fields, wished := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if old != "" {
		if err := json.Unmarshal([]byte(old), &fields); err != nil {
			return "", fmt.Errorf("what is there is no object: %w", err)
		}
	}
	if err := json.Unmarshal([]byte(wish), &wished); err != nil {
		return "", err
	}
	maps.Copy(fields, wished)
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	if len(fields) == 0 {
		return "", nil
	}
	var merged bytes.Buffer
	encoder := json.NewEncoder(&merged)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(merged.Bytes())), nil
}

// SetRetention gives a room a policy of its own, the zero one keeps everything; nil takes it away.
func SetRetention(room string, policy *storage.Retention) Change {
	var value *retentionValue
	if policy != nil {
		value = &retentionValue{AgeMS: uint64(policy.Age.Milliseconds()), Messages: policy.Records, Bytes: policy.Bytes}
	}
	c := patch(key(familyRoom, room), map[string]any{"retention": value})
	if c.err == nil && policy != nil && policy.Age != 0 && policy.Age < time.Millisecond {
		c.err = fmt.Errorf("retention of room %q: the age is %v, must be 0 or at least a millisecond", room, policy.Age)
	}
	return c
}

// SetSettings says what a room with members is like.
func SetSettings(room string, s Settings) Change {
	// What is zero is taken away, and not left as it was.
	orNone := func(zero bool, value any) any {
		if zero {
			return nil
		}
		return value
	}
	return patch(key(familyRoom, room), map[string]any{
		"created": orNone(s.Created == 0, s.Created),
		"title":   orNone(s.Title == "", s.Title),
		"slow_ms": orNone(s.SlowMS == 0, s.SlowMS),
		"speak":   orNone(s.Speak == "", s.Speak),
		"direct":  orNone(len(s.Direct) == 0, s.Direct),
	})
}

// SetMember makes a user a member of a room, or changes what they are there.
func SetMember(room, user string, m Member) Change {
	if m.Notify != "" {
		return patch(key(familyMember, room, user), m)
	}
	// What is empty is taken away, and not left as it was.
	fields := map[string]any{"role": m.Role, "notify": nil}
	if m.Since != 0 {
		fields["since"] = m.Since
	}
	if m.From != 0 {
		fields["from"] = m.From
	}
	return patch(key(familyMember, room, user), fields)
}

// RemoveMember ends a membership.
func RemoveMember(room, user string) Change { return Remove(key(familyMember, room, user)) }

// Advance moves the position of a user in a room, in neither respect back. A position of another epoch is
// replaced: the caller has seen to it that the new one is the log's.
func Advance(room, user string, p Position) Change {
	c := patch(key(familyPosition, room, user), p)
	c.merge = func(old, wish string) (string, error) {
		var is Position
		if old != "" {
			if err := json.Unmarshal([]byte(old), &is); err != nil {
				return "", err
			}
		}
		if is.Epoch != p.Epoch {
			return mergeFields(old, wish)
		}
		further := Position{p.Epoch, max(is.Delivered, p.Delivered), max(is.Read, p.Read)}
		if further == is {
			return old, nil
		}
		encoded, err := json.Marshal(further)
		if err != nil {
			return "", err
		}
		return mergeFields(old, string(encoded))
	}
	return c
}

// SetDevice registers a device of a user, or changes it: how it was told before is forgotten.
func SetDevice(user, id string, d Device) Change {
	fields := map[string]any{"web_push": d.WebPush, "apns": nil, "fcm": nil}
	for name, text := range map[string]string{"name": d.Name, "apns": d.APNs, "fcm": d.FCM} {
		if text != "" {
			fields[name] = text
		}
	}
	return patch(key(familyDevice, user, id), fields)
}

// EndSubscription forgets a device, if it is still told as d says.
func EndSubscription(user, id string, d Device) Change {
	c := RemoveDevice(user, id)
	c.merge = func(old, _ string) (string, error) {
		var is Device
		if old != "" {
			if err := json.Unmarshal([]byte(old), &is); err != nil {
				return "", err
			}
		}
		same := is.APNs == d.APNs && is.FCM == d.FCM && (is.WebPush == nil) == (d.WebPush == nil)
		if same && d.WebPush != nil {
			same = is.WebPush.Endpoint == d.WebPush.Endpoint
		}
		if !same {
			return old, nil
		}
		return "", nil
	}
	return c
}

// RemoveDevice forgets a device.
func RemoveDevice(user, id string) Change { return Remove(key(familyDevice, user, id)) }

// SetBan bans a user from a room, or from the whole server if scope is empty.
func SetBan(scope, user string, b Ban) Change { return replace(key(familyBan, scope, user), b) }

// RemoveBan lifts a ban.
func RemoveBan(scope, user string) Change { return Remove(key(familyBan, scope, user)) }

// SetMute keeps a user from publishing in a room, whether they are a member or not.
func SetMute(room, user string, b Ban) Change { return replace(key(familyMute, room, user), b) }

// RemoveMute lifts a mute.
func RemoveMute(room, user string) Change { return Remove(key(familyMute, room, user)) }

// overlay is the state as it will be when the changes before have been committed.
type overlay struct {
	state   *state
	changed map[string]text
}

func (o *overlay) get(key string) (string, error) {
	if value, ok := o.changed[key]; ok {
		return string(value), nil
	}
	return o.state.get(key)
}

// resolve gives the entries that really change.
func (o *overlay) resolve(changes []Change) ([]entry, error) {
	var entries []entry
	mine := overlay{o.state, maps.Clone(o.changed)}
	for _, c := range changes {
		old, err := mine.get(c.key)
		value := c.value
		if err == nil && c.merge != nil {
			if value, err = c.merge(old, c.value); err == nil && len(value) > maxValue {
				err = fmt.Errorf("has %d bytes, at most %d fit", len(value), maxValue)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("catalog value of %q: %w", c.key, err)
		}
		if value != old {
			entries = append(entries, entry{c.key, text(value), text(c.note)})
			mine.put(entries[len(entries)-1:])
		}
	}
	return entries, nil
}

func (o *overlay) put(entries []entry) {
	for _, e := range entries {
		o.changed[e.Key] = e.Value
	}
}

package catalog

import "time"

// Revoked says of what a revocation is.
type Revoked string

// A revocation is of a token, by its id, or of a user.
const (
	RevokedToken Revoked = "token"
	RevokedUser  Revoked = "user"
)

// Revocation takes tokens back before they expire.
type Revocation struct {
	At    time.Time // of a user: tokens that were issued up to then
	Until time.Time // from then on it is needed no more
}

type revocationValue struct {
	At    int64 `json:"at"`
	Until int64 `json:"until"`
}

// SetRevocation revokes a token or the tokens of a user.
func SetRevocation(of Revoked, name string, r Revocation) Change {
	return patch(key(familyRevocation, string(of), name), revocationValue{r.At.UnixMilli(), r.Until.UnixMilli()})
}

// RemoveRevocation takes it back.
func RemoveRevocation(of Revoked, name string) Change {
	return Remove(key(familyRevocation, string(of), name))
}

// Revocations calls fn for each revocation of tokens, or of users, by name.
func (c *Catalog) Revocations(of Revoked, fn func(name string, r Revocation) bool) error {
	return each(c, key(familyRevocation, string(of), ""), func(name string, v revocationValue) bool {
		return fn(name, Revocation{time.UnixMilli(v.At), time.UnixMilli(v.Until)})
	})
}

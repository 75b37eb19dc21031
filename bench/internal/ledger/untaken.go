package ledger

import "slices"

// Number is one of a sender's own numbers.
type Number struct {
	User uint32 `json:"user"`
	Seq  uint32 `json:"seq"`
}

// Untaken are the numbers of publishes that the server refused, or perhaps never got. Where it gives no numbers of its own they are
// holes in what their sender sent, and no losses. Members learn of them late, since others sent them: so the holes stay where they
// are, and are left out when they are counted. The zero value has none.
type Untaken struct {
	bySender map[uint32][]uint64 // ascending
}

// Add enters a number, once or again.
func (u *Untaken) Add(n Number) {
	if u.bySender == nil {
		u.bySender = map[uint32][]uint64{}
	}
	numbers := u.bySender[n.User]
	if at, there := slices.BinarySearch(numbers, uint64(n.Seq)); !there {
		u.bySender[n.User] = slices.Insert(numbers, at, uint64(n.Seq))
	}
}

// within is how many of a sender's are in a span.
func (u *Untaken) within(user uint32, s span) uint64 {
	numbers := u.bySender[user]
	from, _ := slices.BinarySearch(numbers, s.from)
	to, _ := slices.BinarySearch(numbers, s.to+1)
	return uint64(to - from)
}

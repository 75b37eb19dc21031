package ledger

import "slices"

// Outcome says what a number was to an account.
type Outcome uint8

const (
	Next      Outcome = iota // the one after the last
	Ahead                    // a later one: those between are missing so far
	Late                     // one that was missing: reordered
	Duplicate                // one that was there before
)

// Track follows one series of numbers 1, 2, 3 and so on. The zero value has seen none.
type Track struct {
	last    uint64
	missing *[]span // below last, ascending; nil nearly always
}

// span is [from, to].
type span struct{ from, to uint64 }

// Start makes a series begin behind a number. Whatever was missing is forgotten.
func (t *Track) Start(last uint64) { *t = Track{last: last} }

// Last is the largest number that was seen.
func (t *Track) Last() uint64 { return t.last }

// Missing is how many numbers below the last were not seen.
func (t *Track) Missing() (n uint64) {
	if t.missing != nil {
		for _, s := range *t.missing {
			n += s.to - s.from + 1
		}
	}
	return n
}

// Take enters a number.
func (t *Track) Take(seq uint64) Outcome {
	switch {
	case seq == t.last+1:
		t.last = seq
		return Next
	case seq > t.last:
		if t.missing == nil {
			t.missing = &[]span{}
		}
		*t.missing = append(*t.missing, span{t.last + 1, seq - 1})
		t.last = seq
		return Ahead
	case t.forgive(seq):
		return Late
	}
	return Duplicate
}

// Excuse takes the numbers first to last for seen: the server said that they are not there any more.
func (t *Track) Excuse(first, last uint64) {
	if first > last {
		return
	}
	if t.missing != nil {
		var left []span
		for _, s := range *t.missing {
			if s.from < first {
				left = append(left, span{s.from, min(s.to, first-1)})
			}
			if s.to > last {
				left = append(left, span{max(s.from, last+1), s.to})
			}
		}
		*t.missing = left
	}
	if last > t.last {
		if first > t.last+1 {
			t.Take(first) // what is between is missing
		}
		t.last = last
	}
}

// forgive takes a number out of what is missing.
func (t *Track) forgive(seq uint64) bool {
	if t.missing == nil {
		return false
	}
	spans := *t.missing
	at, found := slices.BinarySearchFunc(spans, seq, func(s span, seq uint64) int {
		switch {
		case s.to < seq:
			return -1
		case s.from > seq:
			return 1
		}
		return 0
	})
	if !found {
		return false
	}
	s := spans[at]
	switch {
	case s.from == s.to:
		spans = slices.Delete(spans, at, at+1)
	case s.from == seq:
		spans[at].from = seq + 1
	case s.to == seq:
		spans[at].to = seq - 1
	default:
		spans[at].to = seq - 1
		spans = slices.Insert(spans, at+1, span{seq + 1, s.to})
	}
	*t.missing = spans
	return true
}

// Marking of what was read goes round: nothing new, a mark is planned, it waits for its answer.
type Marking uint8

const (
	MarkNone Marking = iota
	MarkPlanned
	MarkAsked
)

// Account is what one member of one room got. Where the server numbers the messages of a room there is one
// series; else one for each sender, by the sender's own numbers.
type Account struct {
	// Base is the number after which messages are owed.
	Base uint64
	// Got is how many different messages came.
	Got uint64
	// Target is the number at which the member is up to date; 0: it is.
	Target uint64
	Series Track // of the room
	Opened bool
	// Joining: the server was asked for the membership, Leaving: to end it. Both until it answers.
	Joining, Leaving bool
	// Marking is how far the member is with marking what it has read.
	Marking Marking
	// Refusals is how often a join was refused since the last one that was not, 255 at most.
	Refusals uint8

	senders *[]sender // by user, ascending; nil where the server numbers the messages
}

// sender is a series of a sender's own numbers.
type sender struct {
	user  uint32
	track Track
}

// Open begins an account at a number of the room.
func (a *Account) Open(base uint64) {
	*a = Account{Base: base, Opened: true}
	a.Series.Start(base)
}

// Take enters a message by the number that the server gave it.
func (a *Account) Take(seq uint64) Outcome { return a.count(a.Series.Take(seq)) }

// TakeFrom enters a message by its sender's number. Where whole is false the member can't have got the sender's
// first ones: the series begins with the first that came.
func (a *Account) TakeFrom(user uint32, seq uint64, whole bool) Outcome {
	if a.senders == nil {
		a.senders = &[]sender{}
	}
	at, known := a.sender(user)
	if !known {
		s := sender{user: user}
		if !whole {
			s.track.Start(seq - 1)
		}
		*a.senders = slices.Insert(*a.senders, at, s)
	}
	return a.count((*a.senders)[at].track.Take(seq))
}

// sender gives the place of a user's series, or where it would be. A sorted list and not a map: there is one for each member of
// each room, and a map of a few senders is several times as large. Not slices.BinarySearchFunc, which takes nearly three times as long
// for a room of ten.
func (a *Account) sender(user uint32) (at int, known bool) {
	senders := *a.senders
	low, high := 0, len(senders)
	for low < high {
		if middle := int(uint(low+high) / 2); senders[middle].user < user {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(senders) && senders[low].user == user
}

// Newest is the sum of the senders' last numbers that came, without those that the server did not take: as many messages it took of
// all senders, if these are their newest.
func (a *Account) Newest(untaken *Untaken) (n uint64) {
	if a.senders != nil {
		for i := range *a.senders {
			s := &(*a.senders)[i]
			n += s.track.last - untaken.within(s.user, span{1, s.track.last})
		}
	}
	return n
}

// Missing is how many numbers are missing below the last ones that came, without those that the server did not take.
func (a *Account) Missing(untaken *Untaken) uint64 {
	n := a.Series.Missing()
	if a.senders != nil {
		for i := range *a.senders {
			s := &(*a.senders)[i]
			if s.track.missing == nil {
				continue
			}
			for _, span := range *s.track.missing {
				n += span.to - span.from + 1 - untaken.within(s.user, span)
			}
		}
	}
	return n
}

func (a *Account) count(o Outcome) Outcome {
	if o != Duplicate {
		a.Got++
	}
	return o
}

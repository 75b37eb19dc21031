package result

import (
	"cmp"
	"slices"
)

// Add adds another part's counts.
func (c *Counts) Add(other Counts) { c.combine(other, 1) }

// Sub takes an earlier state's counts away, for what was added since.
func (c *Counts) Sub(earlier Counts) { c.combine(earlier, -1) }

func (c *Counts) combine(other Counts, sign int64) {
	mine, theirs := c.fields(), other.fields()
	for i := range mine {
		*mine[i] += sign * *theirs[i]
	}
}

// fields lists every count; a test compares it with the struct.
func (c *Counts) fields() []*int64 {
	return []*int64{
		&c.Connects, &c.Connected, &c.ConnectsFailed, &c.Disconnected, &c.Joined, &c.JoinsRefused, &c.CameBack, &c.StayedAway,
		&c.Sent, &c.Unsent, &c.Acknowledged, &c.Refused, &c.Unanswered,
		&c.Expected, &c.Delivered, &c.Lost, &c.Missing, &c.Duplicated, &c.Reordered, &c.Gaps, &c.Foreign, &c.Dropped,
		&c.Typing, &c.TypingDelivered, &c.Marks, &c.Marked, &c.Receipts, &c.Presence,
		&c.BytesIn, &c.BytesOut,
	}
}

// Add adds another worker's use. The busiest loop is that of both, and so are the handshakes that waited most.
func (c *Client) Add(other Client) {
	c.CPUSeconds += other.CPUSeconds
	c.BusiestLoop = max(c.BusiestLoop, other.BusiestLoop)
	c.HandshakesWaited = max(c.HandshakesWaited, other.HandshakesWaited)
	c.RunDelaySeconds += other.RunDelaySeconds
	c.MemoryBytes += other.MemoryBytes
}

// AddAgreements adds up another worker's, the most frequent first.
func AddAgreements(all, more []Agreement) []Agreement {
	for _, a := range more {
		i := slices.IndexFunc(all, func(b Agreement) bool {
			return a.Version == b.Version && a.Suite == b.Suite && a.Exchange == b.Exchange
		})
		if i < 0 {
			all = append(all, a)
			continue
		}
		all[i].Handshakes += a.Handshakes
		all[i].Resumed += a.Resumed
	}
	slices.SortFunc(all, func(a, b Agreement) int {
		return cmp.Or(cmp.Compare(b.Handshakes, a.Handshakes), cmp.Compare(a.Version+a.Suite+a.Exchange, b.Version+b.Suite+b.Exchange))
	})
	return all
}

// NewLatencies has every histogram, empty.
func NewLatencies() Latencies {
	return Latencies{Delivery: NewHistogram(), Ack: NewHistogram(), Connect: NewHistogram(), SendLate: NewHistogram(), Away: NewHistogram()}
}

// Add adds another part's latencies.
func (l Latencies) Add(other Latencies) {
	l.Delivery.Add(other.Delivery)
	l.Ack.Add(other.Ack)
	l.Connect.Add(other.Connect)
	l.SendLate.Add(other.SendLate)
	l.Away.Add(other.Away)
}

// Reset forgets everything.
func (l Latencies) Reset() {
	for _, h := range []*Histogram{l.Delivery, l.Ack, l.Connect, l.SendLate, l.Away} {
		h.Reset()
	}
}

package issuance

import (
	"crypto/x509"
	"math/rand/v2"
	"time"
)

// renewTime is when a certificate is ordered anew: with a third of its time left, and up to a thirtieth before, so that many that were
// made together do not come together.
func renewTime(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotAfter.Add(-life/3 - time.Duration(rand.Float64()*float64(life/30)))
}

// overdueTime is when somebody has to look: half of the time for renewing is over.
func overdueTime(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 6)
}

// Pauses are between attempts. The first is doubled with each failure, up to the longest.
type Pauses struct {
	// Unreachable is the first one with an authority that does not answer, Refused with one that says no, which counts such attempts: five an
	// hour for a name at Let's Encrypt. Folder is the one with a folder that can't be written.
	Unreachable, Refused, Folder time.Duration
	// Turn is how often it is seen whether another process has ended that orders.
	Turn time.Duration
}

func (p Pauses) orDefault() Pauses {
	if p == (Pauses{}) {
		return Pauses{Unreachable: 30 * time.Second, Refused: 5 * time.Minute, Folder: 30 * time.Second, Turn: 5 * time.Second}
	}
	return p
}

// restart is how long a restart has a name wait whose orders come to nothing: with a quarter of an hour there are no more than four an hour.
func (p Pauses) restart() time.Duration { return 3 * p.Refused }

// longestRefused and longestOther are where doubling ends. A thirtieth of a certificate's own time is where it ends sooner, so that ten
// attempts fit into the third in which it is renewed.
const (
	longestRefused = 6 * time.Hour
	longestOther   = time.Hour
	shortest       = time.Second // of a test's certificate that lives for seconds
)

// after is how long to wait after the failures of a name.
func (p Pauses) after(r reason, s *state) time.Duration {
	first, longest := p.Refused, longestRefused
	switch r {
	case unreachable:
		first, longest = p.Unreachable, longestOther
	case folderFails:
		first, longest = p.Folder, longestOther
	}
	if s.certificate != nil {
		life := s.certificate.Leaf.NotAfter.Sub(s.certificate.Leaf.NotBefore)
		longest = min(longest, max(life/30, shortest))
	}
	const doublings = 16 // of any first one more than any longest
	pause := min(first<<min(s.failures-1, doublings), longest)
	return pause + time.Duration(rand.Float64()*float64(pause/5))
}

// quiet is how long an authority that does not answer is left alone, for all names.
type quiet struct {
	failures int
	until    time.Time
	limited  time.Time // the same, by its own word, which nobody here sets aside
}

func (q quiet) end() time.Time {
	if q.until.Before(q.limited) {
		return q.limited
	}
	return q.until
}

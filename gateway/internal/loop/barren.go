package loop

import (
	"fmt"
	"time"

	"rookery/gateway/internal/kerneltls"
)

// Records without data, of connections whose records the kernel opens. It gives nothing for one, so neither gnet nor the loop is told that any came; and
// in one read it opens as many as there are. So the patrol asks the kernel how much it has opened, and compares that with the data
// that it gave.

const (
	// recordBytes is what a record of TLS 1.3 with AES-GCM has beside its data: header, type and tag, RFC 8446 5.2.
	recordBytes = 5 + 1 + 16
	// barrenBytes is how much of a connection's records may come in barrenTime over what its data may take: a record for each byte. Padding (RFC 8446
	// 5.4) counts, too: no client is known to add any, and one that fills its records up with it has some messages a second.
	barrenBytes = 256 << 10
	barrenTime  = 10 * time.Second
)

// weight is what a connection's records have held that the kernel has opened. Owned by its loop.
type weight struct {
	given  int64 // bytes of data that were worked off, since the connection came to this process
	barren int64 // bytes of records over what the data may have taken, at since
	since  moment
}

// weight is that of a connection whose records the kernel has, nil of others.
func (c *conn) weight() *weight {
	switch context := c.sock.SafeContext().(type) {
	case *weight:
		return context
	case *origin:
		return context.weight
	}
	return nil
}

// given notes that so many bytes of data were worked off.
func (c *conn) given(n int) {
	if w := c.weight(); w != nil {
		w.given += int64(n)
	}
}

// weigh closes a connection that sends records with nothing in them, and reports whether it has.
func (l *Loop) weigh(c *conn) bool {
	w := c.weight()
	// One that is closing has a second, unless it is still taking what was written: then it goes on for as long as it likes.
	if w == nil || c.phase == closing && c.due != 0 || c.unheard() {
		return false
	}
	bytes, err := kerneltls.Opened(c.sock.Fd())
	if err != nil {
		return false // a socket that is broken is found so where it is read
	}
	barren := bytes - (recordBytes+1)*(w.given+int64(l.unreadBytes(c)))
	came := barren - w.barren
	if w.since == 0 || came <= barrenBytes {
		if w.since == 0 || l.now >= w.since.add(barrenTime) {
			w.barren, w.since = barren, l.now
		}
		return false
	}
	l.judge(c, fmt.Errorf("%d KiB of records held next to no data", came>>10))
	l.abort(c)
	return true
}

package loop

import "time"

const (
	// mostRead is how many requests are read before the loop has a turn, if its bell is not reached before.
	mostRead = 128
	// longInLine is how long what is read may have waited for it where that goes on.
	longInLine = 150 * time.Millisecond
	// longFor is how long it has to go on: neither a burst nor a moment without a processor is an overload.
	longFor = time.Second
	// slowPass is how long the sockets that are ready wait where those who want to be accepted get help, see Engine.Slow.
	slowPass = 20 * time.Millisecond
)

// line is how long the sockets that are ready wait to be read. epoll tells of them in the order in which they became ready, and the bell is
// one of them: who is read while it waits has waited for as long, but for who has something new since it was read: its place in line is of that time. The
// watcher's set has a mark for a bell. What is in the sockets is in no mailbox, so no bound of these says that it is
// too much: a loop that reads all of it accepts what has waited for seconds, while it has no time for what it accepted before.
type line struct {
	since time.Time     // when the bell was first seen to wait, zero: it was not
	long  time.Time     // since when each wait has been long, zero: the last was not
	seen  time.Time     // when it was looked at last
	old   bool          // what is read has waited too long to be accepted
	slow  bool          // the bell has waited for longer than slowPass, the last time or now, or the turn before took as long
	turn  time.Duration // that the last turn took which the bell rang for
}

// look leaves out what is longer between two looks than a turn and what is read before it may take: the process was stopped, or had no processor. Where that
// goes on each step counts for longInLine still.
func (w *line) look(now time.Time) {
	if stood := now.Sub(w.seen) - longInLine; stood > 0 {
		w.since, w.long = later(w.since, stood), later(w.long, stood)
	}
	w.seen = now
}

func later(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}

// passed is called while the bell is passed over; waits: it is rung.
func (w *line) passed(now time.Time, waits bool) {
	w.look(now)
	switch waited := now.Sub(w.since); {
	case !waits:
	case w.since.IsZero():
		w.since = now
	case waited > slowPass:
		w.slow = true
		if waited <= longInLine/2 {
			break
		}
		if w.long.IsZero() {
			w.long = now
		}
		w.old = waited > longInLine && now.Sub(w.long) > longFor
	}
}

// passedOver reports whether the bell waits, so that sockets which were ready before it may be unread.
func (w *line) passedOver() bool { return !w.since.IsZero() }

// late reports whether what is read of a connection has waited too long to be accepted: in gnet's line, or in that of those that came by a takeover.
func (l *Loop) late(c *conn) bool {
	if c.aloft() {
		return l.watcher.line.old
	}
	return l.line.old
}

// reached is called when it is the bell's turn.
func (w *line) reached(now time.Time) {
	w.look(now)
	w.slow = w.turn > slowPass || !w.since.IsZero() && now.Sub(w.since) > slowPass
	if w.since.IsZero() || now.Sub(w.since) <= longInLine/2 {
		w.long = time.Time{}
	}
	w.since, w.old = time.Time{}, false
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// drain ends the connections and the rooms, and gives the last replies time to leave. All
// of it together takes until end.
func (s *Server) drain(end time.Time) error {
	s.state.Store(leaving)
	begun, window := time.Now(), s.cfg.Drain.Window
	by := func(d time.Duration) time.Time {
		if t := time.Now().Add(d); t.Before(end) {
			return t
		}
		return end
	}
	s.log.Info("draining", "connections", s.engine.Open(), "window", window,
		"expected", drainEstimate(s.engine.Open(), s.cfg.Drain), "at_most", s.cfg.Drain.Timeout)
	s.engine.Drain(window, window)
	s.await(by(window+time.Second), func() bool { return s.engine.Open() == 0 })

	// What was accepted is committed and acknowledged before anybody is cut off.
	s.engine.Refuse()
	s.api.Refuse()
	s.await(by(time.Second), func() bool { return s.engine.Refusing() && s.api.Idle() })
	late := s.closeOwnersBy(end)
	s.await(by(time.Second), s.engine.Flushed)
	s.engine.Shut()
	s.await(by(1500*time.Millisecond), func() bool { return s.engine.Open() == 0 })
	s.log.Info("drained", "left", s.engine.Open(), "took", time.Since(begun).Round(time.Millisecond))
	return late
}

// drainEstimate is how long a drain takes in which some clients stay until they are closed: the window, a second for who is late, a second
// and a half for closing.
func drainEstimate(connections int, c DrainConfig) time.Duration {
	if connections == 0 {
		return 0
	}
	return min(c.Window+2500*time.Millisecond, c.Timeout)
}

// closeAll is the end without a drain.
func (s *Server) closeAll() error {
	end := time.Now().Add(s.cfg.Drain.Timeout)
	if late := s.closeOwnersBy(end); late != nil {
		return late
	}
	return s.closeStorageBy(end)
}

// closeOwnersBy is closeOwners; one that waits for the disk behind end goes on, and the process ends without it.
func (s *Server) closeOwnersBy(end time.Time) error {
	late, cancel := context.WithTimeout(context.Background(), max(time.Until(end), 100*time.Millisecond))
	defer cancel()
	if !before(late, s.closeOwners) {
		return fmt.Errorf("the log did not commit what was published within drain.timeout, %v: it was not acknowledged", s.cfg.Drain.Timeout)
	}
	return nil
}

// before calls fn, which waits for the disk, and reports whether it came back before late was done. If not it goes on, and the process is to end
// without it: what it writes to is its own.
func before(late context.Context, fn func()) bool {
	landed := make(chan struct{})
	go func() {
		fn()
		close(landed)
	}()
	select {
	case <-landed:
		return true
	case <-late.Done():
		return false
	}
}

// closeOwners ends what is between the loops and the log, in the order of flow. What is under way is answered.
func (s *Server) closeOwners() {
	s.api.Refuse()
	s.stopSignIn()
	s.stopPush()
	s.stopWebhooks()
	s.rooms.Close()
	s.calls.Close()
	s.receipts.Close()
	s.revocations.Close()
	s.members.Close()
	s.presence.Close()
	s.catalog.Close()
	s.api.Close()
}

// closeStorage is behind the loops, in which sessions end. shipping is how long what is in the log may still be shipped.
func (s *Server) closeStorage(shipping time.Duration) error {
	s.seen.Close()
	s.stopShipping(shipping)
	return errors.Join(s.changes.Close(), s.store.Close())
}

// lastClosing is what closing the log and the indexes has at least, beside shipping: time for a slow disk.
const lastClosing = 10 * time.Second

// closeStorageBy is closeStorage; one that waits for the disk behind end, and beyond what it has at least, goes on, and the process
// ends without it. All that was acknowledged is in the files by then.
func (s *Server) closeStorageBy(end time.Time) error {
	limit := max(time.Until(end), lastClosing)
	if s.shipper != nil {
		limit += lastShipping
	}
	late, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var err error
	if !before(late, func() { err = s.closeStorage(lastShipping) }) {
		return fmt.Errorf("the disk did not answer for %v while the log in %s was closed: what was acknowledged is in it, the next start reads its end again", limit.Round(time.Second), s.cfg.Data)
	}
	return err
}

// auditClosing is how long the end of the process waits for a line of the audit log that is being written.
const auditClosing = time.Second

// closeAudit ends the audit log. A disk of its own that does not answer keeps nobody.
func (s *Server) closeAudit() {
	late, cancel := context.WithTimeout(context.Background(), auditClosing)
	defer cancel()
	before(late, s.audit.Close)
}

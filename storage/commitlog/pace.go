package commitlog

import (
	"errors"
	"time"
)

// errStopped ends background work in its middle, for Close.
var errStopped = errors.New("stopped")

const (
	// workSlice is how long background work goes on before it rests.
	workSlice = 2 * time.Millisecond
	// restShare is how much longer it rests than it worked: commits have the disk and the core for
	// most of the time.
	restShare = 3
)

// pace slows background work down to a quarter of the time. It belongs to one goroutine at a time.
type pace struct {
	stop <-chan struct{}
	off  bool // for tests: only stop is looked at
	from time.Time
	n    int
}

// rest is called after each small piece of work; it gives errStopped when the log is being closed.
func (p *pace) rest() error {
	if p.n++; p.n%64 != 0 {
		return nil // a look at the clock costs as much as the work
	}
	select {
	case <-p.stop:
		return errStopped
	default:
	}
	if p.off {
		return nil
	}
	now := time.Now()
	worked := now.Sub(p.from)
	if worked > time.Second {
		// The first piece of a new work.
		p.from = now
		return nil
	}
	if worked < workSlice {
		return nil
	}
	timer := time.NewTimer(restShare * worked)
	defer timer.Stop()
	select {
	case <-p.stop:
		return errStopped
	case <-timer.C:
	}
	p.from = time.Now()
	return nil
}

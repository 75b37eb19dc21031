package bench

import (
	"fmt"
	"math"
	"time"

	"rookery/bench/internal/engine"
	"rookery/bench/internal/worker"
)

// clockLook is what was found of a host's clock: off has to be added to it to get the coordinator's, and is wrong by within at
// most.
type clockLook struct{ off, within int64 }

const (
	// manyQuestions are asked before the load and after it, fewQuestions each clockEach within it, when they meet the load.
	manyQuestions = 40
	fewQuestions  = 5
	clockEach     = 10 * time.Second
)

// lookAtClock finds what has to be added to a worker's clock. Of many questions the one that was answered soonest is the
// least wrong: the worker looked at its clock somewhere between question and answer (Cristian's algorithm).
func (f *fleet) lookAtClock(l *link, questions int) (clockLook, error) {
	soonest, look := int64(math.MaxInt64), clockLook{}
	for range questions {
		asked := engine.Now()
		if err := l.encoder.Encode(worker.Order{Clock: true}); err != nil {
			return look, f.reason(fmt.Errorf("%s can't be asked for its clock: %w", l.name, err))
		}
		r, err := f.answer(l)
		if err != nil {
			return look, err
		}
		if took := engine.Now() - asked; took < soonest {
			soonest, look = took, clockLook{off: asked + took/2 - r.Clock, within: took / 2}
		}
	}
	return look, nil
}

// compareClocks is the first look at the clock of a worker's host. The workers of a host have one clock: the best look counts for all.
func (f *fleet) compareClocks(l *link) error {
	look, err := f.lookAtClock(l, manyQuestions)
	if err != nil {
		return err
	}
	for len(f.clocks) <= l.host {
		f.clocks = append(f.clocks, clockLook{within: math.MaxInt64})
	}
	if best := &f.clocks[l.host]; look.within < best.within {
		*best = look
		h := &f.hosts[l.host]
		h.ClockSeconds, h.ClockErrorSeconds = time.Duration(look.off).Seconds(), time.Duration(look.within).Seconds()
	}
	return nil
}

// clock is the first look at a host's clock; the coordinator's needs none.
func (f *fleet) clock(host int) clockLook {
	if host >= len(f.clocks) || f.clocks[host].within == math.MaxInt64 {
		return clockLook{}
	}
	return f.clocks[host]
}

// recheckClocks compares the clock of each other host again, and keeps how far it has drifted: the most of what is beyond what
// both looks may be wrong by. The workers go on by the first look; a step in the middle would be one in every latency.
func (f *fleet) recheckClocks(questions int) error {
	asked := map[int]bool{0: true} // the coordinator's
	for _, l := range f.workers {
		if asked[l.host] {
			continue
		}
		asked[l.host] = true
		look, err := f.lookAtClock(l, questions)
		if err != nil {
			return err
		}
		first, h := f.clock(l.host), &f.hosts[l.host]
		drift, within := time.Duration(look.off-first.off), time.Duration(look.within+first.within)
		if drift.Abs() > within && drift.Abs().Seconds() > math.Abs(h.ClockDriftSeconds) {
			h.ClockDriftSeconds, h.ClockDriftErrorSeconds = drift.Seconds(), within.Seconds()
		}
	}
	return nil
}

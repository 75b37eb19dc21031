package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rookery/bench/internal/crowd"
	"rookery/bench/internal/worker"
	"rookery/bench/report"
	"rookery/bench/result"
)

// drain waits for what is on its way, then adds up. Most of it comes at once; for the rest it asks less and less often.
func (r *run) drain(ctx context.Context) error {
	from, wait := time.Now(), r.plan.Time.Drain
	if r.result.Connect.Count == 0 {
		wait = 0 // nobody came, so nothing is on its way
	}
	r.seconds.phase(report.Draining, wait)
	end := time.NewTimer(wait)
	defer end.Stop()
	stop := r.options.Stop
	if r.stopped() { // in the load: it has done what it is for
		stop = nil
	}
	for pause := pollEach; ; pause = min(2*pause, pollMost) {
		complete, err := r.drained()
		if err != nil {
			return err
		}
		if complete {
			break
		}
		select {
		case <-time.After(pause):
			continue
		case <-end.C:
		case <-stop:
			r.endedEarly(time.Since(from))
		case <-r.options.Hurry:
			r.endedEarly(time.Since(from))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		break
	}
	return r.settle(ctx)
}

// pollMost is between two looks at a drain that takes long.
const pollMost = 250 * time.Millisecond

// endedEarly has the verdict say that the user did not wait.
func (r *run) endedEarly(after time.Duration) {
	r.said = append(r.said, fmt.Sprintf("the wait for what was on its way was ended after %.1f s of %v: what had not come by then counts as lost",
		after.Seconds(), r.plan.Time.Drain))
}

// drained reports whether there is nothing more to wait for. The rooms are looked at only when nothing else is awaited, and only
// what is new of them is told: there may be millions.
func (r *run) drained() (bool, error) {
	states, err := r.fleet.status(nil)
	if err != nil || slices.ContainsFunc(states, func(s worker.Status) bool { return s.Unanswered > 0 || s.Pending > 0 || s.Unsent }) {
		return false, err
	}
	news, err := r.fleet.heads(r.plan.Rooms.Count)
	if err != nil {
		return false, err
	}
	states, err = r.fleet.status(&news)
	return !slices.ContainsFunc(states, func(s worker.Status) bool { return !s.Complete }), err
}

// status asks every worker how far it is, and tells it what is new of the rooms.
func (f *fleet) status(news *crowd.News) ([]worker.Status, error) {
	states := make([]worker.Status, len(f.workers))
	err := f.all(worker.Order{Status: true, Known: news}, func(i int, answer worker.Report) { states[i] = *answer.Status })
	return states, err
}

// heads asks every worker what is new of the rooms and gives what is new of them by all, which every worker has to be told.
func (f *fleet) heads(rooms int) (news crowd.News, err error) {
	if f.known == nil {
		f.known = make([]uint64, rooms)
	}
	changed := map[int]bool{}
	err = f.all(worker.Order{Heads: true}, func(_ int, r worker.Report) {
		for i, room := range r.Heads.Rooms {
			head := uint64(r.Heads.Heads[i])
			if r.Heads.Numbered {
				head = max(f.known[room], head)
			} else {
				head += f.known[room]
			}
			changed[room] = changed[room] || head != f.known[room]
			f.known[room] = head
		}
		news.Untaken = append(news.Untaken, r.Heads.Untaken...)
	})
	for room, is := range changed {
		if is {
			news.Rooms, news.Heads = append(news.Rooms, room), append(news.Heads, int64(f.known[room]))
		}
	}
	return news, err
}

// settle adds up what everybody got and was owed, and waits for the second with which the seconds add up to the same.
func (r *run) settle(ctx context.Context) error {
	news, err := r.fleet.heads(r.plan.Rooms.Count)
	if err != nil {
		return err
	}
	var faults []result.Fault
	last := 0
	err = r.fleet.all(worker.Order{Settle: true, Known: &news}, func(_ int, answer worker.Report) {
		r.result.Counts.Add(answer.Final.Counts)
		r.result.Latencies.Add(answer.Final.Latencies)
		faults = addFaults(faults, answer.Final.Faults)
		r.result.TLS = result.AddAgreements(r.result.TLS, answer.Final.TLS)
		last = max(last, answer.Final.Second)
	})
	if err != nil {
		return err
	}
	if err := r.seconds.await(ctx, last); err != nil {
		return err
	}
	if err := r.fleet.recheckClocks(manyQuestions); err != nil {
		return err
	}
	if err := r.fleet.all(worker.Order{Leave: true}, nil); err != nil {
		return err
	}
	err = r.until(ctx, func(states []worker.Status) (bool, error) {
		return !slices.ContainsFunc(states, func(s worker.Status) bool { return !s.Left }), nil
	})
	if err != nil {
		return err
	}
	r.result.Faults = faults
	r.result.Seconds = r.seconds.list()
	r.result.LoadTo = min(r.result.LoadTo, len(r.result.Seconds))
	r.result.LoadFrom = min(r.result.LoadFrom, r.result.LoadTo)
	return nil
}

// addFaults adds up faults of the same words, the most frequent first.
func addFaults(faults, more []result.Fault) []result.Fault {
	for _, f := range more {
		at := slices.IndexFunc(faults, func(g result.Fault) bool { return g.What == f.What && g.Message == f.Message })
		if at < 0 {
			faults = append(faults, f)
			continue
		}
		faults[at].Count += f.Count
	}
	slices.SortFunc(faults, func(a, b result.Fault) int { return int(b.Count - a.Count) })
	return faults
}

package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rookery/bench/internal/crowd"
	"rookery/bench/internal/worker"
	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
)

// drain waits for what is on its way, then adds up. Most of it comes at once; for the rest it asks less and less often. As long as something
// comes it waits on: a server that is behind is not one that has lost something. Only so can the two be told apart, and plan.DrainsAtMost
// ends it.
func (r *run) drain(ctx context.Context) error {
	from, wait := time.Now(), r.plan.Time.Drain
	if r.result.Connect.Count == 0 {
		wait = 0 // nobody came, so nothing is on its way
	}
	r.seconds.phase(report.Draining, 0)
	stop := r.options.Stop
	if r.stopped() { // in the load: it has done what it is for
		stop = nil
	}
	ended, hurried := "", false
	last, before := from, int64(-1)
	for pause := pollEach; ended == ""; pause = min(2*pause, pollMost) {
		complete, heard, err := r.drained()
		if err != nil {
			return err
		}
		if complete {
			break
		}
		now := time.Now()
		if heard != before {
			last, before = now, heard
		}
		left := min(last.Add(wait).Sub(now), from.Add(plan.DrainsAtMost*wait).Sub(now))
		if left <= 0 {
			ended = fmt.Sprintf("over when nothing had come for %v", wait)
			if now.Sub(last) < wait {
				ended = fmt.Sprintf("ended after %v, while something still came", plan.DrainsAtMost*wait)
			}
			break
		}
		select {
		case <-time.After(min(pause, left)):
		case <-stop:
			hurried = true
		case <-r.options.Hurry:
			hurried = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if hurried {
			ended = fmt.Sprintf("ended after %.1f s by the user", time.Since(from).Seconds())
		}
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	if hurried || ended != "" && wait > 0 && r.result.Counts.Missing+r.result.Counts.Unanswered > 0 {
		r.said = append(r.said, "the wait for what was on its way was "+ended+": what had not come by then counts as missing or unanswered")
	}
	return nil
}

// pollMost is between two looks at a drain that takes long.
const pollMost = 250 * time.Millisecond

// drained reports whether there is nothing more to wait for, and how much has come so far. The rooms are looked at only when nothing else is awaited, and only
// what is new of them is told: there may be millions.
func (r *run) drained() (complete bool, heard int64, err error) {
	states, err := r.fleet.status(nil)
	for _, s := range states {
		heard += s.Heard
	}
	if err != nil || slices.ContainsFunc(states, func(s worker.Status) bool { return s.Unanswered > 0 || s.Pending > 0 || s.Unsent }) {
		return false, heard, err
	}
	news, err := r.fleet.heads(r.plan.Rooms.Count)
	if err != nil {
		return false, heard, err
	}
	states, err = r.fleet.status(&news)
	return !slices.ContainsFunc(states, func(s worker.Status) bool { return !s.Complete }), heard, err
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

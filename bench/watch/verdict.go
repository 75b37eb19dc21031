package watch

import (
	"fmt"
	"slices"
	"time"

	"rookery/bench/result"
)

// What a verdict may name as the limit.
const (
	limitNone    = "none"
	limitServer  = "server"
	limitClient  = "client"
	limitKernel  = "kernel"
	limitNetwork = "network"
)

// Judge says what a run's figures are worth and what limited it. It is pure: the same result gives the same verdict,
// also years later from its file.
//
// Each rule looks for one thing. The first in the list that finds a limit names it, since what stands earlier
// explains what stands later: a generator that has no ports left sends less, and a server that is at its
// processors loses connections, but never the other way round. All that is found is in the reasons.
//
//	the generator's kernel   a setting kept the plan from being done: invalid
//	the generator            it was too busy or too late to be believed: invalid
//	the server's kernel      what the host dropped or had no room for
//	the server               its processors, its log, its own refusals
//	the network              segments sent again
//	symptoms                 what went wrong with no cause in sight: the server's
func Judge(r *result.Result) result.Verdict {
	e := gather(r)
	v := result.Verdict{Valid: true, Limit: limitNone, Cause: "nothing was at its limit", Reasons: []string{}}
	for _, rule := range slices.Concat(rulesOfGenerator, rulesOfKernel, rulesOfServer, rulesOfNetwork, rulesOfSymptoms) {
		f := rule(e)
		if f.reason == "" {
			continue
		}
		v.Reasons = append(v.Reasons, f.reason)
		v.Valid = v.Valid && !f.invalid
		if f.limit != "" && v.Limit == limitNone {
			v.Limit, v.Cause = f.limit, f.cause
		}
	}
	for _, said := range e.use() {
		if !slices.Contains(v.Reasons, said) {
			v.Reasons = append(v.Reasons, said)
		}
	}
	return v
}

// finding is what a rule found; one without a reason is nothing.
type finding struct {
	limit   string // empty: an observation that explains nothing alone
	cause   string
	reason  string
	invalid bool
}

type rule func(*evidence) finding

// evidence is a result with what several rules ask of it.
type evidence struct {
	*result.Result
	work []result.Second // the seconds that are judged
	all  result.Kernel   // growth over the whole run, the most of the rest

	serverCPU, clientCPU float64 // mean of the seconds, cores
	idle                 float64 // mean
	serverCores          float64 // that it may use, 0 unknown
	seen                 bool    // the server runs on the coordinator's host
}

func gather(r *result.Result) *evidence {
	e := &evidence{Result: r, work: atWork(r)}
	for _, s := range r.Seconds {
		e.all.Cores = max(e.all.Cores, s.Host.Cores)
		e.all.SegmentsOut += s.Host.SegmentsOut
		e.all.Retransmits += s.Host.Retransmits
		e.all.ListenOverflows += s.Host.ListenOverflows
		e.all.SynQueueFull += s.Host.SynQueueFull
		e.all.BacklogDrops += s.Host.BacklogDrops
		e.all.Pruned += s.Host.Pruned
		e.all.MemoryAborts += s.Host.MemoryAborts
	}
	for _, s := range e.work {
		cpu, cores := cpuOfServer(s.Server)
		e.serverCPU += cpu / float64(len(e.work))
		e.serverCores = max(e.serverCores, cores)
		e.clientCPU += s.Client.CPUSeconds / float64(len(e.work))
		e.idle += s.Host.CPUIdle / float64(len(e.work))
		e.seen = e.seen || s.Server.Seen
	}
	return e
}

// atWork chooses the seconds whose figures the run is about: the counted load, where there is one. A scenario
// without one (a storm, an idle crowd, a catch-up) is about the seconds in which connections were made or something
// came, so that the minutes of waiting after it don't make it look calm.
func atWork(r *result.Result) []result.Second {
	from, to := max(0, r.LoadFrom), min(r.LoadTo, len(r.Seconds))
	if r.Plan.Publish.Sends() && from < to {
		return r.Seconds[from:to]
	}
	var work []result.Second
	for _, s := range r.Seconds {
		if s.Counts.Connects > 0 || s.Counts.Delivered > 0 {
			work = append(work, s)
		}
	}
	return work
}

// cpuOfServer is what it used and may use: as the host saw it, or as it says by itself.
func cpuOfServer(s result.Process) (used, cores float64) {
	if s.Seen {
		return s.CPUSeconds, s.Cores
	}
	return s.Metrics["process_cpu_seconds_total"], s.Metrics["go_sched_gomaxprocs_threads"]
}

// sustained says in how many of the judged seconds something was so, and whether that is enough to be believed: in a
// tenth of them, and in two, so that one collection of garbage or one late sample is no limit. What is
// shorter still shows in how late sends were.
func (e *evidence) sustained(is func(result.Second) bool) (int, bool) {
	n := 0
	for _, s := range e.work {
		if is(s) {
			n++
		}
	}
	return n, n > 0 && n >= min(2, len(e.work)) && 10*n >= len(e.work)
}

// metric adds up a counter of the server over the whole run.
func (e *evidence) metric(name string) (sum float64) {
	for _, s := range e.Seconds {
		sum += s.Server.Metrics[name]
	}
	return sum
}

// use says what was used, so that a reader sees how far everything was from its limit.
func (e *evidence) use() []string {
	if len(e.work) == 0 {
		return []string{"no second of work was seen"}
	}
	busiest, waited := 0.0, 0.0
	for _, s := range e.work {
		busiest, waited = max(busiest, s.Client.BusiestLoop), max(waited, s.Client.HandshakesWaited)
	}
	said := []string{fmt.Sprintf("the generator used %.2f cores, its busiest loop %s of its time at most",
		e.clientCPU, percent(busiest))}
	if waited > 0 {
		said = append(said, fmt.Sprintf("handshakes of TLS waited for a processor of the generator %s of the time at most", percent(waited)))
	}
	switch {
	case e.serverCores > 0:
		said = append(said,
			fmt.Sprintf("the server used %.2f of the %.4g cores that it may use", e.serverCPU, e.serverCores))
	case e.serverCPU > 0:
		said = append(said, fmt.Sprintf("the server used %.2f cores", e.serverCPU))
	}
	if e.all.Cores > 0 {
		said = append(said, fmt.Sprintf("of the coordinator's host %s was idle", percent(e.idle)))
	}
	for _, s := range e.Seconds {
		if s.Server.Unseen != "" {
			return append(said, s.Server.Unseen)
		}
	}
	return said
}

func percent(share float64) string { return fmt.Sprintf("%.3g%%", 100*share) }

// ofSeconds is "12 of 30 seconds".
func (e *evidence) ofSeconds(n int) string { return fmt.Sprintf("%d of %d seconds", n, len(e.work)) }

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
}

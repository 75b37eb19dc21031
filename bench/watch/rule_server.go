package watch

import (
	"fmt"
	"strings"
	"time"

	"rookery/bench/result"
)

// The server's rules that have a cause.
var rulesOfServer = []rule{allCores, oneThread, logFault, refusesLoad, refusesConnections, serverEnded, slowDisk, highUse}

const (
	// fullShare: a server at 90% of what it may use has queues at every burst.
	fullShare = 0.9
	// oneThreadShare: as for the generator's loop.
	oneThreadShare = 0.95
	// highShare and calmLoop: with three quarters of its cores used and a generator that runs half of the time at
	// most, what goes wrong is the server's.
	highShare = 0.75
	calmLoop  = 0.5
	// syncShare: half of the median is spent in a sync of the log.
	syncShare = 0.5
	// growth: a median that is four times as long in the last quarter of the load as in the first, and over a
	// tenth of a second, does not stop growing: more comes than is taken.
	growth      = 4
	leastGrowth = 100 * time.Millisecond
)

func allCores(e *evidence) finding {
	n, sustained := e.sustained(func(s result.Second) bool {
		used, cores := cpuOfServer(s.Server)
		return cores > 0 && used >= fullShare*cores
	})
	if !sustained {
		return finding{}
	}
	return finding{limit: limitServer, cause: "the server's processors",
		reason: fmt.Sprintf("the server used over %s of the %.4g cores that it may use in %s",
			percent(fullShare), e.serverCores, e.ofSeconds(n))}
}

func oneThread(e *evidence) finding {
	n, sustained := e.sustained(func(s result.Second) bool { return s.Server.BusiestThread > oneThreadShare })
	if !sustained {
		return finding{}
	}
	return finding{limit: limitServer, cause: "one thread of the server",
		reason: fmt.Sprintf("the busiest thread of the server ran over %s of the time in %s",
			percent(oneThreadShare), e.ofSeconds(n))}
}

// logFault and the next ones read Rookery's own metrics; a server that has none of these names passes.
func logFault(e *evidence) finding {
	if e.metric("rookery_log_fault") == 0 && e.metric("rookery_publish_refused_log_total") == 0 {
		return finding{}
	}
	return finding{limit: limitServer, cause: "the server's log can't be written",
		reason: fmt.Sprintf("publishes that the server refused because of its log: %.0f",
			e.metric("rookery_publish_refused_log_total"))}
}

func refusesLoad(e *evidence) finding {
	n := e.metric("rookery_publish_refused_load_total")
	if n == 0 {
		return finding{}
	}
	return finding{limit: limitServer, cause: "a queue of the server was full",
		reason: fmt.Sprintf("publishes that the server refused because a queue was full: %.0f", n)}
}

func refusesConnections(e *evidence) finding {
	n := e.metric("rookery_connections_refused_total")
	if n == 0 {
		return finding{}
	}
	return finding{limit: limitServer, cause: "the server's own limits on connections (limits.*)",
		reason: fmt.Sprintf("connections that the server turned away: %.0f", n)}
}

// serverEnded: it was seen, and then it was not.
func serverEnded(e *evidence) finding {
	seen := false
	for _, s := range e.Seconds {
		if seen && s.Server.Unseen != "" {
			return finding{limit: limitServer, cause: "the server ended", reason: s.Server.Unseen}
		}
		seen = seen || s.Server.Seen
	}
	return finding{}
}

// slowDisk is an observation: a commit waits for a sync, however little is to be written.
func slowDisk(e *evidence) finding {
	sum, count := e.metric("rookery_log_sync_seconds_sum"), e.metric("rookery_log_sync_seconds_count")
	median := e.Latencies.Delivery.Quantile(.5)
	if count == 0 || e.Latencies.Delivery.Count() == 0 || sum/count <= syncShare*median.Seconds() {
		return finding{}
	}
	return finding{reason: fmt.Sprintf(
		"a sync of the server's log took %.3g ms in the mean, over %s of the %s that half of the deliveries took at most",
		1000*sum/count, percent(syncShare), milliseconds(median))}
}

// highUse is the cause of symptoms where nothing else is.
func highUse(e *evidence) finding {
	c := e.Counts
	if c.Unsent+c.Refused+c.Undelivered()+c.Unanswered == 0 && !e.slow() {
		return finding{}
	}
	n, sustained := e.sustained(func(s result.Second) bool {
		used, cores := cpuOfServer(s.Server)
		return cores > 0 && used >= highShare*cores && used < fullShare*cores && s.Client.BusiestLoop <= calmLoop
	})
	if !sustained {
		return finding{}
	}
	return finding{limit: limitServer, cause: "the server's processors",
		reason: fmt.Sprintf("the server used over %s of its cores in %s, while the generator's loops ran at most %s of the time",
			percent(highShare), e.ofSeconds(n), percent(calmLoop))}
}

// The rules of what went wrong with no cause in sight. TCP loses nothing, so it is the server's.
var rulesOfSymptoms = []rule{connectionRefused, failedConnects, refused, disconnected, lost, missing, unanswered, growing}

func connectionRefused(e *evidence) finding {
	n := e.connectFaults("connection refused")
	if n == 0 {
		return finding{}
	}
	return finding{limit: limitServer, cause: "nothing listens at the server's address",
		reason: "connects that were refused: " + number(n)}
}

func failedConnects(e *evidence) finding {
	c := e.Counts
	if c.ConnectsFailed == 0 {
		return finding{}
	}
	reason := fmt.Sprintf("%s of %s connects failed", number(c.ConnectsFailed), number(c.Connects))
	for _, f := range e.Faults {
		if f.What == "connect" || f.What == "handshake" || f.What == "join" {
			reason += fmt.Sprintf(", the first in %s: %s", f.What, strings.TrimSpace(f.Message))
			break
		}
	}
	return finding{limit: limitServer, cause: "the server did not take all connections", reason: reason}
}

func refused(e *evidence) finding {
	return symptom(e.Counts.Refused, e.Counts.Sent, "publishes were refused", "the server refused publishes")
}

func disconnected(e *evidence) finding {
	return symptom(e.Counts.Disconnected, e.Counts.Connected, "connections ended that nobody had planned to end",
		"the server ended connections")
}

func lost(e *evidence) finding {
	return symptom(e.Counts.Lost, e.Counts.Expected, "deliveries were lost: later ones came", "the server lost messages")
}

func missing(e *evidence) finding {
	return symptom(e.Counts.Missing, e.Counts.Expected, "deliveries had not come in the end, and nothing behind them",
		"the server was too slow for the time that was waited, or lost the last messages")
}

func unanswered(e *evidence) finding {
	return symptom(e.Counts.Unanswered, e.Counts.Sent, "publishes were never answered", "the server did not answer in time")
}

func symptom(n, all int64, what, cause string) finding {
	if n == 0 {
		return finding{}
	}
	return finding{limit: limitServer, cause: cause, reason: fmt.Sprintf("%s of %s %s", number(n), number(all), what)}
}

// growing compares the medians of the first and the last quarter of the counted load. A plan that stalls or cuts
// grows them by itself.
func growing(e *evidence) finding {
	quarter := len(e.work) / 4
	if quarter == 0 || !e.Plan.Publish.Sends() || e.Plan.Trouble.Stall.Share > 0 || e.Plan.Trouble.Cut.Share > 0 {
		return finding{}
	}
	first, last := meanMedian(e.work[:quarter]), meanMedian(e.work[len(e.work)-quarter:])
	if last < leastGrowth || last < growth*first {
		return finding{}
	}
	return finding{limit: limitServer, cause: "the server takes less than comes, and not for want of processors",
		reason: fmt.Sprintf("half of the deliveries took %s at first and %s in the end",
			milliseconds(first), milliseconds(last))}
}

func meanMedian(seconds []result.Second) time.Duration {
	sum := 0.0
	for _, s := range seconds {
		sum += s.Delivery.P50
	}
	return time.Duration(sum / float64(len(seconds)) * float64(time.Millisecond))
}

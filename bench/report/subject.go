package report

import (
	"math"
	"time"

	"rookery/bench/result"
)

// subject is what a figure is read from: a whole run, or one step of a search, which has less. What was not
// measured has a count of 0, a length of 0 seconds or is not seen.
type subject struct {
	counts                           result.Counts // of the whole run, warm-up and drain too
	delivery, ack, connect, sendLate result.Summary
	away                             result.Summary // of the whole run
	connectPhase, catchUp            result.Phase
	load                             result.Counts // of the counted load
	loadSeconds                      float64
	server                           serverUse
	client                           clientUse
	kernel                           kernelUse
	floor                            result.Floor
	step                             bool
}

type serverUse struct {
	seen        bool
	cores       float64 // mean over the counted load
	system      float64 // share of that in the kernel, 0: unknown
	perDelivery float64 // seconds of a processor, 0: nothing was delivered meanwhile
	rss         int64   // the most, 0: unknown
	rssBefore   int64   // before the first connect, 0: unknown
	perConn     float64 // bytes for each connection, 0: unknown
	descriptors int64
	threads     int64
}

type clientUse struct {
	seen     bool
	cores    float64 // mean over the counted load
	busiest  float64 // the busiest loop's worst second of the counted load
	runDelay float64 // seconds that threads waited for a processor, each second
	rss      int64   // the most
}

type kernelUse struct {
	seen                          bool
	socketBytes, sockets          int64 // the most
	timeWait                      int64
	retransmits, overflows, drops int64   // of the whole run
	conntrack                     float64 // share of the table, the most; -1: there is none
	idle, stolen                  float64 // shares of all cores, means over the counted load
}

// loadWindow gives the seconds of the counted load, within those that are there.
func loadWindow(r *result.Result) []result.Second {
	to := min(max(r.LoadTo, 0), len(r.Seconds))
	return r.Seconds[min(max(r.LoadFrom, 0), to):to]
}

// warmupFrom is the second at which the load began that is not counted.
func warmupFrom(r *result.Result) int {
	warmup := int(math.Ceil(r.Plan.Time.Warmup.Seconds()))
	return min(max(r.LoadFrom-warmup, 0), len(r.Seconds))
}

// subjectOf reads a run.
func subjectOf(r *result.Result) *subject {
	load := loadWindow(r)
	s := &subject{
		floor: r.Floor, counts: r.Counts, connectPhase: r.Connect, catchUp: r.CatchUp,
		delivery: r.Latencies.Delivery.Summary(), ack: r.Latencies.Ack.Summary(),
		connect: r.Latencies.Connect.Summary(), sendLate: r.Latencies.SendLate.Summary(), away: r.Latencies.Away.Summary(),
		loadSeconds: float64(len(load)),
	}
	for _, second := range load {
		s.load.Add(second.Counts)
	}
	s.server = serverOf(r, load)
	s.client = clientOf(r, load)
	s.kernel = kernelOf(r, load)
	return s
}

func serverOf(r *result.Result, load []result.Second) serverUse {
	var use serverUse
	seconds, cpu, system, delivered := 0, 0.0, 0.0, int64(0)
	for _, second := range load {
		if second.Server.Seen {
			seconds++
			cpu += second.Server.CPUSeconds
			system += second.Server.SystemSeconds
			delivered += second.Counts.Delivered + second.Counts.TypingDelivered
		}
	}
	for _, second := range r.Seconds {
		use.rss = max(use.rss, second.Server.MemoryBytes)
		use.descriptors = max(use.descriptors, second.Server.Descriptors)
		use.threads = max(use.threads, second.Server.Threads)
	}
	if seconds == 0 {
		return use
	}
	use.seen = true
	use.cores = cpu / float64(seconds)
	if cpu > 0 {
		use.system = system / cpu
	}
	if delivered > 0 {
		use.perDelivery = cpu / float64(delivered)
	}
	// The last second without load: what a connection costs that does nothing.
	if r.ServerBefore.Seen {
		use.rssBefore = r.ServerBefore.MemoryBytes
		idle := r.Seconds[max(warmupFrom(r)-1, 0)]
		if grown := idle.Server.MemoryBytes - use.rssBefore; idle.Open > 0 && grown > 0 {
			use.perConn = float64(grown) / float64(idle.Open)
		}
	}
	return use
}

func clientOf(r *result.Result, load []result.Second) clientUse {
	var use clientUse
	for _, second := range load {
		c := second.Client
		use.seen = use.seen || c.CPUSeconds > 0 || c.MemoryBytes > 0
		use.cores += c.CPUSeconds / float64(len(load))
		use.runDelay += c.RunDelaySeconds / float64(len(load))
		use.busiest = max(use.busiest, c.BusiestLoop)
	}
	for _, second := range r.Seconds {
		use.rss = max(use.rss, second.Client.MemoryBytes)
	}
	return use
}

func kernelOf(r *result.Result, load []result.Second) kernelUse {
	use := kernelUse{conntrack: -1}
	for _, second := range r.Seconds {
		k := second.Host
		use.seen = use.seen || k.Sockets > 0
		use.socketBytes = max(use.socketBytes, k.SocketBytes)
		use.sockets = max(use.sockets, k.Sockets)
		use.timeWait = max(use.timeWait, k.TimeWait)
		use.retransmits += k.Retransmits
		use.overflows += k.ListenOverflows
		use.drops += k.ListenDrops
		if k.ConntrackMax > 0 {
			use.conntrack = max(use.conntrack, float64(k.ConntrackEntries)/float64(k.ConntrackMax))
		}
	}
	for _, second := range load {
		use.idle += second.Host.CPUIdle / float64(len(load))
		use.stolen += second.Host.CPUSteal / float64(len(load))
	}
	return use
}

// subjectOfStep reads a step of a search.
func subjectOfStep(step result.Step) *subject {
	s := &subject{counts: step.Counts, delivery: step.Delivery, load: step.Counts, loadSeconds: step.Seconds, step: true}
	if step.ServerCPU > 0 {
		s.server = serverUse{seen: true, cores: step.ServerCPU}
		if step.Counts.Delivered > 0 {
			s.server.perDelivery = step.ServerCPU * step.Seconds / float64(step.Counts.Delivered+step.Counts.TypingDelivered)
		}
	}
	return s
}

// seconds turns the milliseconds of a summary into the unit of figures.
func seconds(ms float64) float64 { return ms * float64(time.Millisecond) / float64(time.Second) }

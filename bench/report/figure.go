package report

import (
	"slices"
	"strings"

	"rookery/bench/result"
)

// direction says which way a figure is good.
type direction int

const (
	neither direction = iota // what was asked for, not what came of it
	lower
	higher
)

// group is the table that a figure stands in.
type group string

const (
	groupCounts  group = "Counts"
	groupLatency group = "Latency"
	groupRates   group = "Rates"
	groupServer  group = "Server"
	groupClient  group = "Load generator"
	groupKernel  group = "Kernel"
)

// figure is one number of a run: conditions, comparisons, tables and searches all read it from here.
type figure struct {
	name   string // in conditions
	title  string // in tables
	unit   unit
	better direction
	group  group
	// measured says whether the subject has it, read what it is, and absent why it is not there.
	measured func(*subject) bool
	read     func(*subject) float64
	absent   string
	// compared: comparisons show it. Maxima are left to the reader: a single sample is mostly noise.
	compared bool
	// quiet: tables leave it out while it is 0, the usual case.
	quiet bool
	// ofStep: a step of a search may have it; no other is ever measured there.
	ofStep bool
}

// value gives the figure, and false if it was not measured.
func (f *figure) value(s *subject) (float64, bool) {
	if !f.measured(s) {
		return 0, false
	}
	return f.read(s), true
}

// figures is the table, in the order in which everything shows them.
var figures = slices.Concat(countFigures(), latencyFigures(), rateFigures(), machineFigures())

// figureNamed gives nil if there is none.
func figureNamed(name string) *figure {
	for i := range figures {
		if figures[i].name == name {
			return &figures[i]
		}
	}
	return nil
}

// figureNames lists what conditions may be about.
func figureNames() string {
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

func always(*subject) bool { return true }

func countFigures() []figure {
	answered := func(s *subject) bool { return s.counts.Acknowledged+s.counts.Refused+s.counts.Unanswered > 0 }
	owed := func(s *subject) bool { return s.counts.Expected > 0 }
	typed := func(s *subject) bool { return s.counts.Typing > 0 }
	watched := func(s *subject) bool { return s.counts.Presence > 0 }
	marked := func(s *subject) bool { return s.counts.Marks > 0 }
	came := func(s *subject) bool { return s.counts.Delivered > 0 }
	const (
		unanswered   = "the server answers no publishes"
		nothingOwed  = "no delivery was owed to anybody"
		nobodyTyped  = "nobody was said to type"
		nobodyMarked = "nobody marked what was read"

		nobodyWatched = "nobody watched who was there"
		nothingCame   = "nothing was delivered"
		loud, quiet   = false, true
		shown, apart  = true, false
	)
	count := func(name, title string, better direction, measured func(*subject) bool, absent string, quiet, compared bool, read func(c *result.Counts) int64) figure {
		return figure{
			name: name, title: title, better: better, group: groupCounts, measured: measured, absent: absent,
			quiet: quiet, compared: compared, ofStep: true,
			read: func(s *subject) float64 { return float64(read(&s.counts)) },
		}
	}
	return []figure{
		count("connected", "connected", higher, always, "", loud, apart, func(c *result.Counts) int64 { return c.Connected }),
		count("connects_failed", "connects failed", lower, always, "", quiet, shown, func(c *result.Counts) int64 { return c.ConnectsFailed }),
		count("disconnected", "disconnected unplanned", lower, always, "", quiet, shown, func(c *result.Counts) int64 { return c.Disconnected }),
		count("joins_refused", "joins refused", lower, always, "", quiet, shown, func(c *result.Counts) int64 { return c.JoinsRefused }),
		count("came_back", "came back", neither, always, "", quiet, apart, func(c *result.Counts) int64 { return c.CameBack }),
		count("stayed_away", "stayed away", lower, always, "", quiet, shown, func(c *result.Counts) int64 { return c.StayedAway }),
		count("sent", "sent", neither, always, "", loud, apart, func(c *result.Counts) int64 { return c.Sent }),
		count("unsent", "unsent", lower, always, "", quiet, shown, func(c *result.Counts) int64 { return c.Unsent }),
		count("acknowledged", "acknowledged", higher, answered, unanswered, loud, apart, func(c *result.Counts) int64 { return c.Acknowledged }),
		count("refused", "refused", lower, answered, unanswered, quiet, shown, func(c *result.Counts) int64 { return c.Refused }),
		count("unanswered", "unanswered", lower, answered, unanswered, quiet, shown, func(c *result.Counts) int64 { return c.Unanswered }),
		count("expected", "deliveries owed", neither, owed, nothingOwed, loud, apart, func(c *result.Counts) int64 { return c.Expected }),
		count("delivered", "delivered", higher, always, "", loud, apart, func(c *result.Counts) int64 { return c.Delivered }),
		count("lost", "lost", lower, owed, nothingOwed, loud, shown, func(c *result.Counts) int64 { return c.Lost }),
		count("missing", "missing in the end", lower, owed, nothingOwed, loud, shown, func(c *result.Counts) int64 { return c.Missing }),
		count("duplicated", "duplicated", lower, came, nothingCame, loud, shown, func(c *result.Counts) int64 { return c.Duplicated }),
		count("reordered", "reordered", lower, came, nothingCame, loud, shown, func(c *result.Counts) int64 { return c.Reordered }),
		count("gaps", "gaps", lower, came, nothingCame, loud, shown, func(c *result.Counts) int64 { return c.Gaps }),
		count("foreign", "foreign", lower, always, "", quiet, shown, func(c *result.Counts) int64 { return c.Foreign }),
		count("dropped", "dropped for newer", lower, came, nothingCame, quiet, shown, func(c *result.Counts) int64 { return c.Dropped }),
		count("typing", "typing sent", neither, typed, nobodyTyped, quiet, apart, func(c *result.Counts) int64 { return c.Typing }),
		count("typing_delivered", "typing delivered", higher, typed, nobodyTyped, quiet, apart, func(c *result.Counts) int64 { return c.TypingDelivered }),
		count("marks", "marks sent", neither, marked, nobodyMarked, quiet, apart, func(c *result.Counts) int64 { return c.Marks }),
		count("marked", "marks stored", higher, marked, nobodyMarked, quiet, apart, func(c *result.Counts) int64 { return c.Marked }),
		count("receipts", "receipts", neither, marked, nobodyMarked, quiet, apart, func(c *result.Counts) int64 { return c.Receipts }),
		count("presence", "told of presence", neither, watched, nobodyWatched, quiet, apart, func(c *result.Counts) int64 { return c.Presence }),
	}
}

// quantiles are the columns of latencies.
var quantiles = []struct {
	name string
	read func(result.Summary) float64
}{
	{"p50", func(s result.Summary) float64 { return s.P50 }},
	{"p90", func(s result.Summary) float64 { return s.P90 }},
	{"p99", func(s result.Summary) float64 { return s.P99 }},
	{"p99.9", func(s result.Summary) float64 { return s.P999 }},
	{"max", func(s result.Summary) float64 { return s.Max }},
}

// latencies are the rows. Those of deliveries have names without a prefix: they are what runs are about.
var latencies = []struct {
	prefix, title, absent string
	compared, ofStep      bool
	read                  func(*subject) result.Summary
}{
	{"", "delivery", "nothing was delivered in the counted load", true, true, func(s *subject) result.Summary { return s.delivery }},
	{"ack.", "acknowledgement", "nothing was acknowledged in the counted load", true, false, func(s *subject) result.Summary { return s.ack }},
	{"connect.", "connect", "no connect was timed", true, false, func(s *subject) result.Summary { return s.connect }},
	{"away.", "away, until back", "nobody came back", false, false, func(s *subject) result.Summary { return s.away }},
	{"send_late.", "send lateness", "nothing was sent in the counted load", false, false, func(s *subject) result.Summary { return s.sendLate }},
}

func latencyFigures() []figure {
	var all []figure
	for _, l := range latencies {
		for _, q := range quantiles {
			all = append(all, figure{
				name: l.prefix + q.name, title: l.title + " " + q.name, unit: unitTime, better: lower, group: groupLatency,
				measured: func(s *subject) bool { return l.read(s).Count > 0 },
				read:     func(s *subject) float64 { return seconds(q.read(l.read(s))) },
				absent:   l.absent, compared: l.compared && q.name != "max", ofStep: l.ofStep,
			})
		}
	}
	return all
}

func rateFigures() []figure {
	const noLoad = "no second of load was counted"
	perSecond := func(name, title string, better direction, read func(*result.Counts) int64) figure {
		return figure{
			name: name, title: title, unit: unitRate, better: better, group: groupRates, absent: noLoad, compared: better != neither, ofStep: true,
			measured: func(s *subject) bool { return s.loadSeconds > 0 && read(&s.load) > 0 },
			read:     func(s *subject) float64 { return float64(read(&s.load)) / s.loadSeconds },
		}
	}
	bytes := func(f figure) figure {
		f.unit = unitBytes
		return f
	}
	phase := func(name, title, absent string, pick func(*subject) result.Phase) figure {
		return figure{
			name: name, title: title, unit: unitRate, better: higher, group: groupRates, absent: absent, compared: true,
			measured: func(s *subject) bool { return pick(s).Seconds > 0 && pick(s).Count > 0 },
			read:     func(s *subject) float64 { return float64(pick(s).Count) / pick(s).Seconds },
		}
	}
	// Nothing sent or delivered in a counted load is a rate of 0, and must not pass for unmeasured.
	counted := func(f figure) figure {
		f.measured, f.quiet = func(s *subject) bool { return s.loadSeconds > 0 }, true
		return f
	}
	return []figure{
		phase("connects_per_second", "connects", "the connects were not timed", func(s *subject) result.Phase { return s.connectPhase }),
		phase("catch_up_per_second", "messages caught up", "nothing was caught up", func(s *subject) result.Phase { return s.catchUp }),
		counted(perSecond("sent_per_second", "sent", neither, func(c *result.Counts) int64 { return c.Sent })),
		counted(perSecond("deliveries_per_second", "delivered", higher, func(c *result.Counts) int64 { return c.Delivered })),
		bytes(perSecond("bytes_in_per_second", "received each second", neither, func(c *result.Counts) int64 { return c.BytesIn })),
		bytes(perSecond("bytes_out_per_second", "sent each second", neither, func(c *result.Counts) int64 { return c.BytesOut })),
	}
}

func machineFigures() []figure {
	return slices.Concat(serverFigures(), clientFigures(), kernelFigures())
}

func serverFigures() []figure {
	const unseen = "the server's process was not seen"
	server := func(name, title string, u unit, absent string, measured func(*serverUse) bool, read func(*serverUse) float64) figure {
		return figure{
			name: name, title: title, unit: u, better: lower, group: groupServer, absent: absent, compared: true,
			measured: func(s *subject) bool { return s.server.seen && measured(&s.server) },
			read:     func(s *subject) float64 { return read(&s.server) },
		}
	}
	// positive is a figure of which 0 means that it is not known.
	positive := func(name, title string, u unit, absent string, read func(*serverUse) float64) figure {
		return server(name, title, u, absent, func(use *serverUse) bool { return read(use) > 0 }, read)
	}
	cost := func(name, title, absent string, pick func(*subject) result.Phase) figure {
		return figure{
			name: name, title: title, unit: unitTime, better: lower, group: groupServer, absent: absent, compared: true,
			measured: func(s *subject) bool { return pick(s).ServerCPUSeconds > 0 && pick(s).Count > 0 },
			read:     func(s *subject) float64 { return pick(s).ServerCPUSeconds / float64(pick(s).Count) },
		}
	}
	const noFloor = "the floor was not measured; ask for it with --floor"
	bare := func(name, title string, read func(*result.Floor) float64) figure {
		return figure{
			name: name, title: title, unit: unitTime, better: neither, group: groupServer, absent: noFloor,
			measured: func(s *subject) bool { return read(&s.floor) > 0 },
			read:     func(s *subject) float64 { return read(&s.floor) },
		}
	}
	overFloor := func(name, title string, read func(*subject) (used, least float64)) figure {
		return figure{
			name: name, title: title, unit: unitTimes, better: lower, group: groupServer, compared: true,
			absent: unseen + ", or nothing was delivered, or " + noFloor,
			measured: func(s *subject) bool {
				used, least := read(s)
				return used > 0 && least > 0
			},
			read: func(s *subject) float64 {
				used, least := read(s)
				return used / least
			},
		}
	}
	ofSteps := func(f figure) figure {
		f.ofStep = true
		return f
	}
	apart := func(f figure) figure {
		f.compared = false
		return f
	}
	seen := func(*serverUse) bool { return true }
	return []figure{
		ofSteps(server("server.cpu", "CPU, mean", unitCores, unseen, seen, func(u *serverUse) float64 { return u.cores })),
		apart(positive("server.cpu_system", "of that in the kernel", unitShare, unseen, func(u *serverUse) float64 { return u.system })),
		ofSteps(positive("server.cpu_per_delivery", "CPU for each delivery", unitTime, unseen+", or nothing was delivered",
			func(u *serverUse) float64 { return u.perDelivery })),
		overFloor("server.cpu_per_delivery_floor", "the same by the floor's write", func(s *subject) (float64, float64) {
			return s.server.perDelivery, s.floor.WriteSeconds
		}),
		bare("floor.write", "CPU of a bare write", func(f *result.Floor) float64 { return f.WriteSeconds }),
		bare("floor.read", "CPU of a bare read", func(f *result.Floor) float64 { return f.ReadSeconds }),
		cost("server.cpu_per_connect", "CPU for each connect", unseen+" while connecting", func(s *subject) result.Phase { return s.connectPhase }),
		cost("server.cpu_per_catch_up", "CPU for each message caught up", unseen+", or nothing was caught up",
			func(s *subject) result.Phase { return s.catchUp }),
		apart(positive("server.rss_start", "memory before the first connect", unitBytes, unseen+" before the run",
			func(u *serverUse) float64 { return float64(u.rssBefore) })),
		positive("server.rss", "memory, most", unitBytes, unseen, func(u *serverUse) float64 { return float64(u.rss) }),
		positive("server.rss_per_connection", "memory for each connection", unitBytes, unseen+" before the run, or did not grow",
			func(u *serverUse) float64 { return u.perConn }),
		apart(positive("server.descriptors", "file descriptors, most", unitCount, unseen, func(u *serverUse) float64 { return float64(u.descriptors) })),
		apart(positive("server.threads", "threads, most", unitCount, unseen, func(u *serverUse) float64 { return float64(u.threads) })),
	}
}

func clientFigures() []figure {
	client := func(name, title string, u unit, read func(*clientUse) float64) figure {
		return figure{
			name: name, title: title, unit: u, better: lower, group: groupClient, absent: "the load generator did not watch itself",
			measured: func(s *subject) bool { return s.client.seen },
			read:     func(s *subject) float64 { return read(&s.client) },
		}
	}
	return []figure{
		client("client.cpu", "CPU, mean", unitCores, func(u *clientUse) float64 { return u.cores }),
		client("client.busiest_loop", "busiest loop, worst second", unitShare, func(u *clientUse) float64 { return u.busiest }),
		client("client.run_delay", "waited for a processor, each second", unitTime, func(u *clientUse) float64 { return u.runDelay }),
		client("client.rss", "memory, most", unitBytes, func(u *clientUse) float64 { return float64(u.rss) }),
	}
}

func kernelFigures() []figure {
	const unseen = "the server's host was not seen"
	kernel := func(name, title string, u unit, read func(*kernelUse) float64) figure {
		return figure{
			name: name, title: title, unit: u, better: lower, group: groupKernel, absent: unseen,
			measured: func(s *subject) bool { return s.kernel.seen },
			read:     func(s *subject) float64 { return read(&s.kernel) },
		}
	}
	quiet := func(f figure) figure {
		f.quiet = true
		return f
	}
	conntrack := quiet(kernel("kernel.conntrack", "connection tracking table, fullest", unitShare, func(u *kernelUse) float64 { return u.conntrack }))
	conntrack.measured = func(s *subject) bool { return s.kernel.seen && s.kernel.conntrack >= 0 }
	conntrack.absent = "the server's host tracks no connections, or was not seen"
	idle := kernel("kernel.idle", "processors idle, mean", unitShare, func(u *kernelUse) float64 { return u.idle })
	idle.better = neither
	return []figure{
		kernel("kernel.socket_memory", "TCP memory, most", unitBytes, func(u *kernelUse) float64 { return float64(u.socketBytes) }),
		kernel("kernel.sockets", "TCP sockets, most", unitCount, func(u *kernelUse) float64 { return float64(u.sockets) }),
		quiet(kernel("kernel.time_wait", "sockets in TIME_WAIT, most", unitCount, func(u *kernelUse) float64 { return float64(u.timeWait) })),
		kernel("kernel.retransmits", "segments sent again", unitCount, func(u *kernelUse) float64 { return float64(u.retransmits) }),
		kernel("kernel.listen_overflows", "accept queue overflows", unitCount, func(u *kernelUse) float64 { return float64(u.overflows) }),
		quiet(kernel("kernel.listen_drops", "connects dropped by the listener", unitCount, func(u *kernelUse) float64 { return float64(u.drops) })),
		conntrack,
		idle,
		quiet(kernel("kernel.stolen", "processors taken by the hypervisor", unitShare, func(u *kernelUse) float64 { return u.stolen })),
	}
}

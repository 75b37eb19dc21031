package watch

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/bench/result"
)

const (
	warmup = 5
	loaded = 20
)

// cleanRun is 25 seconds of which the last 20 count: 1,000 connections, a generator at a quarter of a core and a server at one
// of two, with nothing wrong.
func cleanRun() *result.Result {
	r := &result.Result{LoadFrom: warmup, LoadTo: warmup + loaded, Latencies: result.NewLatencies()}
	r.Plan.Server.Targets = []string{"ws://127.0.0.1:8080/ws"}
	r.Plan.Publish.Rate = 100
	r.Counts = result.Counts{
		Connects: 1000, Connected: 1000, Joined: 1000, Sent: 2000, Acknowledged: 2000, Expected: 200_000, Delivered: 200_000,
	}
	r.Latencies.Delivery.RecordN(20*time.Millisecond, 200_000)
	r.Latencies.Ack.RecordN(10*time.Millisecond, 2000)
	r.Latencies.Connect.RecordN(5*time.Millisecond, 1000)
	r.Latencies.SendLate.RecordN(100*time.Microsecond, 2000)
	for i := range warmup + loaded {
		s := result.Second{
			Open:     1000,
			Counts:   result.Counts{Delivered: 10_000},
			Delivery: result.Summary{Count: 10_000, P50: 20, P99: 20},
			Client:   result.Client{CPUSeconds: .25, BusiestLoop: .25, RunDelaySeconds: .02, MemoryBytes: 20 << 20},
			Server: result.Process{Seen: true, CPUSeconds: 1, Cores: 2, BusiestThread: .5, MemoryBytes: 50 << 20, Descriptors: 1020,
				DescriptorsMax: 20_000, Threads: 9, Metrics: map[string]float64{}},
			Host: result.Kernel{Cores: 2, CPUIdle: .35, SocketBytes: 10 << 20, SocketBytesMax: 2 << 30, Sockets: 2000, SegmentsOut: 10_000,
				ConntrackEntries: 2100, ConntrackMax: 262144},
		}
		if i == 0 {
			s.Counts.Connects = 1000
		}
		r.Seconds = append(r.Seconds, s)
	}
	return r
}

// inLoad changes the first n seconds of the counted load.
func inLoad(n int, change func(*result.Second)) func(*result.Result) {
	return func(r *result.Result) {
		for i := range n {
			change(&r.Seconds[r.LoadFrom+i])
		}
	}
}

// inLast changes the last quarter of the counted load.
func inLast(change func(*result.Second)) func(*result.Result) {
	return func(r *result.Result) {
		for i := r.LoadTo - loaded/4; i < r.LoadTo; i++ {
			change(&r.Seconds[i])
		}
	}
}

func median(milliseconds float64) func(*result.Second) {
	return func(s *result.Second) { s.Delivery.P50 = milliseconds }
}

func fault(what, message string) func(*result.Result) {
	return func(r *result.Result) {
		r.Faults = append(r.Faults, result.Fault{What: what, Message: message, Count: 7})
		r.Counts.ConnectsFailed += 7
	}
}

// metricOnce is a counter that grew by a value in one second, before the load.
func metricOnce(name string, value float64) func(*result.Result) {
	return func(r *result.Result) { r.Seconds[1].Server.Metrics[name] = value }
}

func both(changes ...func(*result.Result)) func(*result.Result) {
	return func(r *result.Result) {
		for _, change := range changes {
			change(r)
		}
	}
}

func late(late, delivery time.Duration) func(*result.Result) {
	return func(r *result.Result) {
		r.Latencies.Reset()
		r.Latencies.Delivery.RecordN(delivery, 1000)
		r.Latencies.SendLate.RecordN(late, 1000)
	}
}

// clock is a second load host with a clock that may be wrong by seconds.
func clock(wrong float64) func(*result.Result) {
	return func(r *result.Result) {
		r.Hosts = []result.Host{{Name: "a"}, {Name: "b", ClockErrorSeconds: wrong}}
	}
}

// connect makes a tenth of the connects take so long.
func connect(took time.Duration) func(*result.Result) {
	return func(r *result.Result) { r.Latencies.Connect.RecordN(took, 100) }
}

func remote(r *result.Result) {
	r.Plan.Server.Targets = []string{"ws://192.0.2.1:8080"}
	for i := range r.Seconds {
		r.Seconds[i].Server = result.Process{Unseen: "the server's process is not seen: it is elsewhere"}
	}
}

func retransmitted(n int64) func(*result.Result) {
	return func(r *result.Result) { r.Seconds[3].Host.Retransmits = n }
}

func withoutLoad(r *result.Result) {
	r.Plan.Publish.Rate, r.Counts.Sent, r.Counts.Acknowledged = 0, 0, 0
	r.Latencies.Delivery.Reset()
	r.Latencies.SendLate.Reset()
	for i := range r.Seconds {
		r.Seconds[i].Counts.Delivered = 0
	}
}

func TestJudge(t *testing.T) {
	type change = func(*result.Result)
	busy := func(loop float64) func(*result.Second) {
		return func(s *result.Second) { s.Client.BusiestLoop = loop }
	}
	waits := func(delay, cpu float64) func(*result.Second) {
		return func(s *result.Second) { s.Client.RunDelaySeconds, s.Client.CPUSeconds = delay, cpu }
	}
	shakes := func(waited, idle float64) func(*result.Second) {
		return func(s *result.Second) { s.Client.HandshakesWaited, s.Host.CPUIdle = waited, idle }
	}
	full := func(server, client float64) func(*result.Second) {
		return func(s *result.Second) {
			s.Host.CPUIdle, s.Server.CPUSeconds, s.Client.CPUSeconds = .01, server, client
		}
	}
	uses := func(cpu float64) func(*result.Second) { return func(s *result.Second) { s.Server.CPUSeconds = cpu } }
	counts := func(set func(*result.Counts)) change { return func(r *result.Result) { set(&r.Counts) } }
	host := func(set func(*result.Kernel)) change { return func(r *result.Result) { set(&r.Seconds[2].Host) } }

	cases := []struct {
		name   string
		change change
		valid  bool
		limit  string
		cause  string // a part
		reason string // a part of one; empty with no limit: there is none but what was used
	}{
		{"clean", func(*result.Result) {}, true, "none", "nothing", "the server used 1.00 of the 2 cores"},
		{"clean and elsewhere", remote, true, "none", "nothing", "it is elsewhere"},
		{"clean without a load", withoutLoad, true, "none", "nothing", "busiest loop 25%"},

		// The generator's kernel.
		{"no ports", fault("connect", "connect: cannot assign requested address"), false, "kernel", "net.ipv4.ip_local_port_range", "found no free port: 7"},
		{"bound ports", fault("connect", "bind: address already in use"), false, "kernel", "net.ipv4.ip_local_port_range", "port: 7"},
		{"no descriptors", fault("connect", "socket: too many open files"), false, "kernel", "RLIMIT_NOFILE", "found their worker without a free descriptor: 7"},
		{"no files", fault("connect", "socket: too many open files in system"), false, "kernel", "fs.file-max", "found the generator's host without room for another open file: 7"},
		{"no buffers", fault("connect", "socket: no buffer space available"), false, "kernel", "net.ipv4.tcp_mem", "host: 7"},
		{"a server's words", fault("handshake", "503: too many open files"), true, "server", "did not take all", "the first in handshake: 503"},

		// The generator.
		{"a worker ended", fault("worker", "exit status 2"), false, "client", "a worker", "exit status 2"},
		{"a busy loop", inLoad(2, busy(.96)), false, "client", "event loop", "over 95% of the time in 2 of 20 seconds"},
		{"an almost busy loop", inLoad(loaded, busy(.95)), true, "none", "", ""},
		{"a loop busy for a moment", inLoad(1, busy(1)), true, "none", "", "its busiest loop 100%"},
		{"a loop busy in the warm-up", func(r *result.Result) { r.Seconds[0].Client.BusiestLoop, r.Seconds[1].Client.BusiestLoop = 1, 1 }, true, "none", "", ""},
		{"a loop busy in a storm", both(withoutLoad, func(r *result.Result) { r.Seconds[0].Client.BusiestLoop = 1 }), false, "client", "event loop", "1 of 1 seconds"},
		{"handshakes that wait", inLoad(2, shakes(.96, .3)), false, "client", "handshakes of TLS on", "over 95% of the time in 2 of 20 seconds"},
		{"handshakes that wait in a storm", both(withoutLoad, remote, func(r *result.Result) { shakes(1, .5)(&r.Seconds[0]) }), false, "client", "more load hosts", "1 of 1 seconds"},
		{"handshakes that almost wait", inLoad(loaded, shakes(.95, .3)), true, "none", "", ""},
		{"handshakes that wait for a moment", inLoad(1, shakes(1, .3)), true, "none", "", "waited for a processor of the generator 100% of the time at most"},
		{"handshakes that wait on a full host", inLoad(loaded, func(s *result.Second) { shakes(1, .01)(s); s.Server.CPUSeconds, s.Client.CPUSeconds = 1.2, .7 }), true, "server", "which the server shares", "the server used 1.20"},
		{"handshakes that wait on a host that can't be read", inLoad(loaded, func(s *result.Second) { shakes(1, 0)(s); s.Host = result.Kernel{} }), false, "client", "handshakes", ""},
		{"waiting for a processor", inLoad(3, waits(.6, .5)), false, "client", "which the server shares", "longer than it ran in 3 of 20 seconds, 0.6 s"},
		{"waiting enough", inLoad(2, waits(.5, .49)), false, "client", "the processors", "in 2 of 20 seconds, 0.5 s"},
		{"waiting half of the time", inLoad(loaded, waits(.5, .5)), true, "none", "", ""},
		{"waiting for little", inLoad(loaded, waits(.49, .1)), true, "none", "", ""},
		{"waiting on a host of its own", both(remote, inLoad(3, waits(.6, .5))), false, "client", "the processors that the generator may use", ""},
		{"a full host, most of it the server's", inLoad(4, full(1.5, .4)), true, "server", "which the server shares", "the server used 1.50, the generator 0.40, all else 0.08"},
		{"a full host, most of it the generator's", inLoad(loaded, full(.4, 1.5)), false, "client", "which the server shares", "the server used 0.40, the generator 1.50"},
		{"a full host, most of it others'", inLoad(loaded, full(.4, .5)), false, "client", "others used", "all else 1.08"},
		{"a full host without the server", both(remote, inLoad(loaded, full(0, 1.5))), false, "client", "the coordinator's host", "in 20 of 20"},
		{"a host that is just full", inLoad(2, func(s *result.Second) { s.Host.CPUIdle = .049 }), true, "server", "the processors of this host", "in 2 of 20"},
		{"an almost full host", inLoad(loaded, func(s *result.Second) { s.Host.CPUIdle = .05 }), true, "none", "", ""},
		{"a host that can't be read", inLoad(loaded, func(s *result.Second) { s.Host = result.Kernel{} }), true, "none", "", ""},
		{"late sends", late(6*time.Millisecond, 20*time.Millisecond), false, "client", "sent too late", "over 25% of the delivery"},
		{"late sends that are told", late(4*time.Millisecond, 20*time.Millisecond), true, "none", "", "is the generator's own lateness"},
		{"not late enough", late(3*time.Millisecond, 31*time.Millisecond), true, "none", "", ""},
		{"late beyond the grain", late(1100*time.Microsecond, time.Millisecond), false, "client", "sent too late", "is 1.1 ms"},
		{"late within the grain", late(900*time.Microsecond, time.Millisecond), true, "none", "", ""},
		{"late with acknowledgements only", both(late(6*time.Millisecond, 20*time.Millisecond), func(r *result.Result) {
			r.Latencies.Delivery.Reset()
			r.Latencies.Ack.Record(20 * time.Millisecond)
		}), false, "client", "sent too late", "of the acknowledgement"},
		{"wrong clocks", clock(.0021), false, "client", "clocks of the load hosts", "wrong by 2.1 ms, over 10%"},
		{"a clock that drifts", func(r *result.Result) {
			r.Hosts = []result.Host{{Name: "a"}, {Name: "b", ClockDriftSeconds: -.0021}}
		}, true, "none", "", "drifted apart by 2.1 ms within the run, over 10% of the delivery at p50 of 20"},
		{"a clock that drifts a little", func(r *result.Result) {
			r.Hosts = []result.Host{{Name: "a"}, {Name: "b", ClockDriftSeconds: .0019}}
		}, true, "none", "", ""},
		{"clocks right enough", clock(.0019), true, "none", "", ""},
		{"clocks wrong within the grain", both(clock(.0009), late(0, 2*time.Millisecond)), true, "none", "", ""},
		{"unsent without a reason", counts(func(c *result.Counts) { c.Unsent = 3 }), false, "client", "could not send", "3 of 2,003"},
		{"unsent, a small share", counts(func(c *result.Counts) { c.Unsent = 2 }), true, "none", "", ""},
		{"unsent since the server closed", counts(func(c *result.Counts) { c.Unsent, c.Disconnected = 100, 10 }), true, "server", "ended connections", "that the server ended"},
		{"unsent since the server is slow", both(late(0, 2*time.Second), counts(func(c *result.Counts) { c.Unsent = 100 })), true, "none", "", "over a second behind"},
		{"unsent as planned", both(func(r *result.Result) { r.Plan.Trouble.Cut.Share = .5 }, counts(func(c *result.Counts) { c.Unsent = 100 })), true, "none", "", "takes connections away"},
		{"nothing sent", both(fault("connect", "connect: connection refused"), counts(func(c *result.Counts) { *c = result.Counts{Connects: 7, ConnectsFailed: 7} })),
			false, "server", "nothing listens", "nothing was sent"},
		{"stolen", inLoad(2, func(s *result.Second) { s.Host.CPUSteal = .1 }), false, "kernel", "hypervisor", "over 10% of the processors in 2 of 20"},
		{"stolen a little", inLoad(loaded, func(s *result.Second) { s.Host.CPUSteal = .09 }), true, "none", "", ""},

		// The server's kernel.
		{"conntrack", host(func(h *result.Kernel) { h.ConntrackEntries, h.ConntrackMax = 95, 100 }), true, "kernel", "net.netfilter.nf_conntrack_max", "95 of 100 entries"},
		{"conntrack below", host(func(h *result.Kernel) { h.ConntrackEntries, h.ConntrackMax = 94, 100 }), true, "none", "", ""},
		{"TCP memory", host(func(h *result.Kernel) { h.SocketBytes, h.SocketBytesMax = 90<<20, 100<<20 }), true, "kernel", "net.ipv4.tcp_mem", "90 MiB of 100 MiB"},
		{"TCP memory below", host(func(h *result.Kernel) { h.SocketBytes, h.SocketBytesMax = 89<<20, 100<<20 }), true, "none", "", ""},
		{"aborts of full memory", host(func(h *result.Kernel) { h.SocketBytes, h.SocketBytesMax, h.MemoryAborts = 1<<30, 1<<30, 3 }), true, "kernel", "net.ipv4.tcp_mem", ""},
		{"orphans", host(func(h *result.Kernel) { h.MemoryAborts = 3 }), true, "kernel", "net.ipv4.tcp_max_orphans", "data in them: 3"},
		{"accept queue", both(host(func(h *result.Kernel) { h.ListenOverflows = 1 }), connect(200*time.Millisecond)), true, "kernel", "net.core.somaxconn", "an accept queue was full: 1"},
		{"accept queue of others", both(host(func(h *result.Kernel) { h.ListenOverflows = 500 }), connect(199*time.Millisecond)), true, "none", "", "an accept queue was full: 500"},
		{"accept queue of many", both(connect(time.Second), host(func(h *result.Kernel) { h.ListenOverflows = 1 }), counts(func(c *result.Counts) { c.Connects = 1001 })), true, "none", "", "accept queue was full: 1"},
		{"accept queue with failures", both(host(func(h *result.Kernel) { h.ListenOverflows = 1 }), counts(func(c *result.Counts) { c.Connects, c.ConnectsFailed = 2000, 1 })),
			true, "kernel", "net.core.somaxconn", "1 of 2,000 connects failed"},
		{"SYN queue", both(host(func(h *result.Kernel) { h.SynQueueFull = 9 }), connect(time.Second+20*time.Millisecond)),
			true, "kernel", "net.ipv4.tcp_max_syn_backlog", "a SYN queue was full: 9"},
		{"SYN queue and slow connects", both(host(func(h *result.Kernel) { h.SynQueueFull = 9 }), connect(980*time.Millisecond)), true, "none", "", "a SYN queue was full: 9"},
		{"SYN queue with cookies", host(func(h *result.Kernel) { h.SynQueueFull = 9 }), true, "none", "", "a SYN queue was full: 9"},
		{"the server's descriptors", inLoad(1, func(s *result.Second) { s.Server.Descriptors, s.Server.DescriptorsMax = 973, 1024 }), true, "kernel", "RLIMIT_NOFILE of the server", "973 of 1,024"},
		{"the server's descriptors below", inLoad(1, func(s *result.Second) { s.Server.Descriptors, s.Server.DescriptorsMax = 972, 1024 }), true, "none", "", ""},
		{"full buffers", host(func(h *result.Kernel) { h.Pruned, h.BacklogDrops = 2, 3 }), true, "none", "", "was full: 5"},

		// The server.
		{"all cores", inLoad(2, uses(1.8)), true, "server", "the server's processors", "over 90% of the 2 cores that it may use in 2 of 20"},
		{"almost all cores", inLoad(loaded, uses(1.79)), true, "none", "", ""},
		{"all cores for a moment", inLoad(1, uses(2)), true, "none", "", ""},
		{"all cores by its metrics", both(remote, inLoad(loaded, func(s *result.Second) {
			s.Server.Metrics = map[string]float64{"process_cpu_seconds_total": 3.7, "go_sched_gomaxprocs_threads": 4}
		})), true, "server", "the server's processors", "of the 4 cores"},
		{"one thread", inLoad(2, func(s *result.Second) { s.Server.BusiestThread = .96 }), true, "server", "one thread", "over 95% of the time in 2 of 20"},
		{"almost one thread", inLoad(loaded, func(s *result.Second) { s.Server.BusiestThread = .95 }), true, "none", "", ""},
		{"log fault", metricOnce("rookery_log_fault", 1), true, "server", "log can't be written", "because of its log"},
		{"log refuses", metricOnce("rookery_publish_refused_log_total", 4), true, "server", "log can't be written", "because of its log: 4"},
		{"queue full", both(metricOnce("rookery_publish_refused_load_total", 5), counts(func(c *result.Counts) { c.Refused = 5 })), true, "server", "a queue", "a queue was full: 5"},
		{"turned away", metricOnce("rookery_connections_refused_total", 6), true, "server", "limits.*", "turned away: 6"},
		{"it ended", inLoad(1, func(s *result.Second) { s.Server = result.Process{Unseen: "process 7 ended"} }), true, "server", "the server ended", "process 7 ended"},
		{"slow disk", both(metricOnce("rookery_log_sync_seconds_sum", .11), metricOnce("rookery_log_sync_seconds_count", 10)), true, "none", "", "took 11 ms in the mean"},
		{"disk at the edge", both(metricOnce("rookery_log_sync_seconds_sum", .099), metricOnce("rookery_log_sync_seconds_count", 10)), true, "none", "", ""},
		{"fast disk", both(metricOnce("rookery_log_sync_seconds_sum", .09), metricOnce("rookery_log_sync_seconds_count", 10)), true, "none", "", ""},
		{"high use and symptoms", both(inLoad(2, uses(1.5)), counts(func(c *result.Counts) { c.Lost = 1 })), true, "server", "the server's processors", "over 75% of its cores in 2 of 20"},
		{"high use and a generator at half", both(inLoad(loaded, uses(1.5)), inLoad(loaded, busy(.5)), counts(func(c *result.Counts) { c.Lost = 1 })), true, "server", "the server's processors", ""},
		{"high use and a busy generator", both(inLoad(loaded, uses(1.5)), inLoad(loaded, busy(.51)), counts(func(c *result.Counts) { c.Lost = 1 })), true, "server", "lost messages", ""},
		{"high use alone", inLoad(loaded, uses(1.5)), true, "none", "", ""},

		// The network.
		{"retransmits", both(remote, retransmitted(2500)), true, "network", "loses segments", "2,500 of 250,000 segments were sent again (1%)"},
		{"fewer retransmits", both(remote, retransmitted(2499)), true, "none", "", ""},
		{"retransmits on loopback", retransmitted(2500), true, "none", "", "does not leave this host"},
		{"retransmits to other hosts", both(retransmitted(2500), func(r *result.Result) { r.Plan.Clients.Hosts = []string{"b:1"} }), true, "network", "loses segments", ""},
		{"enough segments", both(remote, func(r *result.Result) {
			for i := range r.Seconds {
				r.Seconds[i].Host.SegmentsOut = 10
			}
		}, retransmitted(100)), true, "network", "loses segments", ""},
		{"few segments", both(remote, func(r *result.Result) {
			for i := range r.Seconds {
				r.Seconds[i].Host.SegmentsOut = 10
			}
		}, retransmitted(99)), true, "none", "", ""},
		{"no way", fault("connect", "connect: no route to host"), true, "network", "no way", "\"connect: no route to host\": 7"},

		// Symptoms.
		{"connects refused", fault("connect", "connect: connection refused"), true, "server", "nothing listens", "connects that were refused: 7"},
		{"connects timed out", fault("connect", "timed out"), true, "server", "did not take all", "7 of 1,000 connects failed, the first in connect: timed out"},
		{"publishes refused", counts(func(c *result.Counts) { c.Refused = 1 }), true, "server", "refused publishes", "1 of 2,000 publishes"},
		{"disconnected", counts(func(c *result.Counts) { c.Disconnected = 1 }), true, "server", "ended connections", "1 of 1,000 connections"},
		{"missing", counts(func(c *result.Counts) { c.Missing = 1 }), true, "server", "too slow for the time that was waited", "1 of 200,000 deliveries had not come"},
		{"lost", counts(func(c *result.Counts) { c.Lost = 1 }), true, "server", "lost messages", "1 of 200,000 deliveries"},
		{"unanswered", counts(func(c *result.Counts) { c.Unanswered = 1 }), true, "server", "did not answer", "1 of 2,000 publishes were never"},
		{"growing", func(r *result.Result) {
			for i := range loaded {
				r.Seconds[warmup+i].Delivery.P50 = 25 + 10*float64(i)
			}
		}, true, "server", "less than comes", "took 45 ms at first and 195 ms in the end"},
		{"growing enough", both(inLoad(loaded, median(25)), inLast(median(101))), true, "server", "less than comes", "took 25 ms at first and 101 ms in the end"},
		{"growing to too little", both(inLoad(loaded, median(20)), inLast(median(99))), true, "none", "", ""},
		{"growing by too little", both(inLoad(loaded, median(100)), inLast(median(390))), true, "none", "", ""},
		{"growing after a cut", func(r *result.Result) {
			r.Plan.Trouble.Cut.Share = .5
			r.Seconds[warmup+loaded-1].Delivery.P50 = 5000
		}, true, "none", "", ""},

		// Which of several is named.
		{"no ports and a busy loop", both(fault("connect", "cannot assign requested address"), inLoad(loaded, busy(1))), false, "kernel", "ip_local_port_range", "busiest loop"},
		{"both saturated", both(inLoad(loaded, busy(1)), inLoad(loaded, uses(1.9))), false, "client", "event loop", "over 90% of the 2 cores"},
		{"accept queue of a busy server", both(inLoad(loaded, uses(1.9)), host(func(h *result.Kernel) { h.ListenOverflows = 500 }), connect(time.Second)), true, "kernel", "somaxconn", "over 90%"},
		{"a lossy network and lost", both(remote, retransmitted(5000), counts(func(c *result.Counts) { c.Lost = 9 })), true, "network", "loses segments", "9 of 200,000"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := cleanRun()
			c.change(r)
			got := Judge(r)
			if got.Valid != c.valid || got.Limit != c.limit || !strings.Contains(got.Cause, c.cause) {
				t.Errorf("valid %v, limit %s, cause %q, want %v, %s, %q", got.Valid, got.Limit, got.Cause, c.valid, c.limit, c.cause)
			}
			if !slices.ContainsFunc(got.Reasons, func(reason string) bool { return strings.Contains(reason, c.reason) }) {
				t.Errorf("no reason has %q: %q", c.reason, got.Reasons)
			}
			if use := gather(r).use(); c.limit == limitNone && c.reason == "" && !slices.Equal(got.Reasons, use) {
				t.Errorf("reasons %q, want only what was used: %q", got.Reasons, use)
			}
			if got.Limit == limitClient && got.Valid {
				t.Error("a run that the generator limited is valid")
			}
		})
	}
}

func TestJudgeNothing(t *testing.T) {
	got := Judge(&result.Result{})
	if !got.Valid || got.Limit != limitNone || !slices.Equal(got.Reasons, []string{"no second of work was seen"}) {
		t.Errorf("nothing at all is %+v", got)
	}
	r := cleanRun()
	r.Seconds = r.Seconds[:3] // it was ended before its load
	if got := Judge(r); !got.Valid || got.Limit != limitNone {
		t.Errorf("a run that was cut short is %+v", got)
	}
}

// TestJudgeFromTheFile: a verdict is not of something that is not kept.
func TestJudgeFromTheFile(t *testing.T) {
	r := cleanRun()
	inLoad(4, func(s *result.Second) { s.Host.CPUIdle, s.Server.CPUSeconds = 0, 1.9 })(r)
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	read := &result.Result{}
	if err := json.Unmarshal(data, read); err != nil {
		t.Fatal(err)
	}
	if got, want := Judge(read), Judge(r); !reflect.DeepEqual(got, want) || want.Limit != limitServer {
		t.Errorf("read back %+v, want %+v", got, want)
	}
}

package report

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rookery/bench/result"
)

// Metrics gives the numbers of a run to Prometheus while it runs, as an http.Handler. It may be used by several goroutines.
//
// Latencies are gauges of the last second, not histograms: percentiles of a second are what comes from the workers, and the
// whole distribution is in the result.
type Metrics struct {
	handler http.Handler

	mu sync.Mutex // held for memory work only

	// Guarded by mu.
	last      Progress
	totals    result.Counts
	serverCPU float64
	clientCPU float64
}

// NewMetrics begins with every counter at 0.
func NewMetrics() *Metrics {
	m := &Metrics{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// Show takes one more second.
func (m *Metrics) Show(p Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = p
	m.totals.Add(p.Second.Counts)
	m.serverCPU += p.Second.Server.CPUSeconds
	m.clientCPU += p.Second.Client.CPUSeconds
}

func benchDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rookery_bench_"+name, help, labels, nil)
}

// counters are those of result.Counts, in its order.
var counters = []struct {
	desc *prometheus.Desc
	read func(*result.Counts) int64
}{
	{benchDesc("connects_total", "Connections tried."), func(c *result.Counts) int64 { return c.Connects }},
	{benchDesc("connected_total", "Connections made."), func(c *result.Counts) int64 { return c.Connected }},
	{benchDesc("connects_failed_total", "Connections that could not be made."), func(c *result.Counts) int64 { return c.ConnectsFailed }},
	{benchDesc("disconnected_total", "Connections lost that nobody planned."), func(c *result.Counts) int64 { return c.Disconnected }},
	{benchDesc("joined_total", "Rooms joined."), func(c *result.Counts) int64 { return c.Joined }},
	{benchDesc("joins_refused_total", "Joins answered with an error."), func(c *result.Counts) int64 { return c.JoinsRefused }},
	{benchDesc("came_back_total", "Times that a user was there again after its connection was lost or cut."), func(c *result.Counts) int64 { return c.CameBack }},
	{benchDesc("stayed_away_total", "Users whose connection was lost or cut and that were not back in the end."), func(c *result.Counts) int64 { return c.StayedAway }},
	{benchDesc("messages_sent_total", "Messages handed to the kernel."), func(c *result.Counts) int64 { return c.Sent }},
	{benchDesc("messages_unsent_total", "Messages that were due and could not be sent."), func(c *result.Counts) int64 { return c.Unsent }},
	{benchDesc("messages_acknowledged_total", "Messages acknowledged."), func(c *result.Counts) int64 { return c.Acknowledged }},
	{benchDesc("messages_refused_total", "Messages answered with an error."), func(c *result.Counts) int64 { return c.Refused }},
	{benchDesc("messages_unanswered_total", "Messages that got no answer until the end."), func(c *result.Counts) int64 { return c.Unanswered }},
	{benchDesc("deliveries_expected_total", "Deliveries owed."), func(c *result.Counts) int64 { return c.Expected }},
	{benchDesc("deliveries_total", "Deliveries that came."), func(c *result.Counts) int64 { return c.Delivered }},
	{benchDesc("deliveries_lost_total", "Deliveries that never came, though later ones did."), func(c *result.Counts) int64 { return c.Lost }},
	{benchDesc("deliveries_missing_total", "Deliveries that had not come when the wait for them was over."), func(c *result.Counts) int64 { return c.Missing }},
	{benchDesc("deliveries_duplicated_total", "Deliveries that came again."), func(c *result.Counts) int64 { return c.Duplicated }},
	{benchDesc("deliveries_reordered_total", "Deliveries that came after a later one."), func(c *result.Counts) int64 { return c.Reordered }},
	{benchDesc("delivery_gaps_total", "Times that a message was not the next one."), func(c *result.Counts) int64 { return c.Gaps }},
	{benchDesc("deliveries_foreign_total", "Messages that are not of this run."), func(c *result.Counts) int64 { return c.Foreign }},
	{benchDesc("deliveries_dropped_total", "Ephemeral deliveries left out for newer ones."), func(c *result.Counts) int64 { return c.Dropped }},
	{benchDesc("typing_sent_total", "Typing messages handed to the kernel."), func(c *result.Counts) int64 { return c.Typing }},
	{benchDesc("typing_delivered_total", "Typing messages that came."), func(c *result.Counts) int64 { return c.TypingDelivered }},
	{benchDesc("marks_sent_total", "Marks of what was read, handed to the kernel."), func(c *result.Counts) int64 { return c.Marks }},
	{benchDesc("marks_stored_total", "Marks that the server has stored."), func(c *result.Counts) int64 { return c.Marked }},
	{benchDesc("receipts_total", "Receipts that came."), func(c *result.Counts) int64 { return c.Receipts }},
	{benchDesc("presence_told_total", "Who is in a room, and changes of that, that members were told."), func(c *result.Counts) int64 { return c.Presence }},
	{benchDesc("received_bytes_total", "Bytes received."), func(c *result.Counts) int64 { return c.BytesIn }},
	{benchDesc("sent_bytes_total", "Bytes sent."), func(c *result.Counts) int64 { return c.BytesOut }},
}

var (
	phaseDesc       = benchDesc("phase", "1 for the part of the run that it is in.", "phase")
	openDesc        = benchDesc("connections", "Connections open.")
	plannedDesc     = benchDesc("connections_planned", "Connections that there are to be.")
	clientCPUDesc   = benchDesc("client_cpu_seconds_total", "Processor time of the load generator.")
	clientLoopDesc  = benchDesc("client_busiest_loop_ratio", "Share of the last second in which the busiest loop ran.")
	clientBytesDesc = benchDesc("client_memory_bytes", "Memory of the load generator.")
	serverCPUDesc   = benchDesc("server_cpu_seconds_total", "Processor time of the server, if it is seen.")
	serverBytesDesc = benchDesc("server_memory_bytes", "Resident memory of the server, if it is seen.")

	latencyDescs = []struct {
		desc *prometheus.Desc
		pick func(result.Second) result.Summary
	}{
		{
			benchDesc("delivery_latency_seconds", "Latency of the last second's deliveries, from when they were due; quantile 1 is the longest.", "quantile"),
			func(s result.Second) result.Summary { return s.Delivery },
		},
		{
			benchDesc("ack_latency_seconds", "Latency of the last second's acknowledgements.", "quantile"),
			func(s result.Second) result.Summary { return s.Ack },
		},
		{
			benchDesc("send_lateness_seconds", "How late the generator itself sent in the last second.", "quantile"),
			func(s result.Second) result.Summary { return s.SendLate },
		},
	}
	quantileLabels = []string{"0.5", "0.9", "0.99", "0.999", "1"}
)

func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range counters {
		descs <- c.desc
	}
	for _, l := range latencyDescs {
		descs <- l.desc
	}
	for _, d := range []*prometheus.Desc{
		phaseDesc, openDesc, plannedDesc, clientCPUDesc, clientLoopDesc, clientBytesDesc, serverCPUDesc, serverBytesDesc,
	} {
		descs <- d
	}
}

func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.mu.Lock()
	last, totals, serverCPU, clientCPU := m.last, m.totals, m.serverCPU, m.clientCPU
	m.mu.Unlock()

	give := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	for _, c := range counters {
		give(c.desc, prometheus.CounterValue, float64(c.read(&totals)))
	}
	second := last.Second
	for _, l := range latencyDescs {
		summary := l.pick(second)
		if summary.Count == 0 {
			continue
		}
		for i, q := range quantiles {
			give(l.desc, prometheus.GaugeValue, seconds(q.read(summary)), quantileLabels[i])
		}
	}
	for _, phase := range []Phase{Filling, Connecting, WarmUp, Load, Draining} {
		value := 0.0
		if phase == last.Phase {
			value = 1
		}
		give(phaseDesc, prometheus.GaugeValue, value, string(phase))
	}
	give(openDesc, prometheus.GaugeValue, float64(second.Open))
	give(plannedDesc, prometheus.GaugeValue, float64(last.Connections))
	give(clientCPUDesc, prometheus.CounterValue, clientCPU)
	give(clientLoopDesc, prometheus.GaugeValue, second.Client.BusiestLoop)
	give(clientBytesDesc, prometheus.GaugeValue, float64(second.Client.MemoryBytes))
	if second.Server.Seen {
		give(serverCPUDesc, prometheus.CounterValue, serverCPU)
		give(serverBytesDesc, prometheus.GaugeValue, float64(second.Server.MemoryBytes))
	}
}

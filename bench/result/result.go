// Package result is what a load run gave: counts, latencies, what the machines did, second by
// second, and what follows from it. It is one JSON file; every other report is made of it.
//
//	result.go     the result
//	histogram.go  latencies
//	merge.go      parts of several workers added up
//
// Units are in the names: seconds, milliseconds, bytes. Latencies are kept in microseconds.
package result

import (
	"time"

	"rookery/bench/plan"
)

// Result is one run.
type Result struct {
	// Format is Format, for whoever reads the file later.
	Format  int       `json:"format"`
	Rookery string    `json:"rookery"` // version of the tool
	Started time.Time `json:"started"`
	Command []string  `json:"command"`
	Plan    plan.Plan `json:"plan"`
	Hosts   []Host    `json:"hosts"` // load hosts, the coordinator's first

	Counts    Counts    `json:"counts"`
	Latencies Latencies `json:"latencies"` // of the load without its warm-up
	// Seconds is the run second by second, from the first connect on. Their counts add up to Counts.
	Seconds []Second `json:"seconds"`
	// ServerBefore is the server before the first connect: what each connection cost is told from it.
	ServerBefore Process `json:"server_before"`
	// LoadFrom and LoadTo are the seconds of Seconds in which the counted load ran: [LoadFrom, LoadTo).
	LoadFrom int `json:"load_from"`
	LoadTo   int `json:"load_to"`

	// Floor is what a delivery costs on this machine at least; its times are 0 where it was not asked for.
	Floor Floor `json:"floor"`

	// TLS is what connections have agreed on, the most frequent first.
	TLS []Agreement `json:"tls,omitempty"`

	Connect Phase   `json:"connect"`
	CatchUp Phase   `json:"catch_up"`
	Faults  []Fault `json:"faults,omitempty"` // the first of each kind, in words
	Verdict Verdict `json:"verdict"`
	Asserts []Check `json:"asserts,omitempty"`
	// Steps are those of a search for the limit; Knee is the last that held, -1 for none.
	Steps []Step `json:"steps,omitempty"`
	Knee  int    `json:"knee,omitempty"`
	// Broken is why a search ended before it was done, empty: it was, or the user ended it.
	Broken string `json:"broken,omitempty"`
}

// Format of the file. It grows when a field changes its meaning.
const Format = 2

// Host is a machine that made load.
type Host struct {
	Name        string `json:"name"`
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	Workers     int    `json:"workers"`
	// Clock is what has to be added to this host's clock to get the coordinator's, as it was before the load, and how wrong
	// that may be.
	ClockSeconds      float64 `json:"clock_seconds"`
	ClockErrorSeconds float64 `json:"clock_error_seconds"`
	// ClockDrift is how much more had to be added later, the most that was seen within the load and after it, and how wrong that
	// may be; 0 where it was less than that.
	ClockDriftSeconds      float64 `json:"clock_drift_seconds"`
	ClockDriftErrorSeconds float64 `json:"clock_drift_error_seconds"`
}

// Counts are exact. They add up over workers.
type Counts struct {
	Connects       int64 `json:"connects"` // tries
	Connected      int64 `json:"connected"`
	ConnectsFailed int64 `json:"connects_failed"`
	Disconnected   int64 `json:"disconnected"` // that nobody planned
	Joined         int64 `json:"joined"`
	JoinsRefused   int64 `json:"joins_refused"`
	CameBack       int64 `json:"came_back"`   // times that a user was there again after its connection was lost or cut
	StayedAway     int64 `json:"stayed_away"` // users whose connection was lost or cut and that were not back in the end

	Sent         int64 `json:"sent"`         // messages handed to the kernel
	Unsent       int64 `json:"unsent"`       // due, but their connection was not there or took nothing
	Acknowledged int64 `json:"acknowledged"` // publishes
	Refused      int64 `json:"refused"`      // publishes answered with an error
	Unanswered   int64 `json:"unanswered"`   // publishes that got neither until the end, where the server answers

	Expected   int64 `json:"expected"`   // deliveries that were owed
	Delivered  int64 `json:"delivered"`  // deliveries that came, each counted once
	Lost       int64 `json:"lost"`       // owed and never came, though a later one of the series did
	Missing    int64 `json:"missing"`    // owed, and neither it nor a later one had come when the wait for it was over
	Duplicated int64 `json:"duplicated"` // came again
	Reordered  int64 `json:"reordered"`  // came after a later one
	Gaps       int64 `json:"gaps"`       // times that the next message was not the next number
	Foreign    int64 `json:"foreign"`    // not of this run, not of this room, or not readable
	Dropped    int64 `json:"dropped"`    // ephemeral: a newer one came in its place, to a member that had stopped reading as planned

	Typing          int64 `json:"typing"`           // typing messages handed to the kernel, not among Sent
	TypingDelivered int64 `json:"typing_delivered"` // those that came, not among Delivered: nobody is owed one

	Marks    int64 `json:"marks"`    // marks of what was read, handed to the kernel
	Marked   int64 `json:"marked"`   // those that the server has stored
	Receipts int64 `json:"receipts"` // receipts of others and their own that members were told, not among Delivered

	Presence int64 `json:"presence"` // who is in a room, and changes of that, that members were told

	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

// Undelivered is what was owed and did not come, lost or missing.
func (c *Counts) Undelivered() int64 { return c.Lost + c.Missing }

// Latencies are counted from the moment at which an action was due, not from when it was done.
type Latencies struct {
	Delivery *Histogram `json:"delivery"`  // due to received, every delivery
	Ack      *Histogram `json:"ack"`       // due to acknowledged
	Connect  *Histogram `json:"connect"`   // due to connected and joined
	SendLate *Histogram `json:"send_late"` // due to handed to the kernel: the generator's own delay
	Away     *Histogram `json:"away"`      // connection lost or cut to connected and joined again, in the whole run
}

// Second is one second of a run, or the sum of one second over workers.
type Second struct {
	Open     int64   `json:"open"` // connections at its end
	Counts   Counts  `json:"counts"`
	Delivery Summary `json:"delivery"`
	Ack      Summary `json:"ack"`
	SendLate Summary `json:"send_late"`
	Client   Client  `json:"client"`
	Server   Process `json:"server"`
	Host     Kernel  `json:"host"`
}

// Summary is a distribution in few numbers, milliseconds.
type Summary struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Client is what the load generator itself used in a second, all workers of all hosts together.
type Client struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	// BusiestLoop is the share of the second in which the busiest worker's loop ran: 1 is saturated.
	BusiestLoop float64 `json:"busiest_loop"`
	// HandshakesWaited is the share of the second in which handshakes of TLS waited for a processor, of the worker where that was
	// most. A worker lets as many compute at a time as it may use processors but one, which is its loop's.
	HandshakesWaited float64 `json:"handshakes_waited"`
	// RunDelay is how long runnable threads waited for a processor (the kernel's schedstat).
	RunDelaySeconds float64 `json:"run_delay_seconds"`
	MemoryBytes     int64   `json:"memory_bytes"`
}

// Process is what the server used in a second; zero where it was not seen. One of several processes is
// their sum.
type Process struct {
	Seen bool `json:"seen"`
	// Unseen says why it is not, in words.
	Unseen     string  `json:"unseen,omitempty"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// SystemSeconds is what of CPUSeconds was in the kernel: the rest is the program's own.
	SystemSeconds float64 `json:"system_seconds"`
	// Cores is how many it may use: affinity and the quota of its control group.
	Cores float64 `json:"cores"`
	// BusiestThread is the share of the second in which the busiest thread ran: a server of one thread is saturated at 1.
	BusiestThread  float64 `json:"busiest_thread"`
	MemoryBytes    int64   `json:"memory_bytes"` // resident
	Descriptors    int64   `json:"descriptors"`
	DescriptorsMax int64   `json:"descriptors_max"` // its RLIMIT_NOFILE
	Threads        int64   `json:"threads"`
	// Metrics are counters and gauges that the server gave by itself, by name: gauges as they were, counters as
	// their growth in this second.
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// Kernel is what the coordinator's host counted in a second; where the server was seen that is the server's
// host too. Counters are those of a whole network namespace.
type Kernel struct {
	Cores          int     `json:"cores"`    // 0: nothing could be read, and all else is 0 too
	CPUIdle        float64 `json:"cpu_idle"` // share of all cores
	CPUSteal       float64 `json:"cpu_steal"`
	SocketBytes    int64   `json:"socket_bytes"`     // TCP memory: what is in buffers
	SocketBytesMax int64   `json:"socket_bytes_max"` // net.ipv4.tcp_mem, the third
	Sockets        int64   `json:"sockets"`
	TimeWait       int64   `json:"time_wait"`

	// Growth in the second.
	SegmentsOut     int64 `json:"segments_out"`
	Retransmits     int64 `json:"retransmits"`
	ListenOverflows int64 `json:"listen_overflows"`
	ListenDrops     int64 `json:"listen_drops"`
	SynQueueFull    int64 `json:"syn_queue_full"` // dropped, or answered with a cookie
	BacklogDrops    int64 `json:"backlog_drops"`  // a socket got more than its owner took meanwhile
	Pruned          int64 `json:"pruned"`         // a receive buffer was full
	MemoryAborts    int64 `json:"memory_aborts"`  // connections ended for want of memory, or of room for orphans

	ConntrackEntries int64 `json:"conntrack_entries"`
	ConntrackMax     int64 `json:"conntrack_max"`
}

// Floor is the CPU time of one bare write to a TCP socket on loopback, one of so many, and of one read of it behind an epoll_wait.
type Floor struct {
	Bytes        int     `json:"bytes"`
	Sockets      int     `json:"sockets"`
	WriteSeconds float64 `json:"write_seconds"`
	ReadSeconds  float64 `json:"read_seconds"`
}

// Phase is a part of the run with a begin and an end of its own.
type Phase struct {
	Count   int64   `json:"count"` // connections connected, messages caught up
	Failed  int64   `json:"failed"`
	Seconds float64 `json:"seconds"`
	// ServerCPUSeconds is what the server used meanwhile, 0 where it was not seen.
	ServerCPUSeconds float64 `json:"server_cpu_seconds"`
}

// Agreement is what handshakes of TLS came to, and how many of them.
type Agreement struct {
	Version    string `json:"version"`  // "TLS 1.3"
	Suite      string `json:"suite"`    // "TLS_AES_128_GCM_SHA256"
	Exchange   string `json:"exchange"` // "X25519MLKEM768"
	Handshakes int64  `json:"handshakes"`
	Resumed    int64  `json:"resumed"` // of them, those with a ticket
}

// Fault is one thing that went wrong, in words, and how often it did.
type Fault struct {
	What    string `json:"what"` // connect, handshake (of TLS), login, join, publish, closed, lost, missing, duplicated, reordered, foreign, worker
	Message string `json:"message"`
	Count   int64  `json:"count"`
}

// Verdict says what the figures are worth and what limited them.
type Verdict struct {
	// Valid is false if the load generator could not do what the plan says: then the figures tell of it and not of the server.
	Valid bool `json:"valid"`
	// Limit is none, server, client, kernel or network.
	Limit string `json:"limit"`
	// Cause names the limit in the words of rookery tune check where the kernel has a setting for it.
	Cause string `json:"cause"`
	// Reasons are the observations that led to it, each with its figure.
	Reasons []string `json:"reasons"`
}

// Check is one condition and what was found.
type Check struct {
	Condition string  `json:"condition"`
	Value     float64 `json:"value"` // seconds, bytes, cores or a number
	Holds     bool    `json:"holds"`
	// Reason is why there is no value, where there is none; then it does not hold.
	Reason string `json:"reason,omitempty"`
}

// Step is one load of a search for the limit.
type Step struct {
	Value     float64 `json:"value"`   // of what was raised
	Seconds   float64 `json:"seconds"` // that Counts, Delivery and ServerCPU are of
	Counts    Counts  `json:"counts"`
	Delivery  Summary `json:"delivery"`
	ServerCPU float64 `json:"server_cpu"` // cores, mean
	Checks    []Check `json:"checks"`
	Holds     bool    `json:"holds"`
	Verdict   Verdict `json:"verdict"`
}

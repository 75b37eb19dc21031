package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rookery/bench/plan"
	"rookery/bench/result"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew; look at what changed")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -update writes it anew. Got:\n%s", path, got)
	}
}

// fullRun is a run of eleven seconds with everything in it: two of connecting, two of warm-up, six of load, one of draining. A
// server's second of 400 ms is in the middle.
func fullRun() *result.Result {
	r := &result.Result{
		Format: result.Format, Rookery: "0.9.0", Started: time.Date(2026, 5, 3, 14, 2, 11, 0, time.UTC),
		Latencies: result.NewLatencies(), LoadFrom: 4, LoadTo: 10,
		Plan: plan.Plan{
			Scenario: "fanout",
			Server:   plan.Server{Dialect: "rookery", Codec: "binary", Targets: []string{"ws://127.0.0.1:8080/ws"}},
			Clients:  plan.Clients{Connections: 1000, Rate: 500},
			Rooms:    plan.Rooms{Count: 10, PerConnection: 1},
			Publish:  plan.Publish{Rate: 20, Arrivals: "poisson", Size: 128},
			Time:     plan.Time{Warmup: 2 * time.Second, Duration: 6 * time.Second},
		},
		Hosts:        []result.Host{{Name: "load-1", CPU: "AMD EPYC", Cores: 4, MemoryBytes: 8e9, Kernel: "Linux 6.1.0", Workers: 1}},
		ServerBefore: result.Process{Seen: true, MemoryBytes: 20e6},
		Connect:      result.Phase{Count: 1000, Seconds: 2, ServerCPUSeconds: 0.4},
		Verdict:      result.Verdict{Valid: true, Limit: "none", Reasons: []string{"the server used 0.50 of 4 cores"}},
	}
	for i := range 11 {
		s := result.Second{
			Open:   min(1000, int64(i+1)*500),
			Client: result.Client{CPUSeconds: 0.25, BusiestLoop: 0.3, MemoryBytes: 12e6},
			Server: result.Process{Seen: true, CPUSeconds: 0.5, SystemSeconds: 0.4, MemoryBytes: 24e6 + int64(i)*100e3, Descriptors: 1010, Threads: 8},
			Host:   result.Kernel{CPUIdle: 0.75, SocketBytes: 4e6, Sockets: 2000},
		}
		switch {
		case i < 2:
			s.Counts = result.Counts{Connects: 500, Connected: 500, Joined: 500}
			r.Latencies.Connect.RecordN(3*time.Millisecond, 500)
		case i < 10:
			s.Counts = result.Counts{Sent: 20, Acknowledged: 20, Expected: 2000, Delivered: 2000, BytesIn: 340_000, BytesOut: 3400}
			slowest := 12 * time.Millisecond
			if i == 6 {
				slowest = 400 * time.Millisecond
			}
			one := result.NewHistogram()
			one.RecordN(2*time.Millisecond, 1900)
			one.RecordN(5*time.Millisecond, 95)
			one.RecordN(slowest, 5)
			s.Delivery = one.Summary()
			if i >= 4 {
				r.Latencies.Delivery.Add(one)
				r.Latencies.Ack.RecordN(time.Millisecond, 20)
				r.Latencies.SendLate.RecordN(50*time.Microsecond, 20)
			}
		}
		r.Counts.Add(s.Counts)
		r.Seconds = append(r.Seconds, s)
	}
	return r
}

// bareRun is a run against a server that was not seen and answers nothing, of connections that do nothing.
func bareRun() *result.Result {
	r := &result.Result{Format: result.Format, Latencies: result.NewLatencies(), LoadTo: 3, Verdict: result.Verdict{Valid: true}}
	r.Plan.Clients.Connections = 5
	r.Seconds = []result.Second{{Open: 5}, {Open: 5}, {Open: 5}}
	r.Counts.Connected = 5
	return r
}

// invalidRun is a run whose generator was the bottleneck, with faults.
func invalidRun() *result.Result {
	r := fullRun()
	r.Counts.Lost, r.Counts.Missing, r.Counts.ConnectsFailed = 12, 7, 3
	r.Verdict = result.Verdict{
		Limit: "client", Cause: "the load generator's processors",
		Reasons: []string{"the busiest loop ran 100% of 5 seconds", "sends were up to 812 ms late"},
	}
	r.Faults = []result.Fault{
		{What: "lost", Message: "room 7, sender 12: message 4411 did not come", Count: 12},
		{What: "connect", Message: "127.0.0.1:8080: connection refused", Count: 3},
	}
	r.Asserts = []result.Check{
		{Condition: "p99<50ms", Value: 0.0051, Holds: true},
		{Condition: "lost==0", Value: 12},
		{Condition: "server.rss<1GB", Reason: "the server's process was not seen"},
	}
	return r
}

// searchRun is a search for the most messages a second, with a knee at 4,000.
func searchRun() *result.Result {
	r := fullRun()
	r.Plan.Find = plan.Find{What: "publish.rate", From: 1000, Factor: 2, Refine: 1, Until: []string{"p99<50ms"}}
	r.Verdict.Limit, r.Verdict.Cause = "server", "the server's processors"
	for _, at := range []struct{ rate, p99 float64 }{{1000, 3}, {2000, 8}, {4000, 41}, {8000, 720}, {6000, 130}} {
		step := result.Step{
			Value: at.rate, Seconds: 10, ServerCPU: at.rate / 4000, Verdict: result.Verdict{Valid: true},
			Delivery: result.Summary{Count: 100, P50: 1, P90: at.p99 / 2, P99: at.p99, P999: at.p99, Max: at.p99},
			Counts:   result.Counts{Expected: int64(at.rate * 10), Delivered: int64(at.rate * 10)},
			Holds:    at.p99 < 50,
		}
		step.Checks = []result.Check{{Condition: "p99<50ms", Value: at.p99 / 1000, Holds: step.Holds}}
		r.Steps = append(r.Steps, step)
	}
	r.Knee = 2
	return r
}

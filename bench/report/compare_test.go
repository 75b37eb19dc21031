package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/bench/result"
)

// rounds gives runs whose deliveries all took the given milliseconds, and whose server used so many cores.
func rounds(milliseconds, cores []float64) []*result.Result {
	var all []*result.Result
	for i := range milliseconds {
		r := fullRun()
		r.Latencies.Delivery.Reset()
		r.Latencies.Delivery.RecordN(time.Duration(milliseconds[i]*float64(time.Millisecond)), 1000)
		for s := range r.Seconds {
			r.Seconds[s].Server.CPUSeconds = cores[i]
		}
		r.Started = r.Started.Add(time.Duration(i) * time.Minute)
		all = append(all, r)
	}
	return all
}

func rowOf(t *testing.T, c Comparison, figure string) Change {
	t.Helper()
	for _, row := range c.Rows {
		if row.Figure == figure {
			return row
		}
	}
	t.Fatalf("%s is not compared", figure)
	return Change{}
}

func TestCompare(t *testing.T) {
	before := rounds([]float64{10, 10.4, 9.8, 10.1}, []float64{1.0, 1.3, 0.8, 1.1})
	after := rounds([]float64{8, 8.3, 7.9, 8.1}, []float64{1.1, 1.2, 0.9, 1.05})
	for _, r := range after {
		for i := 4; i < 10; i++ {
			r.Seconds[i].Counts.Delivered = 1500
		}
		r.Counts.Lost = 3000
	}
	c := Compare(before, after)
	if err := c.Refusal(); err != nil {
		t.Error(err)
	}
	for figure, want := range map[string]Outcome{
		"p50": Better, "p99.9": Better, "deliveries_per_second": Worse, "lost": Worse, "server.cpu": Noise, "duplicated": Equal, "ack.p99": Equal,
	} {
		if got := rowOf(t, c, figure); got.Outcome != want {
			t.Errorf("%s is %s, want %s: %+v", figure, got.Outcome, want, got)
		}
	}
	if lost := rowOf(t, c, "lost"); lost.Percent != nil {
		t.Errorf("a change from 0 has %v percent", *lost.Percent)
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "comparison.txt", b.Bytes())

	path := filepath.Join(t.TempDir(), "c.json")
	if err := c.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	var read Comparison
	if err != nil || json.Unmarshal(data, &read) != nil || len(read.Rows) != len(c.Rows) || *rowOf(t, read, "p50").Interval != *rowOf(t, c, "p50").Interval {
		t.Errorf("%v; the file holds %s", err, data)
	}
}

// TestRoundingIsNoChange: histograms keep 1%, so values that agree with themselves and differ by less prove nothing.
func TestRoundingIsNoChange(t *testing.T) {
	cores := []float64{1, 1, 1}
	c := Compare(rounds([]float64{10, 10, 10}, cores), rounds([]float64{10.08, 10.08, 10.08}, cores))
	if row := rowOf(t, c, "p50"); row.After <= row.Before || row.Outcome != Noise {
		t.Errorf("one bucket further is %+v, want noise", row)
	}
	c = Compare(rounds([]float64{10, 10, 10}, cores), rounds([]float64{11, 11, 11}, cores))
	if row := rowOf(t, c, "p50"); row.Outcome != Worse {
		t.Errorf("a tenth more is %+v, want worse", row)
	}
}

func TestOneRoundSaysNothingAboutNoise(t *testing.T) {
	c := Compare(rounds([]float64{10}, []float64{1}), rounds([]float64{20, 21}, []float64{1, 1}))
	if row := rowOf(t, c, "p50"); row.Outcome != Unknown || row.Interval != nil || row.Percent == nil || *row.Percent < 90 {
		t.Errorf("with one round: %+v", row)
	}
	var b bytes.Buffer
	c.Write(&b)
	if !strings.Contains(b.String(), "nothing can be said about noise") {
		t.Errorf("the table does not say so:\n%s", b.String())
	}
}

func TestCompareWarns(t *testing.T) {
	for want, change := range map[string]func(r *result.Result){
		"publish.rate was 20 before and is 40 after":                     func(r *result.Result) { r.Plan.Publish.Rate = 40 },
		`server.codec was "binary" before and is "json" after`:           func(r *result.Result) { r.Plan.Server.Codec = "json" },
		"transport was WebSocket before and is WebSocket over TLS after": func(r *result.Result) { r.Plan.Server.Targets = []string{"wss://elsewhere"} },
		"rookery was 0.9.0 before and is 1.0.0 after":                    func(r *result.Result) { r.Rookery = "1.0.0" },
		"load host 1 was 4 × AMD EPYC":                                   func(r *result.Result) { r.Hosts[0].CPU = "Xeon" },
		"load host 1 workers was 1 before and is 3 after":                func(r *result.Result) { r.Hosts[0].Workers = 3 },
		"load host 2 was not set before and is 2 ×":                      func(r *result.Result) { r.Hosts = append(r.Hosts, result.Host{Cores: 2}) },
		"ack.p99 was not measured after: nothing was acknowledged":       func(r *result.Result) { r.Latencies.Ack.Reset() },
		"server.rss was not measured after: the server's process was n": func(r *result.Result) {
			for i := range r.Seconds {
				r.Seconds[i].Server = result.Process{}
			}
		},
	} {
		after := fullRun()
		change(after)
		c := Compare([]*result.Result{fullRun()}, []*result.Result{after})
		if !strings.Contains(strings.Join(c.Warnings, "\n"), want) {
			t.Errorf("warnings %q, want %q", c.Warnings, want)
		}
	}
	other := fullRun()
	other.Plan.Server.Targets, other.Plan.Rooms.Prefix, other.Plan.Server.PID = []string{"ws://elsewhere"}, "b-", 7
	if c := Compare([]*result.Result{fullRun()}, []*result.Result{other}); len(c.Warnings) > 0 {
		t.Errorf("what does not matter gives %q", c.Warnings)
	}
	mixed := []*result.Result{fullRun(), fullRun()}
	mixed[1].Plan.Publish.Size = 4096
	if c := Compare(mixed, mixed[:1]); len(c.Warnings) != 1 || c.Warnings[0] != "publish.size is 128 in round 1 before and 4096 in round 2" {
		t.Errorf("rounds of one side that differ give %q", c.Warnings)
	}
}

func TestCompareRefuses(t *testing.T) {
	c := Compare([]*result.Result{fullRun(), invalidRun()}, []*result.Result{fullRun()})
	if err := c.Refusal(); err == nil || !strings.Contains(err.Error(), "round 2 before (the load generator's processors)") {
		t.Errorf("an invalid round gives %v", err)
	}
	var b bytes.Buffer
	c.Write(&b)
	if !strings.HasPrefix(b.String(), "INVALID: round 2 before") {
		t.Errorf("the table hides that a round is invalid:\n%s", b.String())
	}
	for _, c := range []Comparison{Compare(nil, []*result.Result{fullRun()}), Compare([]*result.Result{fullRun()}, nil)} {
		if c.Refusal() == nil {
			t.Error("a side without a result is no fault")
		}
	}
}

package report

import (
	"bytes"
	"strings"
	"testing"

	"rookery/bench/result"
)

func tableText(t *testing.T, r *result.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTables(t *testing.T) {
	for name, r := range map[string]*result.Result{"full": fullRun(), "bare": bareRun(), "invalid": invalidRun(), "search": searchRun()} {
		golden(t, "table-"+name+".txt", []byte(tableText(t, r)))
	}
}

func TestTableLeavesOutWhatWasNotMeasured(t *testing.T) {
	full := tableText(t, fullRun())
	for _, test := range []struct {
		name   string
		change func(r *result.Result)
		gone   []string
	}{
		{"the server is not seen", func(r *result.Result) {
			for i := range r.Seconds {
				r.Seconds[i].Server = result.Process{}
			}
			r.Connect.ServerCPUSeconds = 0
		}, []string{"\nServer\n", "CPU for each delivery", "CPU for each connect", "memory for each connection"}},
		{"the server was not seen before", func(r *result.Result) { r.ServerBefore = result.Process{} },
			[]string{"memory before the first connect", "memory for each connection"}},
		{"nothing is acknowledged", func(r *result.Result) {
			r.Counts.Acknowledged = 0
			r.Latencies.Ack.Reset()
		}, []string{"acknowledged", "acknowledgement"}},
		{"the host is not seen", func(r *result.Result) {
			for i := range r.Seconds {
				r.Seconds[i].Host = result.Kernel{}
			}
		}, []string{"\nKernel\n", "TCP memory", "segments sent again"}},
		{"nothing is owed", func(r *result.Result) { r.Counts.Expected = 0 }, []string{"deliveries owed", "\n  lost "}},
		{"nothing is delivered", func(r *result.Result) {
			r.Counts.Delivered = 0
			r.Latencies.Delivery.Reset()
		}, []string{"duplicated", "reordered", "gaps", "\n  delivery "}},
		{"connects are not timed", func(r *result.Result) {
			r.Connect = result.Phase{}
			r.Latencies.Connect.Reset()
		}, []string{"\n  connects ", "\n  connect "}},
		{"the generator is not watched", func(r *result.Result) {
			for i := range r.Seconds {
				r.Seconds[i].Client = result.Client{}
			}
		}, []string{"\nLoad generator\n", "busiest loop"}},
	} {
		r := fullRun()
		test.change(r)
		got := tableText(t, r)
		for _, text := range test.gone {
			if !strings.Contains(full, text) {
				t.Errorf("%s: %q is not in the full table either", test.name, text)
			}
			if strings.Contains(got, text) {
				t.Errorf("%s: %q is still there:\n%s", test.name, text, got)
			}
		}
	}
}

func TestHeadlines(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(r *result.Result)
		want   state
		begins string
	}{
		{"valid", func(*result.Result) {}, stateValid, "VALID: nothing"},
		{"limited", func(r *result.Result) { r.Verdict.Limit = "network" }, stateValid, "VALID: limited by the network"},
		{"lost", func(r *result.Result) { r.Counts.Lost = 2 }, stateFaulty, "FAULTY: 2 lost, of 16,000"},
		{"missing", func(r *result.Result) { r.Counts.Missing = 2 }, stateLate, "LATE: 2 of 16,000 deliveries owed had not come when"},
		{"lost and missing", func(r *result.Result) { r.Counts.Lost, r.Counts.Missing = 1, 2 }, stateFaulty, "FAULTY: 1 lost, 2 missing in the end, of 16,000"},
		{"doubled and swapped", func(r *result.Result) { r.Counts.Duplicated, r.Counts.Reordered = 1, 3 }, stateFaulty, "FAULTY: 1 duplicated, 3 reordered"},
		{"foreign", func(r *result.Result) { r.Counts.Foreign = 1 }, stateFaulty, "FAULTY: 1 foreign"},
		{"a condition", func(r *result.Result) {
			r.Asserts = []result.Check{{Condition: "p50<1ms"}, {Condition: "lost==0", Holds: true}}
		}, stateFailed, "FAILED: 1 of 2 conditions does not hold"},
		{"invalid and more", func(r *result.Result) {
			r.Verdict.Valid, r.Counts.Lost, r.Asserts = false, 2, []result.Check{{Condition: "p50<1ms"}}
		}, stateInvalid, "INVALID: "},
	} {
		r := fullRun()
		test.change(r)
		if is, line := headline(r); is != test.want || !strings.HasPrefix(line, test.begins) {
			t.Errorf("%s: %s, %q, want %s, %q", test.name, is, line, test.want, test.begins)
		}
	}
}

func TestTableIsHarmlessForATerminal(t *testing.T) {
	r := fullRun()
	r.Faults = []result.Fault{{What: "closed", Message: "bye\x1b[2J\nsecond\u009b31m", Count: 1}}
	r.Verdict.Cause, r.Verdict.Limit = "\x1b]0;title\x07", "server"
	got := tableText(t, r)
	if strings.ContainsAny(got, "\x1b\x07\u009b") || !strings.Contains(got, "bye?[2J?second?31m") {
		t.Errorf("escape sequences went through: %q", got)
	}
}

func TestSearchWithoutAKnee(t *testing.T) {
	r := searchRun()
	r.Knee = -1
	for i := range r.Steps {
		r.Steps[i].Holds = false
	}
	got := tableText(t, r)
	if !strings.Contains(got, "No step held, from 1,000 messages/s on") || strings.Contains(got, "<- knee") {
		t.Errorf("no step held, and the table says:\n%s", got)
	}
	r = searchRun()
	r.Steps = r.Steps[:3]
	if got := tableText(t, r); !strings.Contains(got, "the limit was not reached") {
		t.Errorf("every step held, and the table says:\n%s", got)
	}
}

func TestSearchThatEndedInAnError(t *testing.T) {
	r := fullRun()
	r.Plan.Find.What, r.Broken = "publish.rate", "step of 40 messages/s: no worker"
	r.Steps = []result.Step{{Value: 20, Holds: true, Verdict: result.Verdict{Valid: true}}}
	if got := tableText(t, r); !strings.Contains(got, "The search is not done: step of 40 messages/s: no worker. Up to then 20 messages/s held.") {
		t.Errorf("the table does not say what held and why the search ended:\n%s", got)
	}
}

func TestSecondsOutsideOfTheRunAreNone(t *testing.T) {
	for _, window := range [][2]int{{0, 0}, {5, 99}, {-3, 2}, {99, 100}, {8, 4}} {
		r := fullRun()
		r.LoadFrom, r.LoadTo = window[0], window[1]
		tableText(t, r)
		var b bytes.Buffer
		if err := WriteHTML(&b, r); err != nil {
			t.Error(err)
		}
	}
	r := fullRun()
	r.Seconds = nil
	if got := tableText(t, r); strings.Contains(got, "delivered/s") {
		t.Errorf("a rate without a second:\n%s", got)
	}
}
